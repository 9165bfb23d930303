//! The watch of a datacenter's catalog: which services exist, and which of them may be exposed.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use parking_lot::Mutex;

use super::assemble::Rules;
use super::client::{Failure, Lane};
use super::listing::{Listing, listing};
use super::model::{self, Names};
use super::own_node::{OwnNode, Told};
use super::view::View;
use super::watch::{Cursor, Moved, Reply, Watch};

/// A list as it came, and as it was read.
type Body = (Vec<u8>, Arc<Names>);

/// The list as it was answered last: an agent sends all of it whenever any service has another address, and it is the same.
#[derive(Default)]
struct Latest {
    /// As it came, and as it was read.
    read: Arc<Mutex<Option<Body>>>,
    /// What follows from it by these rules.
    listing: Option<(Arc<Names>, Arc<Rules>, Arc<Listing>)>,
}

impl Latest {
    /// Reads an answer; the same one again without parsing it.
    fn parser(&self) -> impl Fn(&[u8]) -> Result<Arc<Names>, String> + Clone + Send + 'static {
        let read = self.read.clone();
        move |body| {
            let mut read = read.lock();
            if let Some((before, names)) = &*read
                && before == body
            {
                return Ok(names.clone());
            }
            let names = Arc::new(model::names(body)?);
            *read = Some((body.to_vec(), names.clone()));
            Ok(names)
        }
    }

    /// What follows from a list.
    fn listing(&mut self, names: Arc<Names>, rules: &Arc<Rules>, canary: Option<&str>) -> Arc<Listing> {
        if let Some((before, by, listing)) = &self.listing
            && Arc::ptr_eq(before, &names)
            && Arc::ptr_eq(by, rules)
        {
            return listing.clone();
        }
        let listing = Arc::new(listing(&names, (&rules.expose, &rules.gateways), canary));
        self.listing = Some((names, rules.clone(), listing.clone()));
        listing
    }
}

/// Follows the catalog of a datacenter, and asks the agent who it is. Never ends.
pub(super) async fn watch(view: Arc<View>, base: Rules, told: Arc<Mutex<Told>>) {
    let path = "/v1/catalog/services".to_owned();
    // The first answer of an agent that is followed after another one is doubted.
    let cursor = if view.agent.successor { Cursor::default().doubting() } else { Cursor::default() };
    let mut watch = view.resume(path, cursor, 0).pausing_at_most(view.agent.timings.canary);
    let mut others = view.agent.hung.subscribe();
    let mut own = (view.dc == 0).then(|| OwnNode::new(base, told));
    // This lane is taken before any other and kept, so that the catalog never waits behind the first reads of many services.
    let mut lane = view.agent.client.lane().await;
    let mut rules = view.agent.rules.subscribe();
    let mut latest = Latest::default();
    let (mut blind, mut hung) = (false, false);
    // The rules of the last round; and whether the list is to be read anew because they have changed.
    let (mut before, mut anew): (Option<Arc<Rules>>, bool) = (None, false);
    loop {
        if let Some(own) = &mut own
            && let Err(failure) = own.ask(&view, &mut lane).await
        {
            hung |= failure.kind == Failure::LATE;
            watch.fail();
            failed(&view, &mut watch, &failure).await;
            continue;
        }
        if rules.wait_for(Option::is_some).await.is_err() {
            return;
        }
        let Some(now) = view.agent.rules(view.dc) else { continue };
        // Which addresses are taken depends on the agent's own node and ports. When that changes, everything is read anew, and first of all
        // the list: a query that waits would leave the roster without one until something is registered.
        if before.replace(now.clone()).is_some_and(|before| before != now) {
            view.restart();
            anew = true;
        }
        let answered = tokio::select! {
            answered = ask(&view, &mut watch, &mut lane, !(blind || anew), (&now, &mut latest)) => answered,
            failure = hangs(&view), if view.dc == 0 => {
                watch.fail();
                Err(failure)
            }
            // That the agent hung is found out by the first datacenter's task.
            Ok(()) = others.changed(), if view.dc > 0 => {
                watch.fail();
                continue;
            }
            // The first datacenter's task asks the agent who it is, and publishes the rules of all: another one's query may wait for long.
            Ok(()) = rules.changed() => continue,
        };
        match answered {
            Ok(reply) => {
                anew = false;
                let saw_canary = view.state.saw_canary[view.dc].fetch_or(reply.content.canary, Ordering::Relaxed)
                    || reply.content.canary;
                blind = saw_canary && !reply.content.canary;
                note_eyes(&view, saw_canary, blind);
                // Another datacenter's answer says nothing of the one that comes first.
                if view.dc == 0 && view.agent.answers() {
                    view.roster.rebudget(view.budget());
                }
                if std::mem::take(&mut hung) && view.dc == 0 {
                    view.agent.hung.send_replace(());
                }
                let changed = take(&view, &reply, watch.index(), blind);
                // A query that waits has the rights with which it began: that the token sees again is found out by asking.
                let least = if blind { view.agent.timings.canary } else { Duration::ZERO };
                tokio::time::sleep(watch.pause(reply.moved, changed).max(least)).await;
            }
            Err(failure) => {
                // Late without a wait, or silent while queries wait: what waits there may wait for ever.
                hung |= failure.kind == Failure::LATE;
                if let Some(own) = &mut own {
                    own.doubt();
                }
                failed(&view, &mut watch, &failure).await;
            }
        }
    }
}

/// Asks something small now and then, while the list's query waits: ends when the agent answers nothing although it takes connections. Else
/// that would be noticed only when queries have waited for too long.
async fn hangs(view: &View) -> Failure {
    let mut watch = view.watch("/v1/status/leader".into());
    loop {
        tokio::time::sleep(view.agent.timings.liveness).await;
        // An agent may be busy with the first reads of many services.
        if !view.roster.is_filled() {
            continue;
        }
        let mut lane = view.agent.client.lane().await;
        let mut late = 0;
        // Whatever else it answers, it answers.
        while let Err(failure) = watch.ask(&mut lane, false, |_| Ok(()), |_| false).await
            && failure.kind == Failure::LATE
        {
            late += 1;
            if late == 2 {
                return failure;
            }
        }
    }
}

async fn failed(view: &View, watch: &mut Watch, failure: &Failure) {
    if failure.is_of_too_many() {
        // The services' watches may have taken what the list needs.
        view.yields();
    }
    if failure.kind != Failure::CUT {
        view.state.catalog_failed(view.dc, failure);
        if view.dc == 0 {
            view.agent.fails();
        }
    }
    tokio::time::sleep(watch.backoff(failure)).await;
}

async fn ask(
    view: &View,
    watch: &mut Watch,
    lane: &mut Lane,
    blocking: bool,
    (rules, latest): (&Arc<Rules>, &mut Latest),
) -> Result<Reply<Arc<Listing>>, Failure> {
    let listed = |names: &Names| listing(names, (&rules.expose, &rules.gateways), None).candidates;
    let removes = |names: &Arc<Names>| view.state.list_removes(view.dc, &listed(names));
    let Reply { content, moved, mut evidence, doubted } = watch.ask(lane, blocking, latest.parser(), removes).await?;
    // Of this list, whoever may not see everything always hears that it was filtered.
    evidence.filtered = false;
    Ok(Reply { content: latest.listing(content, rules, view.canary.as_deref()), moved, evidence, doubted })
}

/// Writes a listing to the state and the roster. True if it changed what is known.
fn take(view: &View, reply: &Reply<Arc<Listing>>, index: u64, blind: bool) -> bool {
    let _writing = view.writing.lock();
    // The leader may have been asked meanwhile; the next query returns at once.
    if reply.moved != Moved::Lost && !reply.evidence.forgetful && index < view.state.index(view.dc) {
        return false;
    }
    let Listing { candidates, hidden, .. } = &*reply.content;
    let changed = view.state.list(view.dc, candidates, hidden.clone(), blind, index, reply.evidence);
    view.list(candidates);
    if reply.moved != Moved::Still {
        if view.roster.count().beyond {
            view.roster.moved();
        }
        view.registrations.send_replace(index);
    }
    changed
}

/// Tells the operator when the token does not see the canary.
fn note_eyes(view: &View, saw: bool, blind: bool) {
    let Some(canary) = view.canary.as_deref().filter(|_| view.dc == 0) else { return };
    let note = match (saw, blind) {
        (true, false) => None,
        (_, true) => Some(format!(
            "the token no longer sees the service `{canary}`: it has lost rights, and what it no longer sees is held"
        )),
        (false, false) => Some(format!(
            "the token does not see the service `{canary}` (consul.canary): if it loses more rights, that is not noticed"
        )),
    };
    view.state.note("canary", note);
}

#[cfg(test)]
mod tests {
    use super::super::agent::Agent;
    use super::super::client::Client;
    use super::super::state::State;
    use super::super::tests::fake::Fake;
    use super::super::tests::{config, rules};
    use super::super::watch::Timings;
    use super::*;

    #[tokio::test]
    async fn after_a_change_of_the_rules_the_list_is_read_anew_although_its_query_waits() {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let fake = Fake::start().await;
        let address = format!("http://{}", fake.address);
        let client = Arc::new(Client::new(&config(address.clone()), &address, 8).unwrap());
        let (wait, first) = (Duration::from_secs(3600), Duration::from_secs(60));
        let timings = Timings { wait, first, ..Timings::default() };
        let agent = Arc::new(Agent::new(client, timings, vec!["dc1".into(), "dc2".into()], false));
        let state = Arc::new(State::new(2, Duration::from_secs(600)));
        // The rules of another datacenter are published by the task of the first one.
        let view = Arc::new(View::new(agent.clone(), state, (1, Some("dc2".into())), None));
        let publish = |wan| agent.rules.send_replace(Some(vec![Arc::new(rules()), Arc::new(Rules { wan, ..rules() })]));
        let watch = tokio::spawn(watch(view.clone(), rules(), Arc::default()));
        for (wan, lists) in [(false, 1), (true, 2), (true, 2), (false, 3)] {
            publish(wan);
            let anew =
                || fake.requests("/v1/catalog/services").iter().filter(|asked| !asked.contains("index=")).count();
            while fake.waiting("/v1/catalog/services").is_empty() || anew() < lists {
                tokio::task::yield_now().await;
            }
            assert_eq!(anew(), lists);
        }
        watch.abort();
    }

    #[test]
    fn a_list_that_is_answered_again_is_neither_parsed_nor_sorted_out_again() {
        let (mut latest, by) = (Latest::default(), Arc::new(rules()));
        let parse = latest.parser();
        let body = br#"{"consul": [], "orders": ["gateway"], "other": []}"#;
        let (first, second) = (parse(body).unwrap(), parse(body).unwrap());
        assert!(Arc::ptr_eq(&first, &second));
        let listing = latest.listing(first, &by, Some("consul"));
        assert_eq!((listing.candidates.len(), listing.hidden.len(), listing.canary), (1, 2, true));
        assert!(Arc::ptr_eq(&listing, &latest.listing(second.clone(), &by, Some("consul"))));
        // By other rules, other services may be exposed.
        let all = Arc::new(Rules { expose: crate::config::Expose::All, ..rules() });
        assert_eq!(latest.listing(second, &all, Some("consul")).candidates.len(), 2);
        let third = parse(br#"{"orders": ["gateway"]}"#).unwrap();
        assert!(!latest.listing(third, &by, Some("consul")).canary);
        assert!(parse(b"{").is_err() && parse(body).is_ok());
    }
}
