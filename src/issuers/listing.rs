//! What a JWK Set says of its keys, for logs and pages, and how two of them differ.

use std::collections::BTreeMap;

use aws_lc_rs::digest::{SHA256, digest};
use serde_json::Value;

/// The most characters that are shown of what an issuer says.
const SHOWN: usize = 80;

/// A key as its set describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Listed {
    /// Its name (RFC 7517 section 4.5).
    pub(crate) kid: Option<String>,
    /// What it is for (section 4.2).
    pub(crate) usage: Option<String>,
    /// The digest of the whole.
    digest: [u8; 32],
}

/// The keys of a set; none where it is none. Neither their order nor that of their members depends on the set's.
pub(crate) fn listed(set: &[u8]) -> Vec<Listed> {
    let mut set: Value = serde_json::from_slice(set).unwrap_or_default();
    set.sort_all_objects();
    let mut all: Vec<_> = set["keys"].as_array().into_iter().flatten().map(key).collect();
    all.sort_by(|one, other| (&one.kid, one.digest).cmp(&(&other.kid, other.digest)));
    all
}

fn key(jwk: &Value) -> Listed {
    let text = |name: &str| jwk[name].as_str().map(shown);
    Listed { kid: text("kid"), usage: text("use"), digest: digest_of(jwk.to_string().as_bytes()) }
}

impl Listed {
    /// The one key that is a secret, of which nothing is told.
    pub(crate) fn secret(secret: &[u8]) -> Listed {
        Listed { kid: None, usage: None, digest: digest_of(secret) }
    }
}

fn digest_of(content: &[u8]) -> [u8; 32] {
    let mut found = [0; 32];
    found.copy_from_slice(digest(&SHA256, content).as_ref());
    found
}

/// What an issuer says, fit for a line.
pub(crate) fn shown(text: &str) -> String {
    text.chars().take(SHOWN).map(|c| if c.is_control() { '?' } else { c }).collect()
}

/// What came, went, and is another key of the same name: `+new -old ~other`.
pub(crate) fn differences(old: &[Listed], new: &[Listed]) -> String {
    let by_kid = |all: &[Listed]| {
        let mut map: BTreeMap<Option<String>, Vec<[u8; 32]>> = BTreeMap::new();
        all.iter().for_each(|key| map.entry(key.kid.clone()).or_default().push(key.digest));
        map
    };
    let (old, new) = (by_kid(old), by_kid(new));
    let name = |kid: &Option<String>| kid.clone().unwrap_or_else(|| "(without kid)".to_owned());
    let came = new.keys().filter(|kid| !old.contains_key(*kid)).map(|kid| format!("+{}", name(kid)));
    let went = old.keys().filter(|kid| !new.contains_key(*kid)).map(|kid| format!("-{}", name(kid)));
    let other = new.iter().filter(|(kid, keys)| old.get(*kid).is_some_and(|before| before != *keys));
    let other = other.map(|(kid, _)| format!("~{}", name(kid)));
    came.chain(went).chain(other).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_sets_differ_by_what_came_and_went_and_by_keys_of_the_same_name_but_not_by_their_order() {
        let set = |keys: &str| listed(format!("{{\"keys\":[{keys}]}}").as_bytes());
        let (a, b) = (r#"{"kid":"a","kty":"RSA","n":"1"}"#, r#"{"kid":"b","kty":"EC","crv":"P-256","use":"sig"}"#);
        let (other, none) = (r#"{"kid":"a","kty":"RSA","n":"2"}"#, r#"{"kty":"OKP"}"#);
        assert_eq!(set(&format!("{a},{b}")), set(&format!("{b},{a}")));
        assert_eq!(set(a), set(r#"{"n":"1", "kid":"a", "kty":"RSA"}"#));
        assert_eq!(differences(&set(a), &set(b)), "+b -a");
        assert_eq!(differences(&set(a), &set(&format!("{other},{none}"))), "+(without kid) ~a");
        assert_eq!(differences(&set(a), &set(a)), "");
        let keys = set(b);
        let [key] = keys.as_slice() else { panic!("{keys:?}") };
        assert_eq!((key.kid.as_deref(), key.usage.as_deref()), (Some("b"), Some("sig")));
        assert!(listed(b"garbage").is_empty());
    }

    #[test]
    fn what_an_issuer_calls_its_keys_is_fit_for_a_line() {
        let long = format!("{{\"keys\":[{{\"kid\":\"a\\u001b[31m\\n{}\"}}]}}", "x".repeat(1000));
        let kid = listed(long.as_bytes())[0].kid.clone().expect("a name");
        assert!(kid.starts_with("a?[31m?x") && kid.len() == 80, "{kid}");
    }
}
