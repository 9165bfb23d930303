//! Values that only a gateway of the fleet can have written: whoever can write to Redis could else choose what clients are answered. They
//! have an end, so that nobody can put back later what was true once.

use aws_lc_rs::hmac::{self, HMAC_SHA256, Key};

/// What comes before key and value in what is signed: another use of the same secret signs something else.
const PURPOSE: &[u8] = b"lictor value 2\0";

/// An HMAC-SHA-256 (RFC 2104).
const TAG: usize = 32;

/// When a value ends: seconds since 1970, most significant byte first.
const END: usize = 8;

/// Seals values, and opens what it has sealed, by the secret of a fleet.
#[derive(Clone, Debug)]
pub struct Seals(Key);

impl Seals {
    /// By this secret. One that can be guessed protects nothing: the configuration says how long it must be.
    pub fn new(secret: &[u8]) -> Seals {
        Seals(Key::new(HMAC_SHA256, secret))
    }

    /// What is stored under a key until `end`, in seconds since 1970.
    pub fn seal(&self, key: &[u8], value: &[u8], end: u64) -> Vec<u8> {
        let end = end.to_be_bytes();
        let mut sealed = Vec::with_capacity(TAG + END + value.len());
        sealed.extend_from_slice(self.sign(key, end, value).as_ref());
        sealed.extend_from_slice(&end);
        sealed.extend_from_slice(value);
        sealed
    }

    /// The value that was sealed for a key; `None` for what was sealed for another one, by another secret, was changed since, or has ended
    /// at `now`, in seconds since 1970.
    pub fn open<'v>(&self, key: &[u8], sealed: &'v [u8], now: u64) -> Option<&'v [u8]> {
        let (tag, signed) = sealed.split_at_checked(TAG)?;
        let (end, value) = signed.split_first_chunk::<END>()?;
        let expected = self.sign(key, *end, value);
        aws_lc_rs::constant_time::verify_slices_are_equal(expected.as_ref(), tag).ok()?;
        (now < u64::from_be_bytes(*end)).then_some(value)
    }

    /// The length of the key comes first, so that no byte can move from the key to what follows it.
    fn sign(&self, key: &[u8], end: [u8; END], value: &[u8]) -> hmac::Tag {
        let mut context = hmac::Context::with_key(&self.0);
        context.update(PURPOSE);
        context.update(&(key.len() as u64).to_be_bytes());
        context.update(key);
        context.update(&end);
        context.update(value);
        context.sign()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_700_000_000;

    #[test]
    fn a_value_opens_under_its_own_key_and_secret_only() {
        let seals = Seals::new(b"the secret of a fleet");
        for value in [&b""[..], b"v", &[0; 1000]] {
            let sealed = seals.seal(b"key", value, NOW + 1);
            assert_eq!(seals.open(b"key", &sealed, NOW), Some(value));
            assert_eq!(seals.open(b"other", &sealed, NOW), None);
            assert_eq!(Seals::new(b"another secret").open(b"key", &sealed, NOW), None);
        }
    }

    #[test]
    fn what_has_ended_is_not_there() {
        let seals = Seals::new(b"secret");
        let sealed = seals.seal(b"key", b"value", NOW);
        assert_eq!(seals.open(b"key", &sealed, NOW - 1), Some(&b"value"[..]));
        assert_eq!([NOW, NOW + 1].map(|now| seals.open(b"key", &sealed, now)), [None, None]);
    }

    #[test]
    fn what_was_changed_or_cut_is_not_there() {
        let seals = Seals::new(b"secret");
        let sealed = seals.seal(b"key", b"value", NOW + 1);
        for place in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[place] ^= 1;
            assert_eq!(seals.open(b"key", &changed, NOW), None, "byte {place}");
            assert_eq!(seals.open(b"key", &sealed[..place], NOW), None, "{place} bytes");
        }
        assert_eq!(seals.open(b"key", b"something that another program wrote, long enough", NOW), None);
    }

    #[test]
    fn no_byte_moves_between_key_and_value() {
        let seals = Seals::new(b"secret");
        let sealed = seals.seal(b"ab", b"c", NOW + 1);
        let moved = [&sealed[..TAG], b"b", &sealed[TAG..]].concat();
        assert_eq!(seals.open(b"a", &moved, 0), None);
    }
}
