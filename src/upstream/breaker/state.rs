//! The state of a breaker, packed into 64 bits that one compare-and-swap changes for all workers.

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

/// State, number of probes under way and generation. Each change of state begins a new generation; verdicts on attempts of an older
/// one change nothing.
///
/// Bits 0-1 hold the state, 2-9 the probes, 10-63 the generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Packed(pub(super) u64);

impl Packed {
    pub(super) fn new(state: State, probes: u64, generation: u64) -> Packed {
        let state = match state {
            State::Closed => 0,
            State::Open => 1,
            State::HalfOpen => 2,
        };
        Packed(generation << 10 | probes << 2 | state)
    }

    pub(super) fn state(self) -> State {
        match self.0 & 3 {
            0 => State::Closed,
            1 => State::Open,
            _ => State::HalfOpen,
        }
    }

    pub(super) fn probes(self) -> u64 {
        self.0 >> 2 & 0xff
    }

    pub(super) fn generation(self) -> u64 {
        self.0 >> 10
    }
}
