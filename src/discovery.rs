//! (to come)
pub mod consul;
pub mod file;
