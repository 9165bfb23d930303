//! How gateways prove to each other that they have the fleet's secret: HMAC-SHA-256 over all that a call says, and AES-256-GCM over its
//! answer. The secret itself is never sent, and neither is an operator's key.
//!
//! A call names whom it is for, and whatever is registered under that name hears it: service ids are unique per node only. Whoever passes it on to
//! the real gateway gets an answer that only who has the secret can read.

use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::hmac;

use crate::config::Secret;
use crate::config::fleet::{SCHEME, SHORTEST_SECRET};

/// How many bytes of a name are shown.
const NAME: usize = 8;

/// The key that the fleet's secret makes.
#[derive(Clone, Debug)]
pub struct Key(hmac::Key);

/// A call of a gateway, as it is proven.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call<'a> {
    /// Its method.
    pub method: &'a str,
    /// Its path, with a query if there is one.
    pub target: &'a str,
    /// Its body.
    pub body: &'a [u8],
    /// The id of the gateway that it is for.
    pub to: &'a str,
    /// When it was made, in seconds since 1970.
    pub time: u64,
    /// What no other call has.
    pub nonce: &'a str,
}

/// Encrypts the answer to one call, which was right.
#[derive(Debug)]
pub struct Seal {
    key: Key,
    id: String,
    nonce: String,
}

impl Key {
    /// The key of a secret, which is read anew if it lies in a file.
    ///
    /// # Errors
    /// Why it cannot be used.
    pub fn read(secret: &Secret) -> Result<Key, String> {
        let text = secret.read().map_err(|why| format!("the fleet's secret cannot be read: {why}"))?;
        if text.len() < SHORTEST_SECRET {
            return Err(format!("the fleet's secret is shorter than {SHORTEST_SECRET} bytes"));
        }
        Ok(Key(hmac::Key::new(hmac::HMAC_SHA256, text.as_bytes())))
    }

    /// A name for a digest that only who has the secret can make: nobody else finds out by trying what the digest is of.
    pub fn name(&self, what: &str, digest: &[u8]) -> String {
        hex(&hmac::sign(&self.0, &joined(&[b"name", what.as_bytes(), digest])).as_ref()[..NAME])
    }

    /// The field that proves a call.
    pub fn field(&self, call: &Call<'_>) -> String {
        let mac = hex(hmac::sign(&self.0, &call.bytes()).as_ref());
        format!("{SCHEME} {} {} {mac} {}", call.time, call.nonce, call.to)
    }

    /// Whether a call is proven by this.
    pub fn proves(&self, call: &Call<'_>, mac: &[u8]) -> bool {
        hmac::verify(&self.0, &call.bytes(), mac).is_ok()
    }

    /// The answer to a call, if the gateway that the call was for gave it.
    pub fn open(&self, (id, nonce): (&str, &str), mut sealed: Vec<u8>) -> Option<Vec<u8>> {
        let (start, rest) = sealed.split_at_mut_checked(NONCE_LEN)?;
        let start = Nonce::try_assume_unique_for_key(start).ok()?;
        let length = self.answers().open_in_place(start, answer(id, nonce), rest).ok()?.len();
        sealed.drain(..NONCE_LEN);
        sealed.truncate(length);
        Some(sealed)
    }

    /// The key of answers: what proves a call, or names a digest, never encrypts.
    fn answers(&self) -> RandomizedNonceKey {
        let key = hmac::sign(&self.0, &joined(&[b"key of answers"]));
        RandomizedNonceKey::new(&AES_256_GCM, key.as_ref()).expect("SHA-256 has the 32 bytes of its key")
    }

    /// What encrypts the answer to a call that was right.
    pub(super) fn seal(self, id: &str, nonce: &str) -> Seal {
        Seal { key: self, id: id.to_owned(), nonce: nonce.to_owned() }
    }
}

impl Seal {
    /// An answer as it is sent: a nonce of AES-GCM, what it encrypts, and its tag.
    pub fn close(&self, body: &[u8]) -> Vec<u8> {
        let mut inner = body.to_vec();
        let sealed = self.key.answers().seal_in_place_append_tag(answer(&self.id, &self.nonce), &mut inner);
        let start = sealed.expect("the system has randomness, and no answer has gigabytes");
        [start.as_ref().as_slice(), &inner].concat()
    }
}

impl Call<'_> {
    fn bytes(&self) -> Vec<u8> {
        let (time, to) = (self.time.to_be_bytes(), self.to.as_bytes());
        let parts = [self.method.as_bytes(), self.target.as_bytes(), self.body, to, &time, self.nonce.as_bytes()];
        joined(&[&[b"call".as_slice()], &parts[..]].concat())
    }
}

/// What an answer is bound to: whose it is, and which call it answers.
fn answer(id: &str, nonce: &str) -> Aad<Vec<u8>> {
    Aad::from(joined(&[b"answer", id.as_bytes(), nonce.as_bytes()]))
}

/// Parts, each after its length: no two lists of parts have the same bytes.
fn joined(parts: &[&[u8]]) -> Vec<u8> {
    let mut bytes = b"lictor fleet 1".to_vec();
    for part in parts {
        bytes.extend_from_slice(&(part.len() as u64).to_be_bytes());
        bytes.extend_from_slice(part);
    }
    bytes
}

/// A nonce that nobody can guess.
pub(super) fn nonce() -> String {
    let mut random = [0; 16];
    aws_lc_rs::rand::fill(&mut random).expect("the system has randomness");
    hex(&random)
}

/// Seconds since 1970.
pub(super) fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
