//! All routes, in a tree by host and by the segments of their paths: a lookup takes as many steps as the path has segments, however
//! many routes there are.

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::sync::Arc;

use http::{HeaderMap, Method};

use super::found::{Entry, Found, Places};
use crate::config::routes::{Action, Condition, Host, Pattern, Route, Segment, Target};
use crate::telemetry::metrics::Recorder;

type ByName<T> = HashMap<Box<str>, T, foldhash::fast::FixedState>;

/// All routes.
#[derive(Debug, Default)]
pub struct Table {
    /// In the order of the configuration.
    entries: Vec<Arc<Entry>>,
    exact: ByName<Node>,
    below: ByName<Node>,
    any: Node,
}

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

/// What may follow after some segments.
#[derive(Debug, Default)]
struct Node {
    texts: ByName<Node>,
    parameter: Option<Box<Node>>,
    /// Routes of exactly this path, those with the most conditions first.
    here: Vec<usize>,
    /// Routes of this path and everything below it, likewise.
    below: Vec<usize>,
}

impl Table {
    /// The routes of a configuration.
    pub fn new(routes: &[Arc<Route>], workers: usize) -> Table {
        let entry = |route: &Arc<Route>| {
            Arc::new(Entry { route: route.clone(), recorder: Arc::new(Recorder::new(workers)), form: form(route) })
        };
        let mut table = Table { entries: routes.iter().map(entry).collect(), ..Table::default() };
        let mut order: Vec<usize> = (0..routes.len()).collect();
        order.sort_by_key(|&index| std::cmp::Reverse(routes[index].conditions()));
        for index in order {
            let route = &routes[index];
            for host in &route.hosts {
                let tree = match host {
                    Host::Exact(name) => table.exact.entry(name.clone()).or_default(),
                    Host::Below(name) => table.below.entry(name.clone()).or_default(),
                };
                tree.insert(&route.path, index);
            }
            if route.hosts.is_empty() {
                table.any.insert(&route.path, index);
            }
        }
        table
    }

    /// The same, counting on where the routes of the same names stood before.
    pub fn keeping(mut self, before: &Table) -> Table {
        let known: HashMap<&str, &Arc<Recorder>> =
            before.entries.iter().map(|entry| (&*entry.route.name, &entry.recorder)).collect();
        for entry in &mut self.entries {
            if let Some(&recorder) = known.get(&*entry.route.name) {
                let Entry { route, form, .. } = &**entry;
                *entry = Arc::new(Entry { route: route.clone(), recorder: recorder.clone(), form: form.clone() });
            }
        }
        self
    }

    /// The route of a request.
    ///
    /// # Errors
    /// When there is none, whether another method would have one.
    pub fn find(&self, lookup: &Lookup<'_>) -> Result<Found, Missed> {
        let mut search =
            Search { entries: &self.entries, lookup, places: Places::default(), missed: Missed::default() };
        let found = self.by_host(&mut search).or_else(|| search.below(&self.any, 0));
        match found {
            Some(index) => Ok(Found { entry: self.entries[index].clone(), places: search.places }),
            None => Err(search.missed),
        }
    }

    /// Some servers take `//` for `/` and cut a segment at `;`. Where that would be another route's path, its key and its limits would be
    /// walked around.
    pub fn is_ambiguous(&self, lookup: &Lookup<'_>, found: &Found) -> bool {
        if !lookup.path.contains("//") && !lookup.path.contains(';') {
            return false;
        }
        let segments = lookup.path.split('/').map(|segment| segment.split(';').next().unwrap_or_default());
        let mut plain: String =
            segments.filter(|segment| !segment.is_empty()).flat_map(|segment| ["/", segment]).collect();
        if plain.is_empty() || lookup.path.ends_with('/') {
            plain.push('/');
        }
        let other = self.find(&Lookup { path: &plain, ..*lookup });
        other.is_ok_and(|other| !Arc::ptr_eq(&other.entry, &found.entry))
    }

    fn by_host(&self, search: &mut Search<'_>) -> Option<usize> {
        if self.exact.is_empty() && self.below.is_empty() {
            return None;
        }
        let mut lower = [0; 255];
        let host = bare(search.lookup.host?, &mut lower)?;
        if let Some(index) = self.exact.get(host).and_then(|tree| search.below(tree, 0)) {
            return Some(index);
        }
        let above = host.match_indices('.').filter_map(|(at, _)| self.below.get(&host[at + 1..]));
        above.into_iter().find_map(|tree| search.below(tree, 0))
    }

    /// Every route, in the order of the configuration.
    pub fn all(&self) -> &[Arc<Entry>] {
        &self.entries
    }

    /// What there is, for whoever asked for something else: the first few.
    pub fn overview(&self) -> String {
        const FEW: usize = 8;
        let mut shown: Vec<_> =
            self.entries.iter().take(FEW).map(|entry| shown(&entry.route).replace("{*", "{")).collect();
        if self.entries.len() > FEW {
            shown.push(format!("{} more routes", self.entries.len() - FEW));
        }
        shown.join(", ")
    }

    /// The routes that lead to a service, as a person reads them.
    pub fn to<'a>(&'a self, service: &'a str) -> impl Iterator<Item = String> + 'a {
        self.entries.iter().map(|entry| &entry.route).filter_map(move |route| {
            let Action::Forward { service: target, .. } = &route.action else { return None };
            match target {
                Target::Named(name) if name.as_str() == service => Some(shown(route)),
                Target::Parameter(place) => {
                    let text = shown(route);
                    let named = route.path.segments.iter().filter_map(|segment| match segment {
                        Segment::Parameter(name) => Some(name),
                        Segment::Literal(_) => None,
                    });
                    named.into_iter().nth(*place).map(|name| text.replace(&format!("{{{name}}}"), service))
                }
                Target::Named(_) => None,
            }
        })
    }
}

fn form(route: &Route) -> Arc<str> {
    let Route { headers, query, action, request_headers, policy, .. } = route;
    let whole = format!("{headers:?}{query:?}{action:?}{request_headers:?}{:?}", policy.cache);
    format!("{:x}", foldhash::fast::FixedState::default().hash_one(whole)).into()
}

/// A route as a person reads it: `GET shop.example.com/orders/*`.
pub(super) fn shown(route: &Route) -> String {
    let hosts: Vec<_> = route.hosts.iter().map(ToString::to_string).collect();
    let methods: Vec<_> = route.methods.iter().map(http::Method::as_str).collect();
    let space = if methods.is_empty() { "" } else { " " };
    format!("{}{space}{}{}", methods.join(","), hosts.join(","), route.path)
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

impl Node {
    fn insert(&mut self, path: &Pattern, route: usize) {
        let mut node = self;
        for segment in &path.segments {
            node = match segment {
                Segment::Literal(text) => node.texts.entry(text.clone()).or_default(),
                Segment::Parameter(_) => node.parameter.get_or_insert_default(),
            };
        }
        if path.below { node.below.push(route) } else { node.here.push(route) }
    }
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
