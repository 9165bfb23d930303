//! How far clients have used their limits, as admin shows it.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// Addresses shown at most: those nearest to their limits.
const SHOWN: usize = 100;

/// Who uses a limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Who {
    /// A consumer of the configuration, by name.
    Consumer(String),
    /// A client address; of IPv6 the first one of its /64.
    Address(IpAddr),
    /// All clients together.
    Everyone,
}

/// How far one limit is used by one client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Who uses it.
    pub who: Who,
    /// The name of its set: `default`, `api`, a route's, a plan's.
    pub set: Arc<str>,
    /// How many requests it lets through in `period`.
    pub count: u32,
    /// The period.
    pub period: Duration,
    /// How many more requests may come at once.
    pub left: u32,
    /// After how long the whole quota is there again.
    pub whole_in: Duration,
    /// How often it refused this client.
    pub refused: u64,
}

impl Usage {
    /// From 0, nothing is used, to 1, nothing is left.
    fn nearness(&self) -> f64 {
        1.0 - f64::from(self.left) / f64::from(self.count)
    }
}

/// Sorts the nearest to their limits first; equally near ones by the name of the set.
pub(super) fn sort(usage: &mut [Usage]) {
    usage.sort_by(|a, b| b.nearness().total_cmp(&a.nearness()).then_with(|| a.set.cmp(&b.set)));
}

/// The addresses nearest to their limits, out of a crowd that need not be held in memory.
#[derive(Debug, Default)]
pub(super) struct Nearest(Vec<Usage>);

impl Nearest {
    pub(super) fn push(&mut self, usage: Usage) {
        self.0.push(usage);
        if self.0.len() > 2 * SHOWN {
            self.cut();
        }
    }

    pub(super) fn into_vec(mut self) -> Vec<Usage> {
        self.cut();
        self.0
    }

    fn cut(&mut self) {
        self.0.sort_by(|a, b| b.nearness().total_cmp(&a.nearness()));
        self.0.truncate(SHOWN);
    }
}
