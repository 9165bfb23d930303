//! One datacenter as one agent shows it: what the tasks that follow it share.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::hash::BuildHasher;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;

use super::agent::{Agent, Budget};
use super::assemble::{self, Assembled, Rules};
use super::client::{Failure, Lane, Patience};
use super::health;
use super::listing::{self, Listing};
use super::model::{self, CheckOf, Entry, Names, Unreadable};
use super::roster::{Roster, Trace};
use super::state::{Evidence, State};
use super::watch::{Cursor, Watch};
use crate::catalog::{Health, ServiceName};

/// A datacenter.
#[derive(Debug)]
pub(super) struct View {
    pub(super) agent: Arc<Agent>,
    pub(super) state: Arc<State>,
    /// Its place in the order of preference.
    pub(super) dc: usize,
    /// Its name, where it is configured.
    pub(super) datacenter: Option<String>,
    /// The service that the token must see.
    pub(super) canary: Option<String>,
    pub(super) roster: Roster,
    /// The index of the catalog: when it moves, something was registered or is gone.
    pub(super) registrations: watch::Sender<u64>,
    /// Whether the checks that are critical, and those that are warning, are watched.
    pub(super) signals: [Signal; 2],
    /// Held while an answer is compared with what is known and written, to the state and to the roster, so that of two answers that come at
    /// once the newer one counts.
    pub(super) writing: Mutex<()>,
    /// What the leader answered last when it was asked for the list of services.
    leaders: tokio::sync::Mutex<Option<LeadersList>>,
    hasher: foldhash::quality::RandomState,
    /// The services of its catalog that may be exposed, sorted; `None` before they were listed.
    candidates: Mutex<Option<Arc<Vec<ServiceName>>>>,
    /// Addresses with several registrations of which a warning was logged.
    warned: Mutex<BTreeMap<ServiceName, BTreeSet<SocketAddr>>>,
}

type Entries = Vec<Result<Entry, Unreadable>>;

/// What is known of the checks in one state.
#[derive(Debug, Default)]
pub(super) struct Signal {
    /// They are watched.
    pub(super) works: AtomicBool,
    /// Those that the last answer named, and when that was.
    pub(super) last: Mutex<(HashSet<CheckOf>, Option<Instant>)>,
}

impl Signal {
    /// Whether it says what has changed.
    pub(super) fn works(&self) -> bool {
        self.works.load(Ordering::Relaxed)
    }
}

/// The leader's list of services.
#[derive(Clone, Debug)]
struct LeadersList {
    /// When it was asked for.
    asked: Instant,
    answer: Result<(Arc<Names>, u64), Failure>,
}

impl View {
    pub(super) fn new(
        agent: Arc<Agent>,
        state: Arc<State>,
        (dc, datacenter): (usize, Option<String>),
        canary: Option<String>,
    ) -> View {
        View {
            agent,
            state,
            dc,
            datacenter,
            canary,
            roster: Roster::default(),
            registrations: watch::Sender::new(0),
            signals: Default::default(),
            writing: Mutex::default(),
            leaders: tokio::sync::Mutex::default(),
            hasher: foldhash::quality::RandomState::default(),
            candidates: Mutex::default(),
            warned: Mutex::default(),
        }
    }

    /// Takes the services of the catalog that may be exposed, and follows them where they are others than before.
    pub(super) fn list(&self, candidates: &Arc<Vec<ServiceName>>) {
        // Most answers are made because something was registered elsewhere in the list.
        if self.candidates.lock().replace(candidates.clone()).as_ref() != Some(candidates) {
            self.relist();
        }
    }

    /// Everything is to be read anew.
    pub(super) fn restart(&self) {
        *self.candidates.lock() = None;
        self.roster.restart();
    }

    /// Follows what is to be followed here: in the first datacenter all of its services, in another what no better one can serve. Until the
    /// list is known, what is followed stays: nothing says that it is gone.
    pub(super) fn relist(&self) {
        let Some(candidates) = self.candidates.lock().clone() else { return };
        if self.dc == 0 {
            return self.roster.list(&candidates, self.budget());
        }
        let wanted = self.state.wanted(self.dc);
        let wanted = candidates.iter().filter(|name| wanted.binary_search(name).is_ok());
        self.roster.list(&wanted.cloned().collect::<Vec<_>>(), self.budget());
    }

    /// A watch of a path in this datacenter.
    pub(super) fn watch(&self, path: String) -> Watch {
        self.resume(path, Cursor::default(), 0)
    }

    /// A watch that goes on where another one for this path ended.
    pub(super) fn resume(&self, path: String, cursor: Cursor, failures: u32) -> Watch {
        Watch::new(path, self.parameters(), &self.agent.timings).resuming(cursor, failures)
    }

    /// The cursor of a service's next query. The first answer of an agent that is followed after another one is doubted, where the service was
    /// listed before all was read for the first time.
    pub(super) fn doubting(&self, name: &ServiceName, cursor: Cursor) -> Cursor {
        if self.agent.successor && self.roster.awaits_first(name) { cursor.doubting() } else { cursor }
    }

    /// How the agent's connections are divided.
    pub(super) fn budget(&self) -> Budget {
        let budget = self.agent.budget();
        match self.dc {
            0 => budget,
            // What another datacenter stands in for is little, and the first one's watches come first.
            _ => budget.of_others(self.agent.datacenters.len() - 1),
        }
    }

    /// A hash of a name, which stays the same for as long as this view exists.
    pub(super) fn hash(&self, name: &str) -> u64 {
        self.hasher.hash_one(name)
    }

    /// Asks once, without waiting for a change, for what no watch asks for. Says the index of the answer, too.
    ///
    /// # Errors
    /// Why there is no answer.
    pub(super) async fn get<T: Send + 'static>(
        &self,
        lane: &mut Lane,
        path: &str,
        parse: fn(&[u8]) -> Result<T, String>,
    ) -> Result<(T, Option<u64>), Failure> {
        // Nothing goes on where this ends: an agent that is slow gets all the time at once.
        let mut watch = self.resume(path.to_owned(), Cursor::default(), u32::MAX);
        let content = watch.ask(lane, false, parse, |_| false).await?.content;
        Ok((content, watch.cursor().index))
    }

    /// Asks for a service once, and writes what it learns to the state and the roster.
    ///
    /// # Errors
    /// That the service could not be read: the pause until it may be asked for again.
    pub(super) async fn read(
        &self,
        name: &ServiceName,
        watch: &mut Watch,
        lane: &mut Lane,
        blocking: bool,
    ) -> Result<Read, Duration> {
        let Some(rules) = self.agent.rules(self.dc) else { return Err(self.agent.timings.backoff.0) };
        let removes = |entries: &Entries| self.state.removes(self.dc, name, &assemble::service(name, entries, &rules));
        let failures = watch.failures();
        let mut answered = watch.ask(lane, blocking, model::entries, removes).await;
        if let Ok(reply) = &mut answered {
            self.owe(usize::from(reply.doubted));
            if reply.content.is_empty() && self.state.removes(self.dc, name, &assemble::service(name, &[], &rules)) {
                match self.is_blind_to(name, lane, &rules, reply.evidence).await {
                    Ok(blind) => reply.evidence.filtered |= blind,
                    Err(failure) => {
                        watch.fail_after(failures);
                        answered = Err(failure);
                    }
                }
            }
        }
        match answered {
            Ok(reply) => {
                let _writing = self.writing.lock();
                if !reply.evidence.forgetful && self.roster.is_older(name, watch.cursor()) {
                    return Ok(Read { changed: false, pause: watch.pause(reply.moved, false) });
                }
                // They may have changed while it was on its way.
                let rules = self.agent.rules(self.dc).unwrap_or(rules);
                let assembled = assemble::service(name, &reply.content, &rules);
                self.warn_of_shared(name, &assembled);
                let changed = self.state.put(self.dc, name, assembled, reply.evidence);
                self.roster.answered(name, watch.cursor(), self.traces(&reply.content), self.budget());
                Ok(Read { changed, pause: watch.pause(reply.moved, changed) })
            }
            Err(failure) => {
                self.roster.unanswered(name, failure.kind != Failure::CUT);
                let mut pause = watch.backoff(&failure);
                if failure.is_of_too_many() {
                    self.yields();
                    // It is not ill: as soon as others have given way, it answers.
                    pause = pause.min(self.agent.timings.canary);
                }
                if failure.kind != Failure::CUT {
                    self.state.service_failed(self.dc, name, &failure, watch.failures());
                }
                Err(pause)
            }
        }
    }

    /// Whether the token no longer sees a service that has lost all of its entries: the catalog still has its name, or the token does not see what
    /// it must see. Without the right to see nodes, such answers are empty and say 200.
    ///
    /// Where many services are gone, each of them is heard of alone: the list says at once how many they are.
    async fn is_blind_to(
        &self,
        name: &ServiceName,
        lane: &mut Lane,
        rules: &Rules,
        evidence: Evidence,
    ) -> Result<bool, Failure> {
        let (names, index) = self.leaders_list(lane).await?;
        let sees =
            |canary: &String| names.contains_key(canary) || !self.state.saw_canary[self.dc].load(Ordering::Relaxed);
        let blind = names.contains_key(name.as_str()) || !self.canary.iter().all(sees);
        let _writing = self.writing.lock();
        if !blind && index >= self.state.index(self.dc) {
            let Listing { candidates, hidden, .. } = listing::listing(&names, (&rules.expose, &rules.gateways), None);
            self.state.list(self.dc, &candidates, hidden, false, index, Evidence { filtered: false, ..evidence });
            // What comes back is new to both: it is read, whoever hears of it first.
            self.list(&candidates);
        }
        Ok(blind)
    }

    /// The list of services as the leader answers it now, and its index: another server may not have heard yet that a name is gone. Whoever
    /// asks while others do gets the answer to the first question that is sent from now on.
    async fn leaders_list(&self, lane: &mut Lane) -> Result<(Arc<Names>, u64), Failure> {
        let now = Instant::now();
        let mut last = self.leaders.lock().await;
        if let Some(last) = last.as_ref().filter(|last| last.asked >= now) {
            return last.answer.clone();
        }
        self.owe(1);
        let asked = Instant::now();
        let patience = Patience { head: self.agent.timings.slack, waits: None };
        let answer = lane.get("/v1/catalog/services", &self.parameters(), patience).await.and_then(|answer| {
            let names = model::names(&answer.body).map_err(Failure::not_understood)?;
            Ok((Arc::new(names), answer.index.unwrap_or_default()))
        });
        let mut told = answer.clone();
        if let Err(failure) = &mut told {
            if failure.is_of_too_many() {
                self.yields();
            }
            // Of all who asked, one connection was refused.
            (failure.dropped, failure.status) = (false, None);
        }
        *last = Some(LeadersList { asked, answer: told.clone() });
        told
    }

    /// Uses fewer connections, because the agent refused one.
    pub(super) fn yields(&self) {
        self.agent.yields();
        self.roster.rebudget(self.budget());
    }

    /// Pays for requests besides the watches. The first reads and those after a failover cost nothing.
    fn owe(&self, requests: usize) {
        if self.roster.is_filled() {
            self.agent.allowance.owe(requests);
        }
    }

    /// What each query of this datacenter says.
    fn parameters(&self) -> Vec<(&'static str, String)> {
        self.datacenter.iter().map(|name| ("dc", name.clone())).collect()
    }

    /// What tells one state of the entries from another, and whether one of them does not pass.
    fn traces(&self, entries: &Entries) -> (Box<[Trace]>, bool) {
        let readable = || entries.iter().filter_map(|entry| entry.as_ref().ok());
        let trace = |entry: &Entry| Trace {
            node: self.hash(&entry.node.node),
            id: self.hash(&entry.service.id),
            modified: entry.service.modify_index,
        };
        (readable().map(trace).collect(), readable().any(|entry| health::of(&entry.checks) != Health::Passing))
    }

    /// Warns of each address with several registrations, once as long as it has them.
    fn warn_of_shared(&self, name: &ServiceName, answer: &Assembled) {
        let shared: BTreeSet<SocketAddr> = match answer {
            Assembled::Exposed(_, shared) => shared.iter().copied().collect(),
            Assembled::Hidden(_) => BTreeSet::new(),
        };
        let mut warned = self.warned.lock();
        let before = if shared.is_empty() { warned.remove(name) } else { warned.insert(name.clone(), shared.clone()) };
        for address in shared.difference(&before.unwrap_or_default()) {
            tracing::warn!(service = %name, %address, "several registrations on one address are one instance");
        }
    }
}

/// What came of a read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Read {
    /// What is known of the service has changed.
    pub(super) changed: bool,
    /// The pause that is due before the next one.
    pub(super) pause: Duration,
}

#[cfg(test)]
mod tests {
    use super::super::client::Client;
    use super::super::tests::config;
    use super::super::watch::Timings;
    use super::*;

    #[tokio::test]
    async fn what_is_followed_stays_until_the_list_is_known_again() {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let address = "http://127.0.0.1:1";
        let client = Arc::new(Client::new(&config(address.into()), address, 8).unwrap());
        let agent = Arc::new(Agent::new(client, Timings::default(), Vec::new(), false));
        let state = Arc::new(State::new(1, Duration::from_secs(600)));
        let view = View::new(agent, state, (0, None), None);
        let list =
            |names: &[&str]| view.list(&Arc::new(names.iter().filter_map(|name| ServiceName::new(name)).collect()));
        list(&["web"]);
        view.restart();
        view.relist();
        assert!(view.roster.has("web"));
        list(&["api"]);
        assert!(!view.roster.has("web") && view.roster.has("api"));
    }

    #[tokio::test]
    async fn of_an_agent_that_is_followed_after_another_one_only_the_first_answers_are_doubted() {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let address = "http://127.0.0.1:1";
        let client = Arc::new(Client::new(&config(address.into()), address, 8).unwrap());
        for (successor, doubted) in [(true, true), (false, false)] {
            let agent = Agent::new(client.clone(), Timings::default(), Vec::new(), successor);
            let state = Arc::new(State::new(1, Duration::from_secs(600)));
            let view = View::new(Arc::new(agent), state, (0, None), None);
            let [first, failing, late] = ["first", "failing", "late"].map(|name| ServiceName::new(name).unwrap());
            let is_doubted = |name| view.doubting(name, Cursor::default()) == Cursor::default().doubting();
            view.list(&Arc::new(vec![failing.clone(), first.clone()]));
            assert_eq!((is_doubted(&first), is_doubted(&failing)), (doubted, doubted));
            view.roster.answered(&first, Cursor::default(), (Box::default(), false), view.budget());
            view.roster.failed(&failing, 1, Duration::ZERO, view.budget());
            assert!(view.roster.is_filled());
            view.list(&Arc::new(vec![failing.clone(), first.clone(), late.clone()]));
            // What could not be read meanwhile has not been answered yet; what comes later has never been answered by another agent.
            assert_eq!([&first, &failing, &late].map(is_doubted), [false, doubted, false]);
            view.roster.failed(&late, 1, Duration::ZERO, view.budget());
            view.restart();
            assert!(!is_doubted(&late) && !is_doubted(&first), "other rules are no other agent");
        }
    }
}
