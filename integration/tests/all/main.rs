//! What Lictor promises, seen from outside; a module per promise.

mod breaking;
mod discovering;
mod ending;
mod guarding;
mod permitting;
mod raw;
mod routing;
mod trying;
mod workers;
