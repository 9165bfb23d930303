//! Where there are more services than connections: what says that some of them must be read.
//!
//! The checks that are critical or warning are watched, and name the services that they are about. The catalog's index says that something was
//! registered or is gone, and a sweep finds out what.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::Instant;

use super::client::Failure;
use super::guard::SERF_HEALTH;
use super::model::{self, CheckOf};
use super::roster::Trace;
use super::view::{Signal, View};
use super::watch::Cursor;
use crate::catalog::ServiceName;

/// The state of checks that says which nodes gossip has lost.
const CRITICAL: &str = "critical";

/// Where signals fail, each service without a watch is read this often.
const SHORTEST: Duration = Duration::from_secs(10);

/// How many such reads a second there may be: where there are more services, each is read more seldom.
const RATE: f64 = 25.0;

/// A sweep takes at most a tenth of the time.
const SHARE: u32 = 10;

/// The pause before a sweep. What is watched is heard of first, and what changes at the same time is found by one sweep.
const SETTLING: Duration = Duration::from_millis(25);

/// The pause before a sweep is repeated because a server had not heard of the change yet.
const BEHIND: Duration = Duration::from_millis(50);

/// Watches what says that services without a watch of their own must be read. Never ends; while all services have a watch, it waits.
pub(super) async fn follow(view: Arc<View>) {
    let (critical, warning) = (checks(&view, (0, CRITICAL)), checks(&view, (1, "warning")));
    tokio::join!(critical, warning, sweeps(&view), rotation(&view));
}

/// Waits until there are services without a watch of their own.
async fn until_needed(view: &View) {
    let _ = view.roster.counts.subscribe().wait_for(|count| count.beyond).await;
}

/// Watches the checks in a state: services that such a check is about, now or before, are read.
async fn checks(view: &View, (place, state): (usize, &'static str)) {
    let Signal { works, last } = &view.signals[place];
    let mut hung = view.agent.hung.subscribe();
    let (mut cursor, mut first) = (Cursor::default(), true);
    loop {
        until_needed(view).await;
        if !view.budget().signals {
            // The agent may allow more connections later.
            tokio::time::sleep(SHORTEST).await;
            continue;
        }
        let mut watch = view.resume(format!("/v1/health/state/{state}"), cursor, 0);
        let mut lane = view.agent.client.lane().await;
        while view.roster.count().beyond && view.budget().signals {
            let answered = tokio::select! {
                answered = watch.ask(&mut lane, true, model::checks, |_| false) => answered,
                Ok(()) = hung.changed() => {
                    watch.fail();
                    continue;
                }
            };
            match answered {
                Ok(reply) => {
                    let now: HashSet<CheckOf> = reply.content.into_iter().collect();
                    let known = std::mem::take(&mut last.lock().0);
                    let changed = known != now;
                    if state == CRITICAL && (changed || first) {
                        // What its nodes carry is read one by one: the guard must know before how much that will be.
                        view.state.gossip_lost(view.dc, lost_by_gossip(&now));
                    }
                    let mut due = services(view, known.symmetric_difference(&now));
                    if std::mem::take(&mut first) {
                        // What was read before may have recovered since.
                        due.extend(view.roster.ailing(None));
                    }
                    *last.lock() = (now, Some(Instant::now()));
                    view.roster.enqueue(&due);
                    works.store(true, Ordering::Relaxed);
                    view.state.note(state, None);
                    tokio::time::sleep(watch.pause(reply.moved, changed)).await;
                }
                Err(failure) => {
                    if failure.kind != Failure::CUT {
                        first = true;
                        works.store(false, Ordering::Relaxed);
                        let why = &failure.reason;
                        let note =
                            format!("checks that are {state} cannot be watched, services are read in rotation: {why}");
                        view.state.note(state, Some(note));
                    }
                    tokio::time::sleep(watch.backoff(&failure)).await;
                }
            }
        }
        (cursor, first) = (watch.cursor(), true);
        works.store(false, Ordering::Relaxed);
    }
}

/// The services that checks are about: a check of a node is about all that the node carries.
fn services<'a>(view: &View, checks: impl Iterator<Item = &'a CheckOf>) -> Vec<ServiceName> {
    let (mut names, mut nodes) = (Vec::new(), HashSet::new());
    for check in checks {
        match check.service.is_empty() {
            true => drop(nodes.insert(view.hash(&check.node))),
            false => names.extend(ServiceName::new(&check.service)),
        }
    }
    if !nodes.is_empty() {
        names.extend(view.roster.on_nodes(&nodes));
    }
    names
}

/// The nodes that gossip has lost by these critical checks.
fn lost_by_gossip(checks: &HashSet<CheckOf>) -> HashSet<String> {
    let by_gossip = checks.iter().filter(|check| check.service.is_empty() && check.id == SERF_HEALTH);
    by_gossip.map(|check| check.node.clone()).collect()
}

/// Sweeps when the catalog's index has moved.
async fn sweeps(view: &View) {
    let mut registrations = view.registrations.subscribe();
    let mut pause = view.agent.timings.backoff.0;
    loop {
        until_needed(view).await;
        if registrations.changed().await.is_err() {
            return;
        }
        loop {
            tokio::time::sleep(SETTLING).await;
            let index = *registrations.borrow_and_update();
            let began = Instant::now();
            let swept = sweep(view, index).await;
            match swept {
                Ok((true, took)) => {
                    view.roster.swept(began);
                    // So that sweeps take no more than their share of the time.
                    tokio::time::sleep(took * (SHARE - 1)).await;
                    view.state.note("sweep", None);
                    pause = view.agent.timings.backoff.0;
                    break;
                }
                Ok((false, took)) => tokio::time::sleep(BEHIND.max(took * (SHARE - 1))).await,
                Err(failure) => {
                    view.state.note("sweep", Some(format!("services cannot be swept: {}", failure.reason)));
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(view.agent.timings.backoff.1);
                }
            }
        }
    }
}

/// Finds out which services have changed, and queues them for a read: it compares the services of each node with what was read, or queues
/// every service where that takes fewer requests. Says whether the servers that answered had heard of this index, and how long it took.
async fn sweep(view: &View, index: u64) -> Result<(bool, Duration), Failure> {
    let nodes = nodes(view).await?;
    let services = view.roster.count().swept;
    let cost = nodes.len() + 1;
    if services < cost {
        view.agent.allowance.take(1).await;
        view.roster.enqueue_all();
        return Ok((true, Duration::ZERO));
    }
    view.agent.allowance.take(cost).await;
    let began = Instant::now();
    let mut found: HashMap<String, HashSet<Trace>> = HashMap::new();
    let mut current = true;
    let mut lane = view.agent.client.lane().await;
    for node in nodes {
        let path = format!("/v1/catalog/node/{}", escaped(&node));
        let answer = view.get(&mut lane, &path, model::node).await?;
        current &= answer.1.is_none_or(|answered| answered >= index);
        let hash = view.hash(&node);
        for registered in answer.0 {
            let trace = Trace { node: hash, id: view.hash(&registered.id), modified: registered.modify_index };
            found.entry(registered.service).or_default().insert(trace);
        }
    }
    view.roster.enqueue(&view.roster.differing(&found));
    Ok((current, began.elapsed()))
}

/// The nodes of the datacenter.
async fn nodes(view: &View) -> Result<Vec<String>, Failure> {
    let mut lane = view.agent.client.lane().await;
    Ok(view.get(&mut lane, "/v1/catalog/nodes", model::nodes).await?.0)
}

/// Queues services for a read in rotation: each after some minutes whatever signals say, and sooner where signals fail.
async fn rotation(view: &View) {
    const TURN: Duration = Duration::from_secs(1);
    loop {
        until_needed(view).await;
        tokio::time::sleep(TURN).await;
        let swept = view.roster.count().swept;
        let reread = view.agent.timings.reread;
        let age = if view.signals.iter().all(Signal::works) {
            view.roster.enqueue(&unexplained(view));
            reread
        } else {
            Duration::from_secs_f64(swept as f64 / RATE).max(SHORTEST).min(reread)
        };
        // In each turn as many as it takes for all to be read within `age`.
        let most = (swept as f64 / age.as_secs_f64()).ceil() as usize;
        view.roster.enqueue_oldest(age, most.max(1));
    }
}

/// Services of which an instance did not pass when they were read, although by later answers no check says so: what a read finds between two
/// answers may have come and gone with no difference between them.
fn unexplained(view: &View) -> Vec<ServiceName> {
    let answered = view.signals.iter().map(|signal| signal.last.lock().1).min().flatten();
    let mut ailing = answered.map_or(Vec::new(), |answered| view.roster.ailing(Some(answered)));
    if !ailing.is_empty() {
        let explain = |signal: &Signal| services(view, signal.last.lock().0.iter());
        let explained: HashSet<ServiceName> = view.signals.iter().flat_map(explain).collect();
        ailing.retain(|name| !explained.contains(name));
    }
    ailing
}

/// A name as a segment of a path (RFC 3986 section 2.3).
fn escaped(name: &str) -> String {
    use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
    const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
    utf8_percent_encode(name, RESERVED).to_string()
}

/// Whether a node is still a member.
///
/// # Errors
/// Why the agent does not say.
pub(super) async fn is_member(view: &View, node: &str) -> Result<bool, Failure> {
    let mut lane = view.agent.client.lane().await;
    let listed = |body: &[u8]| serde_json::from_slice::<serde_json::Value>(body).map_err(|error| error.to_string());
    let (answer, _) = view.get(&mut lane, &format!("/v1/catalog/node/{}", escaped(node)), listed).await?;
    Ok(answer["Node"].is_object())
}
