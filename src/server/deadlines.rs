//! Deadlines of client connections, without a clock or a timer on the path of a request: connections note what they do
//! ([`super::activity`]), and at each tick the worker looks at all of them.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::Limits;
use super::activity::{Control, Order, Phase};

/// How often a worker looks after itself: its pulse, its connections' deadlines, its handler's tick.
pub(super) const TICK: Duration = Duration::from_millis(100);

/// While draining, a connection that was just accepted has so many ticks to show its first request.
const GRACE: u32 = 2;

/// All open connections of a worker.
#[derive(Debug, Default)]
pub(super) struct Connections {
    list: RefCell<Vec<Option<Rc<Control>>>>,
    /// Indexes of the list that are free again.
    free: RefCell<Vec<usize>>,
    draining: Rc<Cell<bool>>,
}

impl Connections {
    /// Adds one.
    pub(super) fn open(&self, limits: Arc<Limits>) -> Rc<Control> {
        let mut list = self.list.borrow_mut();
        let index = self.free.borrow_mut().pop().unwrap_or_else(|| {
            list.push(None);
            list.len() - 1
        });
        let control = Rc::new(Control::new(limits, self.draining.clone(), index));
        list[index] = Some(control.clone());
        control
    }

    /// Removes one.
    pub(super) fn closed(&self, control: &Control) {
        self.list.borrow_mut()[control.index] = None;
        self.free.borrow_mut().push(control.index);
    }

    /// Whether none is open.
    pub(super) fn is_empty(&self) -> bool {
        self.list.borrow().len() == self.free.borrow().len()
    }

    /// One tick: orders each connection whose deadline has passed to end.
    pub(super) fn sweep(&self) {
        self.list.borrow().iter().flatten().for_each(|control| tick(control));
    }

    /// Idle connections close now, busy ones after their answer, new ones within a few ticks.
    pub(super) fn drain(&self) {
        self.draining.set(true);
        for control in self.list.borrow().iter().flatten() {
            if control.phase.get() != Phase::New {
                control.give_order(Order::Finish);
            }
        }
    }
}

/// One tick of one connection.
fn tick(control: &Control) {
    let limits = &control.limits;
    let age = control.age.get() + 1;
    control.age.set(age);
    let ((read, wrote), (read_then, wrote_then)) = (control.counts(), control.mark.get());
    // The client has taken all that came before its answer broke off.
    if control.failing.get() && !control.blocked() {
        control.wake();
    }
    match control.phase.get() {
        Phase::Tunnel => {}
        // Bytes are ready for the client, and it is slow. Only what it takes restarts the age: that the answer goes on does not.
        _ if control.blocked() && wrote != wrote_then => {
            control.age.set(0);
            control.mark.set((read_then, wrote));
        }
        _ if control.blocked() && age > ticks(limits.write) => control.give_order(Order::Cut),
        _ if control.blocked() => {}
        // The time that the handler takes has deadlines of its own.
        Phase::Busy | Phase::Rest => control.restart(),
        Phase::New | Phase::Idle if read != read_then => control.enter(Phase::Head),
        Phase::New if control.draining() && age > GRACE => control.give_order(Order::Finish),
        Phase::New | Phase::Head if age > ticks(limits.head) => control.give_order(Order::Cut),
        Phase::Idle if age > ticks(limits.keep_alive) => control.give_order(Order::Finish),
        Phase::New | Phase::Head | Phase::Idle => {}
    }
}

fn ticks(limit: Duration) -> u32 {
    (limit.as_millis() / TICK.as_millis()).try_into().unwrap_or(u32::MAX)
}
