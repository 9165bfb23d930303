//! All routes, in a tree by host and by the segments of their paths: a lookup takes as many steps as the path has
//! segments, however many routes there are.

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::sync::Arc;

use super::{Asked, Found, Missed, Places, holds};
use crate::config::routes::{Action, Host, Pattern, Route, Segment, Target};
use crate::telemetry::metrics::Recorder;

type ByName<T> = HashMap<Box<str>, T, foldhash::fast::FixedState>;

/// All routes.
#[derive(Debug, Default)]
pub struct Table {
    routes: Vec<Arc<Route>>,
    /// The requests of each.
    recorders: Vec<Arc<Recorder>>,
    /// What of each decides on its answers, as a hash: with another one, stored answers are another route's.
    forms: Vec<Arc<str>>,
    exact: ByName<Node>,
    below: ByName<Node>,
    any: Node,
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
        let recorders = routes.iter().map(|_| Arc::new(Recorder::new(workers))).collect();
        let forms = routes.iter().map(|route| form(route)).collect();
        let mut table = Table { routes: routes.to_vec(), recorders, forms, ..Table::default() };
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
            before.routes.iter().map(|route| &*route.name).zip(&before.recorders).collect();
        for (route, recorder) in self.routes.iter().zip(&mut self.recorders) {
            if let Some(kept) = known.get(&*route.name) {
                *recorder = (*kept).clone();
            }
        }
        self
    }

    /// The route of a request.
    ///
    /// # Errors
    /// When there is none, whether another method would have one.
    pub fn find<'a>(&'a self, asked: &Asked<'_, 'a>) -> Result<Found<'a>, Missed> {
        let mut search = Search { routes: &self.routes, asked, places: Places::default(), missed: Missed::default() };
        let found = self.by_host(&mut search).or_else(|| search.below(&self.any, 0));
        match found {
            Some(index) => Ok(Found {
                route: &self.routes[index],
                recorder: &self.recorders[index],
                form: &self.forms[index],
                index,
                path: asked.path,
                places: search.places,
            }),
            None => Err(search.missed),
        }
    }

    fn by_host(&self, search: &mut Search<'_>) -> Option<usize> {
        if self.exact.is_empty() && self.below.is_empty() {
            return None;
        }
        let mut lower = [0; 255];
        let host = bare(search.asked.host?, &mut lower)?;
        if let Some(index) = self.exact.get(host).and_then(|tree| search.below(tree, 0)) {
            return Some(index);
        }
        let above = host.match_indices('.').filter_map(|(at, _)| self.below.get(&host[at + 1..]));
        above.into_iter().find_map(|tree| search.below(tree, 0))
    }

    /// Every route, in the order of the configuration.
    pub fn all(&self) -> &[Arc<Route>] {
        &self.routes
    }

    /// Every route with its requests.
    pub fn recorded(&self) -> impl Iterator<Item = (&Arc<Route>, &Recorder)> {
        self.routes.iter().zip(self.recorders.iter().map(|recorder| &**recorder))
    }

    /// What there is, for whoever asked for something else: the first few.
    pub fn overview(&self) -> String {
        const FEW: usize = 8;
        let mut shown: Vec<_> = self.routes.iter().take(FEW).map(|route| shown(route).replace("{*", "{")).collect();
        if self.routes.len() > FEW {
            shown.push(format!("{} more routes", self.routes.len() - FEW));
        }
        shown.join(", ")
    }

    /// The routes that lead to a service, as a person reads them.
    pub fn to<'a>(&'a self, service: &'a str) -> impl Iterator<Item = String> + 'a {
        self.routes.iter().filter_map(move |route| {
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
    routes: &'s [Arc<Route>],
    asked: &'s Asked<'s, 's>,
    places: Places,
    missed: Missed,
}

impl Search<'_> {
    /// The best route at or below a node, for the path from `at` on: its end, or a slash.
    fn below(&mut self, node: &Node, at: usize) -> Option<usize> {
        let path = self.asked.path;
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
        candidates.iter().copied().find(|&index| holds(&self.routes[index], self.asked, &mut self.missed))
    }
}
