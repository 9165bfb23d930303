//! Who is in the fleet, and how many of them live.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use tokio::sync::watch;
use tokio::time::Instant;

use super::place::{self, Place};
use super::{LOWER, Own, PEER};
use crate::catalog::Health;
use crate::discovery::consul::client::{Client, Failure};
use crate::discovery::consul::watch::{Cursor, Timings, Watch};
use crate::discovery::consul::{health, model};
use crate::fleet::{Living, Member, Members};
use crate::supervisor::Supervisor;

/// As what the supervisor is told of another gateway with this one's id.
const TASK: &str = "fleet id";

/// What anybody may read while there is one.
const DOUBLE: &str = "another gateway is registered under this one's id; /admin/fleet says where";

/// Follows who is in the fleet.
pub(super) struct Follower {
    pub(super) clients: Vec<Arc<Client>>,
    pub(super) own: Own,
    pub(super) members: watch::Sender<Arc<Members>>,
    /// How many live by the last answer.
    pub(super) count: watch::Sender<usize>,
    pub(super) living: Living,
    pub(super) supervisor: Supervisor,
    pub(super) timings: Timings,
}

impl Follower {
    /// Follows by whichever agent is asked. Never ends.
    pub(super) async fn follow(&self, current: watch::Receiver<usize>) {
        tokio::join!(self.follow_all(current), settle(self.count.subscribe(), &self.living));
    }

    async fn follow_all(&self, mut current: watch::Receiver<usize>) {
        let mut cursor = Cursor::default();
        loop {
            let index = *current.borrow_and_update();
            let service = utf8_percent_encode(self.own.fleet.config.service.as_str(), NON_ALPHANUMERIC);
            let path = format!("/v1/health/service/{service}");
            let mut watch = Watch::new(path, Vec::new(), &self.timings).resuming(cursor, 0);
            tokio::select! {
                () = self.follow_by(&self.clients[index], &mut watch) => {}
                Ok(()) = current.changed() => {}
            }
            // An agent that has just started may not know all of them yet.
            cursor = Cursor::default().doubting();
        }
    }

    async fn follow_by(&self, client: &Arc<Client>, watch: &mut Watch) {
        let mut lane = client.lane().await;
        let name = self.own.fleet.config.service.to_string();
        loop {
            let before = self.members.borrow().clone();
            let known = (before.all.len(), self.counted(&before.all));
            let (name, id) = (name.clone(), self.own.fleet.id.clone());
            let fewer = |found: &Vec<Member>| found.len() < known.0 || counted(&id, found) < known.1;
            let pause = match watch.ask(&mut lane, true, move |body| read(&name, body), fewer).await {
                Ok(reply) => {
                    let changed = self.take(reply.content, reply.evidence.filtered, &self.own.wanted(client).place);
                    watch.pause(reply.moved, changed)
                }
                Err(failure) => {
                    let pause = watch.backoff(&failure);
                    if failure.kind != Failure::CUT {
                        self.members.send_modify(|members| Arc::make_mut(members).error = Some(failure.reason));
                    }
                    pause
                }
            };
            tokio::time::sleep(pause).await;
        }
    }

    fn counted(&self, found: &[Member]) -> usize {
        counted(&self.own.fleet.id, found)
    }

    /// Takes who is there. What a token does not see is not gone: then all stays as it was known.
    pub(super) fn take(&self, found: Vec<Member>, filtered: bool, place: &Place) -> bool {
        if filtered {
            let why = "the token does not see the whole fleet: it needs service:read for it, and node:read";
            self.members.send_modify(|members| Arc::make_mut(members).error = Some(why.to_owned()));
            return false;
        }
        self.count.send_replace(self.counted(&found));
        // Before it is registered, what is there under its id may be what it was before its restart.
        let registered = self.members.borrow().registration.registered;
        let double = double(&self.own.fleet.id, place, &found).filter(|_| registered);
        self.supervisor.fault(TASK, double.is_some().then_some(DOUBLE));
        if let Some(why) = double.as_ref().filter(|_| self.members.borrow().double.is_none()) {
            tracing::warn!("{why}");
        }
        self.members.send_if_modified(|members| {
            let changed = members.all != found || members.error.is_some() || members.double != double;
            if changed {
                let members = Arc::make_mut(members);
                (members.all, members.error, members.double) = (found, None, double);
            }
            changed
        })
    }
}

/// This gateway, and the others whose checks pass. An id counts once, however often it is registered.
fn counted(own: &str, found: &[Member]) -> usize {
    let passes = |member: &&Member| member.health == Health::Passing && member.proven && member.id != own;
    1 + found.iter().filter(passes).map(|member| &member.id).collect::<BTreeSet<_>>().len()
}

/// Where another gateway is that has this one's id: two hosts have one name.
fn double(own: &str, place: &Place, found: &[Member]) -> Option<String> {
    let living: Vec<_> = found.iter().filter(|member| member.id == own && member.lives()).collect();
    // Without a host of its own this gateway is at that of its node, and it is not known here which of the entries is that.
    let elsewhere = |member: &&&Member| match &place.host {
        Some(host) => member.address != place::at(host, place.port),
        None => (&member.address, &member.peer) != (&living[0].address, &living[0].peer),
    };
    let other = living.iter().find(elsewhere)?;
    let (node, address) = (&other.node, &other.address);
    let remedy = "give the hosts different names, or the listeners different addresses or ports";
    Some(format!("a gateway at {address} on node {node} is registered as {own}, the id of this one: {remedy}"))
}

/// Makes the number hold: more do at once, fewer once it was lower for some time, and then the most of that time. Never ends.
pub(super) async fn settle(mut count: watch::Receiver<usize>, living: &Living) {
    let mut lower: Option<(Instant, usize)> = None;
    loop {
        let (now, before) = (*count.borrow_and_update(), living.count());
        let over = |(since, _): &(Instant, usize)| since.elapsed() >= LOWER;
        let next = if now >= before { Some(now) } else { lower.filter(over).map(|(_, most)| most.max(now)) };
        if let Some(next) = next {
            living.set(next);
            lower = None;
            if next != before {
                tracing::info!(gateways = next, before, "another number of gateways lives");
            }
        }
        if now < living.count() {
            lower = Some(lower.map_or((Instant::now(), now), |(since, most)| (since, most.max(now))));
        }
        let end = lower.map(|(since, _)| since + LOWER);
        tokio::select! {
            Ok(()) = count.changed() => {}
            () = async { tokio::time::sleep_until(end.expect("it is lower")).await }, if end.is_some() => {}
        }
    }
}

/// Reads who is registered as this service. One that two agents have at the same place counts once, as the one that is well.
pub(super) fn read(name: &str, body: &[u8]) -> Result<Vec<Member>, String> {
    let mut all: BTreeMap<_, Member> = BTreeMap::new();
    for entry in model::entries(body)?.into_iter().flatten() {
        let service = &entry.service;
        // Consul finds services in whatever case their names are, and others than this are not this fleet's.
        if service.name != name {
            continue;
        }
        let host = if service.address.is_empty() { &entry.node.address } else { &service.address };
        let port = u16::try_from(service.main_port()).unwrap_or_default();
        let peer = service.meta.get(PEER).cloned().flatten();
        let peer = peer.map(|peer| match peer.strip_prefix(':').map(str::parse) {
            Some(Ok(port)) => place::at(host, port),
            _ => peer,
        });
        let member = Member {
            id: service.id.clone(),
            node: entry.node.node.clone(),
            address: place::at(host, port),
            peer,
            health: health::of(&entry.checks),
            proven: entry.checks.iter().any(|check| check.service_id == service.id && check.status == "passing"),
        };
        let key = (member.id.clone(), member.address.clone(), member.peer.clone());
        let known = all.entry(key).or_insert_with(|| member.clone());
        if (member.health, !member.proven) < (known.health, !known.proven) {
            *known = member;
        }
    }
    Ok(all.into_values().collect())
}
