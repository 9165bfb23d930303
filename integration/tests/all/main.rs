//! The promises of Lictor, tested from outside, with a module for each.

mod blaming;
mod breaking;
mod caching;
mod clients;
mod discovering;
mod ending;
mod enduring;
mod examining;
mod faking;
mod fields;
mod guarding;
mod limiting;
mod logging;
mod measuring;
mod operating;
mod permitting;
mod raw;
mod reloading;
mod routes;
mod routing;
mod running;
mod storing;
mod streaming;
mod trying;
mod workers;
