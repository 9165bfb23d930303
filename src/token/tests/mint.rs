//! Makes tokens: good ones, and ones that differ from them in one thing.

use serde_json::{Map, Value, json};

use super::keys::{self, Signer, encoded};
use super::{AUDIENCE, ISS, NOW};

/// A token that is being made.
pub(super) struct Mint {
    header: Map<String, Value>,
    claims: Map<String, Value>,
    header_text: Option<String>,
    payload_text: Option<Vec<u8>>,
    signer: &'static Signer,
    signature: fn(Vec<u8>) -> Vec<u8>,
    sent: fn(String) -> String,
}

/// One that holds: signed with the issuer's RSA key, for us, for five minutes.
pub(super) fn token() -> Mint {
    let header = json!({ "alg": "RS256", "typ": "JWT", "kid": "rsa" });
    let claims = json!({
        "iss": ISS, "sub": "ada", "aud": AUDIENCE, "iat": NOW - 10, "exp": NOW + 300, "scope": "orders:read",
    });
    Mint {
        header: header.as_object().expect("an object").clone(),
        claims: claims.as_object().expect("an object").clone(),
        header_text: None,
        payload_text: None,
        signer: &keys::RSA,
        signature: |signature| signature,
        sent: |token| token,
    }
}

impl Mint {
    /// Another header parameter, or another value of one.
    pub(super) fn header(mut self, name: &str, value: impl Into<Value>) -> Mint {
        self.header.insert(name.to_owned(), value.into());
        self
    }

    /// One header parameter less.
    pub(super) fn no_header(mut self, name: &str) -> Mint {
        self.header.remove(name);
        self
    }

    /// Another claim, or another value of one.
    pub(super) fn claim(mut self, name: &str, value: impl Into<Value>) -> Mint {
        self.claims.insert(name.to_owned(), value.into());
        self
    }

    /// One claim less.
    pub(super) fn no_claim(mut self, name: &str) -> Mint {
        self.claims.remove(name);
        self
    }

    /// Only these claims.
    pub(super) fn only(mut self, claims: Value) -> Mint {
        self.claims = claims.as_object().expect("an object").clone();
        self
    }

    /// Signed with another key, with this algorithm, under this name.
    pub(super) fn by(mut self, signer: &'static Signer, algorithm: &str, kid: &str) -> Mint {
        self.signer = signer;
        self.header("alg", algorithm).header("kid", kid)
    }

    /// Another text for a header.
    pub(super) fn header_text(mut self, text: &str) -> Mint {
        self.header_text = Some(text.to_owned());
        self
    }

    /// Another text for a payload.
    pub(super) fn payload_text(mut self, text: impl Into<Vec<u8>>) -> Mint {
        self.payload_text = Some(text.into());
        self
    }

    /// What is written into the payload's JSON before its end.
    pub(super) fn payload_end(self, text: &str) -> Mint {
        let whole = Value::from(self.claims.clone()).to_string();
        let open = whole.strip_suffix('}').expect("an object").to_owned();
        self.payload_text(format!("{open}{text}}}"))
    }

    /// What becomes of its signature.
    pub(super) fn resigned(mut self, change: fn(Vec<u8>) -> Vec<u8>) -> Mint {
        self.signature = change;
        self
    }

    /// What becomes of it after it was signed.
    pub(super) fn sent(mut self, change: fn(String) -> String) -> Mint {
        self.sent = change;
        self
    }

    /// How long it would be, with an RSA key of 2,048 bits.
    pub(super) fn length(&self) -> usize {
        let text = |part: &Map<String, Value>| (Value::from(part.clone()).to_string().len() * 4).div_ceil(3);
        text(&self.header) + 1 + text(&self.claims) + 1 + (256_usize * 4).div_ceil(3)
    }

    /// It is made.
    pub(super) fn token(self) -> String {
        let header = self.header_text.unwrap_or_else(|| Value::from(self.header.clone()).to_string());
        let payload = self.payload_text.unwrap_or_else(|| Value::from(self.claims).to_string().into_bytes());
        let signed = format!("{}.{}", encoded(header.as_bytes()), encoded(&payload));
        let algorithm = self.header.get("alg").and_then(Value::as_str).unwrap_or_default();
        let signature = (self.signature)(self.signer.sign(algorithm, signed.as_bytes()));
        (self.sent)(format!("{signed}.{}", encoded(&signature)))
    }
}

/// The three parts of a token.
pub(super) fn parts(token: &str) -> [&str; 3] {
    let mut parts = token.split('.');
    [(); 3].map(|()| parts.next().expect("three parts"))
}
