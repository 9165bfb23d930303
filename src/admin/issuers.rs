//! `/admin/issuers`: who vouches for callers, with which keys, and what became of their tokens.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use super::sources::Sources;
use crate::issuers::status::{Figures, KeyStatus, KeysStatus};
use crate::pages::issuers::{Introspection, Issuer, Key, KeySet, LeftOut, Page};
use crate::telemetry::access::rfc3339;
use crate::token::Kind;
use crate::token::counts::Counted;

/// Every issuer, or one.
pub(super) fn page(sources: &Sources, only: Option<&str>) -> Page {
    let issuers = &sources.issuers;
    let (config, status) = (sources.current.load().config.clone(), issuers.status.borrow().clone());
    let introspection = issuers.introspection.borrow().clone();
    let wanted = config.issuers.iter().filter(|issuer| only.is_none_or(|only| *issuer.name == *only));
    let shown = wanted.map(|issuer| {
        let counted = issuers.counts.of(&issuer.name);
        Issuer {
            name: issuer.name.to_string(),
            accepted: counted.accepted(),
            refused: refused(&counted),
            key_sets: status.values().filter(|keys| keys.issuer == issuer.name).map(|keys| key_set(keys)).collect(),
            introspection: introspection.get(&issuer.name).map(|figures| asked(figures)),
        }
    });
    Page {
        issuers: shown.collect(),
        refused: refused(issuers.counts.of_nobody()),
        revocations: issuers.keys.borrow().revoked().len() as u64,
    }
}

fn refused(counted: &Counted) -> BTreeMap<String, u64> {
    counted.refused().into_iter().map(|(reason, count)| (reason.to_owned(), count)).collect()
}

fn key_set(status: &KeysStatus) -> KeySet {
    let now = Instant::now();
    KeySet {
        issuer: status.iss.to_string(),
        source: status.source.clone(),
        keys: status.keys.iter().map(key).collect(),
        left_out: status.left_out.iter().map(|l| LeftOut { kid: l.kid.clone(), why: l.why.clone() }).collect(),
        age_ms: status.taken.map(|taken| ms(now.saturating_duration_since(taken))),
        changed: status.changed.map(|changed| rfc3339(changed).to_string()),
        next_refresh_ms: status.next.map(|next| ms(next.saturating_duration_since(now))),
        error: status.error.clone(),
        fetches: status.fetches,
        failures: status.failures,
    }
}

fn key(status: &KeyStatus) -> Key {
    let kty = match status.kind {
        Kind::Rsa { bits } => format!("RSA {bits}"),
        Kind::P256 => "EC P-256".to_owned(),
        Kind::P384 => "EC P-384".to_owned(),
        Kind::Ed25519 => "OKP Ed25519".to_owned(),
        Kind::Secret => "secret".to_owned(),
    };
    let alg = status.algorithms.iter().map(|algorithm| format!("{algorithm:?}")).collect();
    Key { kid: status.kid.clone(), kty, alg, usage: status.usage.clone() }
}

fn asked(figures: &Figures) -> Introspection {
    let state = figures.state();
    Introspection {
        breaker: if state.tripped { "open" } else { "closed" }.to_owned(),
        under_way: state.under_way,
        active: state.active,
        refused: state.refused,
        declined: state.declined,
        declined_why: state.declined_why,
        failed: state.failed,
        remembered: state.remembered,
        coalesced: state.coalesced,
        unavailable: state.unavailable,
        error: state.error,
    }
}

fn ms(duration: Duration) -> u64 {
    duration.as_millis().try_into().unwrap_or(u64::MAX)
}
