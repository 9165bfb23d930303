//! The open loop: requests are due at fixed times, whether or not those before them have been answered.

use std::collections::VecDeque;

use integration::measure::load::{Event, Load, Tally, Work};
use integration::measure::system::{Outcome, go_on, now, thread_cpu};

/// How long a window waits for answers after its last request was due, in nanoseconds.
const PATIENCE: u64 = 5_000_000_000;

/// When requests are due. Times are in nanoseconds.
pub(crate) struct Schedule {
    start: u64,
    rate: u64,
    total: u64,
    next: u64,
}

impl Schedule {
    /// A schedule of `rate` requests a second that begins at `start`.
    pub(crate) fn new(start: u64, rate: u64, seconds: f64) -> Schedule {
        Schedule { start, rate, total: (rate as f64 * seconds) as u64, next: 0 }
    }

    /// When the next request is due; none after the last.
    fn due(&self) -> Option<u64> {
        let offset = u128::from(self.next) * 1_000_000_000 / u128::from(self.rate);
        (self.next < self.total).then_some(self.start + offset as u64)
    }

    /// Takes the next request if it is due. Returns when it was.
    fn take(&mut self, now: u64) -> Option<u64> {
        let due = self.due().filter(|due| *due <= now)?;
        self.next += 1;
        Some(due)
    }

    /// When the last request was due, and all should be answered.
    fn end(&self) -> u64 {
        self.start + self.total * 1_000_000_000 / self.rate
    }
}

/// Connections that send requests when these are due.
pub(crate) struct OpenLoop {
    load: Load,
    free: VecDeque<usize>,
    /// Shorter only in tests.
    patience: u64,
    /// Since when no connection has been free for requests that are due.
    starved: Option<u64>,
}

impl OpenLoop {
    /// Opens the connections.
    pub(crate) fn new(work: Work, connections: usize) -> Outcome<OpenLoop> {
        Ok(OpenLoop {
            load: Load::new(work, connections)?,
            free: (0..connections).collect(),
            patience: PATIENCE,
            starved: None,
        })
    }

    /// Sends `rate` requests in each of so many seconds. Returns what became of them.
    pub(crate) fn window(&mut self, rate: u64, seconds: f64) -> Outcome<Tally> {
        let mut tally = Tally::new()?;
        let mut ready = Vec::with_capacity(256);
        // It begins in a millisecond, so that the first request is not late.
        let mut schedule = Schedule::new(now() + 1_000_000, rate, seconds);
        let (start, spent) = (now(), thread_cpu());
        let mut missing = schedule.total;
        let mut set = 0;
        while missing > 0 {
            self.send_due(&mut schedule, &mut tally)?;
            match schedule.due() {
                Some(due) if !self.free.is_empty() && due != set => {
                    self.load.poll.wake_at(due)?;
                    set = due;
                }
                _ => {}
            }
            self.load.poll.wait(&mut ready)?;
            for number in &ready {
                let Some(event) = self.load.read(*number)? else { continue };
                self.free.push_back(*number);
                let (Event::Answered(due) | Event::Failed(due)) = event;
                if due < schedule.start {
                    // It belongs to the window before, which did not wait for it and has counted it as an error.
                    continue;
                }
                missing -= 1;
                match event {
                    Event::Answered(_) => {
                        tally.answers += 1;
                        tally.latency.saturating_record(now() - due);
                    }
                    Event::Failed(_) => tally.errors += 1,
                }
            }
            go_on()?;
            if now() > schedule.end() + self.patience {
                tally.errors += missing;
                break;
            }
        }
        tally.seconds = (now() - start) as f64 / 1e9;
        tally.generator = thread_cpu() - spent;
        Ok(tally)
    }

    /// Sends the requests that are due, on connections that are free.
    fn send_due(&mut self, schedule: &mut Schedule, tally: &mut Tally) -> Outcome<()> {
        loop {
            let moment = now();
            if self.free.is_empty() {
                self.starved.get_or_insert(moment);
                return Ok(());
            }
            let due = schedule.take(moment);
            let Some((due, number)) = due.and_then(|due| Some((due, self.free.pop_front()?))) else {
                self.starved = None;
                return Ok(());
            };
            tally.lateness.saturating_record((moment - due).max(1));
            tally.waited += u64::from(self.starved.is_some_and(|since| due > since));
            self.load.send(number, due)?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_due_at_its_number_over_the_rate() {
        let mut schedule = Schedule::new(1_000, 3, 1.0);
        assert_eq!(schedule.take(999), None, "nothing is sent before it is due");
        let taken: Vec<_> = std::iter::from_fn(|| schedule.take(u64::MAX)).collect();
        assert_eq!(taken, [1_000, 333_334_333, 666_667_666]);
        assert_eq!(schedule.due(), None);
    }

    #[test]
    fn rounding_never_adds_up() {
        let mut schedule = Schedule::new(0, 7_777, 1_000.0);
        schedule.next = 7_777 * 999;
        assert_eq!(schedule.due(), Some(999_000_000_000));
    }

    /// A server on one connection that does this before its first answer, and answers each request at once after it.
    fn server(before: impl FnOnce() + Send + 'static) -> Work {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound");
        std::thread::spawn(move || {
            use std::io::{Read, Write};
            let (mut socket, _) = listener.accept().expect("a client");
            let mut buffer = [0; 1024];
            let mut before = Some(before);
            while socket.read(&mut buffer).is_ok_and(|length| length > 0) {
                before.take().into_iter().for_each(|before| before());
                socket.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").expect("it reads");
            }
        });
        Work { address, requests: vec![b"GET / HTTP/1.1\r\n\r\n".to_vec()], fresh: false }
    }

    #[test]
    fn an_answer_that_comes_after_its_window_does_not_count_in_the_next_one() {
        let (go_on, wait) = std::sync::mpsc::channel::<()>();
        let work = server(move || wait.recv().expect("the test says so"));
        let mut open = OpenLoop::new(work, 1).expect("it listens");
        open.patience = 10_000_000;
        // One request is sent, and the others find no connection.
        let first = open.window(100, 0.05).expect("an end");
        assert_eq!((first.answers, first.errors), (0, 5));
        open.patience = PATIENCE;
        go_on.send(()).expect("the server waits");
        let next = open.window(100, 0.3).expect("an end");
        assert_eq!((next.answers, next.errors), (30, 0));
    }

    #[test]
    fn a_late_request_counts_its_latency_from_when_it_was_due() {
        // A server that answers nothing for 200 ms: of 100 requests a second on one connection, those that wait in the
        // generator are as late as those that wait in the server.
        let work = server(|| integration::process::pause(std::time::Duration::from_millis(200)));
        let tally = OpenLoop::new(work, 1).and_then(|mut open| open.window(100, 0.3)).expect("it answers");
        assert_eq!((tally.answers, tally.errors), (30, 0));
        let slow = tally.latency.len() - tally.latency.count_between(0, 50_000_000);
        assert!((10..=20).contains(&slow), "{slow} of 30 were due while nothing was answered");
        assert!(tally.lateness.max() > 100_000_000);
        assert!((10..=29).contains(&tally.waited), "{} waited for the one connection", tally.waited);
    }
}
