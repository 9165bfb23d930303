//! Which requests go where: a request's head in, its route out. Pure.
//!
//! The most specific route wins: its host (this one, then the longest `*.` above it, then any), then its path, compared
//! segment by segment from the left (a text before a parameter before "everything below"), then the number of its further
//! conditions. A route whose conditions do not hold is passed over for the next one. Two that would be equal are a
//! mistake of the configuration.

mod entry;
pub mod journal;
mod order;
mod search;
mod table;

pub use entry::{Composed, Entry, Front, makes};
pub use search::{Found, Lookup, Missed, find, is_ambiguous, plain};
pub use table::Table;

#[cfg(test)]
mod tests;
