//! What a provider is: a source of endpoints.

use super::outlet::Outlet;
use crate::supervisor::Running;

/// A source of endpoints.
///
/// It reports through its [`Outlet`] what exists, each time that this changes, and how it fares. What it reported last holds
/// until it reports something else: a provider that fails reports no empty catalog, it reports none.
pub trait Provider: Send {
    /// The name that endpoints, status and metrics carry: `consul`, `file`.
    fn name(&self) -> &'static str;

    /// Where it looks, for people: an agent's address, a file.
    fn source(&self) -> String;

    /// Watches until it is dropped; returns only when nothing can change any more. After a panic it is called again.
    fn run<'a>(&'a mut self, outlet: &'a Outlet) -> Running<'a>;
}

/// Why a provider cannot start; the sentence names the setting.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Error(pub String);
