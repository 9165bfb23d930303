//! (to come)
pub mod head;
pub mod headers;
pub mod error;
