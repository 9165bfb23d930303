//! What the answer of a call says: a value, or its text where nobody looks into it.

use std::cell::RefCell;

use bytes::Bytes;
use tokio::runtime::Handle;

use crate::shape::{self, Value};

/// What an answer says.
#[derive(Clone, Debug)]
pub(super) enum Content {
    /// A value, which others look into.
    Value(Value),
    /// The text of a value, which is passed on as it is.
    Text(Bytes),
}

/// Values that take long to be dropped. It is the last to let go of them, however an aggregate ends, and a helper drops them.
#[derive(Debug, Default)]
pub(super) struct Heavy(RefCell<Vec<Value>>);

impl Heavy {
    /// All that it keeps, for somebody else to let go of last.
    pub(super) fn take(&self) -> Heavy {
        Heavy(RefCell::new(self.0.take()))
    }

    /// Drops it here, on a thread that has the time.
    pub(super) fn drop_here(self) {
        drop(self.0.take());
    }

    /// Keeps what an answer says, unless that is a text.
    pub(super) fn keep(&self, content: &Content) {
        if let Content::Value(value @ (Value::Array(_) | Value::Object(_))) = content {
            self.0.borrow_mut().push(value.clone());
        }
    }
}

impl Drop for Heavy {
    fn drop(&mut self) {
        let values = self.0.take();
        if let (false, Ok(runtime)) = (values.is_empty(), Handle::try_current()) {
            runtime.spawn_blocking(move || drop(values));
        }
    }
}

impl From<Value> for Content {
    fn from(value: Value) -> Content {
        Content::Value(value)
    }
}

impl Content {
    /// Bytes of its text, where that is here.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Content::Value(_) => 0,
            Content::Text(text) => text.len(),
        }
    }

    /// It, to be looked into.
    pub(super) fn value(&self) -> Value {
        match self {
            Content::Value(value) => value.clone(),
            Content::Text(text) => shape::read(text).unwrap_or(Value::Null),
        }
    }
}
