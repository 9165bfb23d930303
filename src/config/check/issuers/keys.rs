//! Where the keys of an issuer come from, and which algorithms they may be used with.

use crate::config::Secret;
use crate::config::check::urls::{origin, safe};
use crate::config::env::Environment;
use crate::config::file::{ReadClaims, Section, TextOrSection};
use crate::config::identity::{Algorithm, Encoding, Keys};

/// The algorithms by their names (RFC 7518 section 3.1, RFC 8037 section 3.1, RFC 9864 section 2.2).
const ALGORITHMS: [(&str, Algorithm); 13] = [
    ("RS256", Algorithm::RS256),
    ("RS384", Algorithm::RS384),
    ("RS512", Algorithm::RS512),
    ("PS256", Algorithm::PS256),
    ("PS384", Algorithm::PS384),
    ("PS512", Algorithm::PS512),
    ("ES256", Algorithm::ES256),
    ("ES384", Algorithm::ES384),
    ("EdDSA", Algorithm::EdDSA),
    ("Ed25519", Algorithm::EdDSA),
    ("HS256", Algorithm::HS256),
    ("HS384", Algorithm::HS384),
    ("HS512", Algorithm::HS512),
];

/// `keys = "https://…"`, `{ file = "…" }` or `{ secret = …, encoding = "base64" }`; by discovery when not written. And the origins that discovery may name.
pub(super) fn keys(section: &Section<'_>, env: &Environment) -> (Keys, Vec<String>) {
    let keys = match section.text_or_section("keys") {
        TextOrSection::Absent => Keys::Discovery,
        TextOrSection::Text(url) => {
            section.convert("keys", &url, safe);
            Keys::Url(url.value)
        }
        TextOrSection::Section(table) => {
            let (file, secret) = (table.text("file"), table.secret("secret", env));
            let encoding = table.word("encoding", &[("text", Encoding::Text), ("base64", Encoding::Base64)]);
            let written = table.is_written("secret");
            if table.is_written("encoding") && !written {
                table.mistake_at("encoding", "says how a secret is written, and there is none: remove it");
            }
            let keys = match (file, secret) {
                (Some(file), None) if !written => Keys::File(file.value.into()),
                (None, Some(secret)) => Keys::Secret(secret, encoding),
                (None, None) if written => Keys::Discovery,
                _ => {
                    if table.exists() {
                        table.mistake("", 0, "is a URL, { file = \"path\" } or { secret = { env = \"NAME\" } }");
                    }
                    Keys::Discovery
                }
            };
            table.end();
            keys
        }
    };
    let written = section.texts("keys_origin");
    if !written.is_empty() && section.is_written("keys") {
        section.mistake_at("keys_origin", "is for keys that discovery names: remove it, or keys");
    }
    let origins = written.into_iter().filter_map(|text| section.convert("keys_origin", &text, origin)).collect();
    (keys, origins)
}

/// The algorithms that are written: HS* only with a secret, and with a secret only HS*.
pub(super) fn algorithms(section: &Section<'_>, keys: &Keys) -> Option<Vec<Algorithm>> {
    let secret = matches!(keys, Keys::Secret(..));
    let read = |name: &str| {
        let found = ALGORITHMS.iter().find(|(known, _)| *known == name).map(|(_, algorithm)| *algorithm);
        match found {
            None => {
                let all: Vec<_> = ALGORITHMS.iter().map(|(name, _)| *name).collect();
                Err(format!("`{name}` is no algorithm for tokens here; there are: {}", all.join(", ")))
            }
            Some(_) if name.starts_with("HS") && !secret => {
                Err(format!("`{name}` signs with a secret, and this issuer has none: keys = {{ secret = … }}"))
            }
            Some(_) if !name.starts_with("HS") && secret => {
                Err(format!("`{name}` needs public keys, and this issuer has a secret: only HS256, HS384 and HS512"))
            }
            Some(algorithm) => Ok(algorithm),
        }
    };
    let written = section.texts("algorithms");
    if section.is_written("algorithms") && section.lacks("algorithms") {
        section.mistake_at("algorithms", "is empty: no token could hold; leave it out for what the keys allow");
    }
    let found: Vec<_> = written.iter().filter_map(|text| section.convert("algorithms", text, read)).collect();
    if let Keys::Secret(secret @ Secret::Text(_), encoding) = keys
        && let Err(why) = long_enough(secret, *encoding, &found)
    {
        section.mistake_at("keys", why);
    }
    (!found.is_empty()).then_some(found)
}

/// Whether a secret has the bytes that one of these algorithms needs, or one of all where none is written.
fn long_enough(secret: &Secret, encoding: Encoding, algorithms: &[Algorithm]) -> Result<(), String> {
    let needed = match algorithms.iter().min() {
        Some(Algorithm::HS512) => 64,
        Some(Algorithm::HS384) => 48,
        _ => 32,
    };
    let text = secret.read().map_err(|why| why.to_string())?;
    match encoding.bytes(&text)?.len() {
        bytes if bytes < needed => {
            Err(format!("the secret has {bytes} bytes: at least {needed} are needed (RFC 7518 section 3.2)"))
        }
        _ => Ok(()),
    }
}
