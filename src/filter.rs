//! The ordered list of what a request passes before it leaves: auth now; limits and the cache take their places after it.

pub mod auth;
pub mod cache;
pub mod limit;
