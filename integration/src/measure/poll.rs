//! Waits for many sockets and for one moment, by epoll and a timer that is exact to microseconds.

use std::os::fd::{AsFd, OwnedFd};

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::Errno;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};

use super::system::Outcome;

/// The number of the timer, which no socket has.
const TIMER: u64 = u64::MAX;

/// The longest wait, after which a caller can see that somebody pressed Ctrl-C.
const AT_MOST: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };

/// The sockets and the moment that are waited for.
pub struct Poll {
    epoll: OwnedFd,
    timer: OwnedFd,
    events: Vec<Event>,
}

impl Poll {
    /// A poll without sockets.
    pub fn new() -> Outcome<Poll> {
        let failed = |error: Errno| format!("epoll: {error}");
        let epoll = epoll::create(CreateFlags::CLOEXEC).map_err(failed)?;
        // epoll's own timeout would be late by the thread's timer slack of 50 µs; a timerfd is not.
        let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK);
        let timer = timer.map_err(failed)?;
        // Edge-triggered, because setting the timer again clears it: nobody has to read it.
        epoll::add(&epoll, &timer, EventData::new_u64(TIMER), EventFlags::IN | EventFlags::ET).map_err(failed)?;
        Ok(Poll { epoll, timer, events: Vec::with_capacity(256) })
    }

    /// Adds a socket, which `number` identifies from now on.
    pub fn add(&self, socket: impl AsFd, number: usize, flags: EventFlags) -> Outcome<()> {
        let data = EventData::new_u64(number as u64);
        epoll::add(&self.epoll, socket.as_fd(), data, flags).map_err(|error| format!("epoll: {error}"))
    }

    /// Changes the events that are waited for on a socket.
    pub fn change(&self, socket: impl AsFd, number: usize, flags: EventFlags) -> Outcome<()> {
        let data = EventData::new_u64(number as u64);
        epoll::modify(&self.epoll, socket.as_fd(), data, flags).map_err(|error| format!("epoll: {error}"))
    }

    /// Sets the timer to a moment of the monotonic clock, in nanoseconds.
    pub fn wake_at(&self, moment: u64) -> Outcome<()> {
        let zero = Timespec { tv_sec: 0, tv_nsec: 0 };
        let it_value = Timespec { tv_sec: (moment / 1_000_000_000) as i64, tv_nsec: (moment % 1_000_000_000) as i64 };
        let setting = Itimerspec { it_interval: zero, it_value };
        timerfd_settime(&self.timer, TimerfdTimerFlags::ABSTIME, &setting)
            .map(drop)
            .map_err(|error| format!("timer: {error}"))
    }

    /// Waits for events, at most a tenth of a second. `ready` gets the numbers of the sockets that have some.
    pub fn wait(&mut self, ready: &mut Vec<usize>) -> Outcome<()> {
        self.events.clear();
        ready.clear();
        match epoll::wait(&self.epoll, spare_capacity(&mut self.events), Some(&AT_MOST)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(format!("epoll: {error}")),
        }
        let numbers = self.events.iter().map(|event| event.data.u64()).filter(|number| *number != TIMER);
        ready.extend(numbers.map(|number| number as usize));
        Ok(())
    }
}
