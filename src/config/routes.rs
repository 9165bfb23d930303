//! Routes: which requests each is for, what becomes of them, and what holds for them.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue, Method, StatusCode};

use super::compose::{Answer, Compose};
use super::policy::Policy;
use crate::catalog::ServiceName;

/// Requests of one kind, and what becomes of them: a `[[route]]`, or the route of `[api]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Route {
    /// What logs, metrics and admin call it; no two routes have the same.
    pub name: Arc<str>,
    /// Hosts that it is for; an empty list means any.
    pub hosts: Vec<Host>,
    /// Paths that it is for.
    pub path: Pattern,
    /// Methods that it is for; an empty list means any.
    pub methods: Vec<Method>,
    /// Headers that a request must have.
    pub headers: Vec<Condition<HeaderName>>,
    /// Query parameters that a request must have.
    pub query: Vec<Condition<String>>,
    /// What becomes of a request.
    pub action: Action,
    /// What holds for its requests.
    pub policy: Policy,
    /// The route deliberately asks for no key, also where its listener is reachable beyond loopback.
    pub open_to_everyone: bool,
    /// Changes of a request's headers before it goes to the instance.
    pub request_headers: HeaderRules,
    /// Changes of an answer's headers before it goes to the client.
    pub response_headers: HeaderRules,
    /// Which pages of other origins may use it in a browser.
    pub cors: Option<Cors>,
    /// The fields in which instances get to see claims of tokens, on whichever route: nobody else may set them.
    pub claimed: Arc<[HeaderName]>,
    /// Some of what clients send is to be taken off: credentials besides keys, or what is claimed.
    pub strips: bool,
}

/// A host condition, in lower case.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Host {
    /// This name, or this IPv6 address in brackets.
    Exact(Box<str>),
    /// Every name below this one: `*.example.com` is kept as `example.com`.
    Below(Box<str>),
}

/// A path condition: the first segments, and whether more may follow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    /// The segments, in order.
    pub segments: Vec<Segment>,
    /// Paths below match as well (a prefix, or `{*rest}`).
    pub below: bool,
    /// The name of what follows the segments, where it has one.
    pub rest: Option<Box<str>>,
}

/// One part of a path, between two slashes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Segment {
    /// This text, in canonical form.
    Literal(Box<str>),
    /// Any text that is not empty; templates know it by this name.
    Parameter(Box<str>),
}

/// Something that a request must have: a header or a query parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition<N> {
    /// Its name.
    pub name: N,
    /// Its value; `None` means any.
    pub value: Option<String>,
}

/// What becomes of a request.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// It goes to a service.
    Forward {
        /// The service.
        service: Target,
        /// What the instance sees of its path.
        path: PathChange,
    },
    /// Calls to several services make its answer.
    Compose {
        /// The calls.
        compose: Arc<Compose>,
        /// Where each of [`Compose::parameters`] stands among the pattern's parameters, in their order.
        parameters: Vec<usize>,
        /// The shapes of the answer for this route's callers: the first that fits a caller counts. Where none does, and where
        /// there is none, the answer has the compose's own shape ([`Compose::answer`]). What is stored for one caller may
        /// have the wrong shape for another.
        answers: Vec<Answer>,
        /// Clients may say which members of the answer they want, as in `?fields=id,buyer.name`. No value of the compose's
        /// calls names this parameter then.
        fields: bool,
    },
    /// The client is sent elsewhere.
    Redirect {
        /// 301, 302, 303, 307 or 308.
        status: StatusCode,
        /// The new location.
        to: Template,
    },
    /// The gateway answers it.
    Respond {
        /// The status.
        status: StatusCode,
        /// The content type.
        content_type: HeaderValue,
        /// The body.
        body: String,
    },
}

/// The service of a route: by name, or by a segment of the request's path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// This one.
    Named(ServiceName),
    /// The one that this parameter of the path names, by its place among the pattern's parameters.
    Parameter(usize),
}

/// What the instance sees of a request's path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathChange {
    /// The path without its first segments, and with something else in front.
    Prefix {
        /// How many segments are removed.
        strip: usize,
        /// What is put in front: empty, or begins with `/` and does not end with one.
        add: String,
    },
    /// A new path.
    Rewrite(Template),
}

/// A text with places for parameters of the path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template(pub Vec<Piece>);

/// A part of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// This text.
    Text(String),
    /// A parameter of the path, by its place among the pattern's parameters.
    Parameter(usize),
    /// What follows the pattern's segments in the path.
    Rest,
    /// The whole path of the request.
    Path,
    /// The host as the client wrote it.
    Host,
}

/// Changes of headers, made in this order: removed, set, added.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeaderRules {
    /// Names whose fields are removed.
    pub remove: Vec<HeaderName>,
    /// Fields that replace every field of the same name.
    pub set: Vec<(HeaderName, HeaderValue)>,
    /// Fields that are added beside those of the same name.
    pub add: Vec<(HeaderName, HeaderValue)>,
}

/// Cross-origin sharing (<https://fetch.spec.whatwg.org/#http-cors-protocol>).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cors {
    /// Origins that may; an empty list means any (`"*"`).
    pub origins: Vec<HeaderValue>,
    /// Methods that may be used besides the simple ones.
    pub methods: Vec<Method>,
    /// Request headers that may be sent besides the simple ones; an empty list means all that a preflight names.
    pub headers: Vec<HeaderName>,
    /// Response headers that a page may read besides the simple ones.
    pub expose: Vec<HeaderName>,
    /// Requests may carry cookies and other credentials.
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
    /// How many conditions it has besides host and path: of two routes with the same host and path, the one with more is
    /// tried first.
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
