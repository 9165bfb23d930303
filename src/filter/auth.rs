//! Who calls: finds the consumer whose credential a request carries. Where a route asks for API keys alone, as most do, no more than this
//! file is asked.

mod challenge;
mod demanded;
mod denied;
mod nonces;
mod passwords;
mod presented;
mod proofs;
mod remembered;
mod tokens;
mod unknown_keys;
mod verified;
mod waiting;

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use http::HeaderMap;
use http::request::Parts;

use super::{Passing, Refusal, Step};
use tokio::time::Instant;

use crate::config::identity::{Demand, Issuer, Method, Methods};
use crate::config::{self, Config};
use crate::io::{Client, Learnt};
use crate::request::{Consumer, LimitsKey, Roles, Source};
use crate::token::KeySets;
use crate::token::asking::Asker;
use crate::token::counts::{Counted, Counts};
use crate::worker::WorkerId;
use demanded::Identity;
pub use denied::Denied;
use presented::SCHEME;
pub use presented::is_api_key;
use proofs::Proofs;
use remembered::{Remembered, Version};
use tokens::{Asking, Halt, Named};
use unknown_keys::UnknownKeys;
pub use waiting::Waiting;

/// Where clients find out which issuers count (RFC 9728 section 3).
pub const METADATA: &str = "/.well-known/oauth-protected-resource";

/// Keys of more bytes than this are unknown without a look: nobody has such a key, and to digest it would cost time.
const LONGEST: usize = 256;

/// Whose credentials count: the consumers of a configuration by the SHA-256 digests of their keys, and its issuers with the keys that they
/// have now.
#[derive(Debug)]
pub struct Auth {
    keys: HashMap<[u8; 32], Arc<Consumer>, foldhash::fast::RandomState>,
    issuers: Vec<Arc<Issuer>>,
    /// The counts of each issuer, in the same order.
    counted: Vec<Arc<Counted>>,
    sets: Arc<KeySets>,
    version: Version,
    public_url: Option<String>,
    /// Where the metadata of this resource lies, if it is served (RFC 9728).
    metadata: Option<String>,
    /// What `/admin` demands, where tokens open it, too.
    admin: Option<Demand>,
    /// Who has a password.
    holders: passwords::Holders,
    shared: Arc<Shared>,
}

/// Who asks for a page of `/admin`.
#[derive(Debug)]
pub struct Caller {
    /// They.
    pub consumer: Arc<Consumer>,
    /// The issuer of their token, if they came with one.
    pub issuer: Option<Arc<str>>,
}

/// What outlives configurations and keys.
#[derive(Debug)]
pub struct Shared {
    /// Who is asked for what is not known here; `None`: nobody.
    asker: Option<Asker>,
    counts: Counts,
    unknown_keys: Arc<UnknownKeys>,
    proofs: Proofs,
    passwords: passwords::Passwords,
}

/// What one worker remembers.
#[derive(Debug)]
pub struct Local {
    /// Which one it is.
    worker: WorkerId,
    tokens: RefCell<Remembered>,
    passwords: RefCell<passwords::Known>,
}

impl Local {
    /// Of a worker that has seen nothing yet.
    pub fn new(worker: WorkerId) -> Local {
        Local { worker, tokens: RefCell::default(), passwords: RefCell::default() }
    }
}

impl Shared {
    /// Nobody has shown anything yet. `counts` counts tokens.
    pub fn new(asker: Option<Asker>, counts: Counts) -> Shared {
        let (unknown_keys, proofs, passwords) = Default::default();
        Shared { asker, counts, unknown_keys, proofs, passwords }
    }
}

/// Finds out who asks.
pub(super) fn before(auth: &Auth, demand: &Demand, passing: &mut Passing<'_>) -> Step {
    if !is_key_alone(demand) {
        return demanded::before(auth, demand, passing);
    }
    let Passing { head, client, facts, .. } = passing;
    match auth.check(&head.headers, &client.learnt, facts.client, facts.began) {
        Ok(consumer) => {
            facts.consumer = Some(consumer.clone());
            Step::Continue
        }
        Err(denied) => Step::Refuse(denied.into()),
    }
}

/// Whether nothing but an API key counts, and nobody comes without.
fn is_key_alone(demand: &Demand) -> bool {
    let (Methods::Any(methods) | Methods::All(methods)) = &demand.methods;
    matches!(&methods[..], [Method::Key]) && !demand.optional
}

impl Auth {
    /// Takes the consumers and the issuers of a configuration, with the keys that they have now.
    pub fn new(config: &Config, sets: &Arc<KeySets>, shared: &Arc<Shared>) -> Auth {
        let keys = config.consumers.iter().flat_map(|written| {
            let consumer = Arc::new(identity(written));
            written.keys.iter().map(move |digest| (*digest, consumer.clone()))
        });
        Auth {
            keys: keys.collect(),
            counted: config.issuers.iter().map(|issuer| shared.counts.of(&issuer.name)).collect(),
            issuers: config.issuers.clone(),
            sets: sets.clone(),
            version: Version { keys: sets.version(), config: config.version },
            public_url: config.public_url.clone(),
            metadata: metadata(config),
            admin: admin(config),
            holders: config.consumers.iter().filter_map(holder).collect(),
            shared: shared.clone(),
        }
    }

    /// The consumer whose key a request carries, in `X-API-Key` or `Authorization: ApiKey`.
    ///
    /// # Errors
    /// When there is no such consumer. Only an unknown key is counted, for the client's address.
    pub fn check(
        &self,
        headers: &HeaderMap,
        learnt: &Learnt,
        client: IpAddr,
        now: Instant,
    ) -> Result<&Arc<Consumer>, Denied> {
        let key = presented(headers)?.ok_or(Denied::NoKey)?;
        self.holder(key, learnt, client, now)
    }

    /// The consumer of a key. One that is unknown is counted for the client's address.
    #[inline]
    fn holder(&self, key: &[u8], learnt: &Learnt, client: IpAddr, now: Instant) -> Result<&Arc<Consumer>, Denied> {
        self.known(key, learnt).ok_or_else(|| match self.shared.unknown_keys.count(client, now) {
            Some(wait) => Denied::TooManyUnknown(wait),
            None => Denied::UnknownKey,
        })
    }

    /// Who asks for a page of `/admin`, whose role is yet to be looked at. `None`: something must be asked first, for which the request is
    /// to wait before it comes here again.
    ///
    /// # Errors
    /// When no credential names them.
    pub fn of_admin(
        &self,
        head: &Parts,
        (client, address): (&Client, IpAddr),
        local: &Local,
        waiting: &mut Option<Box<Waiting>>,
    ) -> Result<Option<Caller>, Refusal> {
        let began = Instant::now();
        let Some(demand) = &self.admin else {
            let consumer = self.check(&head.headers, &client.learnt, address, began)?.clone();
            return Ok(Some(Caller { consumer, issuer: None }));
        };
        let named = Named::default();
        let mut asking = Asking { head, client, address, began, waiting, local, for_admin: true, named };
        let denied = match demanded::identity(self, demand, &mut asking) {
            Ok(Identity { consumer: Some(consumer), token, .. }) => {
                return Ok(Some(Caller { consumer, issuer: token.map(|token| token.issuer.clone()) }));
            }
            Ok(_) => Denied::NoCredential,
            Err(Halt::Wait) => return Ok(None),
            Err(Halt::Denied(denied)) => denied,
        };
        Err(challenge::refusal(denied, demand, &self.issuers, self.metadata.as_deref()))
    }

    /// What the next one shares with it.
    pub fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// The counts of an issuer of this configuration.
    fn counted(&self, issuer: &Arc<Issuer>) -> &Arc<Counted> {
        let place = self.issuers.iter().position(|own| Arc::ptr_eq(own, issuer));
        place.and_then(|place| self.counted.get(place)).unwrap_or_else(|| self.shared.counts.of_nobody())
    }

    /// The consumer of a key. Of each connection's last key the digest is kept, so that only another key is digested.
    fn known(&self, key: &[u8], learnt: &Learnt) -> Option<&Arc<Consumer>> {
        if key.is_empty() || key.len() > LONGEST {
            return None;
        }
        let before = learnt.digest(key, |known, key| verify_slices_are_equal(known, key).is_ok());
        let given: [u8; 32] = match before {
            Some(digest) => digest,
            None => digest(&SHA256, key).as_ref().try_into().ok()?,
        };
        let consumer = self.keys.get(&given)?;
        if before.is_none() {
            learnt.learn(key, given);
        }
        Some(consumer)
    }
}

/// Where the metadata of this resource lies: nowhere, unless the configuration says by which URL clients call it.
fn metadata(config: &Config) -> Option<String> {
    let url = config.public_url.as_ref().filter(|_| !config.issuers.is_empty())?;
    Some(format!("{url}{METADATA}"))
}

/// What `/admin` demands where tokens open it: a key, or a token that is for it, of an issuer that says who may.
fn admin(config: &Config) -> Option<Demand> {
    let issuers = config.issuers.iter().filter(|issuer| issuer.opens_admin());
    let methods = issuers.map(|issuer| Method::Issuer(issuer.name.clone()));
    let methods = Methods::Any([Method::Key].into_iter().chain(methods).collect());
    let audience = config.admin.audience.clone();
    let (scopes, claims) = (Vec::new(), Vec::new());
    let demand = Demand { methods, optional: false, scopes, audience, claims, cookie: None, pass: false };
    (!demand.audience.is_empty()).then_some(demand)
}

/// The name of a consumer with a password, and what it is compared with.
fn holder(written: &config::Consumer) -> Option<(Box<str>, passwords::Holder)> {
    let hash = written.password.as_ref()?.0.as_str().into();
    Some((written.name.as_str().into(), (hash, Arc::new(identity(written)))))
}

/// A consumer as the configuration describes them.
fn identity(written: &config::Consumer) -> Consumer {
    Consumer {
        name: written.name.as_str().into(),
        tenant: None,
        plan: written.plan.as_ref().map(|plan| plan.name.clone()),
        roles: Roles { admin: written.admin, operator: written.operator },
        limits_key: LimitsKey::of(Source::Configuration, &written.name),
        source: Source::Configuration,
    }
}

/// The one key that a request carries.
fn presented(headers: &HeaderMap) -> Result<Option<&[u8]>, Denied> {
    let mut key = None;
    for (name, value) in headers {
        let given = match name.as_str() {
            "x-api-key" => value.as_bytes(),
            "authorization" if is_api_key(value) => value.as_bytes()[SCHEME.len()..].trim_ascii(),
            _ => continue,
        };
        if key.replace(given).is_some() {
            return Err(Denied::SeveralKeys);
        }
    }
    Ok(key)
}

#[cfg(test)]
mod tests;
