//! What became of questions about tokens, for admin.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;

/// The counts of one issuer.
#[derive(Debug, Default)]
pub struct Figures {
    /// Tokens of which it said that they hold.
    pub active: AtomicU64,
    /// Tokens that do not hold: it said so, or what it said of them does not fit.
    pub refused: AtomicU64,
    /// Those among them of which it did not say whether they hold, but refused the question: by 403, 404 or another status.
    pub declined: AtomicU64,
    /// How it refused the last of these.
    pub declined_why: Mutex<Option<String>>,
    /// Questions that it did not answer.
    pub failed: AtomicU64,
    /// Requests that were answered from what it said before.
    pub remembered: AtomicU64,
    /// Requests that waited for the question of another one.
    pub coalesced: AtomicU64,
    /// Requests whose question was not asked: its breaker was open, or too many were under way.
    pub unavailable: AtomicU64,
    /// Questions that are under way now.
    pub under_way: AtomicU64,
    /// Its breaker is not closed.
    pub tripped: AtomicBool,
    /// Why the last question was not answered, if it was not.
    pub error: Mutex<Option<String>>,
}

/// Counts one more.
pub(crate) fn count(figure: &AtomicU64) {
    figure.fetch_add(1, Ordering::Relaxed);
}

/// The figures at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// [`Figures::active`].
    pub active: u64,
    /// [`Figures::refused`].
    pub refused: u64,
    /// [`Figures::declined`].
    pub declined: u64,
    /// [`Figures::declined_why`].
    pub declined_why: Option<String>,
    /// [`Figures::failed`].
    pub failed: u64,
    /// [`Figures::remembered`].
    pub remembered: u64,
    /// [`Figures::coalesced`].
    pub coalesced: u64,
    /// [`Figures::unavailable`].
    pub unavailable: u64,
    /// [`Figures::under_way`].
    pub under_way: u64,
    /// [`Figures::tripped`].
    pub tripped: bool,
    /// [`Figures::error`].
    pub error: Option<String>,
}

impl Figures {
    /// As they are now.
    pub fn state(&self) -> State {
        let read = |figure: &AtomicU64| figure.load(Ordering::Relaxed);
        State {
            active: read(&self.active),
            refused: read(&self.refused),
            declined: read(&self.declined),
            declined_why: self.declined_why.lock().clone(),
            failed: read(&self.failed),
            remembered: read(&self.remembered),
            coalesced: read(&self.coalesced),
            unavailable: read(&self.unavailable),
            under_way: read(&self.under_way),
            tripped: self.tripped.load(Ordering::Relaxed),
            error: self.error.lock().clone(),
        }
    }
}
