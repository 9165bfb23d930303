//! Where a breaker stands, in one word that one compare-and-swap changes for all workers.

/// Where a breaker stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Requests pass. A row of failures leads to `Open`.
    Closed,
    /// No request passes. The end of the open time leads to `HalfOpen`, at the next request's acquire.
    Open,
    /// At most N probes are under way. A probe's success leads to `Closed`, its failure to `Open` for longer.
    HalfOpen,
}

impl State {
    /// All of them, in the order of the figures that stand for them.
    pub const ALL: [State; 3] = [State::Closed, State::HalfOpen, State::Open];

    /// Its place in `ALL`.
    pub fn figure(self) -> usize {
        match self {
            State::Closed => 0,
            State::HalfOpen => 1,
            State::Open => 2,
        }
    }

    /// The word that admin and logs use.
    pub fn as_str(self) -> &'static str {
        match self {
            State::Closed => "closed",
            State::Open => "open",
            State::HalfOpen => "half_open",
        }
    }
}

/// State, generation and probes under way in one word, so that one compare-and-swap decides for all workers.
///
/// Bits 0-1 state, 2-9 probes, 10-63 generation. Each change of state begins a new generation; a verdict of an older one
/// changes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Word(pub(super) u64);

impl Word {
    pub(super) fn new(state: State, probes: u64, generation: u64) -> Word {
        let state = match state {
            State::Closed => 0,
            State::Open => 1,
            State::HalfOpen => 2,
        };
        Word(generation << 10 | probes << 2 | state)
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
