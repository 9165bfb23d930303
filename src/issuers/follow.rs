//! The task that follows all issuers: it begins fetches, answers who asks for keys, and publishes what holds.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use imbl::OrdMap;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::followed::{Followed, OLD, Sought};
use super::gather::{Gathered, gather};
use super::http::{Failure, Http};
use super::place::places;
use super::status::{self, KeysStatus};
use crate::config::Config;
use crate::supervisor::{Supervisor, outcome};
use crate::token::KeySets;
use crate::token::asking::{Look, Question, SOON};

/// What the supervisor calls this task.
pub(crate) const TASK: &str = "issuers";

/// How many fetches that are due may be under way at once. Those that requests wait for have a budget of their own.
const AT_ONCE: usize = 32;

/// How many questions are answered in one turn.
const QUESTIONS: usize = 256;

/// What the task works with. It outlives a panic.
pub(crate) struct Follower {
    configs: watch::Receiver<Arc<Config>>,
    /// The configuration whose issuers are followed.
    followed_of: Option<Arc<Config>>,
    questions: mpsc::Receiver<Question>,
    http: Http,
    supervisor: Supervisor,
    random: fastrand::Rng,
    places: BTreeMap<Arc<str>, Followed>,
    serials: u64,
    fetches: JoinSet<Fetched>,
    keys: watch::Sender<Arc<KeySets>>,
    status: watch::Sender<ByPlace>,
}

/// How each place fares, by its key.
pub(crate) type ByPlace = OrdMap<Arc<str>, Arc<KeysStatus>>;

/// A fetch that has ended.
struct Fetched {
    place: Arc<str>,
    serial: u64,
    result: Result<Gathered, Failure>,
}

impl Follower {
    /// It publishes the keys that hold in `keys`, and how each place fares.
    pub(crate) fn new(
        configs: watch::Receiver<Arc<Config>>,
        questions: mpsc::Receiver<Question>,
        keys: watch::Sender<Arc<KeySets>>,
        http: Http,
        supervisor: Supervisor,
    ) -> (Follower, watch::Receiver<ByPlace>) {
        let (status, status_seen) = watch::channel(OrdMap::new());
        let follower = Follower {
            configs,
            followed_of: None,
            questions,
            http,
            supervisor,
            random: fastrand::Rng::new(),
            places: BTreeMap::new(),
            serials: 0,
            fetches: JoinSet::new(),
            keys,
            status,
        };
        (follower, status_seen)
    }

    /// Follows for as long as the returned future lives.
    pub(crate) async fn run(&mut self) {
        let mut questions = Vec::new();
        loop {
            self.configure();
            self.begin_due();
            self.say();
            let until = self.next_turn();
            tokio::select! {
                Ok(()) = self.configs.changed() => {}
                Some(ended) = self.fetches.join_next() => if let Ok(fetched) = ended {
                    self.ended(fetched);
                },
                1.. = self.questions.recv_many(&mut questions, QUESTIONS) => {
                    // Who asks may know a newer configuration.
                    self.configure();
                    questions.drain(..).for_each(|question| self.hear(question));
                }
                () = tokio::time::sleep_until(until) => {}
            }
        }
    }

    /// Follows the issuers of the newest configuration. Keys whose source it leaves as it was stay.
    fn configure(&mut self) {
        let config = self.configs.borrow_and_update().clone();
        if self.followed_of.as_ref().is_some_and(|old| Arc::ptr_eq(old, &config)) {
            return;
        }
        let (now, places) = (Instant::now(), places(&config.issuers));
        let (mut before, mut changed) = (std::mem::take(&mut self.places), Vec::new());
        for place in places {
            self.serials += 1;
            let followed = match before.remove(&place.key) {
                Some(followed) if followed.place.issuer == place.issuer => followed,
                Some(mut followed) if place.has_source_of(&followed.place) => {
                    changed.push(place.key.clone());
                    followed.reread(place, self.serials, now);
                    followed
                }
                // Keys of another source hold no longer, also where those of the new one cannot be had.
                other => {
                    changed.extend(other.map(|other| other.place.key));
                    Followed::new(place, self.serials, now)
                }
            };
            self.places.insert(followed.place.key.clone(), followed);
        }
        self.followed_of = Some(config);
        let status = self.places.iter().map(|(key, followed)| (key.clone(), Arc::new(status::of(followed))));
        self.status.send_replace(status.collect());
        changed.iter().chain(before.keys()).for_each(|place| self.publish(place));
    }

    fn begin_due(&mut self) {
        let now = Instant::now();
        let mut due: Vec<_> = self.places.values_mut().filter(|followed| followed.is_due(now)).collect();
        // Many that hang must not keep the others from their turn.
        due.sort_by_key(|followed| followed.next);
        for followed in due.into_iter().take(AT_ONCE.saturating_sub(self.fetches.len())) {
            fetch(&mut self.fetches, &self.http, followed, now);
            show(&self.status, followed);
        }
    }

    fn ended(&mut self, Fetched { place, serial, result }: Fetched) {
        // The configuration may have taken the issuer away meanwhile.
        let Some(followed) = self.places.get_mut(&place).filter(|followed| followed.serial == serial) else { return };
        let now = Instant::now();
        let ended = followed.end(result, self.random.f64(), now);
        if ended.again {
            fetch(&mut self.fetches, &self.http, followed, now);
        }
        show(&self.status, followed);
        if ended.changed {
            self.publish(&place);
        }
    }

    fn hear(&mut self, question: Question) {
        let (place, sought, reply) = match question {
            Question::Key { place, kid, reply } => (place, Sought::Named(kid), reply),
            Question::Others { place, than, reply } => (place, Sought::Others(than), reply),
        };
        let Some(followed) = self.places.get_mut(&place) else {
            let _ = reply.send(Look::Away { retry_after: SOON });
            return;
        };
        let now = Instant::now();
        if followed.ask(sought, reply, now) {
            fetch(&mut self.fetches, &self.http, followed, now);
            show(&self.status, followed);
        }
    }

    /// Publishes the keys of a place as they are now.
    fn publish(&self, place: &Arc<str>) {
        let held = self
            .places
            .get(place)
            .and_then(|followed| Some((followed.place.issuer.clone(), followed.held.as_ref()?.set.clone())));
        self.keys.send_modify(|keys| *keys = Arc::new(keys.with(place, held)));
    }

    /// Says what does not work.
    fn say(&mut self) {
        let now = Instant::now();
        let fault = if self.places.values().any(Followed::is_unreached) {
            Some("the keys of an issuer of tokens could not be fetched yet; /admin/issuers says why")
        } else if self.places.values().any(|followed| followed.is_old(now)) {
            Some("the keys of an issuer of tokens are over a day old; /admin/issuers says why")
        } else {
            None
        };
        self.supervisor.fault(TASK, fault);
    }

    /// When something is to be done although nobody asks.
    fn next_turn(&self) -> Instant {
        let now = Instant::now();
        let idle = self.places.values().filter(|followed| followed.fetching.is_none());
        let room = self.fetches.len() < AT_ONCE;
        let next = idle.map(|followed| followed.next).filter(|next| room || *next > now);
        let old = self.places.values().filter_map(|followed| Some(followed.held.as_ref()?.taken + OLD));
        let old = old.filter(|old| *old > now).map(|old| old + Duration::from_millis(1));
        let latest = now + Duration::from_secs(3600);
        next.chain(old).min().map_or(latest, |first| first.min(latest))
    }
}

/// Publishes how a place fares.
fn show(status: &watch::Sender<ByPlace>, followed: &Followed) {
    let now = Arc::new(status::of(followed));
    status.send_modify(|all| drop(all.insert(followed.place.key.clone(), now)));
}

/// Begins a fetch. A panic in it is a failure of it.
fn fetch(fetches: &mut JoinSet<Fetched>, http: &Http, followed: &mut Followed, now: Instant) {
    let located = followed.begin(now);
    let (place, serial) = (followed.place.key.clone(), followed.serial);
    let (http, of) = (http.clone(), followed.place.clone());
    fetches.spawn(async move {
        let result = match outcome(gather(http, of, located)).await {
            Ok(result) => result,
            Err(panic) => {
                tracing::error!(place = &*place, "what an issuer answers could not be read: {panic}");
                Err(Failure::wrong("the gateway has a fault that it meets here; the log says where"))
            }
        };
        Fetched { place, serial, result }
    });
}
