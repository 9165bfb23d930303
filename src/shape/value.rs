//! A value of JSON.

use std::sync::Arc;

use super::object::Members;
use super::{Number, Text};

/// The members of an object.
pub type Object = Members<Value>;

/// A value of JSON. Its contents are shared: a clone costs a count, and parts of an answer can stand in several places.
///
/// Values are equal as JMESPath has it: numbers by what they are worth, objects whatever the order of their members.
#[derive(Clone, Debug)]
pub enum Value {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number, with its digits.
    Number(Number),
    /// A string, without its escapes.
    String(Text),
    /// An array.
    Array(Arc<[Value]>),
    /// An object.
    Object(Object),
}

impl Value {
    /// Its type, as JMESPath's function `type` names it.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Value::Null => "null",
            Value::Bool(_) => "boolean",
            Value::Number(_) => "number",
            Value::String(_) => "string",
            Value::Array(_) => "array",
            Value::Object(_) => "object",
        }
    }

    /// Whether it counts as true: all but `null`, `false`, and strings, arrays and objects that are empty.
    #[must_use]
    pub fn is_true(&self) -> bool {
        match self {
            Value::Null => false,
            Value::Bool(value) => *value,
            Value::Number(_) => true,
            Value::String(text) => !text.is_empty(),
            Value::Array(elements) => !elements.is_empty(),
            Value::Object(members) => !members.is_empty(),
        }
    }

    /// The member of this name, if it is an object that has one.
    #[must_use]
    pub fn member(&self, name: &str) -> Option<&Value> {
        match self {
            Value::Object(members) => members.get(name),
            _ => None,
        }
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Value {
        Value::Bool(value)
    }
}

impl From<Number> for Value {
    fn from(number: Number) -> Value {
        Value::Number(number)
    }
}

impl From<Text> for Value {
    fn from(text: Text) -> Value {
        Value::String(text)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Value {
        Value::String(text.into())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Value {
        Value::String(text.into())
    }
}

impl From<Vec<Value>> for Value {
    fn from(elements: Vec<Value>) -> Value {
        Value::Array(elements.into())
    }
}

impl From<Object> for Value {
    fn from(members: Object) -> Value {
        Value::Object(members)
    }
}

impl FromIterator<Value> for Value {
    fn from_iter<I: IntoIterator<Item = Value>>(elements: I) -> Value {
        Value::Array(elements.into_iter().collect())
    }
}
