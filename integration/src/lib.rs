//! The gateway seen from outside: a world of gateway, Consul and mocks on ports of its own, and what tests and the demo do with it.

pub mod agent;
pub mod client;
pub mod examples;
pub mod fake_agent;
pub mod instance;
pub mod jmespath;
#[cfg(all(target_os = "linux", feature = "measure"))]
pub mod measure;
pub mod process;
pub mod program;
pub mod provider;
pub mod redis;
pub mod training;
mod waiting;
pub mod websocket;
pub mod world;

pub use waiting::eventually;
