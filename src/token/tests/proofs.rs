//! Proofs of possession (RFC 9449): those that count, and wrong ones, each refused for its own reason.

use std::sync::LazyLock;
use std::time::{Duration, UNIX_EPOCH};

use serde_json::json;

use super::keys::{EDWARDS, OTHER_P256, P256, P384, RSA, SECRET, Signer, but, encoded, sha256};
use super::mint::{Mint, token};
use super::{NOW, now};
use crate::token::proof::{Jti, Proof};
use crate::token::{KeySet, ProofFault, Rejection};

/// The request and the token of the table.
const METHOD: &str = "POST";
const URI: &str = "https://api.example.com/orders?page=2";
const TOKEN: &[u8] = b"a.bound.token";

static SHARED: LazyLock<Signer> = LazyLock::new(|| Signer::Secret(SECRET.to_vec()));

/// A proof that counts.
fn proof() -> Mint {
    by(&P256, "ES256")
}

/// The same with another key.
fn by(signer: &'static Signer, algorithm: &str) -> Mint {
    let claims = json!({
        "jti": "-BwC3ESc6acc2lTc", "htm": METHOD, "htu": "https://api.example.com/orders", "iat": NOW,
        "ath": sha256(TOKEN),
    });
    let mint = token().only(claims).by(signer, algorithm, "").no_header("kid").header("typ", "dpop+jwt");
    mint.header("jwk", signer.bare_jwk())
}

/// The thumbprint of a key.
fn jkt(signer: &Signer) -> String {
    let set = KeySet::parse(json!({ "keys": [signer.bare_jwk()] }).to_string().as_bytes(), &super::issuer());
    encoded(set.expect("a key").keys[0].thumbprint())
}

fn verified(mint: Mint, signer: &Signer) -> Result<Jti, Rejection> {
    let proof = mint.token();
    Proof::read(proof.as_bytes())?.verify(METHOD, URI, TOKEN, now(), &jkt(signer))
}

#[test]
fn a_proof_counts_with_each_asymmetric_algorithm_and_in_each_form_that_says_the_same() {
    for (what, mint, signer) in [
        ("ES256", proof(), &*P256),
        ("ES384", by(&P384, "ES384"), &*P384),
        ("RS256", by(&RSA, "RS256"), &*RSA),
        ("PS256", by(&RSA, "PS256"), &*RSA),
        ("EdDSA", by(&EDWARDS, "EdDSA"), &*EDWARDS),
        ("typ in capitals", proof().header("typ", "DPoP+JWT"), &*P256),
        ("more members of the key", proof().header("jwk", P256.jwk("mine")), &*P256),
        ("htu with a port", proof().claim("htu", "https://API.example.com:443/orders"), &*P256),
        ("htu with a query", proof().claim("htu", "https://api.example.com/orders?page=3#x"), &*P256),
        ("made 60 s ago", proof().claim("iat", NOW - 60), &*P256),
        ("made 60 s ahead", proof().claim("iat", NOW + 60), &*P256),
        ("a jti of 256 bytes", proof().claim("jti", "j".repeat(256)), &*P256),
        ("more claims", proof().claim("nonce", "n").claim("exp", 1), &*P256),
    ] {
        assert!(verified(mint, signer).is_ok(), "{what}");
    }
}

/// Proofs whose form is wrong.
fn malformed() -> Vec<(&'static str, Mint, ProofFault)> {
    use ProofFault as F;
    vec![
        ("nothing", proof().sent(|_| String::new()), F::Malformed),
        ("no JWT", proof().sent(|_| "proof".to_owned()), F::Malformed),
        ("two proofs in one field", proof().sent(|proof| format!("{proof}, {proof}")), F::Malformed),
        ("an encrypted one", proof().sent(|proof| proof + ".AAAA.AAAA"), F::Malformed),
        ("over 8 KiB", proof().claim("x", "x".repeat(8_192)), F::TooLong),
        ("padding", proof().sent(|proof| proof + "=="), F::Malformed),
        ("a payload that is no object", proof().payload_text("[]"), F::Malformed),
        ("a claim twice", proof().payload_end(r#","jti":"other""#), F::Duplicate),
        ("a claim twice, once escaped", proof().payload_end(r#","\u006ati":"other""#), F::Duplicate),
        ("crit", proof().header("crit", json!(["b64"])), F::Critical),
        ("b64", proof().header("b64", false), F::Critical),
        ("alg that is a number", proof().header("alg", 1), F::Malformed),
        ("no typ", proof().no_header("typ"), F::Typ),
        ("typ JWT", proof().header("typ", "JWT"), F::Typ),
        ("typ at+jwt", proof().header("typ", "at+jwt"), F::Typ),
    ]
}

/// Issuers' sets may say nothing by null; who proves something writes a key as it is.
fn null_half() -> serde_json::Value {
    let mut jwk = P256.bare_jwk();
    jwk["d"] = json!(null);
    jwk
}

/// Proofs whose key or algorithm is wrong.
fn keys() -> Vec<(&'static str, Mint, ProofFault)> {
    use ProofFault as F;
    let jwk = |name: &str, value: serde_json::Value| proof().header("jwk", but(P256.bare_jwk(), name, value));
    let small = but(RSA.bare_jwk(), "n", json!(encoded(&[0xff; 128])));
    vec![
        ("no alg", proof().no_header("alg"), F::Algorithm),
        ("alg none", proof().header("alg", "none"), F::Algorithm),
        ("alg none, unsigned", proof().header("alg", "None").resigned(|_| Vec::new()), F::Algorithm),
        ("HS256 with a public key", proof().header("alg", "HS256"), F::Algorithm),
        ("HS256 with a secret in it", by(&SHARED, "HS256"), F::Key),
        ("ES384 with a key on P-256", proof().header("alg", "ES384"), F::Algorithm),
        ("RS256 with a key on P-256", proof().header("alg", "RS256"), F::Algorithm),
        ("an alg that nobody knows", proof().header("alg", "ES256K"), F::Algorithm),
        ("no jwk", proof().no_header("jwk"), F::NoKey),
        ("a kid in place of a jwk", proof().no_header("jwk").header("kid", "p256"), F::NoKey),
        ("a jwk that is a text", proof().header("jwk", "key"), F::Key),
        ("a jwk that is null", proof().header("jwk", json!(null)), F::Key),
        ("a jwk with a private half that is null", proof().header("jwk", null_half()), F::PrivateKey),
        ("a jwk with its private half", jwk("d", json!(encoded(&[1; 32]))), F::PrivateKey),
        ("a jwk off its curve", jwk("y", json!(encoded(&[1; 32]))), F::Key),
        ("a jwk on another curve", jwk("crv", json!("P-521")), F::Key),
        ("a jwk of 1,024 bits", by(&RSA, "RS256").header("jwk", small), F::Key),
        ("a jwk for encryption", jwk("use", json!("enc")), F::Key),
        ("another's jwk, under which it is not signed", proof().header("jwk", OTHER_P256.bare_jwk()), F::OtherKey),
        ("signed by another key", by(&OTHER_P256, "ES256").header("jwk", P256.bare_jwk()), F::Signature),
        ("another key than the token's", by(&OTHER_P256, "ES256"), F::OtherKey),
        ("another type of key than the token's", by(&EDWARDS, "EdDSA"), F::OtherKey),
        ("no signature", proof().resigned(|_| Vec::new()), F::Signature),
        ("a signature of zeros", proof().resigned(|_| vec![0; 64]), F::Signature),
    ]
}

/// Proofs for another request, another token, another time.
fn elsewhere() -> Vec<(&'static str, Mint, ProofFault)> {
    use ProofFault as F;
    vec![
        ("no jti", proof().no_claim("jti"), F::Jti),
        ("an empty jti", proof().claim("jti", ""), F::Jti),
        ("a jti that is a number", proof().claim("jti", 1), F::Jti),
        ("a jti of 257 bytes", proof().claim("jti", "j".repeat(257)), F::Jti),
        ("no htm", proof().no_claim("htm"), F::Method),
        ("another method", proof().claim("htm", "GET"), F::Method),
        ("the method in lower case", proof().claim("htm", "post"), F::Method),
        ("methods in a list", proof().claim("htm", json!([METHOD])), F::Method),
        ("no htu", proof().no_claim("htu"), F::Uri),
        ("another path", proof().claim("htu", "https://api.example.com/users"), F::Uri),
        ("another host", proof().claim("htu", "https://evil.example/orders"), F::Uri),
        ("another scheme", proof().claim("htu", "http://api.example.com/orders"), F::Uri),
        ("another port", proof().claim("htu", "https://api.example.com:8443/orders"), F::Uri),
        ("a path alone", proof().claim("htu", "/orders"), F::Uri),
        ("an htu that is a number", proof().claim("htu", 1), F::Uri),
        ("no iat", proof().no_claim("iat"), F::NoTime),
        ("an iat that is a text", proof().claim("iat", NOW.to_string()), F::NoTime),
        ("an iat that is null", proof().claim("iat", json!(null)), F::NoTime),
        ("made 61 s ago", proof().claim("iat", NOW - 61), F::Old),
        ("made in 1970", proof().claim("iat", 0), F::Old),
        ("made before 1970", proof().claim("iat", json!(-1e300)), F::Old),
        ("made 61 s ahead", proof().claim("iat", NOW + 61), F::Ahead),
        ("made beyond all clocks", proof().claim("iat", json!(1e300)), F::Ahead),
        ("no ath", proof().no_claim("ath"), F::Token),
        ("for another token", proof().claim("ath", sha256(b"another.bound.token")), F::Token),
        ("an ath with padding", proof().claim("ath", sha256(TOKEN) + "="), F::Token),
        ("the token itself as ath", proof().claim("ath", "a.bound.token"), F::Token),
        ("an ath that is null", proof().claim("ath", json!(null)), F::Token),
    ]
}

#[test]
fn wrong_proofs_are_refused_each_for_its_own_reason() {
    let table: Vec<_> = [malformed(), keys(), elsewhere()].into_iter().flatten().collect();
    assert!(table.len() >= 60, "there are {}", table.len());
    let mut wrong = Vec::new();
    for (what, mint, fault) in table {
        let signer: &Signer = if what.contains("1,024") { &RSA } else { &P256 };
        let answer = verified(mint, signer).err();
        if answer != Some(fault.into()) {
            wrong.push(format!("{what}: {answer:?} instead of {fault:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_proof_is_told_from_others_by_its_key_and_its_name_until_it_is_too_old() {
    let one = verified(proof(), &P256).expect("it counts");
    assert_eq!(one, verified(proof(), &P256).expect("it counts"), "made twice, it is one proof");
    assert_ne!(one.digest, verified(proof().claim("jti", "other"), &P256).expect("it counts").digest);
    assert_ne!(one.digest, verified(by(&RSA, "RS256"), &RSA).expect("it counts").digest);
    // It must be remembered for as long as it would count.
    let text = proof().token();
    let again = Proof::read(text.as_bytes()).expect("a proof");
    let last = UNIX_EPOCH + Duration::from_secs(NOW as u64 + 60);
    assert!(again.verify(METHOD, URI, TOKEN, last, &jkt(&P256)).is_ok() && one.expires > last);
    let after = last + Duration::from_secs(1);
    assert_eq!(again.verify(METHOD, URI, TOKEN, after, &jkt(&P256)), Err(ProofFault::Old.into()));
}

#[test]
fn the_example_of_rfc_9449_has_the_thumbprint_that_the_rfc_says() {
    // Sections 4.1 and 6.1.
    let jwk = json!({
        "kty": "EC", "crv": "P-256", "x": "l8tFrhx-34tV3hRICRDY9zCkDlpBhF42UQUfWVAWBFs",
        "y": "9VE4jf_Ok_o64zbTTlcuNJajHmt6v9TDVrU0CdvGRDA",
    });
    let set = KeySet::parse(json!({ "keys": [jwk] }).to_string().as_bytes(), &super::issuer()).expect("a key");
    assert_eq!(encoded(set.keys[0].thumbprint()), "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I");
}

#[test]
fn a_proof_says_its_nonce_and_shows_nothing_to_who_debugs() {
    let (with, without) = (proof().claim("nonce", "n-1").token(), proof().token());
    let with = Proof::read(with.as_bytes()).expect("a proof");
    assert_eq!(with.nonce(), Some("n-1"));
    assert_eq!(Proof::read(without.as_bytes()).expect("a proof").nonce(), None);
    assert_eq!(format!("{with:?}"), "(proof)");
}
