//! Which route a request has: one walk down the tree, and what follows from where it ends.

use std::ops::Range;
use std::sync::Arc;

use http::{HeaderMap, Method};

use super::entry::Entry;
use super::table::{Node, Table};
use crate::config::routes::{Action, Condition, PathChange, Piece, Route, Target, Template};

/// What of a request decides on its route.
#[derive(Clone, Copy, Debug)]
pub struct Lookup<'a> {
    /// The host as the client wrote it, with or without a port.
    pub host: Option<&'a str>,
    /// The canonical path.
    pub path: &'a str,
    /// The query as the client wrote it.
    pub query: Option<&'a str>,
    /// The method.
    pub method: &'a Method,
    /// The headers.
    pub headers: &'a HeaderMap,
}

/// Why there is none: nothing is there, or only for these methods.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Missed {
    methods: u16,
}

/// The methods that a miss can name, in the order of its bits.
const METHODS: [&str; 8] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"];

impl Missed {
    fn note(&mut self, methods: &[Method]) {
        for method in methods {
            if let Some(bit) = METHODS.iter().position(|known| *known == method.as_str()) {
                self.methods |= 1 << bit;
            }
        }
    }

    /// Whether another method would have found something.
    pub fn only_by_method(self) -> bool {
        self.methods != 0
    }

    /// Those methods, as `Allow` says it.
    pub fn allowed(self) -> String {
        let allowed = METHODS.iter().enumerate().filter(|(bit, _)| self.methods & 1 << bit != 0);
        allowed.map(|(_, name)| *name).collect::<Vec<_>>().join(", ")
    }
}

/// A request's route, with the places of its parameters in the path. The path itself is the request's; it is given to each function.
#[derive(Clone, Debug)]
pub struct Found {
    /// The route.
    pub entry: Arc<Entry>,
    /// Where its parameters stand in the path.
    pub(super) places: Places,
}

impl Found {
    /// A route that was not looked for, without parameters: that of a call.
    pub fn of(entry: Arc<Entry>) -> Found {
        Found { entry, places: Places::default() }
    }

    /// The service that the request is for, if it is for one.
    pub fn service<'a>(&'a self, path: &'a str) -> Option<&'a str> {
        match &self.entry.route.action {
            Action::Forward { service: Target::Named(name), .. } => Some(name.as_str()),
            Action::Forward { service: Target::Parameter(place), .. } => Some(self.parameter(path, *place)),
            Action::Compose { .. } | Action::Redirect { .. } | Action::Respond { .. } => None,
        }
    }

    /// What is taken off the path: `/api/orders`.
    pub fn stripped<'a>(&self, path: &'a str) -> &'a str {
        match &self.entry.route.action {
            Action::Forward { path: PathChange::Prefix { strip, .. }, .. } => {
                let mut slashes = path.bytes().enumerate().filter(|(_, byte)| *byte == b'/').map(|(at, _)| at);
                &path[..slashes.nth(*strip).unwrap_or(path.len())]
            }
            _ => "",
        }
    }

    /// A template with this request's parameters in it.
    pub fn fill(&self, template: &Template, path: &str, host: Option<&str>) -> String {
        let piece = |piece: &Piece| match piece {
            Piece::Text(text) => text.clone(),
            Piece::Parameter(place) => self.parameter(path, *place).to_owned(),
            // The slash before it stands in the template.
            Piece::Rest => self.rest(path).trim_start_matches('/').to_owned(),
            Piece::Path => path.to_owned(),
            Piece::Host => host.unwrap_or_default().to_owned(),
        };
        template.0.iter().map(piece).collect()
    }

    /// The parameter at a place of the pattern, as the path has it.
    pub fn parameter<'a>(&self, path: &'a str, place: usize) -> &'a str {
        &path[self.places.parameter(place)]
    }

    /// What follows the pattern's segments: empty, or begins with `/`.
    pub(super) fn rest<'a>(&self, path: &'a str) -> &'a str {
        &path[self.places.rest()..]
    }
}

/// As many parameters as a pattern may have.
const MOST: usize = 8;

/// The places of a path's parameters, and of what follows them: a few offsets, without memory of its own. A path is shorter than
/// 64 KiB, so `u16` holds them.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Places {
    parameters: [(u16, u16); MOST],
    count: u8,
    rest: u16,
}

impl Places {
    /// Where the n-th parameter stands.
    pub(super) fn parameter(&self, place: usize) -> Range<usize> {
        let (from, to) = self.parameters[place];
        from.into()..to.into()
    }

    /// Where what follows the pattern begins.
    pub(super) fn rest(&self) -> usize {
        self.rest.into()
    }

    /// Notes one more parameter.
    pub(super) fn push(&mut self, place: Range<usize>) {
        self.parameters[usize::from(self.count)] = (place.start as u16, place.end as u16);
        self.count += 1;
    }

    /// Forgets the last one.
    pub(super) fn pop(&mut self) {
        self.count -= 1;
    }

    /// Notes where the pattern ended.
    pub(super) fn end(&mut self, rest: usize) {
        self.rest = rest as u16;
    }
}

/// The route of a request.
///
/// # Errors
/// When there is none, whether another method would have one.
pub fn find(table: &Table, lookup: &Lookup<'_>) -> Result<Found, Missed> {
    let mut search = Search { entries: &table.entries, lookup, places: Places::default(), missed: Missed::default() };
    let found = by_host(table, &mut search).or_else(|| search.below(&table.any, 0));
    match found {
        Some(index) => Ok(Found { entry: table.entries[index].clone(), places: search.places }),
        None => Err(search.missed),
    }
}

/// Some servers take `//` for `/` and cut a segment at `;`, and all of them take `%3A` for `:`. Where that would be another route's path,
/// its key and its limits would be walked around.
pub fn is_ambiguous(table: &Table, lookup: &Lookup<'_>, found: &Found) -> bool {
    let odd = |path: &str| path.contains("//") || path.bytes().any(|byte| matches!(byte, b';' | b'%'));
    // Beside a single route there is no other one.
    table.entries.len() > 1 && odd(lookup.path) && is_read_otherwise(table, lookup, found)
}

/// Whether a server may read an odd path as another route's.
#[cold]
fn is_read_otherwise(table: &Table, lookup: &Lookup<'_>, found: &Found) -> bool {
    let elsewhere = |path: &str| {
        let other = find(table, &Lookup { path, ..*lookup });
        other.is_ok_and(|other| !Arc::ptr_eq(&other.entry, &found.entry))
    };
    let decoded = plain(lookup.path);
    if elsewhere(&decoded) {
        return true;
    }
    if !decoded.contains("//") && !decoded.contains(';') {
        return false;
    }
    let segments = decoded.split('/').map(|segment| segment.split(';').next().unwrap_or_default());
    let mut short: String = segments.filter(|segment| !segment.is_empty()).flat_map(|segment| ["/", segment]).collect();
    if short.is_empty() || decoded.ends_with('/') {
        short.push('/');
    }
    elsewhere(&short)
}

/// A canonical path, or a part of one, with those characters decoded that stand in a segment either way (RFC 3986 section 3.3): the
/// canonical form keeps both spellings, for what they mean is the instance's to say.
pub fn plain(path: &str) -> String {
    let mut pieces = path.split('%');
    let mut plain = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let byte = piece.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match byte.filter(|b| b"!$&'()*+,=:@".contains(b)) {
            Some(byte) => {
                plain.push(char::from(byte));
                plain.push_str(&piece[2..]);
            }
            None => {
                plain.push('%');
                plain.push_str(piece);
            }
        }
    }
    plain
}

fn by_host(table: &Table, search: &mut Search<'_>) -> Option<usize> {
    if table.exact.is_empty() && table.below.is_empty() {
        return None;
    }
    let mut lower = [0; 255];
    let host = bare(search.lookup.host?, &mut lower)?;
    if let Some(index) = table.exact.get(host).and_then(|tree| search.below(tree, 0)) {
        return Some(index);
    }
    let above = host.match_indices('.').filter_map(|(at, _)| table.below.get(&host[at + 1..]));
    above.into_iter().find_map(|tree| search.below(tree, 0))
}

/// A host in lower case, without port and final dot; `None` when it is longer than a name can be.
fn bare<'b>(host: &str, lower: &'b mut [u8; 255]) -> Option<&'b str> {
    let end = match host.strip_prefix('[') {
        Some(rest) => rest.find(']')? + 2,
        None => host.find(':').unwrap_or(host.len()),
    };
    let host = host[..end].trim_end_matches('.');
    let room = lower.get_mut(..host.len())?;
    room.copy_from_slice(host.as_bytes());
    room.make_ascii_lowercase();
    std::str::from_utf8(room).ok()
}

/// One lookup. Each node is visited at most once: a tree has one way to each.
struct Search<'s> {
    entries: &'s [Arc<Entry>],
    lookup: &'s Lookup<'s>,
    places: Places,
    missed: Missed,
}

impl Search<'_> {
    /// The best route at or below a node, for the path from `at` on: its end, or a slash.
    fn below(&mut self, node: &Node, at: usize) -> Option<usize> {
        let path = self.lookup.path;
        if at == path.len() {
            self.places.end(at);
            return self.first(&node.here).or_else(|| self.first(&node.below));
        }
        let slash = path.as_bytes()[at + 1..].iter().position(|&byte| byte == b'/');
        let end = slash.map_or(path.len(), |slash| at + 1 + slash);
        let segment = &path[at + 1..end];
        if let Some(index) = node.texts.get(segment).and_then(|next| self.below(next, end)) {
            return Some(index);
        }
        if let Some(next) = node.parameter.as_deref().filter(|_| !segment.is_empty()) {
            self.places.push(at + 1..end);
            if let Some(index) = self.below(next, end) {
                return Some(index);
            }
            self.places.pop();
        }
        self.places.end(at);
        self.first(&node.below)
    }

    fn first(&mut self, candidates: &[usize]) -> Option<usize> {
        candidates.iter().copied().find(|&index| holds(&self.entries[index].route, self.lookup, &mut self.missed))
    }
}

/// Whether a route's further conditions hold.
fn holds(route: &Route, lookup: &Lookup<'_>, missed: &mut Missed) -> bool {
    let header = |condition: &Condition<http::HeaderName>| {
        let mut values = lookup.headers.get_all(&condition.name).iter();
        match &condition.value {
            None => values.next().is_some(),
            Some(wanted) => values.any(|value| value.as_bytes() == wanted.as_bytes()),
        }
    };
    if !route.headers.iter().all(header) || !route.query.iter().all(|condition| in_query(lookup.query, condition)) {
        return false;
    }
    let head = *lookup.method == Method::HEAD && route.methods.contains(&Method::GET);
    if route.methods.is_empty() || head || route.methods.contains(lookup.method) {
        return true;
    }
    missed.note(&route.methods);
    if route.methods.contains(&Method::GET) {
        missed.note(&[Method::HEAD]);
    }
    false
}

/// Whether a query has a parameter, names and values compared after percent-decoding.
fn in_query(query: Option<&str>, condition: &Condition<String>) -> bool {
    let same = |raw: &str, wanted: &str| percent_encoding::percent_decode_str(raw).eq(wanted.bytes());
    query.unwrap_or_default().split('&').any(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        same(name, &condition.name) && condition.value.as_ref().is_none_or(|wanted| same(value, wanted))
    })
}
