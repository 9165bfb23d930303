//! What holds for a request: set at the top of the file for all of them, and by `[api]` and each `[[route]]` for their own.

use std::sync::Arc;
use std::time::Duration;

use super::identity::Demand;

/// What holds for the requests of a route.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// What is demanded of callers; `None`: nothing, everybody is let in.
    pub auth: Option<Arc<Demand>>,
    /// How long things may take.
    pub timeouts: Timeouts,
    /// When another attempt is made.
    pub retry: Retry,
    /// The most bytes that a request's body may have; `None` means any number.
    pub body: Option<u64>,
    /// How often requests may come; the plan of a consumer holds besides.
    pub limits: Option<Arc<LimitSet>>,
    /// Whether and how answers are cached.
    pub cache: Cache,
    /// Requests count as evidence of whether an instance works; if false they can neither open nor close a breaker.
    pub breaker: bool,
}

/// When an instance trips. It belongs to instances, not to routes: set at the top, or for a service.
#[derive(Clone, Debug, PartialEq)]
pub struct Breaker {
    /// If false, nothing ever trips.
    pub enabled: bool,
    /// This many failures in a row trip an instance.
    pub consecutive: u32,
    /// So does this share of failures; `None` when only failures in a row count.
    pub rate: Option<FailureRate>,
    /// The breaker stays open for this long at first; the time doubles with each failed probe, with 25 % jitter.
    pub open: Duration,
    /// The longest time that it stays open.
    pub open_max: Duration,
    /// How many requests at once may probe a half-open instance, over all workers; 1 to 255.
    pub probes: u8,
}

/// A share of failures: `failed` percent of at least `of` verdicts within `within`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailureRate {
    /// The share in percent, 1 to 100.
    pub failed: u32,
    /// How many verdicts are needed before the share counts.
    pub of: u32,
    /// The time that is looked back.
    pub within: Duration,
}

/// When another attempt is made.
#[derive(Clone, Debug, PartialEq)]
pub struct Retry {
    /// How many attempts may follow the first.
    pub more: u32,
    /// How many further attempts a service may get. It belongs to the service, not to the route.
    pub budget: Budget,
    /// Methods that may be sent twice.
    pub methods: Vec<http::Method>,
}

/// A retry budget: within any `within`, at most `percent` of the requests of that time plus `plus` may be further attempts.
#[derive(Clone, Debug, PartialEq)]
pub struct Budget {
    /// The share in percent, 0 to 100.
    pub percent: u32,
    /// A number that is added, so that a service with few requests has a budget, too.
    pub plus: u32,
    /// The time that is looked back.
    pub within: Duration,
}

/// How long things may take.
#[derive(Clone, Debug, PartialEq)]
pub struct Timeouts {
    /// To connect to an instance.
    pub connect: Duration,
    /// From the end of the written request to the head of the answer.
    pub first_byte: Duration,
    /// Between two bytes of a body, either way.
    pub idle: Duration,
    /// Between two bytes of an event stream or of a WebSocket, in either direction.
    pub stream_idle: Duration,
    /// From the request's head to the end of the answer; `None` means any time. Streams never have one.
    pub total: Option<Duration>,
}

/// Limits that are written in one place and counted together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitSet {
    /// Where they are written: `default`, `api`, the route's name, the plan's name.
    pub name: Arc<str>,
    /// The limits; a request must be allowed by each.
    pub limits: Vec<Limit>,
}

/// A rate: `10/s`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limit {
    /// How many requests are allowed within any `period`; all of them may come at once.
    pub count: u32,
    /// The period.
    pub period: Duration,
    /// Whose requests are counted together.
    pub by: By,
}

/// Whose requests count together towards a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// Those of one consumer; of a client without one, those of its address.
    Consumer,
    /// Those of one user: the token's consumer where a key is sent besides, else as [`By::Consumer`].
    User,
    /// Those of one app: the key's consumer where a token is sent besides, else as [`By::Consumer`].
    App,
    /// Those of one client address.
    Address,
    /// Those of all clients.
    Everyone,
}

/// Whether and how a route's answers are cached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cache {
    /// Answers may be stored and reused.
    pub enabled: bool,
    /// How long an answer without cache headers is fresh; with `None` such an answer is not stored.
    pub ttl: Option<Duration>,
}
