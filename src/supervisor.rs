//! The supervisor of the control plane's tasks: one that panics or ends is begun again after a pause, and what does not work is known
//! to the log, to `/ready` and to the metrics. No task takes the process with it.

use std::any::Any;
use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::task::AbortHandle;
use tokio::time::Instant;

/// The first pause before a task is begun again, and the longest. It doubles from one to the other.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(10));

/// A task that has run for this long after its last failure is well: `/ready` forgets the failure, and the pause begins anew.
const WELL: Duration = Duration::from_secs(10);

/// The tasks of the control plane, and how each fares. Clones share what they know.
#[derive(Clone, Debug, Default)]
pub struct Supervisor(Arc<Mutex<BTreeMap<&'static str, Task>>>);

/// How a task fares.
#[derive(Debug, Default)]
struct Task {
    /// How often it failed.
    failures: u64,
    /// Until when its last failure counts.
    suffers: Option<Instant>,
    /// What it cannot do although it runs.
    fault: Option<&'static str>,
}

/// How a task fares, for metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    /// Its name.
    pub name: &'static str,
    /// How often it panicked, or ended, since the start.
    pub failures: u64,
    /// It runs, and does all that it is there for.
    pub well: bool,
}

/// A task while it runs.
pub type Running<'a> = Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

impl Supervisor {
    /// Spawns a task on the current runtime. When it panics or ends, it is begun again, with its `state` as that has left it.
    pub fn spawn<T: Send + 'static>(
        &self,
        name: &'static str,
        mut state: T,
        run: fn(&mut T) -> Running<'_>,
    ) -> AbortHandle {
        let supervisor = self.clone();
        supervisor.change(name, |_| {});
        let task = tokio::spawn(async move {
            let mut backoff = Backoff::default();
            loop {
                let why = match outcome(run(&mut state)).await {
                    Ok(()) => "it ended".to_owned(),
                    Err(panic) => format!("it panicked: {panic}"),
                };
                let pause = backoff.pause();
                supervisor.failed(name);
                supervisor.change(name, |task| task.suffers = Some(Instant::now() + pause + WELL));
                tracing::error!(task = name, "a task of the control plane is begun again in {pause:?}: {why}");
                tokio::time::sleep(pause).await;
            }
        });
        task.abort_handle()
    }

    /// Counts a failure after which the task goes on by itself.
    pub fn failed(&self, name: &'static str) {
        self.change(name, |task| task.failures += 1);
    }

    /// Says what a task cannot do although it runs, in words that any client may read; `None` when it can do all again.
    pub fn fault(&self, name: &'static str, fault: Option<&'static str>) {
        self.change(name, |task| task.fault = fault);
    }

    /// What does not work, a sentence each, in words that any client may read.
    pub fn faults(&self) -> Vec<String> {
        let now = Instant::now();
        let tasks = self.0.lock();
        let fault = |(name, task): (&&str, &Task)| {
            let failed = "it failed and was begun again; the log says why";
            Some(format!("{name}: {}", task.fault.or(task.suffers(now).then_some(failed))?))
        };
        tasks.iter().filter_map(fault).collect()
    }

    /// Every task, in the order of their names.
    pub fn tasks(&self) -> Vec<Status> {
        let now = Instant::now();
        let well = |task: &Task| task.fault.is_none() && !task.suffers(now);
        let status = |(&name, task): (&&'static str, &Task)| Status { name, failures: task.failures, well: well(task) };
        self.0.lock().iter().map(status).collect()
    }

    fn change(&self, name: &'static str, change: impl FnOnce(&mut Task)) {
        change(self.0.lock().entry(name).or_default());
    }
}

impl Task {
    fn suffers(&self, now: Instant) -> bool {
        self.suffers.is_some_and(|until| now < until)
    }
}

/// The pauses before a task is begun again.
#[derive(Debug)]
pub struct Backoff {
    next: Duration,
    /// When the task was begun last.
    begun: Instant,
}

impl Default for Backoff {
    fn default() -> Backoff {
        Backoff { next: PAUSES.0, begun: Instant::now() }
    }
}

impl Backoff {
    /// The pause that is due now that the task has failed.
    pub fn pause(&mut self) -> Duration {
        let now = Instant::now();
        let pause = if now >= self.begun + WELL { PAUSES.0 } else { self.next };
        self.next = (2 * pause).min(PAUSES.1);
        self.begun = now + pause;
        pause
    }
}

/// Calls a function; a panic in it is an error that holds the panic's message.
///
/// # Errors
/// When it panicked.
pub fn caught<T>(function: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(function)).map_err(|panic| message(&*panic))
}

/// Runs a future to its end; a panic in it is an error that holds the panic's message.
///
/// # Errors
/// When it panicked.
pub async fn outcome<T>(future: impl Future<Output = T>) -> Result<T, String> {
    let mut future = pin!(future);
    poll_fn(|cx| match caught(|| future.as_mut().poll(cx)) {
        Ok(poll) => poll.map(Ok),
        Err(panic) => Poll::Ready(Err(panic)),
    })
    .await
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("without a message").to_owned()
}

/// Where tests have a task panic: on an input that says so.
#[cfg(test)]
pub(crate) fn panic_on_command(input: &str) {
    assert!(!input.contains("panic on command"), "on command");
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// Lets paused time pass.
    async fn after(time: Duration) {
        tokio::time::sleep(time).await; // paused time
    }

    /// Remembers when it was begun. It panics and ends by turns, is well for a while before it ends for the tenth time, and stays.
    fn failing(state: &mut (Instant, mpsc::Sender<u128>, u32)) -> Running<'_> {
        Box::pin(async move {
            let (start, began, times) = state;
            began.send(start.elapsed().as_millis()).expect("it is received");
            *times += 1;
            match times {
                10 => after(WELL).await,
                11 => std::future::pending().await,
                odd if *odd % 2 == 1 => panic!("on command"),
                _ => {}
            }
        })
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_panics_or_ends_is_begun_again_after_pauses_that_double_until_it_is_well() {
        let (supervisor, (begins, began)) = (Supervisor::default(), mpsc::channel());
        supervisor.spawn("test", (Instant::now(), begins, 0), failing);
        after(Duration::from_secs(120)).await;
        let began: Vec<_> = began.try_iter().collect();
        let pauses: Vec<_> = began.windows(2).map(|two| two[1] - two[0]).collect();
        assert_eq!(pauses, [100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000, 10_100]);
        assert_eq!(supervisor.tasks(), [Status { name: "test", failures: 10, well: true }]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_is_known_until_the_task_has_been_well_for_a_while() {
        let supervisor = Supervisor::default();
        supervisor.spawn("test", true, |first| {
            Box::pin(async move {
                assert!(!std::mem::take(first), "the secret of an operator");
                std::future::pending().await
            })
        });
        assert!(supervisor.faults().is_empty());
        after(PAUSES.0 + WELL - Duration::from_millis(1)).await;
        assert_eq!(supervisor.faults(), ["test: it failed and was begun again; the log says why"]);
        assert_eq!(supervisor.tasks(), [Status { name: "test", failures: 1, well: false }]);
        after(Duration::from_millis(2)).await;
        assert!(supervisor.faults().is_empty() && supervisor.tasks()[0].well);
    }

    #[test]
    fn a_fault_is_known_until_its_task_takes_it_back() {
        let supervisor = Supervisor::default();
        supervisor.fault("snapshot", Some("it stands"));
        assert_eq!(supervisor.faults(), ["snapshot: it stands"]);
        assert_eq!(supervisor.tasks(), [Status { name: "snapshot", failures: 0, well: false }]);
        supervisor.fault("snapshot", None);
        assert!(supervisor.faults().is_empty() && supervisor.tasks()[0].well);
    }
}
