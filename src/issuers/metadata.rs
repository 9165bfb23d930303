//! What an issuer publishes of itself, and what of it is believed: OpenID Connect Discovery 1.0, sections 3 and 4.

use serde::Deserialize;

use super::http::{Failure, Url, origin, url};

/// As much of an issuer's metadata as is needed.
#[derive(Deserialize)]
struct Metadata {
    issuer: String,
    jwks_uri: String,
}

/// Where an issuer's metadata lies (section 4.1).
pub(crate) fn location(iss: &str) -> Result<Url, Failure> {
    url(&format!("{}/.well-known/openid-configuration", iss.trim_end_matches('/')))
}

/// Where the keys lie, as metadata says. It must be the metadata of this very issuer (section 4.3), and name a place at its origin or at
/// one of those that the configuration allows: else whoever can change what it says could have tokens of his own accepted.
pub(crate) fn keys_of(metadata: &[u8], iss: &str, origins: &[String]) -> Result<Url, Failure> {
    let found: Metadata = serde_json::from_slice(metadata)
        .map_err(|why| Failure::wrong(format!("its metadata is not understood: {}", without_content(&why))))?;
    if found.issuer != iss {
        return Err(Failure::wrong("its metadata has another `issuer` than the configuration"));
    }
    let keys = url(&found.jwks_uri)
        .map_err(|failure| Failure::wrong(format!("the `jwks_uri` of its metadata: {}", failure.reason)))?;
    let at = origin(&keys);
    let allowed = |written: &String| url(written).is_ok_and(|written| origin(&written) == at);
    if url(iss).is_ok_and(|own| origin(&own) == at) || origins.iter().any(allowed) {
        return Ok(keys);
    }
    Err(Failure::wrong(format!("its metadata says that its keys lie at {at}, which `keys_origin` does not allow")))
}

/// What is wrong with JSON, without any of it.
fn without_content(error: &serde_json::Error) -> String {
    match error.classify() {
        serde_json::error::Category::Data => "it lacks `issuer` or `jwks_uri`, or has one twice".to_owned(),
        _ => format!("it is not JSON (line {}, column {})", error.line(), error.column()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ISS: &str = "https://login.example/realms/corp";

    fn keys(issuer: &str, jwks_uri: &str, origins: &[&str]) -> Result<String, String> {
        let metadata = serde_json::json!({ "issuer": issuer, "jwks_uri": jwks_uri, "other": 1 }).to_string();
        let origins: Vec<_> = origins.iter().map(|&origin| origin.to_owned()).collect();
        keys_of(metadata.as_bytes(), ISS, &origins).map(|url| url.to_string()).map_err(|failure| failure.reason)
    }

    #[test]
    fn metadata_lies_below_the_issuer_whether_or_not_that_ends_with_a_slash() {
        for iss in ["https://a.example/x", "https://a.example/x/"] {
            let found = location(iss).expect("a URL");
            assert_eq!(found.as_str(), "https://a.example/x/.well-known/openid-configuration");
        }
        assert!(location("http://a.example").is_err());
    }

    #[test]
    fn the_issuer_of_metadata_is_ours_byte_for_byte() {
        assert!(keys(ISS, "https://login.example/keys", &[]).is_ok());
        for other in ["https://login.example/realms/corp/", "https://LOGIN.example/realms/corp", "https://evil.example"]
        {
            assert!(keys(other, "https://login.example/keys", &[]).is_err(), "{other}");
        }
    }

    #[test]
    fn keys_lie_at_the_issuers_origin_or_at_one_that_is_allowed() {
        let google = "https://www.googleapis.com/oauth2/v3/certs";
        assert!(keys(ISS, google, &[]).expect_err("another origin").contains("keys_origin"));
        assert_eq!(keys(ISS, google, &["https://www.googleapis.com"]).as_deref(), Ok(google));
        for evil in
            ["https://login.example:8443/k", "http://login.example/k", "https://login.example@evil.example/k", "/keys"]
        {
            assert!(keys(ISS, evil, &["https://www.googleapis.com"]).is_err(), "{evil}");
        }
    }

    #[test]
    fn metadata_that_is_garbage_or_says_a_thing_twice_is_refused_without_a_word_of_it() {
        let twice = format!(r#"{{"issuer":"{ISS}","issuer":"x","jwks_uri":"https://login.example/k"}}"#);
        for bad in ["", "<html>secret</html>", "[]", "{}", &twice] {
            let failure = keys_of(bad.as_bytes(), ISS, &[]).expect_err("refused");
            assert!(!failure.reason.contains("secret") && !failure.away, "{failure:?}");
        }
    }
}
