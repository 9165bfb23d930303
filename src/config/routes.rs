//! Which requests go where, as meant: conditions, what is done with the request, and what holds for it.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue, Method, StatusCode};

use super::Policy;
use crate::catalog::ServiceName;

/// Requests of one kind, and what becomes of them.
#[derive(Clone, Debug, PartialEq)]
pub struct Route {
    /// What logs, metrics and admin call it; no two routes have the same.
    pub name: Arc<str>,
    /// Hosts that it is for; none means any.
    pub hosts: Vec<Host>,
    /// Paths that it is for.
    pub path: Pattern,
    /// Methods that it is for; none means any.
    pub methods: Vec<Method>,
    /// Headers that must be there.
    pub headers: Vec<Condition<HeaderName>>,
    /// Query parameters that must be there.
    pub query: Vec<Condition<String>>,
    /// What becomes of a request.
    pub action: Action,
    /// What holds for it.
    pub policy: Policy,
    /// That it asks for no key beyond loopback is meant.
    pub open: bool,
    /// What changes in its headers on the way to the instance.
    pub request_headers: HeaderRules,
    /// What changes in the answer's headers.
    pub response_headers: HeaderRules,
    /// Who may use it from a browser's page of another origin.
    pub cors: Option<Cors>,
}

/// A host condition, in lower case.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Host {
    /// This one.
    Exact(Box<str>),
    /// Everything below this one: `*.example.com` holds `example.com`.
    Below(Box<str>),
}

/// A path condition: segments, and whether more may follow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    /// In order.
    pub segments: Vec<Segment>,
    /// Anything below counts too (a prefix, or `{*rest}`).
    pub below: bool,
    /// The name of what follows, when it has one.
    pub rest: Option<Box<str>>,
}

/// One part of a path, between two slashes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Segment {
    /// This text, in canonical form.
    Literal(Box<str>),
    /// Any text that is not empty, known by this name.
    Parameter(Box<str>),
}

/// Something that must be in a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition<N> {
    /// Its name.
    pub name: N,
    /// Its value; `None`: any.
    pub value: Option<String>,
}

/// What becomes of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// It goes to a service.
    Forward {
        /// Which one.
        service: Target,
        /// What the instance sees of its path.
        path: PathChange,
    },
    /// The client is sent elsewhere.
    Redirect {
        /// 301, 302, 303, 307 or 308.
        status: StatusCode,
        /// Where to.
        to: Template,
    },
    /// The gateway answers by itself.
    Respond {
        /// With this status.
        status: StatusCode,
        /// This type.
        content_type: HeaderValue,
        /// And this text.
        body: String,
    },
}

/// A service, by name or by what the path says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// This one.
    Named(ServiceName),
    /// The one that this parameter of the path names.
    Parameter(usize),
}

/// What the instance sees of a request's path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathChange {
    /// Without so many leading segments, and with this in front.
    Prefix {
        /// How many go.
        strip: usize,
        /// Empty, or begins with `/` and does not end with one.
        add: String,
    },
    /// Written anew.
    Rewrite(Template),
}

/// A text with parameters of the path in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template(pub Vec<Piece>);

/// A part of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// As it stands.
    Text(String),
    /// A parameter, by its place in the pattern.
    Parameter(usize),
    /// What follows the pattern's segments.
    Rest,
    /// The whole path.
    Path,
    /// The host as the client wrote it.
    Host,
}

/// Changes of headers: first what goes, then what is set, then what is added.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeaderRules {
    /// Names that go.
    pub remove: Vec<HeaderName>,
    /// Whatever was there is replaced.
    pub set: Vec<(HeaderName, HeaderValue)>,
    /// Added to what is there.
    pub add: Vec<(HeaderName, HeaderValue)>,
}

/// Cross-origin sharing (<https://fetch.spec.whatwg.org/#http-cors-protocol>).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cors {
    /// Origins that may; none means any (`"*"`).
    pub origins: Vec<HeaderValue>,
    /// Methods besides the simple ones.
    pub methods: Vec<Method>,
    /// Request headers besides the simple ones; none means whatever is asked for.
    pub headers: Vec<HeaderName>,
    /// Answer headers that a page may read.
    pub expose: Vec<HeaderName>,
    /// Cookies and the like may be sent.
    pub credentials: bool,
    /// How long a browser may remember the permission.
    pub max_age: Duration,
}

impl HeaderRules {
    /// Whether they change nothing.
    pub fn is_empty(&self) -> bool {
        self.remove.is_empty() && self.set.is_empty() && self.add.is_empty()
    }
}

impl Route {
    /// How many conditions it has besides host and path: of two routes with the same, the one with more is looked at
    /// first.
    pub fn conditions(&self) -> usize {
        usize::from(!self.methods.is_empty()) + self.headers.len() + self.query.len()
    }
}

impl std::fmt::Display for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Host::Exact(name) => f.write_str(name),
            Host::Below(name) => write!(f, "*.{name}"),
        }
    }
}

impl std::fmt::Display for Pattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for segment in &self.segments {
            match segment {
                Segment::Literal(text) => write!(f, "/{text}")?,
                Segment::Parameter(name) => write!(f, "/{{{name}}}")?,
            }
        }
        match (&self.rest, self.below, self.segments.is_empty()) {
            (Some(rest), ..) => write!(f, "/{{*{rest}}}"),
            (None, true, _) => f.write_str("/*"),
            (None, false, true) => f.write_str("/"),
            (None, false, false) => Ok(()),
        }
    }
}
