//! Keys are fetched when it is time and when somebody needs them, no more often than the budget allows, and good ones are never lost.

use super::script::{Reply, Script};
use super::*;
use crate::config::identity::Algorithm;
use crate::issuers::http::Failure;
use tokio::time::Instant;

#[tokio::test(start_paused = true)]
async fn an_issuer_that_does_not_answer_keeps_nobody_waiting_and_is_asked_until_it_does() {
    let script = Script::default();
    script.says(KEYS, Reply::away());
    let world = World::scripted(&script, vec![with_url("corp", KEYS)]);
    assert!(
        matches!(world.issuers.asker.keys("corp", None).await, Look::Away { .. }),
        "no token without a kid, either"
    );
    let status = world.until(|status| status.error.is_some()).await;
    assert!(status.taken.is_none() && status.keys.is_empty());
    assert_eq!(world.supervisor.faults().len(), 1, "it is said in /ready");
    after(10 * MINUTE).await;
    let asked = script.count(KEYS);
    assert!((14..=26).contains(&asked), "{asked}: the pauses double up to 40 s");
    assert!(matches!(world.ask("a").await, Look::Away { .. }), "never reached: 503");
    script.says(KEYS, Reply::body(jwks(&["a"])));
    after(2 * MINUTE).await;
    assert!(world.knows("corp", "a"));
    assert!(matches!(world.issuers.asker.keys("corp", None).await, Look::Known(_)));
    assert!(world.supervisor.faults().is_empty());
}

#[tokio::test(start_paused = true)]
async fn who_comes_before_the_first_fetch_has_ended_waits_for_it() {
    let script = Script::default();
    script.says(KEYS, Reply::After(Duration::from_millis(500), Box::new(Reply::body(jwks(&["a"])))));
    let world = World::scripted(&script, vec![with_url("corp", KEYS)]);
    let (named, unnamed) = (world.issuers.asker.keys("corp", Some("a")), world.issuers.asker.keys("corp", None));
    assert!(matches!((named.await, unnamed.await), (Look::Known(_), Look::Known(_))));
    assert_eq!(script.count(KEYS), 1);
}

#[tokio::test(start_paused = true)]
async fn keys_are_fetched_every_ten_minutes_or_as_their_issuer_says() {
    for (fresh, least, most) in [(None, 60, 67), (Some(1), 545, 601), (Some(3600), 10, 12), (Some(u64::MAX), 1, 1)] {
        let script = Script::default();
        let reply = fresh.map_or(Reply::body(jwks(&["a"])), |seconds| Reply::fresh(jwks(&["a"]), seconds));
        script.says(KEYS, reply);
        let world = World::scripted(&script, vec![with_url("corp", KEYS)]);
        after(600 * MINUTE).await;
        let count = script.count(KEYS);
        assert!((least..=most).contains(&count), "{fresh:?}: {count}");
        assert_eq!(world.issuers.keys.borrow().version(), 1, "the keys never changed");
    }
}

#[tokio::test(start_paused = true)]
async fn keys_in_another_order_are_no_change_and_what_is_shown_of_them_is_the_newest() {
    let (script, written) = (Script::default(), jwks(&["a", "b"]));
    let world = fetched(&script, &["a", "b"]).await;
    let (version, set) = (world.issuers.keys.borrow().version(), world.keys("corp").expect("keys"));
    let reordered = jwks(&["b", "a"]).replace(r#""kty":"OKP","crv":"Ed25519""#, r#""crv":"Ed25519","kty":"OKP""#);
    let others = [reordered, written.replace(r#""use":"sig""#, r#""x5t":"AAAA""#), written.replace("[", "[ ")];
    for (said, usage) in others.into_iter().zip([Some("sig"), None, Some("sig")]) {
        assert_ne!(said, written);
        let before = script.count(KEYS);
        script.says(KEYS, Reply::body(said.clone()));
        after(11 * MINUTE).await;
        assert!(script.count(KEYS) > before && Arc::ptr_eq(&world.keys("corp").expect("keys"), &set), "{said}");
        assert_eq!(world.issuers.keys.borrow().version(), version, "what is remembered holds");
        let status = world.until(|status| status.next.is_some()).await;
        assert!(status.keys.iter().all(|key| key.usage.as_deref() == usage), "{:?}", status.keys);
        assert!(status.taken.is_some_and(|taken| taken.elapsed() < 11 * MINUTE), "it was fetched since");
    }
    // The same name for another key is a change.
    script.says(KEYS, Reply::body(written.replacen(X, "PUAXw-hDiVqStwqnTRt-vJyYLM8uxJaMwM1V8Sr0Zgw", 1)));
    after(11 * MINUTE).await;
    assert_eq!(world.issuers.keys.borrow().version(), version + 1);
}

#[tokio::test(start_paused = true)]
async fn thirty_minutes_of_an_issuer_that_hangs_is_dead_or_answers_500_or_garbage_take_no_key_away() {
    let dead = Reply::Now(Err(Failure::away("connection refused")));
    let empty = Reply::body(r#"{"keys":[]}"#);
    let unfit = Reply::body(r#"{"keys":[{"kty":"oct","kid":"a","k":"AAAA"}]}"#);
    let garbage = [Reply::body("<html>"), Reply::body(""), empty, unfit, Reply::Panic];
    for trouble in [Reply::Never, dead, Reply::away()].into_iter().chain(garbage) {
        let script = Script::default();
        let world = fetched(&script, &["a"]).await;
        let version = world.issuers.keys.borrow().version();
        script.says(KEYS, trouble.clone());
        let begun = Instant::now();
        while begun.elapsed() < 30 * MINUTE {
            let asked = Instant::now();
            assert!(world.knows("corp", "a") && matches!(world.ask("a").await, Look::Known(_)), "{trouble:?}");
            assert_eq!(asked.elapsed(), Duration::ZERO, "who has a good key waits for nobody");
            for unknown in ["the same".to_owned(), format!("{:?}", begun.elapsed())] {
                assert!(matches!(world.ask(&unknown).await, Look::Away { .. }), "{trouble:?}: {unknown} may be there");
            }
            after(Duration::from_secs(7)).await;
        }
        assert_eq!(world.issuers.keys.borrow().version(), version, "what is remembered by these keys holds");
        let status = world.until(|status| status.error.is_some()).await;
        assert!(status.failures > 3 && status.keys.len() == 1, "{status:?}");
        // Within a minute, though nobody asks.
        script.says(KEYS, Reply::body(jwks(&["b"])));
        after(MINUTE).await;
        assert!(world.knows("corp", "b") && !world.knows("corp", "a"), "{trouble:?}");
        assert_eq!(world.issuers.keys.borrow().version(), version + 1);
        assert!(world.until(|status| status.error.is_none()).await.failures > 3);
    }
}

#[tokio::test(start_paused = true)]
async fn a_fetch_is_for_all_who_wait_and_nobody_waits_longer_than_a_second() {
    let script = Script::default();
    let world = fetched(&script, &["a"]).await;
    script.says(KEYS, Reply::After(Duration::from_millis(300), Box::new(Reply::body(jwks(&["a", "b"])))));
    let begun = Instant::now();
    let waiting: Vec<_> = (0..1000).map(|_| world.issuers.asker.keys("corp", Some("b"))).collect();
    for look in waiting {
        assert!(matches!(look.await, Look::Known(set) if set.has(Some("b"))));
    }
    assert_eq!((script.count(KEYS), begun.elapsed().as_millis()), (2, 300));
    script.says(KEYS, Reply::Never);
    assert!(matches!(world.ask("c").await, Look::Away { .. }));
    assert_eq!(begun.elapsed().as_millis(), 1300);
}

#[tokio::test(start_paused = true)]
async fn keys_that_verify_nothing_any_more_are_fetched_again_though_none_of_them_has_another_name() {
    let script = Script::default();
    let world = fetched(&script, &["a"]).await;
    let old = world.keys("corp").expect("keys");
    let others = || world.issuers.asker.others("corp", &old);
    // The public key of test 2 in RFC 8032 section 7.1.
    let other = jwks(&["a"]).replace(X, "PUAXw-hDiVqStwqnTRt-vJyYLM8uxJaMwM1V8Sr0Zgw");
    script.says(KEYS, Reply::After(Duration::from_millis(300), Box::new(Reply::body(other))));
    for _ in 0..100 {
        assert!(matches!(others().await, Look::Unknown));
    }
    assert_eq!(script.count(KEYS), 1, "they were fetched just now");
    after(Duration::from_secs(31)).await;
    let waiting: Vec<_> = (0..100).map(|_| others()).collect();
    for look in waiting {
        assert!(matches!(look.await, Look::Known(new) if new != old));
    }
    assert!(matches!(others().await, Look::Known(_)), "who still has the old ones");
    assert_eq!(script.count(KEYS), 2);
    // However many bad signatures strangers send, it stays with one fetch each 30 s.
    let new = world.keys("corp").expect("keys");
    for _ in 0..600 {
        assert!(matches!(world.issuers.asker.others("corp", &new).await, Look::Unknown));
        after(Duration::from_millis(100)).await;
    }
    assert!((3..=4).contains(&script.count(KEYS)), "{}", script.count(KEYS));
}

#[tokio::test(start_paused = true)]
async fn a_kid_that_is_longer_than_any_is_unknown_and_nobody_is_asked() {
    let script = Script::default();
    let world = fetched(&script, &["a"]).await;
    assert!(matches!(world.ask(&"k".repeat(257)).await, Look::Unknown));
    assert_eq!(script.count(KEYS), 1);
    assert!(matches!(world.ask(&"k".repeat(256)).await, Look::Unknown));
    assert_eq!(script.count(KEYS), 2);
}

#[tokio::test(start_paused = true)]
async fn keys_that_are_older_than_a_day_are_said_to_be_and_still_hold() {
    let script = Script::default();
    let world = fetched(&script, &["a"]).await;
    script.says(KEYS, Reply::away());
    after(24 * 60 * MINUTE - MINUTE).await;
    assert!(world.supervisor.faults().is_empty());
    after(2 * MINUTE).await;
    assert_eq!(
        world.supervisor.faults(),
        ["issuers: the keys of an issuer of tokens are over a day old; /admin/issuers says why"]
    );
    assert!(world.knows("corp", "a"));
    script.says(KEYS, Reply::body(jwks(&["a"])));
    after(2 * MINUTE).await;
    assert!(world.supervisor.faults().is_empty());
}

#[tokio::test(start_paused = true)]
async fn keys_from_another_source_replace_the_old_ones_at_once_and_the_same_source_keeps_them() {
    let script = Script::default();
    let world = fetched(&script, &["a"]).await;
    script.says(KEYS, Reply::away());
    let leeway = Duration::from_secs(5);
    world.reconfigure(vec![Issuer { leeway, ..with_url("corp", KEYS) }, with_url("other", KEYS)]);
    after(MINUTE).await;
    assert!(world.knows("corp", "a"), "the source is the same");
    world.reconfigure(vec![with_url("corp", "https://corp.example/more-keys")]);
    after(MINUTE).await;
    assert!(world.keys("corp").is_none(), "who held the keys of the old source may be why it was left");
    script.says("https://corp.example/more-keys", Reply::body(jwks(&["b"])));
    after(2 * MINUTE).await;
    assert!(world.knows("corp", "b"));
    // Whoever knows the new configuration before us is not sent away.
    script.says("https://new.example/keys", Reply::body(jwks(&["n"])));
    let new = with_url("new", "https://new.example/keys");
    world.reconfigure(vec![with_url("corp", "https://corp.example/more-keys"), new]);
    assert!(matches!(world.issuers.asker.keys("new", Some("n")).await, Look::Known(_)));
    world.reconfigure(Vec::new());
    after(MINUTE).await;
    assert!(world.keys("corp").is_none() && world.keys("other").is_none() && world.supervisor.faults().is_empty());
    assert!(matches!(world.ask("b").await, Look::Away { .. }));
}

#[tokio::test(start_paused = true)]
async fn each_tenant_has_keys_of_its_own_whatever_becomes_of_the_others() {
    let script = Script::default();
    let base = "https://login.example";
    for tenant in ["a", "b"] {
        let (iss, keys) = (format!("{base}/{tenant}/v2.0"), format!("{base}/{tenant}/keys"));
        let metadata = format!(r#"{{"issuer":"{iss}","jwks_uri":"{keys}"}}"#);
        script.says(&format!("{iss}/.well-known/openid-configuration"), Reply::body(metadata));
        script.says(&keys, Reply::body(jwks(&[tenant])));
    }
    script.says(&format!("{base}/c/v2.0/.well-known/openid-configuration"), Reply::Never);
    let values = ["a", "b", "c"].map(Arc::from).into();
    let iss = Iss::Pattern { before: format!("{base}/").into(), after: "/v2.0".into(), values };
    let world = World::scripted(&script, vec![Issuer { iss, ..issuer("entra", "") }]);
    world.until_known("https://login.example/a/v2.0", "a").await;
    world.until_known("https://login.example/b/v2.0", "b").await;
    assert!(!world.knows("https://login.example/a/v2.0", "b"), "no tenant signs for another one");
    assert!(world.keys("https://login.example/c/v2.0").is_none() && world.keys("entra").is_none());
}

#[tokio::test(start_paused = true)]
async fn metadata_is_asked_now_and_then_and_keys_are_fetched_without_it_while_it_is_away() {
    let (script, base) = (Script::default(), "https://corp.example");
    let location = format!("{base}/.well-known/openid-configuration");
    let metadata = |keys: &str| Reply::body(format!(r#"{{"issuer":"{base}","jwks_uri":"{keys}"}}"#));
    script.says(&location, metadata(KEYS));
    script.says(KEYS, Reply::body(jwks(&["a"])));
    let world = World::scripted(&script, vec![issuer("corp", base)]);
    world.until_known("corp", "a").await;
    assert!(matches!(world.ask("b").await, Look::Unknown));
    assert_eq!((script.count(&location), script.count(KEYS)), (1, 2));
    script.says(&location, Reply::away());
    script.says(KEYS, Reply::body(jwks(&["b"])));
    after(10 * MINUTE).await;
    assert!(world.knows("corp", "b") && script.count(&location) == 2);
    // It says that the keys have moved.
    script.says(&location, metadata("https://corp.example/moved"));
    script.says("https://corp.example/moved", Reply::body(jwks(&["c"])));
    after(10 * MINUTE).await;
    assert!(world.knows("corp", "c"));
    // Where the old place is gone, nobody waits until it is time to ask again.
    script.says(&location, metadata(KEYS));
    script.says("https://corp.example/moved", Reply::away());
    assert!(matches!(world.ask("b").await, Look::Away { .. }));
    after(2 * MINUTE).await;
    assert!(world.knows("corp", "b"));
}

#[tokio::test(start_paused = true)]
async fn what_is_fetched_while_the_configuration_changes_is_read_by_the_new_one() {
    let script = Script::default();
    let world = fetched(&script, &["a"]).await;
    script.says(KEYS, Reply::After(Duration::from_millis(500), Box::new(Reply::body(jwks(&["b"])))));
    let asked = world.issuers.asker.keys("corp", Some("b"));
    after(Duration::from_millis(100)).await;
    // Its keys are for EdDSA.
    let algorithms = Some(vec![Algorithm::RS256]);
    world.reconfigure(vec![Issuer { algorithms, ..with_url("corp", KEYS) }]);
    assert!(matches!(asked.await, Look::Away { .. }));
    assert!(world.keys("corp").is_none(), "{:?}", world.keys("corp"));
    let error = world.until(|status| status.error.is_some()).await.error.expect("an error");
    assert!(error.contains("the configuration does not allow"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_crowd_of_tenants_that_hang_keeps_no_other_from_its_turn() {
    let (script, mut issuers) = (Script::default(), Vec::new());
    for number in 0..500 {
        let url = format!("https://a{number:03}.example/keys");
        script.says(&url, Reply::Never);
        issuers.push(with_url(&format!("a{number:03}"), &url));
    }
    script.says(KEYS, Reply::body(jwks(&["a"])));
    issuers.push(with_url("z", KEYS));
    let world = World::scripted(&script, issuers);
    after(3 * MINUTE).await;
    assert!(world.knows("z", "a"));
}
