//! One connection to Redis, of one worker or of the control plane: calls under a deadline, and pauses after those that missed it.
//!
//! The deadline is paid once. After a call that got no answer in time, or whose connection broke, the connection pauses; calls fail
//! meanwhile at once. At the end of the pause a task of its own, for which no request waits, asks whether Redis answers within the deadline
//! again, over the old connection where that may be whole, or else over a new one. If not, the next pause is twice as long.

use std::fmt;
use std::pin::pin;
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::FutureExt;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use super::away::{After, Away};
use super::call::{Call, Value};
use super::figures::{Figures, Outcome};
use super::link::{Link, Target};
use super::pauses::Pauses;
use crate::supervisor::outcome;

/// A connection. Clones share it. Its owner's tasks alone may ask through it: so its lock is never waited for.
#[derive(Clone)]
pub struct Shared(Arc<Connection>);

/// On cache lines of its own: a worker that counts takes none from another.
#[repr(align(128))]
struct Connection {
    target: Arc<Target>,
    deadline: Duration,
    state: Mutex<State>,
    /// Told when it is up, or pauses.
    changed: Notify,
    figures: Figures,
}

struct State {
    phase: Phase,
    pauses: Pauses,
    /// Which of the connections that were made so far is used: a call that was asked over an earlier one says nothing of this one.
    turn: u64,
}

enum Phase {
    /// Nobody has asked so far.
    Unused,
    /// It is being made for the first time. Who asks waits for it, until one has waited in vain.
    Connecting {
        in_vain: bool,
    },
    Up(Link),
    Paused {
        until: Instant,
        why: Away,
    },
}

/// How a connection stands, for admin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Nobody has asked so far.
    Unused,
    /// It is being made for the first time.
    Connecting,
    /// It is used.
    Up,
    /// It failed: nobody is asked until then.
    Paused {
        /// When it is tried again.
        until: Instant,
        /// Why.
        why: Away,
    },
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("standing", &self.standing()).finish_non_exhaustive()
    }
}

impl Shared {
    pub(super) fn new(target: Arc<Target>, deadline: Duration) -> Shared {
        let state = State { phase: Phase::Unused, pauses: Pauses::new(), turn: 0 };
        Shared(Arc::new(Connection {
            target,
            deadline,
            state: Mutex::new(state),
            changed: Notify::new(),
            figures: Figures::default(),
        }))
    }

    /// Asks, and waits for the answer until the deadline.
    ///
    /// # Errors
    /// Why there is none. Whether Redis has done what it was asked is not known then, unless it refused.
    pub async fn call(&self, call: &Call<'_>) -> Result<Value, Away> {
        let begun = Instant::now();
        let result = self.attempt(call, begun + self.0.deadline).await;
        self.0.figures.record(Outcome::of(&result), begun.elapsed());
        result
    }

    /// Whether a call made now would fail at once.
    pub fn is_paused(&self) -> bool {
        matches!(self.0.state.lock().phase, Phase::Paused { .. } | Phase::Connecting { in_vain: true })
    }

    /// How it stands.
    pub fn standing(&self) -> Standing {
        match &self.0.state.lock().phase {
            Phase::Unused => Standing::Unused,
            Phase::Connecting { .. } => Standing::Connecting,
            Phase::Up(_) => Standing::Up,
            Phase::Paused { until, why } => Standing::Paused { until: *until, why: why.clone() },
        }
    }

    /// What became of its calls.
    pub fn figures(&self) -> &Figures {
        &self.0.figures
    }

    async fn attempt(&self, call: &Call<'_>, until: Instant) -> Result<Value, Away> {
        let (mut link, turn) = match self.0.current() {
            Some(found) => found?,
            None => self.0.first(until).await?,
        };
        let result = within(until, link.ask(call)).await;
        if let Err(away) = &result {
            self.0.failed(turn, away);
        }
        result
    }
}

impl Connection {
    /// The connection as it is; `None` while it is being made for the first time, which begins now if nobody has asked before.
    fn current(self: &Arc<Self>) -> Option<Result<(Link, u64), Away>> {
        let mut state = self.state.lock();
        match &state.phase {
            Phase::Up(link) => return Some(Ok((link.clone(), state.turn))),
            Phase::Paused { .. } | Phase::Connecting { in_vain: true } => return Some(Err(Away::Paused)),
            Phase::Connecting { in_vain: false } => return None,
            Phase::Unused => {}
        }
        state.phase = Phase::Connecting { in_vain: false };
        drop(tokio::spawn(restore(Arc::downgrade(self), None, Duration::ZERO)));
        None
    }

    /// Waits for the first connection.
    async fn first(self: &Arc<Self>, until: Instant) -> Result<(Link, u64), Away> {
        loop {
            let mut changed = pin!(self.changed.notified());
            // What changes from now on is noticed, also before it is waited for.
            changed.as_mut().enable();
            if let Some(found) = self.current() {
                return found;
            }
            if timeout_at(until, changed).await.is_err() {
                if let Phase::Connecting { in_vain } = &mut self.state.lock().phase {
                    *in_vain = true;
                }
                return Err(Away::Late);
            }
        }
    }

    /// Draws the conclusion from a call without an answer.
    fn failed(self: &Arc<Self>, turn: u64, away: &Away) {
        let after = After::of(away);
        let mut state = self.state.lock();
        if after == After::Stays || state.turn != turn || !matches!(state.phase, Phase::Up(_)) {
            return;
        }
        let (now, why) = (Instant::now(), away.clone());
        let pause = state.pauses.pause(now, after == After::Ends);
        let phase = std::mem::replace(&mut state.phase, Phase::Paused { until: now + pause, why });
        let kept = match phase {
            Phase::Up(link) if after == After::Pauses => Some(link),
            _ => None,
        };
        drop(tokio::spawn(restore(Arc::downgrade(self), kept, pause)));
    }

    /// It pauses (again), because it could not be made. Returns for how long.
    fn pause(&self, why: Away) -> Duration {
        let mut state = self.state.lock();
        let now = Instant::now();
        let pause = state.pauses.pause(now, false);
        state.phase = Phase::Paused { until: now + pause, why };
        self.changed.notify_waiters();
        pause
    }

    fn up(&self, link: Link) {
        let mut state = self.state.lock();
        state.turn += 1;
        state.phase = Phase::Up(link);
        self.changed.notify_waiters();
    }

    /// A connection over which Redis answers within the deadline: the one that was kept, or a new one.
    async fn probe(&self, kept: Option<Link>) -> Result<Link, Away> {
        let ping = Call::new("PING");
        if let Some(mut link) = kept
            && within(Instant::now() + self.deadline, link.ask(&ping)).await.is_ok()
        {
            return Ok(link);
        }
        let mut link = self.target.connect().await?;
        within(Instant::now() + self.deadline, link.ask(&ping)).await?;
        Ok(link)
    }
}

/// Makes a connection after a pause, and tries again for as long as there is anybody who could use it.
async fn restore(connection: Weak<Connection>, mut kept: Option<Link>, mut pause: Duration) {
    loop {
        tokio::time::sleep(pause).await;
        let Some(connection) = connection.upgrade() else { return };
        // A fault of ours, or of the crate, must not end the only task that can make the connection.
        let probed = outcome(connection.probe(kept.take())).await;
        match probed.unwrap_or_else(|panic| Err(Away::Lost(panic.into()))) {
            Ok(link) => return connection.up(link),
            Err(away) => {
                tracing::debug!("Redis: {away}");
                pause = connection.pause(away);
            }
        }
    }
}

/// An answer until the deadline. When that has passed, it may be this thread that was late, with the answer waiting to be read: so the
/// other tasks run once more before Redis is blamed.
async fn within<T, E: Into<Away>>(until: Instant, answer: impl Future<Output = Result<T, E>>) -> Result<T, Away> {
    let mut answer = pin!(answer);
    if let Ok(result) = timeout_at(until, answer.as_mut()).await {
        return result.map_err(Into::into);
    }
    tokio::task::yield_now().await;
    answer.now_or_never().map_or(Err(Away::Late), |result| result.map_err(Into::into))
}
