//! `/admin/compose` and `/admin/compose/NAME`, and what the terminal says of an aggregate that it asked for.

use serde::{Deserialize, Serialize};

use super::config::Claim;

/// Aggregates, and the memory that they hold.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Page {
    /// Where clients ask, as the configuration says it.
    pub listeners: Vec<String>,
    /// The memory that those under way hold.
    pub memory: Memory,
    /// Each that a route uses.
    pub composes: Vec<Compose>,
}

/// The memory that aggregates under way hold.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Memory {
    /// The most bytes.
    pub bound: u64,
    /// The bytes that they hold, or that are set aside for them.
    pub held: u64,
    /// How many aggregates wait for room.
    pub waiting: u64,
    /// How often one had to wait, since the start.
    pub waited: u64,
    /// How often one waited in vain, since the start.
    pub refused: u64,
}

/// Calls that make one answer together.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Compose {
    /// Its name.
    pub name: String,
    /// How long the whole may take.
    pub deadline_ms: u64,
    /// The most bytes of its answer.
    pub size: u64,
    /// What came of it since the start; what the store answered is not counted.
    pub answers: Answers,
    /// The last ones; null where there are none.
    pub of_late: Option<OfLate>,
    /// The routes that use it.
    pub routes: Vec<Route>,
    /// The calls in rounds: those of a round need nothing of each other, and something of the round before.
    pub rounds: Vec<Vec<String>>,
    /// The calls, each after those that it needs.
    pub calls: Vec<Call>,
}

/// How many aggregates had which outcome.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Answers {
    /// Nothing was missing.
    pub complete: u64,
    /// There was an answer, and something was missing.
    pub partial: u64,
    /// There was no answer.
    pub failed: u64,
}

/// The last aggregates, at most 32 of each route.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct OfLate {
    /// When the first of them ended.
    pub since: String,
    /// How many there are.
    pub count: u64,
    /// How many of them had an answer with something missing.
    pub partial: u64,
    /// How many of them had none.
    pub failed: u64,
    /// How long half of them took at most.
    pub median_ms: f64,
    /// How long all of them took at most.
    pub longest_ms: f64,
}

/// A route whose answers are aggregates.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Route {
    /// Its name.
    pub name: String,
    /// Its path.
    pub path: String,
    /// Clients may choose members of its answers.
    pub fields: bool,
    /// The shapes of its answers, the last of which is for everybody.
    pub fronts: Vec<Front>,
}

/// A shape of a route's answers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Front {
    /// The plan of the callers whom it is for; null: any.
    pub plan: Option<String>,
    /// What the tokens of these callers say.
    pub claims: Vec<Claim>,
    /// The expression; null: an object with a member for each call.
    pub shape: Option<String>,
    /// The calls that are not made for it, because it needs none of them.
    pub not_made: Vec<String>,
}

/// A call.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Call {
    /// Its name.
    pub name: String,
    /// The service that is asked.
    pub service: String,
    /// The method.
    pub method: String,
    /// The path, with its values in braces.
    pub path: String,
    /// The calls whose answers it needs.
    pub needs: Vec<String>,
    /// The list that it is made for each element of.
    pub each: Option<Each>,
    /// The condition on which it is made.
    pub when: Option<String>,
    /// What becomes of the whole when it fails, as the configuration says it; by status first, where that is said.
    pub on_error: String,
    /// Whether its answers are stored.
    pub cached: bool,
    /// How many of its requests were answered as was expected, since the start.
    pub answered: u64,
    /// How many were answered by the store.
    pub stored: u64,
    /// How many failed.
    pub failed: u64,
    /// How long they took on average; null where there were none.
    pub mean_ms: Option<f64>,
}

/// A list that a call is made for each element of.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Each {
    /// Where it is: a call, and members of its answer.
    pub list: String,
    /// The most elements.
    pub most: u64,
    /// How many requests are under way at once.
    pub at_once: u64,
}

/// One compose, and how it went the last times.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Detail {
    /// What it is.
    #[serde(flatten)]
    pub compose: Compose,
    /// The last ones, the newest first; at most 32 of each route.
    pub runs: Vec<Run>,
}

/// One aggregate whose calls were made.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Run {
    /// The request's id, which its answer has as `X-Request-Id`.
    pub id: String,
    /// The route's name.
    pub route: String,
    /// When it ended.
    pub at: String,
    /// How long it took.
    pub took_ms: f64,
    /// `complete`, `partial` or `failed`.
    pub outcome: String,
    /// Why there was no answer.
    pub reason: Option<String>,
    /// The call with which it failed.
    pub failed: Option<String>,
    /// The calls that were not made, because nothing that its client got needs them.
    pub not_made: Vec<String>,
    /// The requests that were made, in the order in which they ended.
    pub parts: Vec<Part>,
}

/// One request of a call.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Part {
    /// The call.
    pub call: String,
    /// For which element of its list, where it has one; the first is 0.
    pub element: Option<u64>,
    /// From the beginning of the whole to its own.
    pub began_ms: f64,
    /// From then to its end.
    pub took_ms: f64,
    /// Its answer's status.
    pub status: Option<u16>,
    /// Why it failed; `abandoned`: the whole had failed before its answer came.
    pub reason: Option<String>,
    /// The instance that was tried last.
    pub instance: Option<String>,
    /// How many attempts there were.
    pub attempts: u32,
    /// What the cache did: `hit`, `miss`, `pass`, `collapsed`, `revalidated`; null where it had no part.
    pub cache: Option<String>,
    /// Bytes of its answer's body.
    pub bytes: u64,
}

/// What came of an aggregate that the terminal asked for.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Tried {
    /// The answer's status.
    pub status: u16,
    /// What is missing, as `Lictor-Partial` says it.
    pub partial: Option<String>,
    /// What the cache did, as `Cache-Status` says it.
    pub cache: Option<String>,
    /// The `X-Request-Id` of the answer.
    pub request_id: Option<String>,
    /// Bytes of the answer's body.
    pub bytes: u64,
    /// From the request to the answer's last byte, as it looks from here.
    pub took_ms: f64,
    /// The host that was asked without any credential, where it is not known to be the gateway's.
    pub without_key: Option<String>,
    /// The name of the compose whose calls were made.
    pub compose: Option<String>,
    /// How that went; null where no calls were made, or where so many others came after it that it is forgotten.
    pub run: Option<Run>,
}
