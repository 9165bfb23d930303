//! One place as it is followed: its last good keys, when they are fetched again, and who waits for that. It is told the time and does no
//! I/O.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::budget::{Budget, Claim};
use super::gather::{Gathered, Located};
use super::http::{Failure, Url};
use super::listing::{Listed, differences, shown};
use super::names::Names;
use super::place::Place;
use crate::token::KeySet;
use crate::token::asking::{Look, SOON};

/// The first pause after a fetch that failed, and the longest. It doubles from one to the other. A quarter longer, as chance may make it,
/// and behind a fetch that hangs, the longest is no more than a minute.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(40));

/// The longest pause that an issuer in trouble may ask for.
const LONGEST_PAUSE: Duration = Duration::from_secs(600);

/// For how long nobody asks metadata again where the keys lie.
const LATELY: Duration = Duration::from_secs(300);

/// For how long an issuer is taken to have no other keys than those that were just fetched.
const NEW: Duration = Duration::from_secs(30);

/// How many requests may wait for one fetch.
const WAITING: usize = 10_000;

/// How many of them may wait while none is under way, for others to ask for the same name.
const HOPING: usize = 1_000;

/// How old keys may become until the gateway says that it is degraded.
pub(crate) const OLD: Duration = Duration::from_secs(86_400);

/// The keys that hold.
pub(crate) struct Held {
    /// For verification.
    pub(crate) set: Arc<KeySet>,
    /// As their issuer describes them.
    pub(crate) listed: Arc<[Listed]>,
    /// What they were read from. It may be a secret.
    content: Vec<u8>,
    /// When they were fetched last.
    pub(crate) taken: Instant,
    /// When they changed last.
    pub(crate) changed: SystemTime,
}

/// What somebody looks for.
pub(crate) enum Sought {
    /// A key of this name; `None`: any keys.
    Named(Option<Box<str>>),
    /// Other keys than these.
    Others(Arc<KeySet>),
}

impl Sought {
    /// Whether these keys are what is looked for.
    fn is_in(&self, set: &Arc<KeySet>) -> bool {
        match self {
            Sought::Named(kid) => set.has(kid.as_deref()),
            Sought::Others(than) => !Arc::ptr_eq(than, set),
        }
    }
}

/// A request that waits for a fetch.
struct Waiting {
    sought: Sought,
    claim: Claim,
    since: Instant,
    reply: oneshot::Sender<Look>,
}

/// A place as it is followed.
pub(crate) struct Followed {
    /// What it is.
    pub(crate) place: Place,
    /// Distinguishes it from others that had its key before.
    pub(crate) serial: u64,
    /// The last good keys. They stay for ever.
    pub(crate) held: Option<Held>,
    /// When they are fetched next.
    pub(crate) next: Instant,
    /// When the fetch that is under way began.
    pub(crate) fetching: Option<Instant>,
    /// Why the last fetch failed, if it did.
    pub(crate) error: Option<String>,
    /// How many fetches have failed since the last good one.
    row: u32,
    /// How many were begun.
    pub(crate) fetches: u64,
    /// How many of them failed.
    pub(crate) failures: u64,
    /// Where metadata said that the keys lie, and when; `None`: since then a fetch has failed.
    located: Option<(Url, Option<Instant>)>,
    budget: Budget,
    names: Names,
    waiting: Vec<Waiting>,
}

/// What the end of a fetch came to.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Ended {
    /// The keys are others than before.
    pub(crate) changed: bool,
    /// Some of those who wait came too late for this fetch: another one is to begin at once.
    pub(crate) again: bool,
}

impl Followed {
    /// Of which nothing is known yet: it is fetched at once.
    pub(crate) fn new(place: Place, serial: u64, now: Instant) -> Followed {
        Followed {
            place,
            serial,
            held: None,
            next: now,
            fetching: None,
            error: None,
            row: 0,
            fetches: 0,
            failures: 0,
            located: None,
            budget: Budget::new(now),
            names: Names::default(),
            waiting: Vec::new(),
        }
    }

    /// Whether its keys are to be fetched because it is time.
    pub(crate) fn is_due(&self, now: Instant) -> bool {
        self.fetching.is_none() && self.next <= now
    }

    /// The configuration says other things of the same source: what was fetched is read again. Where nothing of it can be used now, nothing
    /// holds until a fetch. One that is under way reads by the old words, and does not count.
    pub(crate) fn reread(&mut self, place: Place, serial: u64, now: Instant) {
        (self.place, self.serial) = (place, serial);
        (self.fetching, self.next) = (None, now);
        self.doubt_location();
        let Some(held) = &mut self.held else { return };
        match self.place.read(&held.content) {
            Ok(set) => held.set = Arc::new(set),
            Err(_) => self.held = None,
        }
    }

    /// Somebody needs keys that he does not know. True: a fetch is to begin.
    pub(crate) fn ask(&mut self, sought: Sought, reply: oneshot::Sender<Look>, now: Instant) -> bool {
        let known = self.held.as_ref().filter(|held| sought.is_in(&held.set));
        let look = if let Some(held) = known {
            Look::Known(held.set.clone())
        } else if self.is_not_there(&sought, now) {
            Look::Unknown
        } else {
            return self.seek(sought, reply, now);
        };
        let _ = reply.send(look);
        false
    }

    /// Whether it was looked for so lately that nobody need look again. What the configuration holds itself does not change either.
    fn is_not_there(&self, sought: &Sought, now: Instant) -> bool {
        match sought {
            Sought::Named(Some(kid)) => self.names.is_refused(kid, now),
            Sought::Named(None) => false,
            Sought::Others(_) => {
                !self.place.is_remote() || self.held.as_ref().is_some_and(|held| now < held.taken + NEW)
            }
        }
    }

    /// Somebody waits for the fetch that is under way, for another one, or for somebody else who asks for the same. True: one is to begin.
    fn seek(&mut self, sought: Sought, reply: oneshot::Sender<Look>, now: Instant) -> bool {
        let claim = match &sought {
            Sought::Named(Some(kid)) => self.names.ask(kid, now),
            Sought::Named(None) => Claim::Again,
            Sought::Others(_) => Claim::Spare,
        };
        let waiting = Waiting { sought, claim, since: now, reply };
        if self.fetching.is_some() {
            self.wait(waiting, WAITING);
            return false;
        }
        if self.budget.take(claim, now) {
            self.wait(waiting, WAITING);
            return true;
        }
        self.hope(waiting, now);
        false
    }

    fn wait(&mut self, waiting: Waiting, most: usize) {
        if self.waiting.len() >= most {
            self.waiting.retain(|waiting| !waiting.reply.is_closed());
        }
        if self.waiting.len() >= most {
            let _ = waiting.reply.send(Look::Away { retry_after: SOON });
        } else {
            self.waiting.push(waiting);
        }
    }

    /// There is no fetch for this one. Where somebody else who asks for the same name could have one, it waits for that.
    fn hope(&mut self, waiting: Waiting, now: Instant) {
        match waiting.claim {
            Claim::First if self.budget.has(Claim::Again, now) => self.wait(waiting, HOPING),
            Claim::First | Claim::Again => self.send_away(waiting, Claim::Again, now),
            Claim::Spare => self.send_away(waiting, Claim::Spare, now),
        }
    }

    fn send_away(&self, waiting: Waiting, claim: Claim, now: Instant) {
        let _ = waiting.reply.send(Look::Away { retry_after: self.budget.wait(claim, now).max(SOON) });
    }

    /// A fetch begins, for all who still wait. Says where metadata said that the keys lie.
    pub(crate) fn begin(&mut self, now: Instant) -> Option<Located> {
        self.waiting.retain(|waiting| !waiting.reply.is_closed());
        self.fetching = Some(now);
        self.fetches += u64::from(self.place.is_remote());
        let (url, since) = self.located.clone()?;
        Some(Located { url, lately: since.is_some_and(|since| now < since + LATELY) })
    }

    /// A fetch has ended. `random` lies between 0 and 1.
    pub(crate) fn end(&mut self, result: Result<Gathered, Failure>, random: f64, now: Instant) -> Ended {
        let begun = self.fetching.take().unwrap_or(now);
        match result {
            Ok(gathered) => {
                self.next = now + self.place.interval(gathered.fresh, random);
                let changed = self.take_up(gathered, begun, now);
                Ended { changed, again: self.answer(begun, now) }
            }
            Err(failure) => {
                self.fail(failure, random, now);
                Ended::default()
            }
        }
    }

    fn take_up(&mut self, gathered: Gathered, begun: Instant, now: Instant) -> bool {
        if self.error.take().is_some() {
            tracing::info!(issuer = &*self.place.issuer.name, iss = &*self.place.iss, "its keys can be fetched again");
        }
        self.row = 0;
        if let Some(url) = gathered.location {
            let since = self.located.take().and_then(|(_, since)| since).filter(|since| begun < *since + LATELY);
            self.located = Some((url, since.or(Some(now))));
        }
        let before = match &mut self.held {
            // Whatever else their issuer says of them, and in whichever order: they verify the same.
            Some(held) if *held.set == gathered.set => {
                (held.listed, held.content, held.taken) = (gathered.listed.into(), gathered.content, now);
                return false;
            }
            held => held.as_ref().map(|held| &*held.listed).unwrap_or_default(),
        };
        let what = differences(before, &gathered.listed);
        tracing::info!(issuer = &*self.place.issuer.name, iss = &*self.place.iss, "keys: {what}");
        for left_out in &gathered.set.left_out {
            let kid = shown(left_out.kid.as_deref().unwrap_or("(without kid)"));
            tracing::warn!(issuer = &*self.place.issuer.name, kid, "a key is left out: it {}", left_out.why);
        }
        self.names.change();
        let (set, changed) = (Arc::new(gathered.set), SystemTime::now());
        self.held = Some(Held { set, listed: gathered.listed.into(), content: gathered.content, taken: now, changed });
        true
    }

    /// Answers those who waited for the fetch that began at this time. Who came while it was under way, and does not find his key, knows
    /// nothing: the answer may have been made before his key was. For them another fetch begins, if there may be one.
    fn answer(&mut self, begun: Instant, now: Instant) -> bool {
        let Some(held) = &self.held else { return false };
        let mut late = Vec::new();
        for waiting in std::mem::take(&mut self.waiting) {
            if waiting.sought.is_in(&held.set) {
                let _ = waiting.reply.send(Look::Known(held.set.clone()));
            } else if let Sought::Others(_) = waiting.sought {
                let _ = waiting.reply.send(Look::Unknown);
            } else if waiting.since <= begun {
                if let Sought::Named(Some(kid)) = &waiting.sought {
                    self.names.refuse(kid, now);
                }
                let _ = waiting.reply.send(Look::Unknown);
            } else if !waiting.reply.is_closed() {
                late.push(waiting);
            }
        }
        self.look_again(late, now)
    }

    /// Another fetch for those who came too late for one, if one of them has a claim to it. A name that was not there in this one either has
    /// none to the reserve, however many came late who ask for it.
    fn look_again(&mut self, mut late: Vec<Waiting>, now: Instant) -> bool {
        for Waiting { sought, claim, .. } in &mut late {
            if let Sought::Named(Some(kid)) = sought
                && self.names.was_in_vain(kid, now)
            {
                *claim = Claim::Spare;
            }
        }
        let best = late.iter().map(|waiting| waiting.claim).max();
        if best.is_some_and(|claim| self.budget.take(claim, now)) {
            self.waiting = late;
            return true;
        }
        late.into_iter().for_each(|waiting| self.hope(waiting, now));
        false
    }

    fn fail(&mut self, failure: Failure, random: f64, now: Instant) {
        self.failures += 1;
        let exponential = PAUSES.0 * 2u32.saturating_pow(self.row.min(16));
        self.row = self.row.saturating_add(1);
        let asked = failure.retry_after.unwrap_or_default().min(LONGEST_PAUSE);
        let pause = match self.place.is_remote() {
            true => exponential.min(PAUSES.1).mul_f64(0.75 + 0.5 * random).max(asked),
            false => PAUSES.0,
        };
        self.next = now + pause;
        self.doubt_location();
        if self.error.as_ref() != Some(&failure.reason) {
            let held = if self.held.is_some() { "the last good ones stay" } else { "it has none yet" };
            let (issuer, iss) = (&*self.place.issuer.name, &*self.place.iss);
            tracing::warn!(issuer, iss, "its keys cannot be fetched, {held}: {}", failure.reason);
        }
        self.error = Some(failure.reason);
        let retry_after = pause.clamp(SOON, PAUSES.1);
        for waiting in self.waiting.drain(..) {
            let _ = waiting.reply.send(Look::Away { retry_after });
        }
    }

    /// Metadata may name another location by now: it is asked again.
    fn doubt_location(&mut self) {
        self.located = self.located.take().map(|(url, _)| (url, None));
    }

    /// Whether its keys are older than they should be.
    pub(crate) fn is_old(&self, now: Instant) -> bool {
        self.held.as_ref().is_some_and(|held| now > held.taken + OLD)
    }

    /// Whether it has never had keys, although they were asked for.
    pub(crate) fn is_unreached(&self) -> bool {
        self.held.is_none() && self.error.is_some()
    }
}
