//! Deadlines of client connections, without a clock or a timer on the path of a request: connections note what they do
//! ([`super::activity`]), and at each tick the worker looks at all of them.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::Limits;
use super::activity::Control;
use super::ending::Ending;
use super::phase::{Order, Phase};

/// How often a worker looks after itself: its pulse, its connections' deadlines, its handler's tick.
pub(super) const TICK: Duration = Duration::from_millis(100);

/// After so many ticks without a request, an idle connection gives its buffers back.
const RELEASE: u32 = 5;

/// How many ticks a client may take that still sends although nobody looks at it: in silence, and in all.
const LINGER: (u32, u32) = (50, 300);

/// How much of what nobody looks at is read at once, in bytes.
const SCRATCH: usize = 64 * 1024;

/// How many ticks a balancer may take to say for whom it connects.
const PREAMBLE: u32 = 10;

/// While draining, a connection that was just accepted has so many ticks to show its first request.
const GRACE: u32 = 2;

/// All open connections of a worker.
#[derive(Debug, Default)]
pub(super) struct Connections {
    list: RefCell<Vec<Option<Rc<Control>>>>,
    /// Indexes of the list that are free again.
    free: RefCell<Vec<usize>>,
    ending: Rc<Ending>,
    /// How many of them are closing in stages.
    lingering: Rc<Cell<usize>>,
    /// Where is read what nobody looks at.
    scratch: RefCell<Vec<u8>>,
    /// How many workers there are: each lets its share of the connections close in stages.
    workers: usize,
}

/// A connection that closes in stages, counted until dropped.
pub(super) struct Lingering(Rc<Cell<usize>>);

impl Drop for Lingering {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

/// A connection in its worker's list, which it leaves when it ends, in whatever way.
pub(super) struct Listed {
    pub(super) control: Rc<Control>,
    pub(super) connections: Rc<Connections>,
}

impl Listed {
    /// Adds a connection to the list.
    pub(super) fn new(limits: Arc<Limits>, connections: &Rc<Connections>) -> Listed {
        Listed { control: connections.open(limits), connections: connections.clone() }
    }

    /// What holds for it.
    pub(super) fn limits(&self) -> &Limits {
        &self.control.limits
    }
}

impl Drop for Listed {
    fn drop(&mut self) {
        self.connections.closed(&self.control);
    }
}

impl Connections {
    /// For one of so many workers.
    pub(super) fn of(workers: usize) -> Connections {
        Connections { workers, ..Connections::default() }
    }

    /// Adds one.
    fn open(&self, limits: Arc<Limits>) -> Rc<Control> {
        let mut list = self.list.borrow_mut();
        let index = self.free.borrow_mut().pop().unwrap_or_else(|| {
            list.push(None);
            list.len() - 1
        });
        let control = Rc::new(Control::new(limits, self.ending.clone(), index));
        list[index] = Some(control.clone());
        control
    }

    /// Removes one.
    fn closed(&self, control: &Control) {
        self.list.borrow_mut()[control.index] = None;
        self.free.borrow_mut().push(control.index);
    }

    /// How many are open.
    pub(super) fn count(&self) -> usize {
        self.list.borrow().len() - self.free.borrow().len()
    }

    /// Whether none is open, but those that are closing in stages.
    pub(super) fn is_empty(&self) -> bool {
        self.count() == self.lingering.get()
    }

    /// Lets a connection close in stages: of a listener's connections a tenth may at once, but each worker lets at least one.
    pub(super) fn linger(&self, control: &Control) -> Option<Lingering> {
        let most = (control.limits.connections / 10 / self.workers.max(1)).max(1);
        if self.lingering.get() >= most {
            return None;
        }
        control.enter(Phase::Lingering);
        self.lingering.set(self.lingering.get() + 1);
        Some(Lingering(self.lingering.clone()))
    }

    /// Lends memory for what nobody looks at.
    pub(super) fn with_scratch<T>(&self, read: impl FnOnce(&mut [u8]) -> T) -> T {
        let mut scratch = self.scratch.borrow_mut();
        if scratch.is_empty() {
            scratch.resize(SCRATCH, 0);
        }
        read(&mut scratch)
    }

    /// Ends the connections of a listener that were idle for the longest, so that new ones find room: one of every few hundred, as to
    /// look for them takes longer the more there are. Those that are closing in stages go first. False when none is idle.
    pub(super) fn make_room(&self, limits: &Arc<Limits>) -> bool {
        let list = self.list.borrow();
        let of_listener = list.iter().flatten().filter(|control| Arc::ptr_eq(&control.limits, limits));
        let mut idle: Vec<_> = of_listener.filter_map(|control| Some((idle_for(control)?, control))).collect();
        let count = (1 + list.len() / 256).min(idle.len());
        if count == 0 {
            return false;
        }
        idle.select_nth_unstable_by_key(count - 1, |(age, _)| std::cmp::Reverse(*age));
        for (_, control) in &idle[..count] {
            let lingers = control.phase.get() == Phase::Lingering;
            control.give_order(if lingers { Order::Cut } else { Order::Finish });
        }
        true
    }

    /// One tick: orders each connection whose deadline has passed to end.
    pub(super) fn sweep(&self) {
        self.ending.go_on();
        self.list.borrow().iter().flatten().for_each(|control| tick(control));
    }

    /// In this time they are to end: until then, one after the other is asked to move.
    pub(super) fn announce(&self, time: Duration) {
        self.ending.announce(time);
    }

    /// Idle connections close now, busy ones after their answer, new ones within a few ticks.
    pub(super) fn drain(&self) {
        self.ending.drain();
        for control in self.list.borrow().iter().flatten() {
            if !matches!(control.phase.get(), Phase::Preamble | Phase::New | Phase::Lingering) {
                control.give_order(Order::Finish);
            }
        }
    }
}

/// For how many ticks a connection has done nothing, if its place may be given to another. One that has just come is to show its first
/// request first.
fn idle_for(control: &Control) -> Option<u32> {
    match control.phase.get() {
        Phase::Lingering => Some(u32::MAX),
        // One that does not read its answer is not idle.
        Phase::Idle => Some(control.age.get()).filter(|_| !control.blocked()),
        Phase::Preamble | Phase::New => Some(control.age.get()).filter(|&age| age > RELEASE),
        Phase::Head | Phase::Busy | Phase::Rest | Phase::Tunnel => None,
    }
}

/// One tick of one connection.
fn tick(control: &Control) {
    let limits = &control.limits;
    let age = control.age.get() + 1;
    control.age.set(age);
    let ((read, wrote), (read_then, wrote_then)) = (control.counts(), control.mark.get());
    match control.phase.get() {
        Phase::Tunnel => {}
        Phase::Lingering => linger(control, age),
        // Bytes are ready for the client, and it is slow. Only what it takes restarts the age: that the answer goes on does not.
        _ if control.blocked() && wrote != wrote_then => {
            control.age.set(0);
            control.mark.set((read_then, wrote));
        }
        _ if control.blocked() && age > ticks(limits.write) => control.give_order(Order::Cut),
        _ if control.blocked() => {}
        Phase::Rest if control.skips() => linger(control, age),
        // The time that the handler takes has deadlines of its own.
        Phase::Busy | Phase::Rest => {
            control.restart();
            control.look();
        }
        Phase::New | Phase::Idle if read != read_then => control.enter(Phase::Head),
        Phase::Preamble | Phase::New if control.draining() && age > GRACE => control.give_order(Order::Finish),
        Phase::Preamble if age > PREAMBLE => control.give_order(Order::Cut),
        Phase::New | Phase::Head if age > ticks(limits.head) => control.give_order(Order::Cut),
        Phase::Idle if age > ticks(limits.keep_alive) => control.give_order(Order::Finish),
        Phase::Idle if age == RELEASE => control.give_order(Order::Release),
        Phase::Preamble | Phase::New | Phase::Head | Phase::Idle => {}
    }
}

/// One tick of a connection whose client may still send, although nobody looks at it. From the first tick on, its second mark is the
/// age at which the last bytes came.
fn linger(control: &Control, age: u32) {
    let ((read, _), (read_then, quiet_since)) = (control.counts(), control.mark.get());
    let (silence, all) = LINGER;
    if read != read_then || quiet_since > age {
        control.mark.set((read, age));
    } else if age.saturating_sub(quiet_since) > silence {
        control.give_order(Order::Cut);
    }
    if age > all {
        control.give_order(Order::Cut);
    }
}

fn ticks(limit: Duration) -> u32 {
    (limit.as_millis() / TICK.as_millis()).try_into().unwrap_or(u32::MAX)
}
