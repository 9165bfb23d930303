//! Where answers belong: scheme, host, path and query, and the request headers that they are known to depend on.

use std::fmt::Write;

use http::{HeaderMap, HeaderName};

use crate::config::Route;
use crate::filter::auth::X_API_KEY;

/// Request headers that an answer may depend on, in bytes together.
const VARIANT: usize = 1024;

/// What is asked for, as the client says it.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// `http`, or `https` where a trusted proxy says so.
    pub scheme: &'a str,
    /// The host, with its port; a trusted proxy's word counts.
    pub host: &'a str,
    /// The canonical path.
    pub path: &'a str,
    /// The query.
    pub query: Option<&'a str>,
    /// The service that it is for.
    pub service: &'a str,
    /// The request has a body.
    pub has_body: bool,
}

/// Where an answer belongs.
#[derive(Clone, Debug)]
pub struct Key {
    /// Host, path, query and - where they matter - scheme and route.
    pub(super) base: Box<str>,
    /// That, and the values of the headers that the answer is known to depend on.
    pub full: Box<str>,
    /// What was cleared and changed by now.
    pub epoch: Epoch,
}

/// What was cleared and changed when something was asked for: if it is not so any more, the answer is not stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Epoch {
    pub(super) clears: u64,
    pub(super) slot: usize,
    pub(super) changes: u32,
}

impl Epoch {
    /// What was stored then holds now: nothing was changed since. (What was cleared is not there any more.)
    pub(super) fn is_current(&self, now: &Epoch) -> bool {
        self.changes == now.changes
    }
}

impl Place<'_> {
    /// The key: host and path first.
    pub(super) fn base(&self, route: &Route) -> String {
        let query = self.query.unwrap_or_default();
        let mut base = String::with_capacity(self.host.len() + self.path.len() + query.len() + 1);
        base.push_str(self.host);
        base.make_ascii_lowercase();
        base.push_str(self.path);
        if self.query.is_some() {
            base.push('?');
            base.push_str(query);
        }
        // An instance that sends `http` to `https` must not do so to those who are there already.
        if self.scheme != "http" {
            let _ = write!(base, "\n{}", self.scheme);
        }
        // The same address may mean another thing to a route that looks at headers.
        if !route.headers.is_empty() {
            let _ = write!(base, "\n{}", route.name);
        }
        base
    }

    /// What of a key says where changes count: host and path.
    pub(super) fn changing<'b>(&self, base: &'b str) -> &'b str {
        &base[..self.host.len() + self.path.len()]
    }
}

/// The key of an answer that depends on request headers; `None` when those are too long to be a key.
pub(super) fn variant(base: &str, generation: u64, names: &[HeaderName], headers: &HeaderMap) -> Option<String> {
    let mut key = format!("{base}\n{generation}");
    // No instance sees an API key: no answer depends on it, and no key of ours holds one.
    for name in names.iter().filter(|name| **name != X_API_KEY) {
        key.push('\n');
        for value in headers.get_all(name) {
            // Bytes that are no text keep their difference by their escape.
            let _ = write!(key, "{},", value.as_bytes().trim_ascii().escape_ascii());
        }
    }
    (key.len() - base.len() <= VARIANT).then_some(key)
}
