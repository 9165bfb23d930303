//! (to come)
pub mod balance;
pub mod breaker;
