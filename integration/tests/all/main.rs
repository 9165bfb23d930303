//! What Lictor promises, seen from outside; a module per promise.

mod breaking;
mod caching;
mod discovering;
mod ending;
mod guarding;
mod limiting;
mod permitting;
mod raw;
mod routes;
mod routing;
mod trying;
mod workers;
