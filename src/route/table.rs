//! All routes, in a tree by host and by the segments of their paths: a lookup takes as many steps as the path has segments, however
//! many routes there are.

use std::collections::HashMap;
use std::sync::Arc;

use super::entry::{Composed, Entry};
use crate::config::routes::{Action, Host, Pattern, Route, Segment, Target};

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
        let mut entries: Vec<_> =
            routes.iter().map(|route| Arc::new(Entry::of(route.clone(), routes, workers))).collect();
        let first = by_compose(&entries);
        entries.iter_mut().for_each(|entry| counting_with(entry, &first));
        let mut table = Table { entries, ..Table::default() };
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
        let known: HashMap<&str, &Arc<Entry>> =
            before.entries.iter().map(|entry| (&*entry.route.name, entry)).collect();
        let composed = by_compose(&before.entries);
        for entry in &mut self.entries {
            counting_with(entry, &composed);
            if let Some(&known) = known.get(&*entry.route.name) {
                *entry = Arc::new(entry.keeping(known));
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

    /// The routes that lead to a service, as a person reads them: also those whose aggregates have a call to it.
    pub fn to<'a>(&'a self, service: &'a str) -> impl Iterator<Item = String> + 'a {
        self.entries.iter().map(|entry| &entry.route).filter_map(move |route| {
            let target = match &route.action {
                Action::Forward { service: target, .. } => target,
                Action::Compose { compose, .. } => {
                    return compose.calls.iter().any(|call| call.service.as_str() == service).then(|| shown(route));
                }
                _ => return None,
            };
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

/// The first route's aggregates of each compose.
fn by_compose(entries: &[Arc<Entry>]) -> HashMap<Arc<str>, Arc<Composed>> {
    let mut first = HashMap::new();
    for composed in entries.iter().filter_map(|entry| entry.composed.as_ref()) {
        first.entry(composed.compose.name.clone()).or_insert_with(|| composed.clone());
    }
    first
}

/// Lets a route count its aggregates where these count those of the same compose: what came of a compose is counted once, whichever
/// routes come and go.
fn counting_with(entry: &mut Arc<Entry>, others: &HashMap<Arc<str>, Arc<Composed>>) {
    let Some(composed) = &entry.composed else { return };
    if let Some(other) = others.get(&composed.compose.name) {
        *entry = Arc::new(entry.composed_as(composed.beside(other)));
    }
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
