//! What a lookup found: the route, where its parameters stand in the path, and what follows from both.

use std::ops::Range;
use std::sync::Arc;

use crate::config::routes::{Action, PathChange, Piece, Route, Target, Template};
use crate::telemetry::metrics::Recorder;

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

/// A request's route, with the places of its parameters in the path. The path itself is the request's; it is given to each function.
#[derive(Clone, Debug)]
pub struct Found {
    /// The route.
    pub entry: Arc<Entry>,
    /// Where its parameters stand in the path.
    pub(super) places: Places,
}

impl Found {
    /// The service that the request is for, if it is for one.
    pub fn service<'a>(&'a self, path: &'a str) -> Option<&'a str> {
        match &self.entry.route.action {
            Action::Forward { service: Target::Named(name), .. } => Some(name.as_str()),
            Action::Forward { service: Target::Parameter(place), .. } => Some(self.parameter(path, *place)),
            Action::Redirect { .. } | Action::Respond { .. } => None,
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

    fn parameter<'a>(&self, path: &'a str, place: usize) -> &'a str {
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
