//! Where answers belong: scheme, host, path and query, and the request headers that they are known to depend on.
//!
//! A key is text from which each of its parts can be read again, so that no two requests have the same one by what stands in their
//! parts:
//!
//! ```text
//! host path [?query] LF form [LF "s" scheme] [LF "h" the host that a proxy was asked] [LF "c" claims] [LF "v" generation {LF {value TAB}}]
//! ```
//!
//! A host has no `/`, with which a path begins; a path has no `?`; none of the parts has a line feed; a part that may be absent begins
//! with a letter of its own. Values of fields are escaped: they have no tabulator.

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
    /// A digest of the claims that the instance gets to see; empty where it sees none.
    pub claims: &'a str,
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
            base.push_str("\ns");
            base.push_str(self.scheme);
        }
        if let Some(told) = self.told {
            base.push_str("\nh");
            // A host, whose case means nothing, and perhaps a port and a path, whose case does.
            let host = told.find(' ').unwrap_or(told.len());
            base.push_str(&told[..host].to_ascii_lowercase());
            base.push_str(&told[host..]);
        }
        // Whoever is forwarded other claims may be answered something else.
        if !self.claims.is_empty() {
            base.push_str("\nc");
            base.push_str(self.claims);
        }
        base
    }

    /// What of a key says where changes count: host and path.
    pub(super) fn changing<'b>(&self, base: &'b str) -> &'b str {
        &base[..self.host.len() + self.path.len()]
    }
}

/// The key of one of several answers that belong to a key, which depend on these values of fields.
pub(super) fn variant(base: &str, generation: u64, signature: &str) -> Box<str> {
    let mut number = itoa::Buffer::new();
    [base, "\nv", number.format(generation), signature].concat().into()
}

/// The path in a key.
pub(super) fn path(key: &str) -> &str {
    let from = key.find('/').unwrap_or(key.len());
    let path = &key[from..];
    &path[..path.find(['?', '\n']).unwrap_or(path.len())]
}

/// Whether a path is this one or below it, by whole segments; `/a/` is only what is below.
pub(super) fn is_below(path: &str, above: &str) -> bool {
    let rest = path.strip_prefix(above);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/') || above.ends_with('/'))
}

/// The values of the request headers that an answer depends on; `None` when those are too long to be part of a key. Each value ends
/// with a tabulator, so that one field with `a,b` is not taken for two with `a` and `b`: an instance may tell them apart.
pub(super) fn signature(names: &[HeaderName], headers: &HeaderMap) -> Option<String> {
    let mut text = String::new();
    for name in names {
        text.push('\n');
        // No instance sees an API key: no answer depends on it, and no key of ours holds one.
        let seen = headers.get_all(name).iter().filter(|value| *name != header::AUTHORIZATION || !is_api_key(value));
        for value in seen {
            // Bytes that are no text keep their difference by their escape.
            let _ = write!(text, "{}\t", value.as_bytes().trim_ascii().escape_ascii());
        }
    }
    (text.len() <= VARIANT).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The parts of a key, read back from its text.
    fn parts(key: &str) -> (String, String, Option<String>, String, Vec<String>) {
        let mut lines = key.split('\n');
        let target = lines.next().expect("a first line");
        let (host, rest) = target.split_at(target.find('/').expect("a path"));
        let (path, query) = rest.split_once('?').map_or((rest, None), |(path, query)| (path, Some(query.to_owned())));
        let form = lines.next().expect("a form").to_owned();
        (host.to_owned(), path.to_owned(), query, form, lines.map(str::to_owned).collect())
    }

    /// Hosts, queries and forms that look like other parts.
    const TEXTS: [&str; 8] = ["http", "https", "shttps", "hhttps", "v0", "0", "a", "s"];

    #[test]
    fn a_hosts_case_means_nothing_and_a_prefixs_does() {
        let base = |told| {
            let (host, path, query, form) = ("a", "/", None, "1");
            Place { scheme: "http", host, told: Some(told), path, query, form, claims: "", has_body: false }.base()
        };
        assert_eq!(base("Shop.example"), base("shop.example"));
        assert_ne!(base("shop.example 443 /Shop"), base("shop.example 443 /shop"));
    }

    #[test]
    fn no_part_of_a_key_can_be_mistaken_for_another() {
        let mut keys = std::collections::HashMap::new();
        for (host, told, query, form) in product() {
            for scheme in ["http", "https"] {
                for path in ["/", "/a", "/a/https", "//"] {
                    let place = Place { scheme, host, told, path, query, form, claims: "", has_body: false };
                    let base = place.base();
                    let all = [base.clone().into(), variant(&base, 0, "\n"), variant(&base, 0, "\na\t")];
                    for key in all {
                        let other = keys.insert(key.clone(), format!("{place:?}"));
                        assert!(other.is_none(), "{key:?} is that of {place:?} and of {other:?}");
                        let read = parts(&key);
                        assert_eq!((&*read.0, &*read.1, read.2.as_deref(), &*read.3), (host, path, query, form));
                        assert_eq!(super::path(&key), path);
                    }
                }
            }
        }
    }

    fn product() -> impl Iterator<Item = (&'static str, Option<&'static str>, Option<&'static str>, &'static str)> {
        let maybe = || std::iter::once(None).chain(TEXTS.map(Some));
        TEXTS.into_iter().take(3).flat_map(move |host| {
            maybe().flat_map(move |told| {
                let queries = [None, Some(""), Some("a"), Some("?s"), Some("/https")];
                queries.into_iter().flat_map(move |query| {
                    TEXTS.into_iter().filter(move |_| told != Some(host)).map(move |form| (host, told, query, form))
                })
            })
        })
    }

    #[test]
    fn fields_that_an_instance_can_tell_apart_have_different_signatures() {
        let names = ["x-a", "x-b"].map(HeaderName::from_static);
        let of = |lines: &[(&'static str, &[u8])]| {
            let mut headers = HeaderMap::new();
            for (name, value) in lines {
                headers.append(*name, http::HeaderValue::from_bytes(value).expect("a value"));
            }
            signature(&names, &headers).expect("it is short")
        };
        let all: [&[(&str, &[u8])]; 14] = [
            &[],
            &[("x-a", b"")],
            &[("x-b", b"")],
            &[("x-a", b""), ("x-a", b"")],
            &[("x-a", b"a,b")],
            &[("x-a", b"a"), ("x-a", b"b")],
            &[("x-a", b"a,"), ("x-a", b"b")],
            &[("x-a", b"a"), ("x-b", b"b")],
            &[("x-a", b"a\tb")],
            &[("x-a", b"a\\tb")],
            &[("x-a", b"a\\\\tb")],
            &[("x-a", b"\xe4")],
            &[("x-a", b"\\xe4")],
            &[("x-a", b"A")],
        ];
        let signatures: std::collections::HashSet<_> = all.iter().map(|lines| of(lines)).collect();
        assert_eq!(signatures.len(), all.len());
    }
}
