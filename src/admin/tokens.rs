//! `/admin/tokens/revoked` and `/admin/tokens/revoke`: tokens that hold no longer, because an operator says so.

use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use tokio::time::timeout;

use super::Answer;
use super::query::Query;
use super::response::{bad_request, json, unavailable};
use super::sources::Sources;
use crate::pages::issuers::{self as pages, Revocations, Revoked};
use crate::snapshot::{Current, Snapshot};
use crate::telemetry::access::rfc3339;
use crate::token::asking::{Effect, Unrevoked};
use crate::token::revoked::{MOST, Revocation, Which};

/// How many revocations the page lists.
const LISTED: usize = 1000;

/// For how long a revocation holds at least, unless the operator says it: longer than access tokens live, as a rule.
const SHORTEST: Duration = Duration::from_secs(86_400);

/// The longest, in seconds: a year.
const LONGEST: u64 = 365 * 86_400;

/// The bytes of the longest `jti` or `sub` that can be revoked: each revocation writes all of them to the disk.
const LONGEST_NAME: usize = 512;

/// How long an operator waits until requests are held to his revocation.
const IN_FORCE: Duration = Duration::from_secs(2);

/// What was revoked; of one issuer, if that is asked for.
pub(super) fn page(sources: &Sources, only: Option<&str>) -> Revocations {
    let keys = sources.issuers.keys.borrow().clone();
    let wanted = keys.revoked().iter().filter(|one| only.is_none_or(|only| *one.issuer == *only));
    let shown = |one: &Revocation| {
        let (jti, sub) = match &one.which {
            Which::Jti(jti) => (Some(jti.to_string()), None),
            Which::Sub(sub) => (None, Some(sub.to_string())),
            Which::All => (None, None),
        };
        let (at, until) = (rfc3339(one.at).to_string(), rfc3339(one.until).to_string());
        pages::Revocation { issuer: one.issuer.to_string(), jti, sub, at, until, by: one.by.to_string() }
    };
    let (count, revocations) = (keys.revoked().len() as u64, wanted.take(LISTED).map(shown).collect());
    Revocations { count, survives_restart: sources.issuers.survives_restart, revocations }
}

/// Revokes tokens.
pub(super) fn revoke(sources: &Sources, query: &Query<'_>, consumer: &str) -> Answer {
    let what = match read(sources, query, consumer) {
        Ok(what) => what,
        Err(why) => return Answer::Now(bad_request(why)),
    };
    // Its successor may have read the file by now, and would neither know of it nor keep it there.
    if sources.pulse.draining.load(Ordering::Relaxed) {
        return Answer::Now(unavailable("nothing is revoked, because this gateway is ending: revoke at its successor"));
    }
    let kind = match what.which {
        Which::Jti(_) => "one token",
        Which::Sub(_) => "the tokens of one subject",
        Which::All => "all tokens",
    };
    let (current, consumer) = (sources.current.clone(), consumer.to_owned());
    let revoked = sources.issuers.asker.revoke(what.clone());
    Answer::Later(Box::pin(async move {
        match revoked.await {
            Some(Ok(Effect { until, count, survives_restart })) => {
                let ends = rfc3339(until).to_string();
                tracing::info!(consumer, issuer = &*what.issuer, until = ends, "an operator revokes {kind}");
                if !is_in_force(&current, &what).await {
                    return unavailable(
                        "this is kept, but does not hold yet, because no snapshot could be made with it: the log says why",
                    );
                }
                json(&Revoked { until: ends, count: count as u64, survives_restart })
            }
            Some(Err(Unrevoked::Full)) => {
                unavailable(format!("{MOST} revocations hold: revoke a subject's tokens, or an issuer's"))
            }
            Some(Err(Unrevoked::Unwritten(why))) => unavailable(format!(
                "nothing is revoked, because a restart would let these tokens in again: [admin] revocations: {why}"
            )),
            None => unavailable(
                "who keeps revocations does not answer, and may yet do it: /admin/tokens/revoked and the log say more",
            ),
        }
    }))
}

/// Waits until requests that begin now are held to a revocation. False: they are not, and that takes too long.
async fn is_in_force(current: &Current, what: &Revocation) -> bool {
    let holds = |snapshot: &Snapshot| {
        let held = snapshot.keys.revoked().of(&what.issuer, &what.which);
        // What has ended by now need not hold.
        held.is_some_and(|held| held.at >= what.at) || what.until <= SystemTime::now()
    };
    timeout(IN_FORCE, current.until(holds)).await.is_ok()
}

fn read(sources: &Sources, query: &Query<'_>, consumer: &str) -> Result<Revocation, String> {
    if let Some(why) = query.mistake(&["issuer", "jti", "sub", "seconds"]) {
        return Err(why);
    }
    let issuer = query.get("issuer").ok_or("say whose tokens: ?issuer=NAME")?;
    let config = sources.current.load().config.clone();
    let issuer = config.issuers.iter().find(|known| *known.name == *issuer).ok_or("there is no issuer of this name")?;
    let which = match (query.get("jti"), query.get("sub")) {
        (Some(_), Some(_)) => return Err("say either jti or sub".to_owned()),
        (Some(name), _) | (_, Some(name)) if name.len() > LONGEST_NAME => {
            return Err(format!(
                "a jti or sub has {LONGEST_NAME} bytes at most here: revoke the subject, or all of the issuer"
            ));
        }
        (Some(jti), None) => Which::Jti(jti.into()),
        (None, Some(sub)) => Which::Sub(sub.into()),
        (None, None) => Which::All,
    };
    let seconds = query.get("seconds").map(|text| text.parse().ok().filter(|said| (1..=LONGEST).contains(said)));
    let at = SystemTime::now();
    let until = match seconds {
        Some(seconds) => at + Duration::from_secs(seconds.ok_or("seconds is 1 to 31536000")?),
        None => {
            sources.issuers.counts.of(&issuer.name).ended_by(at).clamp(at + SHORTEST, at + Duration::from_secs(LONGEST))
        }
    };
    Ok(Revocation { issuer: issuer.name.clone(), which, at, until, by: consumer.into() })
}
