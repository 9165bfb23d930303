//! A text that values share.

use std::cmp::Ordering;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

/// A text that values share: a clone costs a count. What was read stays where it stood, in one copy of the whole text, so that
/// names, strings and numbers cost no allocation. That copy is there for as long as any of them.
#[derive(Clone)]
pub struct Text {
    /// Thin, so that values are small.
    source: Arc<Box<str>>,
    start: u32,
    length: u32,
}

impl Text {
    /// What stands there in a text. Nothing, where that has no such place or is longer than 4 GiB.
    #[inline]
    pub(super) fn part(source: &Arc<Box<str>>, start: usize, length: usize) -> Text {
        let place = u32::try_from(start).ok().zip(u32::try_from(length).ok());
        let (start, length) = place.unwrap_or_default();
        Text { source: Arc::clone(source), start, length }
    }

    /// The text.
    #[must_use]
    #[inline]
    pub fn as_str(&self) -> &str {
        let start = self.start as usize;
        self.source.get(start..start + self.length as usize).unwrap_or_default()
    }
}

impl Deref for Text {
    type Target = str;

    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Text {
        Text::part(&Arc::new(text.into()), 0, text.len())
    }
}

impl From<String> for Text {
    fn from(text: String) -> Text {
        let length = text.len();
        Text::part(&Arc::new(text.into()), 0, length)
    }
}

impl From<Arc<str>> for Text {
    fn from(text: Arc<str>) -> Text {
        Text::from(&*text)
    }
}

impl PartialEq for Text {
    fn eq(&self, other: &Text) -> bool {
        self.length == other.length && self.as_str() == other.as_str()
    }
}

impl Eq for Text {}

impl PartialOrd for Text {
    fn partial_cmp(&self, other: &Text) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Text {
    fn cmp(&self, other: &Text) -> Ordering {
        self.as_str().cmp(other.as_str())
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_str().fmt(f)
    }
}
