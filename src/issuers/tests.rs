//! Issuers that behave, and issuers that do not.

mod explaining;
mod fetching;
mod following;
mod guessing;
mod introspecting;
mod revoking;
pub(crate) mod script;
mod server;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::http::Http;
use super::{Issuers, start_by};
use crate::config::identity::{Audience, Dpop, Encoding, Introspection, Iss, Issuer, Keys};
use crate::config::{Config, Environment, Overrides, Secret, parse};
use crate::supervisor::Supervisor;
use crate::token::KeySet;
use crate::token::asking::Look;
use crate::token::revoked::Revocations;
use script::{Reply, Script};

/// An issuer whose keys are discovered.
pub(crate) fn issuer(name: &str, iss: &str) -> Issuer {
    Issuer {
        name: name.into(),
        iss: Iss::Exact(iss.into()),
        keys: Keys::Discovery,
        keys_origin: Vec::new(),
        audience: Audience::Unchecked,
        admin_audience: Vec::new(),
        require: Vec::new(),
        typ: Vec::new(),
        algorithms: None,
        leeway: Duration::from_secs(30),
        consumer: Vec::new(),
        tenant: None,
        scopes_from: Vec::new(),
        plan: None,
        admin: None,
        operator: None,
        forward: Vec::new(),
        opaque: None,
        dpop: Dpop::Off,
    }
}

/// One whose keys lie at a URL.
fn with_url(name: &str, url: &str) -> Issuer {
    Issuer { keys: Keys::Url(url.into()), ..issuer(name, "https://corp.example") }
}

/// One that is asked about its tokens at a URL.
fn with_introspection(url: &str) -> Issuer {
    let secret = Secret::Text("a:b secret".into());
    let opaque = Introspection { url: url.into(), client: "lictor".into(), secret, remember: Duration::from_secs(30) };
    Issuer { opaque: Some(opaque), ..with_url("corp", KEYS) }
}

const MINUTE: Duration = Duration::from_secs(60);

/// Where keys lie.
const KEYS: &str = "https://corp.example/keys";

/// The public key of RFC 8037 appendix A.2.
const X: &str = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";

/// A JWK Set of these names, with keys of the Edwards curve of RFC 8037 appendix A.2.
fn jwks(kids: &[&str]) -> String {
    let key =
        |kid: &&str| format!(r#"{{"kty":"OKP","crv":"Ed25519","alg":"EdDSA","use":"sig","kid":"{kid}","x":"{X}"}}"#);
    format!(r#"{{"keys":[{}]}}"#, kids.iter().map(key).collect::<Vec<_>>().join(","))
}

/// Lets paused time pass.
async fn after(time: Duration) {
    tokio::time::sleep(time).await; // paused time
}

/// A world with one issuer whose keys lie at a URL, and were fetched.
async fn fetched(script: &Script, kids: &[&str]) -> World {
    script.says(KEYS, Reply::body(jwks(kids)));
    let world = World::scripted(script, vec![with_url("corp", KEYS)]);
    world.until_known("corp", kids[0]).await;
    world
}

/// What is followed in a test.
struct World {
    issuers: Issuers,
    supervisor: Supervisor,
    configs: watch::Sender<Arc<Config>>,
}

impl World {
    fn new(http: Http, issuers: Vec<Issuer>) -> World {
        let supervisor = Supervisor::default();
        let (configs, seen) = watch::channel(config(issuers));
        World { issuers: start_by(http, &seen, Revocations::default(), &supervisor), supervisor, configs }
    }

    /// One whose issuers a script plays, so that time can stand still.
    fn scripted(script: &Script, issuers: Vec<Issuer>) -> World {
        World::new(Http::scripted(script.clone()), issuers)
    }

    fn reconfigure(&self, issuers: Vec<Issuer>) {
        self.configs.send_replace(config(issuers));
    }

    /// The keys of a place, now.
    fn keys(&self, place: &str) -> Option<Arc<KeySet>> {
        self.issuers.keys.borrow().at(place).cloned()
    }

    /// Whether a key is known, without asking.
    fn knows(&self, place: &str, kid: &str) -> bool {
        self.keys(place).is_some_and(|set| set.has(Some(kid)))
    }

    /// Asks for a key of the issuer.
    async fn ask(&self, kid: &str) -> Look {
        self.issuers.asker.keys("corp", Some(kid)).await
    }

    /// Waits until a key is known.
    async fn until_known(&self, place: &str, kid: &str) {
        let mut keys = self.issuers.keys.clone();
        let known = keys.wait_for(|keys| keys.at(place).is_some_and(|set| set.has(Some(kid))));
        tokio::time::timeout(Duration::from_secs(20), known)
            .await
            .expect("it is known in time")
            .expect("it is followed");
    }

    /// Waits until the status of the first place fits.
    async fn until(&self, fits: impl Fn(&super::KeysStatus) -> bool) -> super::KeysStatus {
        let mut status = self.issuers.status.clone();
        let fitting = status.wait_for(|all| all.values().next().is_some_and(|first| fits(first)));
        let all =
            tokio::time::timeout(Duration::from_secs(20), fitting).await.expect("in time").expect("it is followed");
        all.values().next().map(|first| (**first).clone()).expect("there is one")
    }
}

fn config(issuers: Vec<Issuer>) -> Arc<Config> {
    let text = "[[service]]\nname = \"orders\"\ninstances = [\"127.0.0.1:1\"]\n[api]\nauth = false\n";
    let config = parse(Some(text), "test", Overrides::default(), &Environment::of(&[])).expect("it is valid");
    Arc::new(Config { issuers: issuers.into_iter().map(Arc::new).collect(), ..config })
}
