//! What a roster knows of each service.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::super::watch::Cursor;
use crate::catalog::ServiceName;

/// A service keeps its watch against others for so long after a request or a change.
const KEEPS: Duration = Duration::from_secs(60);

/// What is known of an entry of a service from its last read: who it is, and when it changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in super::super) struct Trace {
    /// A hash of its node's name.
    pub(in super::super) node: u64,
    /// A hash of its id on that node.
    pub(in super::super) id: u64,
    /// `ModifyIndex`.
    pub(in super::super) modified: u64,
}

/// The services, and what is to be done about them.
#[derive(Debug, Default)]
pub(super) struct Inner {
    /// By name.
    pub(super) places: BTreeMap<ServiceName, Place>,
    /// To be read, in this order.
    pub(super) queue: VecDeque<ServiceName>,
    /// To be read later, after an error.
    pub(super) retries: BTreeSet<(Instant, ServiceName)>,
    /// To get a watch.
    pub(super) promotions: Vec<ServiceName>,
    /// Those that have one.
    pub(super) watching: BTreeSet<ServiceName>,
    /// How many have one, or are about to.
    pub(super) watched: usize,
    /// How many were neither read nor could not be.
    pub(super) unsettled: usize,
    /// All have been read, or could not be, since they were listed.
    pub(super) filled: bool,
    /// That was so at any time.
    pub(super) ever_filled: bool,
    /// Everything was found to be current at this time, by a sweep.
    pub(super) swept: Option<Instant>,
    /// Since when it is known that something has changed, but not what.
    pub(super) moved: Option<Instant>,
}

/// One service.
#[derive(Debug, Default)]
pub(super) struct Place {
    /// When it was asked for or changed last.
    pub(super) used: Option<Instant>,
    pub(super) follow: Follow,
    pub(super) queued: bool,
    /// It was listed before all had been read for the first time, and has not been answered yet.
    pub(super) first: bool,
    /// When it was read last.
    pub(super) read: Option<Instant>,
    pub(super) cursor: Cursor,
    pub(super) failures: u32,
    /// When it is read again after an error.
    pub(super) retry: Option<Instant>,
    /// It was read or could not be: nobody waits for it any more.
    pub(super) settled: bool,
    /// An instance of it did not pass when it was read.
    pub(super) ailing: bool,
    pub(super) traces: Box<[Trace]>,
}

/// How a service is followed.
#[derive(Debug, Default)]
pub(super) enum Follow {
    /// By reads.
    #[default]
    Reads,
    /// It is to get a watch of its own.
    Promoted,
    /// By a watch of its own.
    Watch(AbortHandle),
}

/// How the services are followed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in super::super) struct Count {
    /// With a watch of their own.
    pub(in super::super) watched: usize,
    /// By reads.
    pub(in super::super) swept: usize,
    /// There are more than can have a watch of their own.
    pub(in super::super) beyond: bool,
}

impl Inner {
    pub(super) fn fill(&mut self) {
        self.filled |= self.unsettled == 0;
        self.ever_filled |= self.filled;
    }

    /// Ends what is not in this sorted list; says what is new in it.
    pub(super) fn replace(&mut self, names: &[ServiceName]) -> Vec<ServiceName> {
        let (mut new, mut came) = (names.iter().peekable(), Vec::new());
        let (mut watched, mut unsettled) = (0, 0);
        self.places.retain(|name, place| {
            while let Some(before) = new.next_if(|next| *next < name) {
                came.push(before.clone());
            }
            let stays = new.next_if(|next| *next == name).is_some();
            if !stays {
                unsettled += usize::from(!place.settled);
                watched += std::mem::take(place).end();
                self.watching.remove(name);
            }
            stays
        });
        came.extend(new.cloned());
        self.watched -= watched;
        self.unsettled -= unsettled;
        came
    }

    /// A service was read, or could not be; true where that is the first time.
    pub(super) fn settle(&mut self, name: &ServiceName) -> bool {
        let Some(place) = self.places.get_mut(name) else { return false };
        let first = !std::mem::replace(&mut place.settled, true);
        self.unsettled -= usize::from(first);
        self.fill();
        first
    }

    /// A service with a watch that was not used for some time; `None` when all were.
    pub(super) fn idle(&self, now: Instant) -> Option<ServiceName> {
        let used = |place: &Place| place.used.is_some_and(|used| now - used < KEEPS);
        self.oldest().filter(|name| !used(&self.places[name]))
    }

    pub(super) fn oldest(&self) -> Option<ServiceName> {
        self.watching.iter().min_by_key(|name| self.places.get(*name).map(|place| place.used)).cloned()
    }
}

impl Place {
    /// Ends its watch; how many there were.
    pub(super) fn end(self) -> usize {
        match self.follow {
            Follow::Reads => 0,
            Follow::Promoted => 1,
            Follow::Watch(watch) => {
                watch.abort();
                1
            }
        }
    }
}
