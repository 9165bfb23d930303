//! Tokens that are bound to a key: proofs that come to a table with room, to a full one, and to `/admin`.

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};

use super::*;

/// Who has a key, and a token that is bound to it.
struct Holder {
    key: Ed25519KeyPair,
    line: String,
    token: String,
}

impl Holder {
    fn new(claims: &Value) -> Holder {
        let key = Ed25519KeyPair::generate().expect("a key");
        // RFC 7638 section 3.2: these members, in this order.
        let members = format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{}"}}"#, encoded(key.public_key().as_ref()));
        let mut all = claims.clone();
        all["cnf"] = json!({ "jkt": encoded(&config::digest(&members)) });
        let token = token(SECRET, &all);
        Holder { key, line: format!("DPoP {token}"), token }
    }

    /// A proof of this name for a GET of a path, with claims besides or instead.
    fn proof(&self, jti: &str, path: &str, more: &Value) -> String {
        let jwk = json!({ "kty": "OKP", "crv": "Ed25519", "x": encoded(self.key.public_key().as_ref()) });
        let header = json!({ "typ": "dpop+jwt", "alg": "EdDSA", "jwk": jwk });
        let mut claims = json!({
            "jti": jti, "htm": "GET", "htu": format!("https://api.example.com{path}"), "iat": in_seconds(0),
            "ath": encoded(&config::digest(&self.token)),
        });
        for (name, value) in more.as_object().expect("an object") {
            claims[name] = value.clone();
        }
        let signed = format!("{}.{}", encoded(header.to_string().as_bytes()), encoded(claims.to_string().as_bytes()));
        format!("{signed}.{}", encoded(self.key.sign(signed.as_bytes()).as_ref()))
    }

    /// What becomes of a request with such a proof: its reason where it is refused, and the nonce that is demanded.
    fn ask(&self, stand: &Stand, jti: &str, more: &Value) -> (Option<&'static str>, Option<String>) {
        let proof = self.proof(jti, "/", more);
        match stand.ask(&[("authorization", &self.line), ("dpop", &proof)]).step {
            Step::Continue => (None, None),
            Step::Refuse(refusal) => (Some(refusal.reason), nonce(&refusal)),
            step => panic!("{step:?}"),
        }
    }
}

fn encoded(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn nonce(refusal: &Refusal) -> Option<String> {
    refusal.nonce.as_ref().map(|nonce| nonce.to_str().expect("ASCII").to_owned())
}

/// A route that is open to keys and to bound tokens, where so many proofs are remembered, over all shards.
fn stand(most: usize, with_nonce: usize) -> Stand {
    let mut stand = Stand::new("{ any = [\"key\", \"corp\"], scopes = [\"a\"] }");
    let proofs = Proofs::of_at_most(most, with_nonce);
    stand.shared = Arc::new(Shared { proofs, ..Shared::new(None, Counts::new(1)) });
    stand.filters = Filters::new(&stand.config, &stand.keys, &stand.shared, None);
    stand
}

#[tokio::test(start_paused = true)]
async fn where_there_is_room_for_it_a_proof_counts_once_and_needs_no_nonce() {
    let (stand, holder) = (stand(1 << 10, 0), Holder::new(&json!({ "scope": "a" })));
    assert_eq!(holder.ask(&stand, "one", &json!({})), (None, None));
    assert_eq!(holder.ask(&stand, "one", &json!({})), (Some("dpop_replayed"), None));
    for nonce in [json!("theirs"), json!(7), json!(null)] {
        assert_eq!(holder.ask(&stand, &nonce.to_string(), &json!({ "nonce": nonce })), (None, None));
    }
}

#[tokio::test(start_paused = true)]
async fn where_the_table_is_full_the_client_is_told_a_nonce_and_its_next_proof_counts_once() {
    let (stand, holder) = (stand(0, 1 << 10), Holder::new(&json!({ "scope": "a" })));
    let proof = holder.proof("one", "/", &json!({}));
    let lines = [("authorization", &*holder.line), ("dpop", &*proof)];
    let Step::Refuse(refusal) = stand.ask(&lines).step else { panic!("it is refused") };
    assert_eq!((refusal.status.as_u16(), refusal.reason, refusal.retry_after), (401, "dpop_nonce", None));
    let told = nonce(&refusal).expect("a nonce");
    let challenges = stand.challenges(&lines);
    assert_eq!(challenges.len(), 1, "clients look for it in the only one: {challenges:?}");
    assert!(challenges[0].starts_with("DPoP algs=\"ES256") && challenges[0].contains("error=\"use_dpop_nonce\""));
    let with = json!({ "nonce": told });
    assert_eq!(holder.ask(&stand, "two", &with), (None, None));
    assert_eq!(holder.ask(&stand, "two", &with), (Some("dpop_replayed"), None));
    assert_eq!(holder.ask(&stand, "three", &with), (None, None), "a nonce is for any number of proofs");
    for other in ["", "theirs", &"A".repeat(told.len())] {
        let (reason, another) = holder.ask(&stand, "four", &json!({ "nonce": other }));
        assert_eq!((reason, another.is_some()), (Some("dpop_nonce"), true), "{other}");
    }
    let counted = stand.shared.counts.of(&"corp".into()).refused();
    assert_eq!((counted["dpop_nonce"], counted["dpop_replayed"]), (5, 1));
}

#[tokio::test(start_paused = true)]
async fn a_nonce_is_told_only_to_whose_token_and_proof_hold_and_does_not_mend_another_fault() {
    let (stand, holder) = (stand(0, 1 << 10), Holder::new(&json!({ "scope": "a" })));
    let (_, told) = holder.ask(&stand, "one", &json!({}));
    for (more, reason) in [
        (json!({ "htm": "POST" }), "dpop_wrong_htm"),
        (json!({ "iat": in_seconds(0) - 100 }), "dpop_old"),
        (json!({ "ath": "x" }), "dpop_wrong_ath"),
    ] {
        assert_eq!(holder.ask(&stand, "two", &more), (Some(reason), None));
        let mut with = more.clone();
        with["nonce"] = json!(told);
        assert_eq!(holder.ask(&stand, "two", &with), (Some(reason), None));
    }
    let lacking = Holder::new(&json!({ "scope": "b" }));
    assert_eq!(lacking.ask(&stand, "one", &json!({})), (Some("insufficient_scope"), None));
    assert_eq!(holder.ask(&stand, "two", &json!({ "nonce": told })), (None, None), "none of these used it up");
}

#[tokio::test(start_paused = true)]
async fn only_when_too_many_have_a_nonce_is_the_gateway_busy() {
    let (stand, holder) = (stand(0, 0), Holder::new(&json!({ "scope": "a" })));
    let (reason, told) = holder.ask(&stand, "one", &json!({}));
    assert_eq!(reason, Some("dpop_nonce"));
    assert_eq!(holder.ask(&stand, "two", &json!({ "nonce": told })), (Some("overloaded"), None));
}

#[tokio::test(start_paused = true)]
async fn at_admin_a_proof_names_the_public_url_and_a_nonce_is_demanded_as_elsewhere() {
    let operator = Holder::new(&json!({ "role": "admin", "aud": "gateway" }));
    let ask = |stand: &Stand, jti: &str, path: &str, more: &Value| {
        let proof = operator.proof(jti, path, more);
        let mut head = Stand::head(&[("authorization", &operator.line), ("dpop", &proof)]);
        head.uri = "/admin/services?service=a".parse().expect("a target");
        let found = stand.filters.auth.of_admin(&head, (&stand.client, stand.client.ip()), &stand.local, &mut None);
        found
            .map(|found| found.expect("nobody waits").consumer.roles.admin)
            .map_err(|refusal| (refusal.reason, nonce(&refusal)))
    };
    let roomy = stand(1 << 10, 0);
    assert_eq!(ask(&roomy, "one", "/admin/services", &json!({})), Ok(true));
    assert_eq!(ask(&roomy, "one", "/admin/services", &json!({})), Err(("dpop_replayed", None)));
    assert_eq!(ask(&roomy, "two", "/admin", &json!({})), Err(("dpop_wrong_htu", None)));
    let address = json!({ "htu": "http://127.0.0.1:5001/admin/services" });
    assert_eq!(ask(&roomy, "two", "", &address), Err(("dpop_wrong_htu", None)), "the listener's own address");
    let full = stand(0, 1 << 10);
    let Err(("dpop_nonce", Some(told))) = ask(&full, "one", "/admin/services", &json!({})) else { panic!("a nonce") };
    assert_eq!(ask(&full, "two", "/admin/services", &json!({ "nonce": told })), Ok(true));
}
