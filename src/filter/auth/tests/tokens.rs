//! Tokens at the filter: which credential decides, what is asked first, and what the refused are told.

mod admins;
mod asked;
mod bound;
mod others;

use std::time::Duration;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::HeaderName;
use serde_json::{Value, json};

use super::*;
use crate::config::{Environment, Overrides, parse};
use crate::filter::{Filter, Filters, Notes};
use crate::io::Door;
use crate::request::{Facts, RequestId};
use crate::token::asking::{self, Asked, Introspected, Look, Question};
use crate::token::{Claims, KeySet, Rejection};

pub(super) const SECRET: &str = "0123456789abcdef0123456789abcdef";

const OTHER: &str = "another secret of thirty-two byte";

/// A token for `api` of `corp`, with these claims besides or instead.
fn token(secret: &str, claims: &Value) -> String {
    let mut all = json!({ "iss": "https://a.example", "aud": "api", "sub": "alice", "exp": in_seconds(600) });
    for (name, value) in claims.as_object().expect("an object") {
        all[name] = value.clone();
    }
    signed(secret, &all)
}

/// These claims, signed with a secret.
pub(super) fn signed(secret: &str, all: &Value) -> String {
    let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", encode(&json!({ "alg": "HS256", "typ": "at+jwt" })), encode(all));
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    let signature = URL_SAFE_NO_PAD.encode(hmac::sign(&key, signed.as_bytes()));
    format!("{signed}.{signature}")
}

pub(super) fn in_seconds(seconds: u64) -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
    now.as_secs() + seconds
}

/// A gateway's filters with one route.
struct Stand {
    config: Config,
    filters: Filters,
    shared: Arc<Shared>,
    keys: Arc<KeySets>,
    local: Local,
    client: Client,
    asked: Asked,
}

/// What became of a request.
struct Passed {
    step: Step,
    facts: Facts,
    notes: Notes,
    head: Parts,
}

impl Stand {
    /// With what the route demands, and limits of it.
    fn new(auth: &str) -> Stand {
        let key: String = config::digest("right").iter().map(|byte| format!("{byte:02x}")).collect();
        let text = format!(
            r#"
public_url = "https://api.example.com"
[admin]
audience = "gateway"
[[plan]]
name = "gold"
limits = ["9/day"]
[[consumer]]
name = "app"
keys = "sha256:{key}"
[[issuer]]
name = "corp"
issuer = "https://a.example"
keys = {{ secret = "{SECRET}" }}
audience = "api"
tenant = "org"
plan = {{ claim = "tier", map = {{ gold = "gold" }} }}
forward = {{ sub = "X-User-Id" }}
admin = {{ claim = "role", is = "admin" }}
dpop = "accept"
[[issuer]]
name = "opaque"
issuer = "https://b.example"
keys = {{ secret = "{SECRET}" }}
audience = "api"
opaque = {{ url = "https://b.example/i", client = "c", secret = "s" }}
operator = {{ claim = "role", is = "operator" }}
[[route]]
path = {{ prefix = "/a" }}
service = "orders"
limits = [{{ rate = "2/day", by = "app" }}, {{ rate = "3/day", by = "user" }}]
auth = {auth}
"#
        );
        let config = parse(Some(&text), "test", Overrides::default(), &Environment::default());
        let config = config.unwrap_or_else(|errors| panic!("{errors}"));
        let (asker, asked) = asking::channel();
        let shared = Arc::new(Shared::new(Some(asker), Counts::new(1)));
        let keys = Arc::new(kept(&config, secret(&config, SECRET)));
        let filters = Filters::new(&config, &keys, &shared, None);
        let at = |port| std::net::SocketAddr::from(([10, 0, 0, 1], port));
        let client = Client::new(at(1), at(2), Door::Public, &[].into());
        Stand { config, filters, shared, keys, local: Local::new(WorkerId(0)), client, asked }
    }

    /// The same with other keys.
    fn with(&mut self, keys: KeySets) {
        self.keys = Arc::new(keys);
        self.filters = Filters::new(&self.config, &self.keys, &self.shared, Some(&self.filters));
    }

    fn head(lines: &[(&'static str, &str)]) -> Parts {
        let mut head = http::Request::new(()).into_parts().0;
        for (name, value) in lines {
            head.headers.append(HeaderName::from_static(name), value.parse().expect("a header value"));
        }
        head
    }

    fn ask(&self, lines: &[(&'static str, &str)]) -> Passed {
        let (head, id) = (Stand::head(lines), RequestId::new(&mut fastrand::Rng::with_seed(1)));
        let facts = Facts::new(id, Instant::now(), self.client.ip(), http::Method::GET, None);
        let mut passed = Passed { step: Step::Continue, facts, notes: Notes::default(), head };
        passed.step = self.pass(Filter::Auth, &mut passed);
        passed
    }

    fn pass(&self, filter: Filter, passed: &mut Passed) -> Step {
        let Passed { facts, notes, head, .. } = passed;
        let route = self.config.routes.iter().find(|route| &*route.name == "/a/*").expect("the route");
        filter
            .before(&self.filters, &mut Passing { head, client: &self.client, route, facts, notes, local: &self.local })
    }

    fn reason(&self, lines: &[(&'static str, &str)]) -> (u16, &'static str) {
        match self.ask(lines).step {
            Step::Refuse(refusal) => (refusal.status.as_u16(), refusal.reason),
            Step::Continue => (200, ""),
            step => panic!("{step:?}"),
        }
    }

    fn challenges(&self, lines: &[(&'static str, &str)]) -> Vec<String> {
        let Step::Refuse(refusal) = self.ask(lines).step else { panic!("it is refused") };
        refusal.challenges.iter().map(|value| value.to_str().expect("ASCII").to_owned()).collect()
    }
}

/// These keys, as those of `corp`.
fn kept(config: &Config, keys: Arc<KeySet>) -> KeySets {
    KeySets::default().with(&"corp".into(), Some((config.issuers[0].clone(), keys)))
}

fn secret(config: &Config, secret: &str) -> Arc<KeySet> {
    Arc::new(KeySet::of_secret(secret.as_bytes(), &config.issuers[0]).expect("a key"))
}

fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}

#[test]
fn a_token_names_its_consumer_with_tenant_plan_roles_and_what_instances_get_to_see() {
    let stand = Stand::new("{ any = [\"corp\"] }");
    let claims = json!({ "org": "acme", "tier": "gold", "role": "admin" });
    let Passed { step, facts, .. } = stand.ask(&[("authorization", &bearer(&token(SECRET, &claims)))]);
    assert!(matches!(step, Step::Continue), "{step:?}");
    let consumer = facts.consumer.expect("a consumer");
    assert_eq!(
        (&*consumer.name, consumer.tenant.as_deref(), consumer.plan.as_deref()),
        ("alice", Some("acme"), Some("gold"))
    );
    assert_eq!((consumer.roles.admin, consumer.roles.operator, consumer.source), (true, false, Source::Token));
    let said = facts.token.expect("a token");
    assert_eq!(
        (&*said.issuer, said.fields[0].0.as_str(), said.fields[0].1.as_bytes()),
        ("corp", "x-user-id", &b"alice"[..])
    );
    assert!(!format!("{said:?}").contains("alice"), "claims are not printed");
}

#[test]
fn what_is_wrong_with_a_token_is_said_by_reason_and_challenge_and_nothing_of_it_is_repeated() {
    let stand = Stand::new("{ any = [\"key\", \"corp\"], scopes = [\"a\", \"b\"], claims = { org = \"acme\" } }");
    let sent = |claims: Value| bearer(&token(SECRET, &claims));
    let good = json!({ "org": "acme", "scope": "b a c" });
    assert_eq!(stand.reason(&[("authorization", &sent(good.clone()))]), (200, ""));
    for (line, wanted) in [
        (bearer(&token(OTHER, &good)), (401, "bad_signature")),
        (sent(json!({ "exp": 1 })), (401, "expired")),
        (sent(json!({ "aud": "other" })), (401, "wrong_audience")),
        (sent(json!({ "iss": "https://c.example" })), (401, "unknown_issuer")),
        (sent(json!({ "sub": 7 })), (401, "malformed_claim")),
        (sent(json!({ "org": "acme", "scope": "a" })), (403, "insufficient_scope")),
        (sent(json!({ "org": "evil", "scope": "a b" })), (403, "claim_demanded")),
        (bearer("x"), (401, "not_a_jwt")),
        (bearer(&"x".repeat(9000)), (401, "token_too_long")),
        ("Basic eDp5".to_owned(), (401, "wrong_scheme")),
        ("Bearer".to_owned(), (401, "not_a_jwt")),
    ] {
        assert_eq!(stand.reason(&[("authorization", &line)]), wanted, "{line}");
    }
    let expired = stand.challenges(&[("authorization", &sent(json!({ "exp": 1 })))]);
    let metadata = "resource_metadata=\"https://api.example.com/.well-known/oauth-protected-resource\"";
    let says =
        format!("error=\"invalid_token\", error_description=\"The token has expired\", scope=\"a b\", {metadata}");
    assert_eq!(expired[0], "ApiKey header=\"X-API-Key\"");
    assert_eq!(expired[1], format!("Bearer {says}"));
    assert!(expired[2].starts_with("DPoP algs=\"ES256") && expired[2].ends_with(&says), "{expired:?}");
    assert_eq!(stand.challenges(&[])[1], format!("Bearer scope=\"a b\", {metadata}"), "who sent none gets no error");
    let lacking = stand.challenges(&[("authorization", &sent(json!({ "org": "acme" })))]);
    assert!(lacking[0].starts_with("Bearer error=\"insufficient_scope\"") && lacking[0].contains("scope=\"a b\""));
    assert_eq!(lacking.len(), 2);
    let refused = stand.ask(&[("authorization", &sent(json!({ "org": "acme" })))]).facts;
    let named =
        (refused.consumer.map(|consumer| consumer.name.to_string()), refused.token.map(|it| it.issuer.to_string()));
    assert_eq!(named, (Some("alice".into()), Some("corp".into())), "the log names who lacks it");
}

#[test]
fn of_any_the_one_that_was_sent_decides_and_a_wrong_one_never_falls_through() {
    let stand = Stand::new("{ any = [\"key\", \"corp\"] }");
    let (good, bad) = (bearer(&token(SECRET, &json!({}))), bearer(&token(OTHER, &json!({}))));
    assert_eq!(stand.reason(&[("x-api-key", "right")]), (200, ""));
    assert_eq!(stand.reason(&[("authorization", "ApiKey right")]), (200, ""));
    assert_eq!(stand.reason(&[("x-api-key", "wrong")]), (401, "unknown_key"));
    assert_eq!(stand.reason(&[]), (401, "no_credential"));
    for line in [&good, &bad] {
        assert_eq!(stand.reason(&[("x-api-key", "right"), ("authorization", line)]), (400, "several_credentials"));
    }
    assert_eq!(stand.reason(&[("authorization", &good), ("authorization", &good)]), (400, "several_credentials"));
    assert_eq!(stand.reason(&[("x-api-key", "right"), ("x-api-key", "right")]), (400, "several_keys"));
}

#[test]
fn all_wants_each_the_token_is_the_user_the_key_the_app_and_limits_say_whose_they_are() {
    let stand = Stand::new("{ all = [\"key\", \"corp\"] }");
    let user = |name: &str| bearer(&token(SECRET, &json!({ "sub": name })));
    let (alice, bob) = (user("alice"), user("bob"));
    assert_eq!(stand.reason(&[("x-api-key", "right")]), (401, "no_credential"));
    assert_eq!(stand.reason(&[("authorization", &alice)]), (401, "no_credential"));
    assert_eq!(stand.reason(&[("x-api-key", "wrong"), ("authorization", &alice)]), (401, "unknown_key"));
    let mut limited = Vec::new();
    for line in [&alice, &bob, &bob] {
        let mut passed = stand.ask(&[("x-api-key", "right"), ("authorization", line)]);
        assert!(matches!(passed.step, Step::Continue), "{:?}", passed.step);
        assert_eq!(passed.facts.app.as_ref().map(|app| &*app.name), Some("app"));
        limited.push(matches!(stand.pass(Filter::Limit, &mut passed), Step::Refuse(_)));
    }
    assert_eq!(limited, [false, false, true], "the app has used its two, whoever its users are");
}

#[test]
fn where_it_is_optional_nothing_is_anonymous_and_something_wrong_is_not() {
    let stand = Stand::new("{ any = [\"corp\"], optional = true }");
    let nobody = stand.ask(&[]);
    assert!(matches!(nobody.step, Step::Continue) && nobody.facts.consumer.is_none());
    assert_eq!(stand.reason(&[("authorization", &bearer(&token(OTHER, &json!({}))))]), (401, "bad_signature"));
    assert_eq!(stand.reason(&[("authorization", "Basic eDp5")]), (401, "wrong_scheme"));
}

#[test]
fn a_token_that_is_bound_needs_its_proof_and_one_that_is_not_is_no_dpop_token() {
    let stand = Stand::new("{ any = [\"corp\"] }");
    let bound = token(SECRET, &json!({ "cnf": { "jkt": "x" } }));
    assert_eq!(stand.reason(&[("authorization", &bearer(&bound))]), (401, "dpop_missing"));
    let dpop = format!("DPoP {bound}");
    assert_eq!(stand.reason(&[("authorization", &dpop)]), (401, "dpop_missing"));
    assert_eq!(stand.reason(&[("authorization", &dpop), ("dpop", "a"), ("dpop", "b")]), (401, "dpop_several"));
    assert_eq!(stand.reason(&[("authorization", &dpop), ("dpop", "a")]), (401, "dpop_malformed"));
    let free = format!("DPoP {}", token(SECRET, &json!({})));
    assert_eq!(stand.reason(&[("authorization", &free)]), (401, "unbound_token"));
}

#[test]
fn a_token_in_a_cookie_counts_from_pages_of_the_list_only() {
    let stand = Stand::new("{ any = [\"corp\"], cookie = \"session\", origins = \"https://shop.example\" }");
    let cookie = format!("a=b; session={}", token(SECRET, &json!({})));
    let from = |origin: &'static str| [("cookie", cookie.as_str()), ("origin", origin)];
    assert_eq!(stand.reason(&from("https://shop.example")), (200, ""));
    assert_eq!(stand.reason(&from("https://evil.example")), (403, "wrong_origin"));
    assert_eq!(stand.reason(&[("cookie", &cookie)]), (403, "wrong_origin"));
    let twice = [("cookie", cookie.as_str()), ("cookie", cookie.as_str()), ("origin", "https://shop.example")];
    assert_eq!(stand.reason(&twice), (400, "several_credentials"));
    let elsewhere = Stand::new("{ any = [\"corp\"] }");
    assert_eq!(elsewhere.reason(&from("https://shop.example")), (401, "no_credential"));
}

#[test]
fn what_was_found_out_by_other_keys_holds_no_longer() {
    let mut stand = Stand::new("{ any = [\"corp\"] }");
    let line = bearer(&token(SECRET, &json!({})));
    assert_eq!(stand.reason(&[("authorization", &line)]), (200, ""));
    assert_eq!(stand.reason(&[("authorization", &line)]), (200, ""), "it is remembered");
    let other = secret(&stand.config, OTHER);
    stand.with(stand.keys.with(&"corp".into(), Some((stand.config.issuers[0].clone(), other))));
    assert_eq!(stand.reason(&[("authorization", &line)]), (401, "bad_signature"));
}

#[tokio::test(start_paused = true)]
async fn a_key_that_is_not_there_is_asked_for_and_the_request_waits() {
    let mut stand = Stand::new("{ any = [\"corp\"] }");
    let keys = secret(&stand.config, SECRET);
    stand.with(KeySets::default());
    let line = bearer(&token(SECRET, &json!({})));
    let wait = Duration::from_secs(7);
    for (look, wanted) in [
        (Look::Unknown, Some((401, "unknown_kid", None))),
        (Look::Away { retry_after: wait }, Some((503, "issuer_unavailable", Some(wait)))),
        (Look::Known(keys), None),
    ] {
        let mut passed = stand.ask(&[("authorization", &line)]);
        assert!(matches!(passed.step, Step::Wait), "{:?}", passed.step);
        let answer = async {
            let Some(Question::Key { place, reply, .. }) = stand.asked.keys.recv().await else { panic!("a question") };
            assert_eq!(&*place, "corp");
            reply.send(look).expect("somebody waits");
        };
        tokio::join!(Filter::Auth.wait(&mut passed.notes), answer);
        let refused = match stand.pass(Filter::Auth, &mut passed) {
            Step::Refuse(refusal) => Some((refusal.status.as_u16(), refusal.reason, refusal.retry_after)),
            Step::Continue => None,
            step => panic!("{step:?}"),
        };
        assert_eq!(refused, wanted);
    }
    assert_eq!(stand.reason(&[("authorization", &line)]), (200, ""), "what held is remembered");
}

#[tokio::test(start_paused = true)]
async fn an_opaque_token_is_asked_about_and_who_tries_many_is_slowed_down() {
    let mut stand = Stand::new("{ any = [\"opaque\"] }");
    let issuer = stand.config.issuers[1].clone();
    let answer = json!({ "active": true, "sub": "carol", "aud": "api", "exp": in_seconds(60) }).to_string();
    let claims = Claims::introspected(answer.as_bytes(), &issuer, std::time::SystemTime::now()).expect("it holds");
    let until = Instant::now() + Duration::from_secs(30);
    let active = Introspected::Active { claims: Arc::new(claims), until };
    assert!(tried(&mut stand, active).await.is_none());
    let again = stand.ask(&[("authorization", "Bearer abc")]);
    assert_eq!(again.facts.consumer.map(|consumer| consumer.name.to_string()).as_deref(), Some("carol"));
    tokio::time::advance(Duration::from_secs(31)).await;
    let mut reasons = Vec::new();
    for _ in 0..21 {
        reasons.push(tried(&mut stand, Introspected::Refused(Rejection::Inactive)).await);
    }
    assert!(reasons[..20].iter().all(|reason| *reason == Some((401, "inactive_token"))), "{reasons:?}");
    assert_eq!(reasons[20], Some((429, "too_many_unknown_keys")));
    let away = Introspected::Away { retry_after: Duration::from_secs(1) };
    assert_eq!(tried(&mut stand, away).await, Some((503, "issuer_unavailable")));
}

/// What becomes of a request with an opaque token of which the issuer says this.
async fn tried(stand: &mut Stand, says: Introspected) -> Option<(u16, &'static str)> {
    let mut passed = stand.ask(&[("authorization", "Bearer abc")]);
    assert!(matches!(passed.step, Step::Wait), "{:?}", passed.step);
    let answer = async {
        let about = stand.asked.tokens.recv().await.expect("a question");
        assert_eq!((&*about.issuer, &*about.token), ("opaque", "abc"));
        about.reply.send(says).expect("somebody waits");
    };
    tokio::join!(Filter::Auth.wait(&mut passed.notes), answer);
    match stand.pass(Filter::Auth, &mut passed) {
        Step::Refuse(refusal) => Some((refusal.status.as_u16(), refusal.reason)),
        Step::Continue => None,
        step => panic!("{step:?}"),
    }
}
