//! What a gateway of a configuration says of a token, and why: for `lictor token explain`. The token itself goes nowhere; only the keys of
//! its issuer are fetched. Its signature is never shown.

use std::sync::Arc;
use std::time::SystemTime;

use tokio::time::{Duration, Instant};

use super::Issuers;
use crate::config::Config;
use crate::config::identity::{Issuer, Method, Methods};
use crate::token::asking::Look;
use crate::token::{Claims, KeySet, KeySets, Rejection, Unverified, issuer_of};

/// How long an issuer is waited for.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is said of a token.
#[derive(Debug, Default)]
pub struct Explanation {
    /// What is known of it, each with what that is, in the order in which it was found out.
    pub lines: Vec<(&'static str, String)>,
    /// It holds.
    pub holds: bool,
}

impl Explanation {
    /// A token is a stranger's text: nothing of it may move a terminal's cursor.
    fn say(&mut self, what: &'static str, text: impl AsRef<str>) {
        self.lines.push((what, text.as_ref().escape_debug().to_string()));
    }

    fn refused(mut self, rejection: Rejection) -> Explanation {
        self.say("refused", format!("{} ({})", rejection.detail(), rejection.reason()));
        self
    }
}

/// What a gateway of this configuration says of a token. `followed` fetches the keys of its issuers.
pub async fn explain(config: &Config, followed: &Issuers, token: &[u8]) -> Explanation {
    let mut said = Explanation::default();
    let unverified = match Unverified::read(token) {
        Ok(unverified) => unverified,
        Err(rejection @ (Rejection::NotJwt | Rejection::Encrypted)) => {
            for issuer in config.issuers.iter().filter(|issuer| issuer.opaque.is_some()) {
                said.say("opaque", format!("`{}` would be asked about it, which is not done here", issuer.name));
            }
            return said.refused(rejection);
        }
        Err(rejection) => return said.refused(rejection),
    };
    said.say("iss", unverified.iss().unwrap_or_default());
    said.say("kid", unverified.kid().unwrap_or("(none)"));
    let issuer = match issuer_of(&unverified, &config.issuers) {
        Ok(issuer) => issuer.clone(),
        Err(rejection) => return said.refused(rejection),
    };
    said.say("issuer", &*issuer.name);
    let verified = verified(followed, &issuer, token, unverified).await;
    for (_, status) in followed.status.borrow().iter().filter(|(_, status)| status.issuer == issuer.name) {
        said.say("keys", format!("{} from {}", status.keys.len(), status.source));
        if let Some(error) = &status.error {
            said.say("keys", error);
        }
    }
    match verified {
        Ok(claims) => of_claims(said, config, &issuer, &claims),
        Err(rejection) => said.refused(rejection),
    }
}

/// What a token says, by the keys that its issuer is known to have, and if they lack the one that it names, by those that are there once
/// that was asked for: in the order in which a gateway finds it out.
async fn verified(
    followed: &Issuers,
    issuer: &Arc<Issuer>,
    token: &[u8],
    unverified: Unverified<'_>,
) -> Result<Claims, Rejection> {
    let until = Instant::now() + PATIENCE;
    let place = KeySets::place(issuer, unverified.iss().unwrap_or_default()).to_owned();
    let known = keys(followed, &place, None, until).await?;
    match unverified.verify(issuer, &known, SystemTime::now()) {
        Err(Rejection::UnknownKey) => {
            let unverified = Unverified::read(token)?;
            let keys = keys(followed, &place, unverified.kid(), until).await?;
            unverified.verify(issuer, &keys, SystemTime::now())
        }
        verified => verified,
    }
}

/// The keys of a place, among which there is one of this name.
async fn keys(followed: &Issuers, place: &str, kid: Option<&str>, until: Instant) -> Result<Arc<KeySet>, Rejection> {
    loop {
        match followed.asker.keys(place, kid).await {
            Look::Known(keys) => return Ok(keys),
            Look::Unknown => return Err(Rejection::UnknownKey),
            Look::Away { retry_after } if Instant::now() + retry_after < until => {
                tokio::time::sleep(retry_after).await;
            }
            Look::Away { .. } => return Err(Rejection::IssuerUnavailable),
        }
    }
}

/// Whom the token names, and what it opens.
fn of_claims(mut said: Explanation, config: &Config, issuer: &Arc<Issuer>, claims: &Claims) -> Explanation {
    let (claim, consumer) = match claims.consumer(issuer) {
        Ok(found) => found,
        Err(rejection) => return said.refused(rejection),
    };
    let claim: Vec<&str> = claim.0.iter().map(|name| &**name).collect();
    said.say("consumer", format!("{consumer} (claim {})", claim.join(" > ")));
    for (what, text) in [("tenant", claims.tenant(issuer)), ("plan", claims.plan(issuer).map(|plan| &**plan))] {
        if let Some(text) = text {
            said.say(what, text);
        }
    }
    for (role, has) in [("admin", claims.is_admin(issuer)), ("operator", claims.is_operator(issuer))] {
        if has {
            said.say("role", role);
        }
    }
    said.say("scopes", claims.scopes(issuer).join(" "));
    let left = claims.expires().duration_since(SystemTime::now()).unwrap_or_default();
    said.say("expires", format!("in {} s", left.as_secs()));
    if claims.cnf_jkt().is_some() {
        said.say("bound", "to a key: each request needs a proof (DPoP)");
    }
    for route in &config.routes {
        let Some(demand) = route.policy.auth.as_deref() else { continue };
        let (Methods::Any(methods) | Methods::All(methods)) = &demand.methods;
        if !methods.contains(&Method::Issuer(issuer.name.clone())) {
            continue;
        }
        let scope = demand.scopes.iter().find(|scope| !claims.has_scope(issuer, scope));
        let narrowed = !demand.audience.is_empty() && !claims.is_for(&demand.audience);
        let why = if narrowed || !claims.is_for_routes(issuer) {
            "401: it is for another audience".to_owned()
        } else if let Some(scope) = scope {
            format!("403: it lacks the scope {scope}")
        } else if !demand.claims.iter().all(|demanded| claims.holds(demanded)) {
            "403: a claim is not as the route demands".to_owned()
        } else if matches!(demand.methods, Methods::All(_)) && methods.len() > 1 {
            "it counts, beside the other credential".to_owned()
        } else {
            "it counts".to_owned()
        };
        said.say("route", format!("{}: {why}", route.name));
    }
    said.holds = true;
    said
}

#[cfg(test)]
mod tests {
    use tokio::sync::watch;

    use super::*;
    use crate::config::{Environment, Overrides, parse};

    #[tokio::test]
    async fn a_token_is_refused_for_the_reason_that_a_gateway_has_and_its_signature_is_not_shown() {
        let text = "[[issuer]]\nname = \"corp\"\nissuer = \"https://a.example\"\naudience = \"api\"\nkeys = { secret = \"0123456789abcdef0123456789abcdef\" }\n[[consumer]]\nname = \"a\"\nkeys = \"sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08\"\n";
        let config = parse(Some(text), "test", Overrides::default(), &Environment::default());
        let config = config.unwrap_or_else(|errors| panic!("{errors}"));
        // {"alg":"HS256"} {"iss":"https://a.example","aud":"api","exp":9999999999}
        let token = b"eyJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJodHRwczovL2EuZXhhbXBsZSIsImF1ZCI6ImFwaSIsImV4cCI6OTk5OTk5OTk5OX0.AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
        let (_keep, configs) = watch::channel(Arc::new(config.clone()));
        let followed = crate::issuers::start(&configs, Default::default(), &Default::default());
        let said = explain(&config, &followed, token).await;
        let (what, last) = said.lines.last().expect("a verdict");
        assert!(!said.holds && *what == "refused" && last.contains("bad_signature"), "{said:?}");
        assert!(said.lines.contains(&("issuer", "corp".to_owned())), "{said:?}");
        assert!(!format!("{said:?}").contains("AAAA"), "{said:?}");
        assert_eq!(explain(&config, &followed, b"x").await.lines[0].0, "refused");
    }
}
