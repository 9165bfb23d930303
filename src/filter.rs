//! What a request passes before anybody is asked for its answer: filters in one order, each in a file of its own. Their answers pass
//! them again on the way back, in the reverse order.
//!
//! A filter is a variant of [`Filter`] and three functions: `before` looks at a request and lets it go on, answers it, or says that
//! it must wait; `wait` does the waiting, after which `before` is asked again; `after` adds to an answer. To add one: its file; here its
//! variant with its place in [`Filter::ORDER`], and what it shares ([`Filters`]) or remembers ([`Notes`]), if anything; its
//! configuration; its tests. The cache is no filter: `proxy/fetch` asks it.

pub mod auth;
pub mod cache;
pub mod cors;
pub mod limit;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Response, StatusCode};

use crate::config::Config;
use crate::config::routes::Route;
use crate::io::Client;
use crate::request::Facts;
use crate::token::KeySets;
use auth::Auth;
pub use auth::{Local, Shared};
use limit::Limits;

/// A step that requests pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filter {
    /// Which pages of other origins may ask, and read the answers.
    Cors,
    /// Who asks.
    Auth,
    /// How often they may.
    Limit,
    /// One that lets requests wait, to test that they can: the first time, the second time.
    #[cfg(test)]
    Pause(u32),
}

/// What the filters know that is not of one request: part of each snapshot.
#[derive(Debug)]
pub struct Filters {
    /// Who may call.
    pub auth: Auth,
    /// How often.
    pub limits: Limits,
}

/// A request as a filter sees it.
pub struct Passing<'a> {
    /// Its head, as the client sent it.
    pub head: &'a Parts,
    /// Who connected.
    pub client: &'a Client,
    /// Its route.
    pub route: &'a Route,
    /// What is known of it.
    pub facts: &'a mut Facts,
    /// What filters remember of it until its answer passes.
    pub notes: &'a mut Notes,
    /// What its worker remembers.
    pub local: &'a Local,
}

/// Without its head: there are credentials in it.
impl fmt::Debug for Passing<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Passing").field("route", &self.route.name).field("facts", &self.facts).finish_non_exhaustive()
    }
}

/// What filters remember of one request until its answer passes.
#[derive(Debug, Default)]
pub struct Notes {
    /// Of cross-origin sharing, where the route has a word on that.
    pub cors: Option<cors::Notes>,
    /// What is asked about its token.
    pub auth: Option<Box<auth::Waiting>>,
    /// Of limits.
    pub limit: [Option<limit::Remaining>; 2],
    /// How often it has waited.
    #[cfg(test)]
    pub paused: u32,
}

/// What becomes of a request at a filter.
#[derive(Debug)]
pub enum Step {
    /// It goes on.
    Continue,
    /// This is its answer.
    Answer(Response<Bytes>),
    /// It is refused, with a page that says why.
    Refuse(Refusal),
    /// It must wait for something: see [`Filter::wait`].
    Wait,
}

/// Why a filter refuses a request, in every respect that its page and the log need.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The status of the page.
    pub status: StatusCode,
    /// One stable word.
    pub reason: &'static str,
    /// A sentence for the caller, without its final dot.
    pub detail: &'static str,
    /// When it is worth to ask again.
    pub retry_after: Option<Duration>,
    /// How to authenticate, one for each method, as `WWW-Authenticate` says it (RFC 9110 section 11.6.1).
    pub challenges: Vec<HeaderValue>,
    /// What the next proof of possession must have (RFC 9449 section 9), as `DPoP-Nonce` says it.
    pub nonce: Option<HeaderValue>,
}

impl Filter {
    /// All of them, in the order in which requests pass.
    #[cfg(not(test))]
    pub const ORDER: &[Filter] = &[Filter::Cors, Filter::Auth, Filter::Limit];
    /// All of them, and one that waits before and behind another.
    #[cfg(test)]
    pub const ORDER: &[Filter] = &[Filter::Cors, Filter::Auth, Filter::Pause(1), Filter::Limit, Filter::Pause(2)];

    /// Looks at a request on its way in.
    pub fn before(self, filters: &Filters, passing: &mut Passing<'_>) -> Step {
        match self {
            Filter::Cors => match &passing.route.cors {
                Some(cors) => cors::before(cors, passing),
                None => Step::Continue,
            },
            Filter::Auth => match passing.route.policy.auth.as_deref() {
                Some(demand) => auth::before(&filters.auth, demand, passing),
                None => Step::Continue,
            },
            Filter::Limit => limit::before(&filters.limits, passing),
            #[cfg(test)]
            Filter::Pause(nth) if passing.head.headers.contains_key("x-pause") && passing.notes.paused < nth => {
                Step::Wait
            }
            #[cfg(test)]
            Filter::Pause(_) => Step::Continue,
        }
    }

    /// Waits for what `before` asked to wait for. Then `before` is asked again.
    pub async fn wait(self, notes: &mut Notes) {
        match self {
            // They know all they need: from the configuration, and from memory.
            Filter::Cors | Filter::Limit => {}
            Filter::Auth => {
                if let Some(waiting) = &mut notes.auth {
                    waiting.end().await;
                }
            }
            #[cfg(test)]
            Filter::Pause(_) => {
                tokio::time::sleep(Duration::from_secs(1)).await; // paused time: the waiting itself
                notes.paused += 1;
            }
        }
    }

    /// Adds to an answer on its way out, whoever gave it.
    pub fn after(self, route: &Route, notes: &mut Notes, headers: &mut HeaderMap) {
        match self {
            Filter::Cors => {
                if let Some(cors) = &route.cors {
                    cors::after(cors, notes.cors.take(), headers);
                }
            }
            Filter::Auth => {}
            Filter::Limit => limit::after(&mut notes.limit, headers),
            #[cfg(test)]
            Filter::Pause(_) => {}
        }
    }
}

impl Filters {
    /// For a configuration, and the keys that its issuers have. What clients have used of limits that stay as they are, stays used.
    pub fn new(config: &Config, keys: &Arc<KeySets>, shared: &Arc<Shared>, before: Option<&Filters>) -> Filters {
        let limits = Limits::new(config, before.map(|before| &before.limits));
        Filters { auth: Auth::new(config, keys, shared), limits }
    }
}
