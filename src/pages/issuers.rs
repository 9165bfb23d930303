//! `/admin/issuers`, `/admin/tokens/revoked` and `/admin/tokens/revoke`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Who vouches for callers, and what became of their tokens.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Page {
    /// Each issuer of the configuration.
    pub issuers: Vec<Issuer>,
    /// Tokens that name no issuer of the configuration, or that are none, by the reason.
    pub refused: BTreeMap<String, u64>,
    /// How many revocations hold.
    pub revocations: u64,
}

/// An issuer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Issuer {
    /// Its name.
    pub name: String,
    /// How many tokens were accepted.
    pub accepted: u64,
    /// How many were refused, by the reason.
    pub refused: BTreeMap<String, u64>,
    /// Its keys; where each tenant's are discovered for themselves, those of each tenant.
    pub key_sets: Vec<KeySet>,
    /// How it answers questions about tokens that only it understands, where it is asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub introspection: Option<Introspection>,
}

/// Keys that are fetched and kept together.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct KeySet {
    /// What the tokens that they sign say in `iss`.
    pub issuer: String,
    /// `discovery`, a URL, a file, or `a secret`.
    pub source: String,
    /// Those that verify.
    pub keys: Vec<Key>,
    /// Those that do not.
    pub left_out: Vec<LeftOut>,
    /// How many milliseconds ago they were fetched; null: never.
    pub age_ms: Option<u64>,
    /// When they became others.
    pub changed: Option<String>,
    /// In how many milliseconds they are fetched again; null while they are.
    pub next_refresh_ms: Option<u64>,
    /// Why the last fetch failed, if it did.
    pub error: Option<String>,
    /// How many fetches were begun.
    pub fetches: u64,
    /// How many of them failed.
    pub failures: u64,
}

/// A key that verifies.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Key {
    /// Its name, if it has one.
    pub kid: Option<String>,
    /// Its kind, with its curve: `RSA`, `EC P-256`, `OKP Ed25519`, `secret`.
    pub kty: String,
    /// The algorithms that it verifies.
    pub alg: Vec<String>,
    /// What it is for, as it says.
    #[serde(rename = "use")]
    pub usage: Option<String>,
}

/// A key that does not verify.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct LeftOut {
    /// Its name, if it has one.
    pub kid: Option<String>,
    /// Why: the end of a sentence that begins with "the key".
    pub why: String,
}

/// How an issuer answers questions about tokens.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Introspection {
    /// The state of its breaker: `closed` or `open`.
    pub breaker: String,
    /// Questions that are under way.
    pub under_way: u64,
    /// Tokens of which it said that they hold.
    pub active: u64,
    /// Tokens that do not hold.
    pub refused: u64,
    /// Those among them of which it did not say so, but refused the question, by 403 or 404: where it does that to all of them, our client
    /// may not ask.
    pub declined: u64,
    /// How it refused the last of these questions.
    pub declined_why: Option<String>,
    /// Questions that it did not answer.
    pub failed: u64,
    /// Requests that were answered from what it said before.
    pub remembered: u64,
    /// Requests that waited for the question of another one.
    pub coalesced: u64,
    /// Requests whose question was not asked.
    pub unavailable: u64,
    /// Why the last question was not answered, if it was not.
    pub error: Option<String>,
}

/// What was revoked.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Revocations {
    /// How many revocations hold.
    pub count: u64,
    /// They are in a file from which the next start reads them.
    pub survives_restart: bool,
    /// Those that were asked for, at most 1,000.
    pub revocations: Vec<Revocation>,
}

/// Tokens that were revoked: of a `jti`, of a `sub`, or all of an issuer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Revocation {
    /// The issuer's name.
    pub issuer: String,
    /// The token with this `jti`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jti: Option<String>,
    /// Those of this `sub` that were issued until then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sub: Option<String>,
    /// When it was said.
    pub at: String,
    /// Until when it holds.
    pub until: String,
    /// The consumer who said it.
    pub by: String,
}

/// What a revocation did.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Revoked {
    /// Until when it holds.
    pub until: String,
    /// How many revocations hold now.
    pub count: u64,
    /// It is in a file from which the next start reads it.
    pub survives_restart: bool,
}
