//! The scenarios: the name of each, how long it is measured, and the CPUs of the gateway and of the rest.

use clap::ValueEnum;

use super::mode::Mode;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Scenario {
    /// Routing, round robin and forwarding headers.
    Bare,
    /// And a key, a limit that is never reached, a breaker.
    Full,
    /// Bare, with an access log in a file.
    Logged,
    /// Full, answered from the cache.
    Cached,
    /// Bare, with a new connection of the client for each request.
    Close,
    /// Bare, at a fixed rate: latency from when a request was due.
    Open,
    /// Memory of connections that lie idle.
    Idle,
    /// 1 GiB down, 1 GiB up, and 64 downloads at once, half of them slow.
    Bodies,
    /// One worker on one core, two workers on two.
    Workers,
    /// Requests to one service, and spread over 200.
    Services,
}

/// The CPU of the proxy that is measured.
pub(crate) const GATEWAY: &[usize] = &[0];
/// The CPU of the generator and the backend.
pub(crate) const REST: &[usize] = &[1];
/// Both CPUs, for a gateway with two workers.
pub(crate) const BOTH: &[usize] = &[0, 1];

impl Scenario {
    /// How many rounds, unless an option says otherwise.
    pub(crate) fn rounds(self) -> usize {
        match self {
            Scenario::Open => 7,
            Scenario::Idle | Scenario::Bodies => 3,
            _ => 5,
        }
    }

    /// What the proxies have switched on.
    pub(crate) fn mode(self) -> Mode {
        match self {
            Scenario::Bare | Scenario::Close | Scenario::Open | Scenario::Workers => Mode::Bare,
            Scenario::Full => Mode::Full,
            Scenario::Logged => Mode::Logged,
            Scenario::Cached => Mode::Cached,
            Scenario::Idle => Mode::Idle,
            Scenario::Bodies => Mode::Bodies,
            Scenario::Services => Mode::Services,
        }
    }

    /// How many seconds of a round are counted, unless an option says otherwise.
    pub(crate) fn seconds(self) -> f64 {
        if self == Scenario::Open { 20.0 } else { 6.0 }
    }

    /// Its name on the command line.
    pub(crate) fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }
}
