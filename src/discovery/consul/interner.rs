//! What the entries of an answer have in common, kept once: a service's instances mostly differ in their addresses and ids alone.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use crate::catalog::{Meta, Tags};

/// The texts of one answer, each of which its entries share.
#[derive(Debug, Default)]
pub(crate) struct Interner {
    texts: HashSet<Arc<str>>,
    tags: HashSet<Tags>,
    metas: HashSet<Meta>,
}

impl Interner {
    /// A text.
    pub(crate) fn text(&mut self, text: &str) -> Arc<str> {
        once(&mut self.texts, text.into())
    }

    /// An instance's tags, in their order.
    pub(crate) fn tags(&mut self, tags: &[String]) -> Tags {
        let tags = tags.iter().map(|tag| self.text(tag)).collect();
        once(&mut self.tags, tags)
    }

    /// An instance's metadata; a value that is null is empty.
    pub(crate) fn meta(&mut self, meta: &BTreeMap<String, Option<String>>) -> Meta {
        let meta = meta.iter().map(|(key, value)| (self.text(key), self.text(value.as_deref().unwrap_or_default())));
        let meta = meta.collect();
        once(&mut self.metas, meta)
    }
}

/// The equal one that is there already; where there is none, this one is there from now on.
fn once<T: Clone + Eq + std::hash::Hash>(known: &mut HashSet<T>, new: T) -> T {
    match known.get(&new) {
        Some(there) => there.clone(),
        None => {
            known.insert(new.clone());
            new
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_equal_in_an_answer_is_kept_once() {
        let mut interner = Interner::default();
        let tags = ["gateway".to_owned(), "v1".to_owned()];
        let meta = |version: &str| {
            BTreeMap::from([("version".to_owned(), Some(version.to_owned())), ("zone".to_owned(), None)])
        };
        let (first, second) = (interner.tags(&tags), interner.tags(&tags));
        assert!(Arc::ptr_eq(&first, &second) && Arc::ptr_eq(&first[0], &interner.text("gateway")));
        let (first, second, other) = (interner.meta(&meta("1")), interner.meta(&meta("1")), interner.meta(&meta("2")));
        assert!(Arc::ptr_eq(&first, &second) && !Arc::ptr_eq(&first, &other));
        assert!(Arc::ptr_eq(&first[0].0, &other[0].0), "the name of a value is shared though the value is not");
        let texts: Vec<_> = other.iter().map(|(key, value)| (&**key, &**value)).collect();
        assert_eq!(texts, [("version", "2"), ("zone", "")]);
    }
}
