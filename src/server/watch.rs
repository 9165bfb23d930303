//! Deadlines of connections, without a clock or a timer on the path of a request: connections count what they do, and
//! the worker's tick looks at the counts.

mod stream;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Waker};
use std::time::Duration;

use super::Limits;
pub(super) use stream::Watched;
use stream::{Activity, BUSY};

/// How often a worker looks after itself: pulse, deadlines of connections, the handler's tick.
pub(super) const TICK: Duration = Duration::from_millis(100);

/// Where a connection stands. In each phase, a client that takes no byte of what is ready for it for the write deadline
/// ends it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Accepted, no byte yet. Its first byte leads to `Head`, the head's deadline ends it.
    New,
    /// A head is being received. A complete one leads to `Busy`, the head's deadline ends it.
    Head,
    /// A request is with the handler, or its answer is on its way. The answer's end leads to `Idle`, or to `Rest`.
    Busy,
    /// Answered, and somebody still reads the request's body, in its own time. Its end, or the reader's, leads to `Idle`.
    Rest,
    /// Between requests. A byte leads to `Head`, the keep-alive deadline ends it.
    Idle,
    /// It speaks HTTP no more: whoever has its bytes now watches over them. Nothing leads out of it.
    Tunnel,
}

/// What of a request's body is to come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Coming {
    /// Nothing.
    #[default]
    Nothing,
    /// Something, for somebody who reads it.
    Read,
    /// Something that nobody reads.
    Unread,
}

/// What the connection's task is told at its next turn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Order {
    /// Nothing.
    #[default]
    Go,
    /// Close when the request in flight, if any, is answered.
    Finish,
    /// Close now.
    Cut,
}

/// A connection as its worker sees it.
#[derive(Debug)]
pub(super) struct Control {
    activity: Arc<Activity>,
    limits: Arc<Limits>,
    phase: Cell<Phase>,
    /// Counts the requests.
    request: Cell<u32>,
    /// What of the last one's body is to come.
    body: Cell<Coming>,
    /// Ticks since the phase began or, while the client takes no byte, since the last one that it took.
    age: Cell<u32>,
    /// The counts of reads and writes when the age began.
    mark: Cell<(u32, u32)>,
    order: Cell<Order>,
    waker: RefCell<Option<Waker>>,
    draining: Rc<Cell<bool>>,
    slot: usize,
}

impl Control {
    /// Remembers whom to wake, and gives the order that waits.
    pub(super) fn turn(&self, cx: &Context<'_>) -> Order {
        let mut waker = self.waker.borrow_mut();
        if !waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
        self.order.take()
    }

    /// A head is complete: a request begins. Its number, to say of it what is known later.
    pub(super) fn begin(&self) -> u32 {
        self.enter(Phase::Busy);
        self.activity.head.store(BUSY, Ordering::Relaxed);
        self.activity.received.store(false, Ordering::Relaxed);
        self.body.set(Coming::Read);
        self.request.set(self.request.get().wrapping_add(1));
        self.request.get()
    }

    /// All of a request is here. That may be after its answer, and after the next request began: then hyper is reading, and
    /// nobody else may.
    pub(super) fn received(&self, request: u32) {
        if self.comes(request) {
            self.body.set(Coming::Nothing);
            match self.phase.get() {
                Phase::Busy => self.activity.received.store(true, Ordering::Relaxed),
                Phase::Rest => self.idle(),
                _ => {}
            }
        }
    }

    /// Nobody reads a request's body to its end. hyper may do so yet: what comes is no head then.
    pub(super) fn unread(&self, request: u32) {
        if self.comes(request) {
            self.body.set(Coming::Unread);
            if self.phase.get() == Phase::Rest {
                self.idle();
            }
        }
    }

    fn comes(&self, request: u32) -> bool {
        self.request.get() == request && self.body.get() == Coming::Read
    }

    /// No further request may come after this one.
    pub(super) fn draining(&self) -> bool {
        self.draining.get()
    }

    /// The answer's body is with hyper, or given up.
    pub(super) fn answered(&self) {
        self.activity.received.store(false, Ordering::Relaxed);
        match self.body.get() {
            Coming::Read => self.enter(Phase::Rest),
            Coming::Nothing | Coming::Unread => self.idle(),
        }
    }

    /// Between requests.
    fn idle(&self) {
        self.enter(Phase::Idle);
        // Otherwise what comes is still this request's body.
        if self.body.get() == Coming::Nothing {
            self.activity.head.store(0, Ordering::Relaxed);
        }
    }

    /// Its head was too large.
    pub(super) fn is_refused(&self) -> bool {
        self.activity.is_refused()
    }

    /// Until its bytes are with nobody any more: at once, unless it was upgraded.
    pub(super) async fn closed(&self) {
        self.phase.set(Phase::Tunnel);
        self.activity.tunnel.store(true, Ordering::Relaxed);
        self.activity.head.store(BUSY, Ordering::Relaxed);
        if Arc::strong_count(&self.activity) > 1 {
            self.activity.closed.notified().await;
        }
    }

    fn enter(&self, phase: Phase) {
        self.phase.set(phase);
        self.restart();
    }

    fn restart(&self) {
        self.age.set(0);
        self.mark.set(self.counts());
    }

    fn counts(&self) -> (u32, u32) {
        (self.activity.read.load(Ordering::Relaxed), self.activity.wrote.load(Ordering::Relaxed))
    }

    fn tell(&self, order: Order) {
        self.order.set(order);
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }

    /// One tick: has a deadline passed?
    fn tick(&self) {
        let age = self.age.get() + 1;
        self.age.set(age);
        let ((read, wrote), (read_then, wrote_then)) = (self.counts(), self.mark.get());
        match self.phase.get() {
            Phase::Tunnel => {}
            // An answer waits for its client, whole in hyper's buffer or not: only bytes that it takes count.
            _ if self.blocked() && wrote != wrote_then => {
                self.age.set(0);
                self.mark.set((read_then, wrote));
            }
            _ if self.blocked() && age > ticks(self.limits.write) => self.tell(Order::Cut),
            _ if self.blocked() => {}
            Phase::Busy | Phase::Rest => self.restart(),
            Phase::New | Phase::Idle if read != read_then => self.enter(Phase::Head),
            // What was accepted at the very end is given two ticks to show its request.
            Phase::New if self.draining.get() && age > 2 => self.tell(Order::Finish),
            Phase::New | Phase::Head if age > ticks(self.limits.head) => self.tell(Order::Cut),
            Phase::Idle if age > ticks(self.limits.keep_alive) => self.tell(Order::Finish),
            Phase::New | Phase::Head | Phase::Idle => {}
        }
    }

    fn blocked(&self) -> bool {
        self.activity.blocked.load(Ordering::Relaxed)
    }
}

fn ticks(limit: Duration) -> u32 {
    (limit.as_millis() / TICK.as_millis()).try_into().unwrap_or(u32::MAX)
}

/// All open connections of a worker.
#[derive(Debug, Default)]
pub(super) struct Connections {
    slots: RefCell<Vec<Option<Rc<Control>>>>,
    free: RefCell<Vec<usize>>,
    draining: Rc<Cell<bool>>,
}

impl Connections {
    /// Adds one.
    pub(super) fn open(&self, limits: Arc<Limits>) -> Rc<Control> {
        let mut slots = self.slots.borrow_mut();
        let slot = self.free.borrow_mut().pop().unwrap_or_else(|| {
            slots.push(None);
            slots.len() - 1
        });
        let control = Rc::new(Control {
            activity: Arc::default(),
            limits,
            phase: Cell::new(Phase::New),
            request: Cell::default(),
            body: Cell::default(),
            age: Cell::new(0),
            mark: Cell::default(),
            order: Cell::default(),
            waker: RefCell::default(),
            draining: self.draining.clone(),
            slot,
        });
        slots[slot] = Some(control.clone());
        control
    }

    /// Takes one out.
    pub(super) fn closed(&self, control: &Control) {
        self.slots.borrow_mut()[control.slot] = None;
        self.free.borrow_mut().push(control.slot);
    }

    /// Whether none is open.
    pub(super) fn is_empty(&self) -> bool {
        let slots = self.slots.borrow();
        slots.len() == self.free.borrow().len()
    }

    /// One tick for each.
    pub(super) fn sweep(&self) {
        self.slots.borrow().iter().flatten().for_each(|control| control.tick());
    }

    /// Idle ones close now, busy ones after their answer, new ones after a moment.
    pub(super) fn drain(&self) {
        self.draining.set(true);
        for control in self.slots.borrow().iter().flatten() {
            if control.phase.get() != Phase::New {
                control.tell(Order::Finish);
            }
        }
    }
}
