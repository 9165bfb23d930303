//! Nonces for proofs of possession (RFC 9449 section 9): a step of time, and what only this process can say of it. None is kept.

use std::time::Duration;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use tokio::time::Instant;

/// How long a step of time is: a nonce holds in the one in which it was made, and in the next one.
const STEP: Duration = Duration::from_secs(10);

/// For how long a nonce holds at most.
pub(super) const LONGEST: Duration = STEP.saturating_mul(2);

/// How many bytes say which step it is.
const NUMBER: usize = 8;

/// These, and the first half of a digest, which is as hard to guess as a key of 128 bits.
const BYTES: usize = NUMBER + 16;

/// Four characters of base64url for three bytes.
const TEXT: usize = BYTES / 3 * 4;

/// A nonce as it is sent. It is no secret: clients send it back in the clear.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nonce([u8; TEXT]);

/// Makes nonces, and knows them again.
#[derive(Debug)]
pub(super) struct Nonces {
    /// Random, and nobody else's: so another gateway's nonces are none here, nor are those from before a restart.
    key: hmac::Key,
    /// When the first step began.
    start: Instant,
}

/// What is left of a nonce of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Age {
    /// It holds.
    Holds,
    /// Its time is over.
    Over,
}

impl Nonce {
    /// The text of a nonce.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl Nonces {
    /// With a new key.
    pub(super) fn new(start: Instant) -> Nonces {
        let mut key = [0; 32];
        aws_lc_rs::rand::fill(&mut key).expect("the system has randomness");
        Nonces { key: hmac::Key::new(hmac::HMAC_SHA256, &key), start }
    }

    /// The nonce of this moment.
    pub(super) fn now(&self, now: Instant) -> Nonce {
        self.of(self.step(now))
    }

    /// How old a nonce is that a client sent; `None`: it is none of ours.
    pub(super) fn age(&self, sent: &str, now: Instant) -> Option<Age> {
        if sent.len() != TEXT {
            return None;
        }
        let bytes = URL_SAFE_NO_PAD.decode(sent).ok()?;
        let step = u64::from_be_bytes(*bytes.first_chunk::<NUMBER>()?);
        verify_slices_are_equal(self.of(step).as_bytes(), sent.as_bytes()).ok()?;
        Some(if step.saturating_add(1) < self.step(now) { Age::Over } else { Age::Holds })
    }

    /// The nonce of a step.
    fn of(&self, step: u64) -> Nonce {
        let mut bytes = [0; BYTES];
        let (number, tag) = bytes.split_at_mut(NUMBER);
        number.copy_from_slice(&step.to_be_bytes());
        tag.copy_from_slice(&hmac::sign(&self.key, number).as_ref()[..BYTES - NUMBER]);
        let mut text = [0; TEXT];
        let written = URL_SAFE_NO_PAD.encode_slice(bytes, &mut text);
        debug_assert_eq!(written, Ok(TEXT));
        Nonce(text)
    }

    fn step(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.start).as_secs() / STEP.as_secs()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(nonce: Nonce) -> String {
        String::from_utf8(nonce.as_bytes().to_vec()).expect("ASCII")
    }

    #[test]
    fn a_nonce_holds_for_ten_to_twenty_seconds() {
        let start = Instant::now();
        let nonces = Nonces::new(start);
        let at = |seconds: f64| start + Duration::from_secs_f64(seconds);
        for (made, last) in [(0.0, 19.9), (9.9, 19.9), (10.0, 29.9), (1005.0, 1019.9)] {
            let nonce = text(nonces.now(at(made)));
            assert_eq!(nonces.age(&nonce, at(made)), Some(Age::Holds));
            assert_eq!(nonces.age(&nonce, at(last)), Some(Age::Holds), "{made}");
            assert_eq!(nonces.age(&nonce, at(last + 0.1)), Some(Age::Over), "{made}");
            assert_eq!(nonces.age(&nonce, at(1e9)), Some(Age::Over), "{made}");
        }
    }

    #[test]
    fn a_nonce_that_is_not_ours_is_none() {
        let start = Instant::now();
        let nonces = Nonces::new(start);
        let nonce = text(nonces.now(start));
        let another = text(Nonces::new(start).now(start));
        for sent in ["", "A", &nonce[1..], &format!("{nonce}A"), &format!("{nonce}="), &another, &"é".repeat(TEXT / 2)]
        {
            assert_eq!(nonces.age(sent, start), None, "{sent}");
        }
        for place in 0..TEXT {
            let mut altered = nonce.clone().into_bytes();
            altered[place] = if altered[place] == b'B' { b'C' } else { b'B' };
            let altered = String::from_utf8(altered).expect("ASCII");
            assert_eq!(nonces.age(&altered, start), None, "{altered}");
        }
        assert_eq!(nonces.age(&nonce, start), Some(Age::Holds));
    }

    #[test]
    fn a_nonce_is_a_text_that_a_field_and_a_claim_can_have() {
        let start = Instant::now();
        // RFC 9449 section 8.1: NQCHAR.
        for byte in Nonces::new(start).now(start).as_bytes() {
            assert!(byte.is_ascii_alphanumeric() || b"-_".contains(byte), "{byte}");
        }
    }
}
