//! The states of a breaker, by name.

/// The states of a breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Requests pass. Too many failures lead to `Open`.
    Closed,
    /// No request passes. When the open time is over, the next request that asks for a permit leads to `HalfOpen`.
    Open,
    /// Only probes pass, a limited number at a time. A probe's success leads to `Closed`, its failure to `Open` for longer.
    HalfOpen,
}

impl State {
    /// All of them, in the order of their numbers in metrics.
    pub const ALL: [State; 3] = [State::Closed, State::HalfOpen, State::Open];

    /// Its number in metrics, and its index in `ALL`.
    pub fn figure(self) -> usize {
        match self {
            State::Closed => 0,
            State::HalfOpen => 1,
            State::Open => 2,
        }
    }

    /// Its name in admin pages and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            State::Closed => "closed",
            State::Open => "open",
            State::HalfOpen => "half_open",
        }
    }
}
