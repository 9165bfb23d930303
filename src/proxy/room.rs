//! How much aggregates may hold in memory together, and the threads that look through what is large.

use std::cell::{Cell, RefCell};
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use super::error::Error;
use crate::config::compose::Aggregates;
use crate::plane::room::Gauge;

/// Bytes that are counted as one.
const UNIT: usize = 1024;

/// Of all memory, one in so many parts is what an aggregate may take at once where others begin.
const SHARE: usize = 16;

/// What all aggregates of a process share.
#[derive(Debug)]
pub struct Composing {
    room: Mutex<Arc<Room>>,
    /// How full it is, for whoever asks.
    gauge: Arc<Gauge>,
    /// How many look through large answers at once.
    helpers: Arc<Semaphore>,
}

/// Room for aggregates, within the bounds of a configuration.
#[derive(Debug)]
struct Room {
    bounds: Aggregates,
    /// For what aggregates are expected to take: who finds none waits in turn.
    expected: Arc<Semaphore>,
    /// A quarter of it all, for those that take more than was expected.
    more: Arc<Semaphore>,
    /// Units of `more`, taken or not.
    quarter: usize,
    gauge: Arc<Gauge>,
}

/// What one aggregate holds.
#[derive(Debug)]
pub(super) struct Reservation {
    room: Arc<Room>,
    /// What it was expected to take.
    held: OwnedSemaphorePermit,
    /// What it took beyond that.
    beyond: RefCell<Vec<OwnedSemaphorePermit>>,
    /// Units of that which are of `more`, with those that it waits for.
    of_more: Cell<usize>,
    /// Bytes that it has room for, and those that it takes.
    size: Cell<usize>,
    taken: Cell<usize>,
    deadline: Instant,
}

impl Room {
    fn new(bounds: &Aggregates, gauge: &Arc<Gauge>) -> Arc<Room> {
        let units = bounds.memory / UNIT;
        let quarter = units / 4;
        let (expected, more) = (Arc::new(Semaphore::new(units - quarter)), Arc::new(Semaphore::new(quarter)));
        gauge.follow(UNIT, [expected.clone(), more.clone()]);
        Arc::new(Room { bounds: bounds.clone(), expected, more, quarter, gauge: gauge.clone() })
    }

    async fn permits(
        &self,
        of: &Arc<Semaphore>,
        units: usize,
        deadline: Instant,
    ) -> Result<OwnedSemaphorePermit, Error> {
        let units = u32::try_from(units).or(Err(Error::Overloaded))?;
        if let Ok(permit) = of.clone().try_acquire_many_owned(units) {
            return Ok(permit);
        }
        let until = deadline.min(Instant::now() + self.bounds.wait);
        let _waits = self.gauge.waits();
        match timeout_at(until, of.clone().acquire_many_owned(units)).await {
            Ok(Ok(permit)) => Ok(permit),
            _ => {
                self.gauge.refuse();
                Err(Error::Overloaded)
            }
        }
    }
}

impl Composing {
    /// Within these bounds, for so many workers.
    pub fn new(bounds: &Aggregates, workers: usize) -> Composing {
        let helpers = Arc::new(Semaphore::new(workers.max(1)));
        let gauge = Arc::default();
        Composing { room: Mutex::new(Room::new(bounds, &gauge)), gauge, helpers }
    }

    /// How full the memory is that aggregates may hold.
    pub fn gauge(&self) -> Arc<Gauge> {
        self.gauge.clone()
    }

    /// Room for an aggregate that is expected to take so many bytes. When the bounds are others than before, those of before hold only
    /// for who has room already.
    ///
    /// # Errors
    /// When there is none for too long.
    pub(super) async fn reserve(
        &self,
        bounds: &Aggregates,
        expected: usize,
        deadline: Instant,
    ) -> Result<Reservation, Error> {
        let room = {
            let mut room = self.room.lock();
            if room.bounds != *bounds {
                *room = Room::new(bounds, &self.gauge);
            }
            room.clone()
        };
        // Others must have a chance, too.
        let units = expected.min(bounds.memory / SHARE).div_ceil(UNIT);
        let held = room.permits(&room.expected, units, deadline).await?;
        let (size, taken) = (Cell::new(units * UNIT), Cell::new(0));
        Ok(Reservation { room, held, beyond: RefCell::default(), of_more: Cell::new(0), size, taken, deadline })
    }

    /// Does what takes long on a thread of its own: the worker goes on with other requests meanwhile.
    ///
    /// # Errors
    /// When it panics.
    pub(super) async fn help<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Error> {
        let permit = self.helpers.clone().acquire_owned().await.or(Err(Error::Overloaded))?;
        let done = tokio::task::spawn_blocking(move || {
            let _held = permit;
            work()
        });
        done.await.or(Err(Error::Panicked))
    }
}

impl Reservation {
    /// Takes so many bytes more.
    ///
    /// # Errors
    /// When there is no room for too long, and at once when there could not be as much if it were alone.
    pub(super) async fn take(&self, bytes: usize) -> Result<(), Error> {
        self.taken.set(self.taken.get() + bytes);
        let Some(missing) = self.taken.get().checked_sub(self.size.get()).filter(|&missing| missing > 0) else {
            return Ok(());
        };
        let units = missing.div_ceil(UNIT);
        self.size.set(self.size.get() + units * UNIT);
        let Room { bounds, expected, more, quarter, .. } = &*self.room;
        if self.size.get() > bounds.memory {
            return Err(Error::AnswerTooLarge);
        }
        // What nobody waits for is taken from both, so that one that is alone may have it all.
        let now = |share: &Arc<Semaphore>, most: usize| {
            let free = u32::try_from(share.available_permits().min(most)).unwrap_or(u32::MAX);
            let taken = share.clone().try_acquire_many_owned(free).ok();
            let units = taken.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
            self.beyond.borrow_mut().extend(taken);
            units
        };
        let of_more = now(more, units);
        self.of_more.set(self.of_more.get() + of_more);
        let left = units - of_more - now(expected, units - of_more);
        // It waits for the rest, and where it has, or waits for, all of one share itself, at the other one.
        let at_more = left.min(quarter - self.of_more.get());
        self.of_more.set(self.of_more.get() + at_more);
        let until = self.deadline.min(Instant::now() + bounds.wait);
        if at_more > 0 {
            let permit = self.room.permits(more, at_more, until).await?;
            self.beyond.borrow_mut().push(permit);
        }
        // In pieces, between which those come that begin: who waits first gets all that is let go of until it has what it wants.
        let (mut left, piece) = (left - at_more, (bounds.memory / SHARE / UNIT).max(1));
        while left > 0 {
            let permit = self.room.permits(expected, left.min(piece), until).await?;
            left -= permit.num_permits();
            self.beyond.borrow_mut().push(permit);
        }
        Ok(())
    }

    /// The most bytes that it could take if it were alone.
    pub(super) fn most(&self) -> usize {
        self.room.bounds.memory
    }

    /// Bytes that it takes.
    pub(super) fn taken(&self) -> usize {
        self.taken.get()
    }

    /// What it took is gone: in its place there is an answer of so many bytes, which a shape may have made of much less.
    ///
    /// # Errors
    /// As [`Reservation::take`].
    pub(super) async fn take_instead(&self, bytes: usize) -> Result<(), Error> {
        let most = self.taken.get().max(bytes);
        self.taken.set(0);
        let room = self.take(bytes).await;
        self.taken.set(most);
        room
    }

    /// An answer's body: for as long as somebody holds it, it takes room, and what is more than that is free.
    pub(super) fn holding(self, text: Vec<u8>) -> Bytes {
        let Reservation { held, beyond, .. } = self;
        let mut units = text.len().div_ceil(UNIT);
        let mut part_of = |mut all: OwnedSemaphorePermit| {
            let part = all.split(units.min(all.num_permits())).filter(|part| part.num_permits() > 0);
            units -= part.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
            part
        };
        let own = part_of(held);
        let beyond = beyond.into_inner().into_iter().filter_map(part_of).collect();
        Bytes::from_owner(Held { text, _own: own, _beyond: beyond })
    }
}

struct Held {
    text: Vec<u8>,
    _own: Option<OwnedSemaphorePermit>,
    _beyond: Vec<OwnedSemaphorePermit>,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.text
    }
}
