//! The fleet: gateways that register in Consul, and ask each other how they are.

use std::sync::Arc;

use ipnet::IpNet;

use super::Secret;
use crate::catalog::ServiceName;

/// The service as which gateways register, where nothing else is written.
pub const SERVICE: &str = "lictor";

/// The first segment of paths for other gateways: no route can have it.
pub const SEGMENT: &str = "_lictor";

/// What paths for other gateways begin with.
pub const PREFIX: &str = "/_lictor/";

/// Where a gateway tells others of its fleet how it is.
pub const STATE: &str = "/_lictor/fleet/v1/state";

/// The header field by which a call between gateways, and its answer, prove that they are of one fleet.
pub const FIELD: &str = "lictor-fleet";

/// How calls are proven, as the field says it.
pub const SCHEME: &str = "hmac-sha256";

/// How far a call's time may be from ours, in seconds.
pub const SKEW: u64 = 30;

/// The fewest bytes of a secret: who sees a call could find a shorter one by trying.
pub const SHORTEST_SECRET: usize = 16;

/// A digest of what a file says, secrets included. It is never printed.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Digest(pub [u8; 32]);

impl std::fmt::Debug for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("(digest)")
    }
}

/// This gateway as one of a fleet.
#[derive(Clone, Debug, PartialEq)]
pub struct Fleet {
    /// The service as which all of them register.
    pub service: ServiceName,
    /// By which they know each other.
    pub secret: Secret,
    /// Where the others are, and call from.
    pub admin_networks: Arc<[IpNet]>,
    /// The host at which this one is reached: an IP address, or a name; `None`: what its listener says, or the agent.
    pub address: Option<String>,
}

/// What a call's field says: `hmac-sha256 TIME NONCE MAC ID`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field<'a> {
    /// When it was made.
    pub time: u64,
    /// What no other call has.
    pub nonce: &'a str,
    /// Its proof.
    pub mac: Vec<u8>,
    /// Whom it is for.
    pub to: &'a str,
}

impl Field<'_> {
    /// Reads a field, which proves nothing yet; `None` where it is none.
    pub fn read(text: &str) -> Option<Field<'_>> {
        let mut parts = text.splitn(5, ' ');
        let scheme = parts.next()?;
        let (time, nonce, mac, to) = (parts.next()?.parse().ok()?, parts.next()?, unhex(parts.next()?)?, parts.next()?);
        let fits = (16..=64).contains(&nonce.len()) && nonce.bytes().all(|b| b.is_ascii_alphanumeric());
        (scheme == SCHEME && fits).then_some(Field { time, nonce, mac, to })
    }
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let pairs = text.as_bytes().chunks(2);
    let byte = |pair: &[u8]| {
        let digits = std::str::from_utf8(pair).ok().filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()))?;
        u8::from_str_radix(digits, 16).ok()
    };
    (text.len() == 64).then(|| pairs.map(byte).collect())?
}
