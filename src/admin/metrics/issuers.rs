//! Issuers: their keys, and what became of their tokens.

use std::sync::Arc;

use tokio::time::Instant;

use crate::admin::sources::Sources;
use crate::issuers::status::{KeysStatus, State};
use crate::telemetry::exposition::{Exposition, Kind};
use crate::token::counts::Counted;

/// Adds them to the page. Of an issuer with several sets of keys the oldest counts, and the sum of all.
pub(super) fn describe(page: &mut Exposition, sources: &Sources) {
    let config = sources.current.load().config.clone();
    let names: Vec<&Arc<str>> = config.issuers.iter().map(|issuer| &issuer.name).collect();
    tokens(page, sources, &names);
    keys(page, sources, &names);
    introspection(page, sources);
    let revocations = sources.issuers.keys.borrow().revoked().len();
    page.single("lictor_revocations", Kind::Gauge, "Revocations of tokens that hold.", revocations);
}

fn tokens(page: &mut Exposition, sources: &Sources, names: &[&Arc<str>]) {
    let counts = &sources.issuers.counts;
    let counted: Vec<(&str, Arc<Counted>)> = names.iter().map(|name| (&***name, counts.of(name))).collect();
    let help = "Tokens that were accepted, by issuer.";
    let mut family = page.family("lictor_tokens_accepted_total", Kind::Counter, help);
    counted.iter().for_each(|(name, counted)| family.sample(&[("issuer", name)], counted.accepted()));
    let help = "Tokens that were refused, by issuer and reason; the issuer is empty where they name none of ours.";
    let mut family = page.family("lictor_tokens_refused_total", Kind::Counter, help);
    for (name, counted) in counted.iter().map(|(name, of)| (*name, of)).chain([("", counts.of_nobody())]) {
        for (reason, count) in counted.refused() {
            family.sample(&[("issuer", name), ("reason", reason)], count);
        }
    }
}

fn keys(page: &mut Exposition, sources: &Sources, names: &[&Arc<str>]) {
    let (status, now) = (sources.issuers.status.borrow().clone(), Instant::now());
    let mut each = |name, kind, help, value: &dyn Fn(&[&KeysStatus]) -> Option<f64>| {
        let mut family = page.family(name, kind, help);
        for issuer in names {
            let sets: Vec<_> = status.values().map(|set| &**set).filter(|set| set.issuer == **issuer).collect();
            if let Some(value) = value(&sets) {
                family.sample(&[("issuer", issuer)], value);
            }
        }
    };
    let help = "1 while the last fetch of each of its sets of keys succeeded.";
    each("lictor_issuer_up", Kind::Gauge, help, &|sets| {
        let up = !sets.is_empty() && sets.iter().all(|set| set.error.is_none() && set.taken.is_some());
        Some(if up { 1.0 } else { 0.0 })
    });
    each("lictor_issuer_keys", Kind::Gauge, "Keys that verify its tokens.", &|sets| {
        Some(sets.iter().map(|set| set.keys.len()).sum::<usize>() as f64)
    });
    each("lictor_issuer_keys_age_seconds", Kind::Gauge, "Since its keys were fetched.", &|sets| {
        let ages = sets.iter().filter_map(|set| Some(now.saturating_duration_since(set.taken?).as_secs_f64()));
        ages.max_by(f64::total_cmp)
    });
    each("lictor_issuer_fetches_total", Kind::Counter, "Fetches of its keys.", &|sets| {
        Some(sets.iter().map(|set| set.fetches).sum::<u64>() as f64)
    });
    each("lictor_issuer_fetch_failures_total", Kind::Counter, "Fetches of its keys that failed.", &|sets| {
        Some(sets.iter().map(|set| set.failures).sum::<u64>() as f64)
    });
}

fn introspection(page: &mut Exposition, sources: &Sources) {
    let asked: Vec<(Arc<str>, State)> = {
        let figures = sources.issuers.introspection.borrow();
        figures.iter().map(|(name, figures)| (name.clone(), figures.state())).collect()
    };
    let help = "Requests with a token that its issuer was to be asked about, by what came of it.";
    let mut family = page.family("lictor_introspections_total", Kind::Counter, help);
    for (name, state) in &asked {
        for (result, count) in [
            ("active", state.active),
            ("refused", state.refused),
            ("failed", state.failed),
            ("remembered", state.remembered),
            ("coalesced", state.coalesced),
            ("unavailable", state.unavailable),
        ] {
            family.sample(&[("issuer", name), ("result", result)], count);
        }
    }
    let help = "Questions about tokens that their issuer refused, by 403 or another status; these tokens were refused.";
    let mut family = page.family("lictor_introspections_declined_total", Kind::Counter, help);
    asked.iter().for_each(|(name, state)| family.sample(&[("issuer", name)], state.declined));
    let help = "Questions about tokens that are under way.";
    let mut family = page.family("lictor_introspections_under_way", Kind::Gauge, help);
    asked.iter().for_each(|(name, state)| family.sample(&[("issuer", name)], state.under_way));
    let help = "1 while nobody asks an issuer about tokens, because it did not answer.";
    let mut family = page.family("lictor_introspection_tripped", Kind::Gauge, help);
    asked.iter().for_each(|(name, state)| family.sample(&[("issuer", name)], u8::from(state.tripped)));
}
