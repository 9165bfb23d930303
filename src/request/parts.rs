//! What became of the calls that make an aggregate's answer, as plain data: for the access line, and for whoever looks at it later.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// One request that was made for an aggregate, or that was not made although its turn had come.
#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    /// The call's name.
    pub call: Arc<str>,
    /// For which element of its list, where it is made for each; the first is 0.
    pub element: Option<usize>,
    /// From the beginning of the aggregate's request to its own beginning.
    pub began: Duration,
    /// From then until its answer was read, or it was clear that it has none.
    pub took: Duration,
    /// The answer's status, where there is an answer.
    pub status: Option<u16>,
    /// Why it failed: a stable word, or empty; `abandoned` where the whole had failed before its answer came.
    pub reason: &'static str,
    /// The instance that was tried last.
    pub instance: Option<SocketAddr>,
    /// How many attempts at instances there were.
    pub attempts: u32,
    /// What the cache did: as in the access line.
    pub cache: &'static str,
    /// Bytes of the answer's body, as far as they were read.
    pub bytes: usize,
}

/// The parts of one answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Parts {
    /// All of them, in the order in which they ended.
    pub all: Vec<Part>,
    /// The call with which the whole failed, if it did.
    pub failed: Option<Arc<str>>,
}

impl Parts {
    /// The part that took longest.
    pub fn slowest(&self) -> Option<&Part> {
        self.all.iter().max_by_key(|part| part.took)
    }
}
