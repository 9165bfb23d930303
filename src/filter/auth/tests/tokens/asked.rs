//! What is asked about tokens, and whom an answer is for.

use super::*;

/// A token of a key of this name.
fn named(kid: &str, claims: &Value) -> String {
    let mut parts = token(SECRET, claims).split('.').map(str::to_owned).collect::<Vec<_>>();
    parts[0] = URL_SAFE_NO_PAD.encode(json!({ "alg": "HS256", "kid": kid }).to_string());
    let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
    let signature = hmac::sign(&key, format!("{}.{}", parts[0], parts[1]).as_bytes());
    format!("{}.{}.{}", parts[0], parts[1], URL_SAFE_NO_PAD.encode(signature))
}

/// As if their issuer published them: keys that have names, and can be asked for.
fn published(stand: &Stand) -> Arc<KeySet> {
    Arc::new(KeySet { secret: false, ..(*secret(&stand.config, OTHER)).clone() })
}

fn is_asked(stand: &mut Stand) -> bool {
    stand.asked.keys.try_recv().is_ok() || stand.asked.tokens.try_recv().is_ok()
}

#[tokio::test(start_paused = true)]
async fn an_answer_counts_for_no_other_token_and_for_no_other_configuration() {
    let mut stand = Stand::new("{ any = [\"corp\", \"opaque\"] }");
    let issuer = stand.config.issuers[1].clone();
    let says = json!({ "active": true, "sub": "carol", "aud": "api", "exp": in_seconds(60) }).to_string();
    let claims = Claims::introspected(says.as_bytes(), &issuer, std::time::SystemTime::now()).expect("it holds");
    let until = Instant::now() + Duration::from_secs(30);
    let active = Introspected::Active { claims: Arc::new(claims), until };
    for (other, reload) in [("Bearer abd", false), ("Bearer abc", true)] {
        let mut passed = stand.ask(&[("authorization", "Bearer abc")]);
        assert!(matches!(passed.step, Step::Wait), "{:?}", passed.step);
        let answer = async {
            let about = stand.asked.tokens.recv().await.expect("a question");
            about.reply.send(active.clone()).expect("somebody waits");
        };
        tokio::join!(Filter::Auth.wait(&mut passed.notes), answer);
        passed.head = Stand::head(&[("authorization", other)]);
        if reload {
            stand.config.version += 1;
            stand.filters = Filters::new(&stand.config, &stand.keys, &stand.shared, Some(&stand.filters));
        }
        let step = stand.pass(Filter::Auth, &mut passed);
        assert!(matches!(step, Step::Wait), "it is asked anew: {step:?}");
        assert_eq!(&*stand.asked.tokens.recv().await.expect("a question").token, &other[7..]);
    }
}

#[tokio::test]
async fn what_would_be_refused_whoever_signed_it_has_nobody_asked() {
    let mut stand = Stand::new("{ any = [\"opaque\"] }");
    stand.with(KeySets::default());
    assert_eq!(stand.reason(&[("authorization", &bearer(&token(SECRET, &json!({}))))]), (401, "unknown_issuer"));
    assert!(!is_asked(&mut stand), "its issuer does not count on this route");
    let mut stand = Stand::new("{ any = [\"corp\"] }");
    stand.with(kept(&stand.config, published(&stand)));
    for (claims, reason) in [(json!({ "exp": 1 }), "expired"), (json!({ "nbf": in_seconds(600) }), "not_yet_valid")] {
        let line = bearer(&named("new", &claims));
        assert_eq!(stand.reason(&[("authorization", &line)]), (401, reason));
    }
    assert!(!is_asked(&mut stand), "no key makes a token hold that has ended or not begun");
    let line = bearer(&named("new", &json!({})));
    assert!(matches!(stand.ask(&[("authorization", &line)]).step, Step::Wait));
    assert!(is_asked(&mut stand));
}

#[test]
fn the_log_names_issuer_and_key_of_a_token_that_does_not_hold_and_no_endless_text_of_a_stranger() {
    let stand = Stand::new("{ any = [\"corp\"] }");
    for (kid, wanted) in [("k1", Some("k1")), (&*"k".repeat(257), None)] {
        let facts = stand.ask(&[("authorization", &bearer(&named(kid, &json!({ "exp": 1 }))))]).facts;
        let said = facts.token.expect("a token");
        assert_eq!((&*said.issuer, said.kid.as_deref()), ("corp", wanted));
        assert!(facts.consumer.is_none() && said.fields.is_empty());
    }
    let foreign = bearer(&token(SECRET, &json!({ "iss": "https://evil.example" })));
    assert!(stand.ask(&[("authorization", &foreign)]).facts.token.is_none());
}

#[tokio::test(start_paused = true)]
async fn an_address_that_has_sent_too_many_has_one_token_asked_about_at_a_time() {
    let mut stand = Stand::new("{ any = [\"opaque\"] }");
    for _ in 0..20 {
        let refused = Introspected::Refused(Rejection::Inactive);
        assert_eq!(tried(&mut stand, refused).await, Some((401, "inactive_token")));
    }
    let waits = stand.ask(&[("authorization", "Bearer abc")]);
    assert!(matches!(waits.step, Step::Wait), "{:?}", waits.step);
    assert!(stand.asked.tokens.try_recv().is_ok());
    assert_eq!(stand.reason(&[("authorization", "Bearer abd")]), (429, "too_many_unknown_keys"));
    assert!(stand.asked.tokens.try_recv().is_err(), "nobody is asked about the second one");
    drop(waits);
    tokio::time::advance(Duration::from_secs(3)).await;
    assert!(matches!(stand.ask(&[("authorization", "Bearer abd")]).step, Step::Wait));
}

#[tokio::test(start_paused = true)]
async fn who_leaves_before_the_answer_has_shown_an_unknown_key_if_it_was_one() {
    for (says, counted) in [
        (Introspected::Refused(Rejection::Inactive), true),
        (Introspected::Away { retry_after: Duration::from_secs(1) }, false),
    ] {
        let mut stand = Stand::new("{ any = [\"opaque\"] }");
        for _ in 0..20 {
            let passed = stand.ask(&[("authorization", "Bearer abc")]);
            assert!(matches!(passed.step, Step::Wait), "{:?}", passed.step);
            drop(passed);
            let about = stand.asked.tokens.recv().await.expect("it is asked all the same");
            about.reply.send(says.clone()).expect("somebody waits");
            tokio::time::sleep(Duration::from_millis(1)).await; // paused time: whoever waits hears it
        }
        let waits = stand.ask(&[("authorization", "Bearer abc")]);
        assert!(matches!(waits.step, Step::Wait), "{:?}", waits.step);
        let next = stand.ask(&[("authorization", "Bearer abd")]).step;
        assert_eq!(matches!(next, Step::Refuse(_)), counted, "{next:?}");
    }
}

#[tokio::test]
async fn an_encrypted_token_is_one_that_only_its_issuer_understands() {
    let encrypted = "Bearer eyJhbGciOiJkaXIiLCJlbmMiOiJBMTI4R0NNIn0..AAAA.AAAA.AAAA";
    let stand = Stand::new("{ any = [\"corp\"] }");
    assert_eq!(stand.reason(&[("authorization", encrypted)]), (401, "encrypted_token"));
    let mut stand = Stand::new("{ any = [\"corp\", \"opaque\"] }");
    let asked = stand.ask(&[("authorization", encrypted)]);
    assert!(matches!(asked.step, Step::Wait), "{:?}", asked.step);
    let about = stand.asked.tokens.try_recv().expect("a question");
    assert_eq!((&*about.issuer, &*about.token), ("opaque", &encrypted[7..]));
}
