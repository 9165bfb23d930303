//! All routes, in a tree by host and by the segments of their paths: a lookup takes as many steps as the path has segments, however
//! many routes there are.

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::sync::Arc;

use crate::config::routes::{Action, Host, Pattern, Route, Segment, Target};
use crate::telemetry::metrics::Recorder;

pub(super) type ByName<T> = HashMap<Box<str>, T, foldhash::fast::FixedState>;

/// All routes.
#[derive(Debug, Default)]
pub struct Table {
    /// In the order of the configuration.
    pub(super) entries: Vec<Arc<Entry>>,
    pub(super) exact: ByName<Node>,
    pub(super) below: ByName<Node>,
    pub(super) any: Node,
}

/// A route, and what is kept for it.
#[derive(Debug)]
pub struct Entry {
    /// The route, as configured.
    pub route: Arc<Route>,
    /// Counts its requests; stays when the configuration is read again, for the route of the same name.
    pub recorder: Arc<Recorder>,
    /// A hash of all that decides on its answers: with another one, stored answers are another route's.
    pub form: Arc<str>,
}

/// What may follow after some segments.
#[derive(Debug, Default)]
pub(super) struct Node {
    pub(super) texts: ByName<Node>,
    pub(super) parameter: Option<Box<Node>>,
    /// Routes of exactly this path, those with the most conditions first.
    pub(super) here: Vec<usize>,
    /// Routes of this path and everything below it, likewise.
    pub(super) below: Vec<usize>,
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
