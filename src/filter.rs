//! (to come)
pub mod auth;
