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

/// A timer that fires later than this after its time was kept from it by its own thread.
const STALL: Duration = Duration::from_millis(2);

/// How often the other tasks of a thread run before an answer is taken not to be there: it passes through several of them in a cluster.
const HOPS: usize = 3;

/// How long Redis is not blamed for what a thread may have missed itself while no call at all is answered.
const EXCUSED: Duration = Duration::from_secs(1);

/// How often a probe is tried again that its own thread may have missed.
const PROBES: usize = 3;

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
    /// The code of the last refusal.
    refusal: Option<Box<str>>,
    /// How many calls had been answered, and when, as Redis was last not blamed for a call that this thread may have missed itself.
    excused: Option<(u64, Instant)>,
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
        let state = State { phase: Phase::Unused, pauses: Pauses::new(), turn: 0, refusal: None, excused: None };
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

    /// The code of the last refusal, such as `NOPERM`.
    pub(super) fn refusal(&self) -> Option<Box<str>> {
        self.0.state.lock().refusal.clone()
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
        let missed = match within(until, link.ask(call)).await {
            Ok(answer) => return Ok(answer),
            Err(missed) => missed,
        };
        if !(missed.is_ours && self.0.is_excused()) {
            self.0.failed(turn, &missed.away, call);
        }
        Err(missed.away)
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
        drop(tokio::spawn(restore(Arc::downgrade(self), None, None, Duration::ZERO)));
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

    /// Whether a call that this thread may have missed itself says nothing of Redis. A thread that is always late must notice all the same
    /// that Redis hangs: so that holds only for a while, unless answers come in between.
    fn is_excused(&self) -> bool {
        let (answered, now) = (self.figures.count(Outcome::Answered), Instant::now());
        let mut state = self.state.lock();
        match state.excused {
            Some((count, since)) if count == answered => now < since + EXCUSED,
            _ => {
                state.excused = Some((answered, now));
                true
            }
        }
    }

    /// Draws the conclusion from a call without an answer.
    fn failed(self: &Arc<Self>, turn: u64, away: &Away, call: &Call<'_>) {
        let after = After::of(away);
        let mut state = self.state.lock();
        if let Some(code) = away.code().filter(|code| state.refusal.as_deref() != Some(*code)) {
            state.refusal = Some(code.into());
        }
        if after == After::Stays || state.turn != turn || !matches!(state.phase, Phase::Up(_)) {
            return;
        }
        let (now, why) = (Instant::now(), away.clone());
        let pause = state.pauses.pause(now, after == After::Ends);
        let phase = std::mem::replace(&mut state.phase, Phase::Paused { until: now + pause, why });
        // Of a cluster another node may answer: the one that did not is found by what it was asked for.
        let key = match &phase {
            Phase::Up(Link::Cluster(_)) => call.key().map(<[u8]>::to_vec),
            _ => None,
        };
        let kept = match phase {
            Phase::Up(link) if after == After::Pauses => Some(link),
            _ => None,
        };
        drop(tokio::spawn(restore(Arc::downgrade(self), kept, key, pause)));
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

    /// A connection over which Redis answers within the deadline: the one that was kept, or a new one. In a cluster it is the node of a key
    /// that has to.
    async fn probe(&self, kept: Option<Link>, key: Option<&[u8]>) -> Result<Link, Away> {
        let question = match key {
            Some(key) => Call::new("EXISTS").arg(key),
            None => Call::new("PING"),
        };
        if let Some(mut link) = kept
            && self.answers(&mut link, &question).await.is_ok()
        {
            return Ok(link);
        }
        let mut link = self.target.connect().await?;
        self.answers(&mut link, &question).await?;
        Ok(link)
    }

    /// Whether it answers within the deadline, be it that it refuses this one command.
    async fn answers(&self, link: &mut Link, question: &Call<'_>) -> Result<(), Away> {
        let mut again = 1..PROBES;
        loop {
            match within(Instant::now() + self.deadline, link.ask(question)).await {
                Ok(_) => return Ok(()),
                Err(missed) if After::of(&missed.away) == After::Stays => return Ok(()),
                Err(missed) if missed.is_ours && again.next().is_some() => {}
                Err(missed) => return Err(missed.away),
            }
        }
    }
}

/// Makes a connection after a pause, and tries again for as long as there is anybody who could use it.
async fn restore(connection: Weak<Connection>, mut kept: Option<Link>, key: Option<Vec<u8>>, mut pause: Duration) {
    loop {
        tokio::time::sleep(pause).await;
        let Some(connection) = connection.upgrade() else { return };
        // A fault of ours, or of the crate, must not end the only task that can make the connection.
        let probed = outcome(connection.probe(kept.take(), key.as_deref())).await;
        match probed.unwrap_or_else(|panic| Err(Away::Lost(panic.into()))) {
            Ok(link) => return connection.up(link),
            Err(away) => {
                tracing::debug!("Redis: {away}");
                pause = connection.pause(away);
            }
        }
    }
}

/// Why there is no answer.
struct Missed {
    away: Away,
    /// This thread was late itself, so that nobody knows what Redis did in time.
    is_ours: bool,
}

impl<E: Into<Away>> From<E> for Missed {
    fn from(error: E) -> Missed {
        Missed { away: error.into(), is_ours: false }
    }
}

/// An answer until the deadline. When that has passed, it may be this thread that was late, with the answer waiting to be read: so the
/// other tasks run before Redis is blamed.
async fn within<T, E: Into<Away>>(until: Instant, answer: impl Future<Output = Result<T, E>>) -> Result<T, Missed> {
    let mut answer = pin!(answer);
    if let Ok(result) = timeout_at(until, answer.as_mut()).await {
        return result.map_err(Missed::from);
    }
    let is_ours = Instant::now() > until + STALL;
    for _ in 0..HOPS {
        tokio::task::yield_now().await;
        if let Some(result) = answer.as_mut().now_or_never() {
            return result.map_err(Missed::from);
        }
    }
    Err(Missed { away: Away::Late, is_ours })
}
