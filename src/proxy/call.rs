//! What a service is asked and what comes of it, as data: the same for a client's request, for a fill of the cache, and for a part of
//! an aggregate. An aggregate is asked for in the same way.

use std::fmt::Debug;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::LocalBoxFuture;
use http::request::Parts;
use http::{HeaderValue, Response};
use tokio::time::Instant;

use super::error::Error;
use super::forwarded::Forwarded;
use super::head::Target;
use super::upload::Progress;
use crate::filter::cache::{Entry, Forward};
use crate::io::body::Body;
use crate::io::upgrade::Upgrade;
use crate::request::{Attempts, RequestId, Vouched};
use crate::upstream::LocalService;
use crate::upstream::instance::{InFlight, Lease, Permit};

/// A request, as it came.
#[derive(Debug)]
pub(super) struct Request {
    /// Its method and fields.
    pub(super) head: Parts,
    /// Its body.
    pub(super) body: Body,
    /// Its target in canonical form; empty until the head was checked.
    pub(super) target: Target,
}

/// Where a request goes, and what holds for it there. It keeps its route and its service, not the snapshot that they are of.
#[derive(Debug)]
pub(super) struct Call {
    /// Its route.
    pub(super) route: Arc<crate::route::Entry>,
    /// Who brings its answer.
    pub(super) goal: Goal,
    /// What the route makes of its target.
    pub(super) path: Path,
    /// Who asked, over what, and for which host.
    pub(super) forwarded: Forwarded,
    /// When all of it must be over.
    pub(super) total: Option<Instant>,
    /// Its id.
    pub(super) id: RequestId,
    /// What its caller's token says.
    pub(super) token: Option<Arc<Vouched>>,
    /// What a 101 must say, and the client's connection, when it asks for a WebSocket.
    pub(super) upgrade: Option<(HeaderValue, Upgrade)>,
    /// How `Via` names us in a part of an aggregate.
    pub(super) via: Option<Arc<str>>,
}

/// Who brings an answer.
#[derive(Clone, Debug)]
pub(super) enum Goal {
    /// An instance of a service.
    Service(Rc<LocalService>),
    /// Calls to several services.
    Aggregate(Rc<dyn Composing>),
}

impl Goal {
    /// The service that its answer comes from, or those, with a space between them.
    pub(super) fn services(&self) -> Arc<str> {
        match self {
            Goal::Service(service) => service.shared.name.shared(),
            Goal::Aggregate(aggregate) => aggregate.services(),
        }
    }
}

/// An answer that is made of the answers to calls.
pub(super) trait Composing: Debug {
    /// The services of its calls, with a space between them.
    fn services(&self) -> Arc<str>;

    /// Until when it may come from who asked for the same before, so that there is time to make it without them.
    fn patience(&self, call: &Call) -> Instant;

    /// Makes the calls, and an answer of what they bring.
    ///
    /// # Errors
    /// When the whole fails: with a call, for want of room, or because its shape does not fit.
    fn answer<'a>(
        &'a self,
        request: &'a mut Request,
        call: &'a Call,
        attempts: &'a mut Attempts,
    ) -> LocalBoxFuture<'a, Result<Box<Passed>, Error>>;
}

/// What a route makes of a target.
#[derive(Clone, Debug, Default)]
pub(super) struct Path {
    /// So many bytes are taken off its beginning.
    pub(super) stripped: usize,
    /// The path and query for the instance, where they are more than what follows the prefix.
    pub(super) rewritten: Option<String>,
}

/// What was fetched. What is large is boxed: it is passed on several times.
pub(super) enum Reply {
    /// An answer from the store.
    Stored {
        entry: Arc<Entry>,
        /// How it came to be given.
        how: Given,
        /// The client has it already, by its own conditions: it gets a 304.
        known: bool,
        /// When it was looked for: its age counts to then.
        now: Instant,
    },
    /// An answer that is stored while it is passed on, and why it was asked for.
    Filling(Box<Response<Body>>, Forward),
    /// The answer of an instance, for this request alone, and why it went past the cache, if there is one.
    Passed(Box<Passed>, Option<Forward>),
}

/// How an answer from the store came to be given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Given {
    /// It was there.
    Hit,
    /// Another request asked for it.
    Collapsed(Forward),
    /// The instance said that it still holds.
    Revalidated(Forward),
}

/// An answer that was fetched, its head made for the client.
pub(super) struct Passed {
    pub(super) response: Response<Body>,
    /// When its head had come.
    pub(super) answered: Instant,
    /// What is settled when its body ends; `None` where no instance gave it.
    pub(super) settlement: Option<Settlement>,
    /// How long its body may take.
    pub(super) pace: Pace,
    /// The client's connection, when both ends change to WebSocket.
    pub(super) upgrade: Option<Upgrade>,
}

/// What is settled with an instance when the body of its answer ends.
pub(super) struct Settlement {
    pub(super) service: Rc<LocalService>,
    /// `None` when its status was verdict enough, or none at all.
    pub(super) permit: Option<Permit>,
    /// The verdict fell before the end: the attempt had succeeded.
    pub(super) proven: bool,
    /// What is known of the request's body, where there is one.
    pub(super) upload: Option<Rc<Progress>>,
    pub(super) flight: InFlight,
    pub(super) lease: Lease,
    /// How long the instance keeps an idle connection, if it says so.
    pub(super) keep_alive: Option<Duration>,
    /// The route's `idle` and the request's end, for what is left of an upload: whatever holds for its answer.
    pub(super) deadlines: (Duration, Option<Instant>),
}

/// How long what goes on for hours may go on with a departed instance (it may have departed by mistake).
pub(super) const DEPARTED: Duration = Duration::from_secs(300);

/// How long a body may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// Between two pieces.
    pub(super) idle: Duration,
    /// When it must be over.
    pub(super) total: Option<Instant>,
    /// It may go on for hours: its first piece proves its instance.
    pub(super) stream: bool,
}
