//! The meters of all plans, or of all routes, found by the name of the set.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::FixedState;

use super::meter::Meter;
use crate::config::policy::LimitSet;

/// Meters by the names of their sets.
#[derive(Debug, Default)]
pub(super) struct Meters {
    by_name: HashMap<Arc<str>, Arc<Meter>, FixedState>,
    /// The same meters by the pointer to the configuration's own text of the name. Nearly every request looks with this very text,
    /// and a pointer is hashed and compared with 70 instructions less than a text. No other text can have this pointer while
    /// `by_name` holds the text.
    by_pointer: HashMap<usize, Arc<Meter>, FixedState>,
}

impl Meters {
    /// Meters with counters for so many slots. One that serves as it is, is shared with the meters before; the limits of other sets
    /// that were not there before get the next numbers.
    pub(super) fn new<'s>(
        sets: impl IntoIterator<Item = &'s Arc<LimitSet>>,
        slots: usize,
        before: Option<&Meters>,
        next_number: &mut u32,
    ) -> Meters {
        let mut meters = Meters::default();
        // A set without limits counts nothing.
        for set in sets.into_iter().filter(|set| !set.limits.is_empty()) {
            if meters.by_name.contains_key(&set.name) {
                continue;
            }
            let meter = match before.and_then(|before| before.by_name.get(&set.name)) {
                Some(known) if known.serves(set, slots) => known.clone(),
                known => Arc::new(Meter::new(set, slots, known.map(|known| &**known), next_number)),
            };
            meters.by_pointer.insert(set.name.as_ptr().addr(), meter.clone());
            meters.by_name.insert(set.name.clone(), meter);
        }
        meters
    }

    /// The meter of a set.
    pub(super) fn find(&self, name: &Arc<str>) -> Option<&Meter> {
        let found = self.by_pointer.get(&name.as_ptr().addr()).or_else(|| self.by_name.get(name));
        found.map(|meter| &**meter)
    }

    /// All meters, in any order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Meter> {
        self.by_name.values().map(|meter| &**meter)
    }
}
