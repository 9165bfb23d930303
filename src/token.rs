//! Tokens (JWT, RFC 7519): read strictly, verified with an issuer's keys, and what they say of their caller. Pure: it knows no clock, asks
//! nobody, and waits for nothing.
//!
//! A token is read once ([`Unverified::read`]), which refuses all that two readers could read differently; the issuer that it names is
//! looked for ([`issuer_of`]); then it is verified with that issuer's keys, and its claims are held to what the configuration says
//! ([`Unverified::verify`]). Only then are there [`Claims`]. Which algorithms count is said by the configuration and the keys, never by the
//! token.

mod algorithm;
pub mod asking;
mod claims;
mod compact;
pub mod counts;
mod json;
mod jwk;
mod key;
mod key_set;
pub mod proof;
mod rejection;
pub mod revoked;
mod rules;
mod unverified;

pub use claims::Claims;
pub use key::{Key, Kind};
pub use key_set::{KeySet, KeySets, LeftOut};
pub use rejection::{ProofFault, Rejection};
pub use rules::holds;
pub use unverified::{Unverified, issuer_of};

#[cfg(test)]
mod tests;
