//! Which requests go where: a request's head in, its route out. Pure.
//!
//! The most specific route wins: its host (this one, then the longest `*.` above it, then any), then its path, compared
//! segment by segment from the left (a text before a parameter before "everything below"), then the number of its further
//! conditions. A route whose conditions do not hold is passed over for the next one. Two that would be equal are a
//! mistake of the configuration.

mod place;
mod table;

use std::sync::Arc;

use http::{HeaderMap, Method};

use crate::config::routes::{Action, Condition, PathChange, Piece, Route, Target, Template};
use crate::telemetry::metrics::Recorder;
pub use place::Places;
pub use table::Table;

/// What of a request decides on its route.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'h, 'p> {
    /// The host as the client wrote it, with or without a port.
    pub host: Option<&'h str>,
    /// The canonical path.
    pub path: &'p str,
    /// The query as the client wrote it.
    pub query: Option<&'h str>,
    /// The method.
    pub method: &'h Method,
    /// The headers.
    pub headers: &'h HeaderMap,
}

/// A request's route, with the places of its parameters in the path.
#[derive(Clone, Debug)]
pub struct Found<'a> {
    /// The route.
    pub route: &'a Arc<Route>,
    /// Where its requests are counted.
    pub recorder: &'a Arc<Recorder>,
    /// What of it decides on its answers, as a hash.
    pub form: &'a Arc<str>,
    /// Its place in the table.
    pub index: usize,
    path: &'a str,
    places: Places,
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

impl<'a> Found<'a> {
    /// The service that the request is for, if it is for one.
    pub fn service(&self) -> Option<&'a str> {
        match &self.route.action {
            Action::Forward { service: Target::Named(name), .. } => Some(name.as_str()),
            Action::Forward { service: Target::Parameter(place), .. } => Some(self.parameter(*place)),
            Action::Redirect { .. } | Action::Respond { .. } => None,
        }
    }

    /// What is taken off the path: `/api/orders`.
    pub fn stripped(&self) -> &'a str {
        match &self.route.action {
            Action::Forward { path: PathChange::Prefix { strip, .. }, .. } => {
                let mut slashes = self.path.bytes().enumerate().filter(|(_, byte)| *byte == b'/').map(|(at, _)| at);
                &self.path[..slashes.nth(*strip).unwrap_or(self.path.len())]
            }
            _ => "",
        }
    }

    /// A template with this request's parameters in it.
    pub fn fill(&self, template: &Template, host: Option<&str>) -> String {
        let piece = |piece: &Piece| match piece {
            Piece::Text(text) => text.clone(),
            Piece::Parameter(place) => self.parameter(*place).to_owned(),
            // The slash before it stands in the template.
            Piece::Rest => self.rest().trim_start_matches('/').to_owned(),
            Piece::Path => self.path.to_owned(),
            Piece::Host => host.unwrap_or_default().to_owned(),
        };
        template.0.iter().map(piece).collect()
    }

    fn parameter(&self, place: usize) -> &'a str {
        &self.path[self.places.parameter(place)]
    }

    /// What follows the pattern's segments: empty, or begins with `/`.
    fn rest(&self) -> &'a str {
        &self.path[self.places.rest()..]
    }
}

/// Whether a route's further conditions hold.
fn holds(route: &Route, asked: &Asked<'_, '_>, missed: &mut Missed) -> bool {
    let header = |condition: &Condition<http::HeaderName>| {
        let mut values = asked.headers.get_all(&condition.name).iter();
        match &condition.value {
            None => values.next().is_some(),
            Some(wanted) => values.any(|value| value.as_bytes() == wanted.as_bytes()),
        }
    };
    if !route.headers.iter().all(header) || !route.query.iter().all(|condition| in_query(asked.query, condition)) {
        return false;
    }
    let head = *asked.method == Method::HEAD && route.methods.contains(&Method::GET);
    if route.methods.is_empty() || head || route.methods.contains(asked.method) {
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

#[cfg(test)]
mod tests;
