//! What holds for a request: set at the top for everything, and by `[api]` and each `[[route]]` for their own.

use std::sync::Arc;
use std::time::Duration;

/// What holds for the requests of a route.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// An API key is asked for.
    pub auth: bool,
    /// How long things may take.
    pub timeouts: Timeouts,
    /// When another attempt is made.
    pub retry: Retry,
    /// Bytes of a request's body at most.
    pub body: Option<u64>,
    /// How often it may be asked, beside the consumer's plan.
    pub limits: Option<Arc<LimitSet>>,
    /// Whether and how answers are cached.
    pub cache: Cache,
    /// False: its requests say nothing of the health of instances.
    pub breaker: bool,
}

/// When an instance trips. Belongs to instances: set at the top, or for a service.
#[derive(Clone, Debug, PartialEq)]
pub struct Breaker {
    /// False: nothing ever trips.
    pub enabled: bool,
    /// Failures in a row.
    pub consecutive: u32,
    /// Failures as a share of what was tried lately; `None` when only failures in a row count.
    pub rate: Option<FailureRate>,
    /// Open for this long at first, then doubled, with 25 % jitter.
    pub open: Duration,
    /// And at most this long.
    pub open_max: Duration,
    /// Requests that try a half-open instance at once, over all workers; 1 to 255.
    pub probes: u8,
}

/// `failed` percent of at least `of` verdicts within `within`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailureRate {
    /// Percent, 1 to 100.
    pub failed: u32,
    /// Verdicts needed before the share says anything.
    pub of: u32,
    /// The window.
    pub within: Duration,
}

/// When another attempt is made.
#[derive(Clone, Debug, PartialEq)]
pub struct Retry {
    /// Attempts besides the first.
    pub more: u32,
    /// The share of a service's requests that may be further attempts. The service's, not the route's.
    pub budget: Budget,
    /// Methods that may be sent twice.
    pub methods: Vec<http::Method>,
}

/// A retry budget: in any `within` at most `percent` of the requests of that time, plus `plus`.
#[derive(Clone, Debug, PartialEq)]
pub struct Budget {
    /// 0 to 100.
    pub percent: u32,
    /// On top.
    pub plus: u32,
    /// The window.
    pub within: Duration,
}

/// How long things may take.
#[derive(Clone, Debug, PartialEq)]
pub struct Timeouts {
    /// To connect to an instance.
    pub connect: Duration,
    /// From the request being written to the answer's head.
    pub first_byte: Duration,
    /// Between two bytes of a body, either way.
    pub idle: Duration,
    /// Between two bytes of an event stream or of a WebSocket, in either direction.
    pub stream_idle: Duration,
    /// From the request's head to the end of the answer; streams have none.
    pub total: Option<Duration>,
}

/// Limits that are written in one place and counted together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitSet {
    /// Where they are written: `default`, `api`, the route's name, the plan's name.
    pub name: Arc<str>,
    /// At least one; each must allow a request.
    pub limits: Vec<Limit>,
}

/// A rate: `10/s`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limit {
    /// Requests in any `period`, and at once.
    pub count: u32,
    /// The period.
    pub period: Duration,
    /// Who has it.
    pub by: By,
}

/// Who has a limit of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// Each consumer; a client without one by its address.
    Consumer,
    /// Each client address.
    Address,
    /// All clients together.
    Everyone,
}

/// Whether and how a route's answers are cached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cache {
    /// Answers may be stored and reused.
    pub enabled: bool,
    /// For how long an answer without cache headers is fresh; `None`: such an answer is not stored.
    pub ttl: Option<Duration>,
}
