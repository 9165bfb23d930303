//! Where answers belong: scheme, host, path and query, and the request headers that they are known to depend on.

use std::fmt::Write;

use http::{HeaderMap, HeaderName, header};

use crate::filter::auth::is_api_key;

/// Request headers that an answer may depend on, in bytes together.
const VARIANT: usize = 1024;

/// What is asked for, as the client says it.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// `http`, or `https` where a trusted proxy says so.
    pub scheme: &'a str,
    /// The host, with its port, as routes and instances see it.
    pub host: &'a str,
    /// The host that a trusted proxy was asked, where that is another one.
    pub told: Option<&'a str>,
    /// The canonical path.
    pub path: &'a str,
    /// The query.
    pub query: Option<&'a str>,
    /// What of its route decides on the answer, as a hash.
    pub form: &'a str,
    /// The request has a body.
    pub has_body: bool,
}

/// Where an answer belongs.
#[derive(Clone, Debug)]
pub struct Key {
    /// Host, path, query, route and - where they matter - scheme and the host that a proxy was asked.
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
    pub(super) fn base(&self) -> String {
        let query = self.query.unwrap_or_default();
        let mut base = String::with_capacity(self.host.len() + self.path.len() + query.len() + 24);
        base.push_str(self.host);
        base.make_ascii_lowercase();
        base.push_str(self.path);
        if self.query.is_some() {
            base.push('?');
            base.push_str(query);
        }
        // Another route may give another answer, and so may the same one after it was changed.
        base.push('\n');
        base.push_str(self.form);
        // An instance that sends `http` to `https` must not do so to those who are there already.
        if self.scheme != "http" {
            let _ = write!(base, "\n{}", self.scheme);
        }
        if let Some(told) = self.told {
            let _ = write!(base, "\n{}", told.to_ascii_lowercase());
        }
        base
    }

    /// What of a key says where changes count: host and path.
    pub(super) fn changing<'b>(&self, base: &'b str) -> &'b str {
        &base[..self.host.len() + self.path.len()]
    }
}

/// The values of the request headers that an answer depends on; `None` when those are too long to be part of a key.
pub(super) fn signature(names: &[HeaderName], headers: &HeaderMap) -> Option<String> {
    let mut text = String::new();
    for name in names {
        text.push('\n');
        // No instance sees an API key: no answer depends on it, and no key of ours holds one.
        let seen = headers.get_all(name).iter().filter(|value| *name != header::AUTHORIZATION || !is_api_key(value));
        for value in seen {
            // Bytes that are no text keep their difference by their escape.
            let _ = write!(text, "{},", value.as_bytes().trim_ascii().escape_ascii());
        }
    }
    (text.len() <= VARIANT).then_some(text)
}
