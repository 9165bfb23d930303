//! Tokens that only their issuer understands: asked about once for all, remembered for a while, and never while the issuer is away.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use tokio::time::Instant;

use super::script::{Reply, Script};
use super::server::{Manner, Server, answer, ok};
use super::*;
use crate::issuers::http::Failure;
use crate::issuers::status::Figures;
use crate::token::Rejection;
use crate::token::asking::Introspected;

const ENDPOINT: &str = "https://corp.example/introspect";

/// Lets paused time pass.
async fn after(time: Duration) {
    tokio::time::sleep(time).await; // paused time
}

fn world(script: &Script) -> World {
    script.says(KEYS, Reply::body(jwks(&["a"])));
    World::scripted(script, vec![with_introspection(ENDPOINT)])
}

fn active(seconds: u64) -> String {
    let exp = SystemTime::now() + Duration::from_secs(seconds);
    let exp = exp.duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_secs();
    format!(r#"{{"active":true,"token_type":"Bearer","sub":"alice","exp":{exp}}}"#)
}

impl World {
    async fn about(&self, token: &str) -> Introspected {
        let digest = crate::config::digest(token);
        self.issuers.asker.introspect(&"corp".into(), digest, token).await
    }

    fn figures(&self) -> Arc<Figures> {
        self.issuers.introspection.borrow()["corp"].clone()
    }
}

fn is_active(introspected: &Introspected) -> bool {
    matches!(introspected, Introspected::Active { claims, .. } if claims.top("sub") == Some("alice"))
}

#[tokio::test(start_paused = true)]
async fn a_token_that_holds_is_asked_about_once_for_all_and_remembered_but_not_longer_than_it_holds() {
    let script = Script::default();
    let world = world(&script);
    script.says(ENDPOINT, Reply::After(Duration::from_millis(200), Box::new(Reply::body(active(3600)))));
    let begun = Instant::now();
    let digest = crate::config::digest("t");
    let waiting: Vec<_> = (0..500).map(|_| world.issuers.asker.introspect(&"corp".into(), digest, "t")).collect();
    for introspected in waiting {
        assert!(is_active(&introspected.await));
    }
    assert_eq!((script.count(ENDPOINT), begun.elapsed().as_millis()), (1, 200));
    after(Duration::from_secs(29)).await;
    let Introspected::Active { until, .. } = world.about("t").await else { panic!("it is remembered") };
    assert_eq!((script.count(ENDPOINT), (until - begun).as_millis()), (1, 30_200));
    after(Duration::from_secs(1)).await;
    assert!(is_active(&world.about("t").await));
    assert_eq!(script.count(ENDPOINT), 2, "30 s are over");
    script.says(ENDPOINT, Reply::body(active(10)));
    let Introspected::Active { until, .. } = world.about("short").await else { panic!("it holds") };
    assert!(until - Instant::now() <= Duration::from_secs(10));
    let figures = world.figures().state();
    assert_eq!((figures.active, figures.coalesced, figures.remembered), (3, 499, 1));
}

#[tokio::test(start_paused = true)]
async fn a_token_that_does_not_hold_is_remembered_for_five_seconds() {
    let script = Script::default();
    let world = world(&script);
    script.says(ENDPOINT, Reply::body(r#"{"active":false}"#));
    for _ in 0..10 {
        assert!(matches!(world.about("t").await, Introspected::Refused(Rejection::Inactive)));
    }
    assert_eq!(script.count(ENDPOINT), 1);
    after(Duration::from_secs(5)).await;
    script.says(ENDPOINT, Reply::body(active(60)));
    assert!(is_active(&world.about("t").await));
}

#[tokio::test(start_paused = true)]
async fn while_the_endpoint_is_away_what_is_remembered_holds_and_nobody_waits_for_it_for_long() {
    let odd = |body: &str| Reply::body(body);
    let refused = Reply::Now(Err(Failure::wrong("it answers 401 Unauthorized")));
    for trouble in [Reply::Never, Reply::away(), odd("<html>"), odd("{}"), odd(r#"{"active":"true"}"#), refused] {
        let script = Script::default();
        let world = world(&script);
        script.says(ENDPOINT, Reply::body(active(3600)));
        assert!(is_active(&world.about("good").await));
        script.says(ENDPOINT, trouble.clone());
        let begun = Instant::now();
        let mut waited = 0;
        while begun.elapsed() < Duration::from_secs(29) {
            assert!(is_active(&world.about("good").await), "{trouble:?}");
            let asked = Instant::now();
            let introspected = world.about(&format!("{asked:?}")).await;
            assert!(matches!(introspected, Introspected::Away { .. }), "{trouble:?}: {introspected:?}");
            waited += usize::from(asked.elapsed() > Duration::ZERO);
            after(Duration::from_millis(50)).await;
        }
        assert!(waited <= 10 && script.count(ENDPOINT) <= 12, "{trouble:?}: {waited}, {}", script.count(ENDPOINT));
        assert!(world.figures().state().tripped && world.figures().state().error.is_some());
        script.says(ENDPOINT, Reply::body(active(3600)));
        after(Duration::from_secs(40)).await;
        assert!(is_active(&world.about("another").await), "{trouble:?}");
        assert!(!world.figures().state().tripped && world.figures().state().error.is_none());
    }
}

#[tokio::test]
async fn a_question_that_the_issuer_refuses_refuses_its_token_and_no_other() {
    for (status, refuses) in [
        ("400 Bad Request", true),
        ("403 Forbidden", true),
        ("404 Not Found", true),
        ("422 Unprocessable Content", true),
        ("401 Unauthorized", false),
        ("408 Request Timeout", false),
        ("429 Too Many Requests", false),
        ("302 Found", false),
        ("500 Internal Server Error", false),
    ] {
        let server = Server::start(move |_| answer(status, "", b"")).await;
        let endpoint = format!("{}/introspect", server.origin);
        let secret = Keys::Secret(Secret::Text("a secret of at least 32 characters".into()), Encoding::Text);
        let world = World::new(Http::new(), vec![Issuer { keys: secret, ..with_introspection(&endpoint) }]);
        for number in 0..20 {
            let introspected = world.about(&format!("odd-{number}")).await;
            assert_eq!(matches!(introspected, Introspected::Refused(Rejection::Inactive)), refuses, "{status}");
        }
        let figures = world.figures().state();
        assert_eq!((figures.tripped, figures.refused > 0), (!refuses, refuses), "{status}");
        assert_eq!(figures.error.is_none(), refuses, "{status}");
        let why = figures.declined_why.unwrap_or_default();
        assert_eq!(
            (figures.declined, why.contains(&status[..3])),
            (if refuses { 20 } else { 0 }, refuses),
            "{status}: {why}"
        );
        server.becomes(|_| ok(&active(60)));
        assert_eq!(is_active(&world.about("good").await), refuses, "{status}: strangers hold no breaker open");
    }
}

#[tokio::test(start_paused = true)]
async fn no_more_than_sixty_four_tokens_are_asked_about_at_once_and_the_others_wait_their_turn() {
    let script = Script::default();
    let world = world(&script);
    script.says(ENDPOINT, Reply::After(Duration::from_millis(100), Box::new(Reply::body(active(3600)))));
    let ask = |number: u32| {
        let token = number.to_string();
        world.issuers.asker.introspect(&"corp".into(), crate::config::digest(&token), &token)
    };
    let waiting: Vec<_> = (0..640).map(ask).collect();
    let begun = Instant::now();
    after(Duration::from_millis(50)).await;
    assert_eq!(world.figures().state().under_way, 64);
    for introspected in waiting {
        assert!(is_active(&introspected.await));
    }
    assert_eq!(begun.elapsed().as_millis(), 1000);
    let times = script.times(ENDPOINT);
    assert!((0..times.len()).step_by(64).all(|first| times[first] == times[(first + 63).min(times.len() - 1)]));
}

#[tokio::test(start_paused = true)]
async fn a_token_that_nobody_waits_for_any_more_is_not_asked_about() {
    let script = Script::default();
    let world = world(&script);
    script.says(ENDPOINT, Reply::Never);
    let ask = |number: u32| {
        let token = number.to_string();
        world.issuers.asker.introspect(&"corp".into(), crate::config::digest(&token), &token)
    };
    let waiting: Vec<_> = (0..64).map(ask).collect();
    after(Duration::from_millis(1)).await;
    drop(ask(64));
    for introspected in waiting {
        assert!(matches!(introspected.await, Introspected::Away { .. }));
    }
    after(Duration::from_secs(60)).await;
    assert_eq!(script.count(ENDPOINT), 64);
}

#[tokio::test(start_paused = true)]
async fn what_an_issuer_says_of_a_token_is_held_to_the_configuration() {
    let script = Script::default();
    script.says(KEYS, Reply::body(jwks(&["a"])));
    let audience = Audience::OneOf(vec!["api".into()]);
    let world = World::scripted(&script, vec![Issuer { audience, ..with_introspection(ENDPOINT) }]);
    let cases = [
        (r#"{"active":true,"sub":"alice","aud":"api"}"#, true),
        (r#"{"active":true,"sub":"alice","aud":["x","api"]}"#, true),
        (r#"{"active":true,"sub":"alice","aud":"other"}"#, false),
        (r#"{"active":true,"sub":"alice"}"#, false),
        (r#"{"active":true,"sub":"alice","aud":"api","exp":1}"#, false),
        (r#"{"active":true,"sub":"alice","aud":"api","cnf":{"jkt":"x"}}"#, false),
    ];
    for (answer, holds) in cases {
        script.says(ENDPOINT, Reply::body(answer));
        let introspected = world.about(answer).await;
        assert_eq!(is_active(&introspected), holds, "{answer}: {introspected:?}");
        assert_eq!(matches!(introspected, Introspected::Refused(_)), !holds, "{answer}: {introspected:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn another_configuration_of_an_issuer_forgets_what_it_said_and_keeps_the_counts() {
    let script = Script::default();
    let world = world(&script);
    script.says(ENDPOINT, Reply::body(active(3600)));
    assert!(is_active(&world.about("t").await));
    world.reconfigure(vec![with_introspection(ENDPOINT)]);
    after(Duration::from_millis(1)).await;
    assert!(is_active(&world.about("t").await));
    assert_eq!(script.count(ENDPOINT), 1, "it is the same issuer");
    world.reconfigure(vec![Issuer { leeway: Duration::ZERO, ..with_introspection(ENDPOINT) }]);
    after(Duration::from_millis(1)).await;
    assert!(is_active(&world.about("t").await));
    assert_eq!((script.count(ENDPOINT), world.figures().state().active), (2, 2));
    // Who waits while the configuration changes is answered all the same.
    script.says(ENDPOINT, Reply::After(Duration::from_millis(500), Box::new(Reply::body(active(3600)))));
    let waiting = world.issuers.asker.introspect(&"corp".into(), crate::config::digest("u"), "u");
    after(Duration::from_millis(100)).await;
    world.reconfigure(vec![with_introspection(ENDPOINT)]);
    assert!(is_active(&waiting.await));
    world.reconfigure(Vec::new());
    after(Duration::from_millis(1)).await;
    assert!(matches!(world.about("t").await, Introspected::Away { .. }));
}

#[tokio::test]
async fn the_question_is_a_form_that_is_posted_with_the_clients_name_and_secret() {
    static ASKED: AtomicU64 = AtomicU64::new(0);
    let server = Server::start(|path| match path {
        "/introspect" if ASKED.fetch_add(1, Ordering::Relaxed) == 0 => ok(&active(60)),
        _ => answer("404 Not Found", "", b""),
    });
    let server = server.await;
    let world = World::new(Http::new(), vec![with_introspection(&format!("{}/introspect", server.origin))]);
    assert!(is_active(&world.about("a+b/c=&x").await));
    let heard = server.heard();
    let (head, body) = heard[0].split_once("\r\n\r\n").expect("a request");
    assert_eq!(body, "token=a%2Bb%2Fc%3D%26x&token_type_hint=access_token");
    // `lictor:a%3Ab%20secret`, each part encoded as in a form (RFC 6749 section 2.3.1).
    let credentials = "authorization: basic bgljdg9yomelm0fijtiwc2vjcmv0";
    assert!(head.to_lowercase().contains(credentials), "{head}");
    assert!(head.starts_with("POST /introspect HTTP/1.1"), "{head}");
}

#[tokio::test(start_paused = true)]
async fn a_question_that_is_asked_twice_has_no_more_time_than_another() {
    let script = Script::default();
    let world = world(&script);
    let lost = Failure { lost: true, ..Failure::away("the connection was closed") };
    script.says(ENDPOINT, Reply::After(Duration::from_millis(1500), Box::new(Reply::Now(Err(lost)))));
    let begun = Instant::now();
    assert!(matches!(world.about("t").await, Introspected::Away { .. }));
    assert_eq!((script.count(ENDPOINT), begun.elapsed().as_millis()), (2, 1900));
    assert_eq!((world.figures().state().under_way, world.figures().state().failed), (0, 1));
}

#[tokio::test]
async fn a_connection_that_the_issuer_closed_meanwhile_refuses_nobody() {
    let mut first = true;
    let server = Server::start(move |_| if std::mem::take(&mut first) { Manner::Dies } else { ok(&active(60)) }).await;
    let endpoint = format!("{}/introspect", server.origin);
    let secret = Keys::Secret(Secret::Text("a secret of at least 32 characters".into()), Encoding::Text);
    let world = World::new(Http::new(), vec![Issuer { keys: secret, ..with_introspection(&endpoint) }]);
    assert!(is_active(&world.about("t").await));
    assert_eq!((server.heard().len(), world.figures().state().failed), (2, 0));
}
