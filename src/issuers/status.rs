//! How issuers fare, for admin.

use std::sync::Arc;
use std::time::SystemTime;

use tokio::time::Instant;

use super::followed::{Followed, Held};
use super::listing::shown;
use crate::config::identity::Algorithm;
use crate::token::{Key, Kind, LeftOut};

pub use super::introspection::figures::{Figures, State};

/// The keys of one place: of an issuer, or of one of its tenants.
#[derive(Clone, Debug)]
pub struct KeysStatus {
    /// The issuer's name.
    pub issuer: Arc<str>,
    /// What its tokens say in `iss`, or the pattern of it.
    pub iss: Arc<str>,
    /// Where the keys come from.
    pub source: String,
    /// The keys that verify.
    pub keys: Vec<KeyStatus>,
    /// Those that do not, and why.
    pub left_out: Vec<LeftOut>,
    /// When they were fetched last; `None`: never.
    pub taken: Option<Instant>,
    /// When they changed last.
    pub changed: Option<SystemTime>,
    /// When they are fetched next; `None`: they are being fetched.
    pub next: Option<Instant>,
    /// Why the last fetch failed, if it did.
    pub error: Option<String>,
    /// How many fetches were begun. Looks at files do not count.
    pub fetches: u64,
    /// How many fetches, or looks, failed.
    pub failures: u64,
}

/// A key that verifies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyStatus {
    /// Its name, if it has one.
    pub kid: Option<String>,
    /// Its kind.
    pub kind: Kind,
    /// The algorithms that it verifies.
    pub algorithms: Vec<Algorithm>,
    /// What it is for, as it says (RFC 7517 section 4.2).
    pub usage: Option<String>,
}

/// How a place fares.
pub(crate) fn of(followed: &Followed) -> KeysStatus {
    let held = followed.held.as_ref();
    KeysStatus {
        issuer: followed.place.issuer.name.clone(),
        iss: followed.place.iss.clone(),
        source: followed.place.source(),
        keys: held.map(|held| held.set.keys.iter().map(|key| of_key(key, held)).collect()).unwrap_or_default(),
        left_out: held.map(left_out).unwrap_or_default(),
        taken: held.map(|held| held.taken),
        changed: held.map(|held| held.changed),
        next: followed.fetching.is_none().then_some(followed.next),
        error: followed.error.clone(),
        fetches: followed.fetches,
        failures: followed.failures,
    }
}

fn of_key(key: &Key, held: &Held) -> KeyStatus {
    let kid = key.kid().map(shown);
    let listed = held.listed.iter().find(|listed| listed.kid == kid);
    let usage = listed.and_then(|listed| listed.usage.clone());
    KeyStatus { kid, kind: key.kind(), algorithms: key.algorithms().to_vec(), usage }
}

fn left_out(held: &Held) -> Vec<LeftOut> {
    let of = |left_out: &LeftOut| LeftOut { kid: left_out.kid.as_deref().map(shown), why: left_out.why.clone() };
    held.set.left_out.iter().map(of).collect()
}
