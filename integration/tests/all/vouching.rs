//! Gateways before issuers of tokens: a certified OpenID provider that nobody here wrote, and a mock that misbehaves.

use http::Method;
use integration::client::Response;
use integration::eventually;
use integration::provider::Provider;
use integration::world::{World, service};
use mock_services::issuer::{Algorithm, Prover, Rotation, Wanted};
use mock_services::{Behaviour, Issuer, Kind, Mock};
use serde_json::{Value, json};

/// What a proof says in `htu`.
const URI: &str = "https://api.example.com/orders";

/// A gateway whose route `/orders` demands a token of this issuer with the scope `orders:read`.
async fn gateway(orders: &Mock, issuer: &str, more: &str) -> World {
    let service = service("order_service", &[orders]);
    let text = format!(
        r#"
public_url = "https://api.example.com"
{service}
[[route]]
name = "orders"
path = {{ prefix = "/orders" }}
service = "order_service"
auth = {{ any = ["corp"], scopes = ["orders:read"] }}

[[issuer]]
name = "corp"
issuer = "{issuer}"
{more}
"#
    );
    World::of(&text).await
}

async fn orders() -> Mock {
    Mock::start(Kind::Order, 0).await.expect("a mock")
}

async fn ask(world: &World, fields: &[(&str, &str)]) -> Response {
    world.client.ask(Method::GET, "/orders", fields, "").await
}

async fn bearing(world: &World, token: &str) -> Response {
    ask(world, &[("authorization", &format!("Bearer {token}"))]).await
}

/// The status, and the reason where there is one.
fn said(answer: &Response) -> (u16, String) {
    (answer.status, answer.reason())
}

fn text(answer: &Value) -> &str {
    answer["access_token"].as_str().unwrap_or_else(|| panic!("no token: {answer}"))
}

/// A gateway before the provider, which takes all kinds of its tokens.
async fn before(provider: &Provider, orders: &Mock) -> World {
    let more = format!(
        r#"audience = ["urn:lictor:RS256", "urn:lictor:ES256", "urn:lictor:EdDSA", "urn:lictor:opaque"]
dpop = "accept"
opaque = {{ url = "{}/token/introspection", client = "gateway", secret = "gateway-secret" }}"#,
        provider.url
    );
    gateway(orders, &provider.url, &more).await
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_of_a_real_provider_open_a_route_when_they_have_its_scope() {
    let Some(provider) = Provider::start().await else { return };
    let orders = orders().await;
    let world = before(&provider, &orders).await;
    for kind in ["RS256", "ES256", "EdDSA", "opaque"] {
        let good = provider.token(kind, "orders:read orders:write", None).await;
        let answer = bearing(&world, text(&good)).await;
        assert_eq!(answer.status, 200, "{kind}: {}", answer.body);
        let narrow = provider.token(kind, "orders:write", None).await;
        let answer = bearing(&world, text(&narrow)).await;
        assert_eq!(said(&answer), (403, "insufficient_scope".into()), "{kind}");
        assert!(answer.header("www-authenticate").contains("orders:read"), "{}", answer.header("www-authenticate"));
    }
    let revoked = provider.token("opaque", "orders:read", None).await;
    provider.revoke(text(&revoked)).await;
    for token in [text(&revoked), "nonsense"] {
        assert_eq!(bearing(&world, token).await.status, 401);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_keys_of_a_real_provider_are_fetched_again_for_the_first_token_of_new_ones() {
    let Some(provider) = Provider::start().await else { return };
    let orders = orders().await;
    let world = before(&provider, &orders).await;
    let old = provider.token("ES256", "orders:read", None).await;
    assert_eq!(bearing(&world, text(&old)).await.status, 200);
    provider.rotate(1).await;
    let new = provider.token("ES256", "orders:read", None).await;
    for token in [text(&new), text(&old)] {
        assert_eq!(bearing(&world, token).await.status, 200, "the old keys are shown still");
    }
    provider.rotate(0).await;
    let newer = provider.token("RS256", "orders:read", None).await;
    assert_eq!(bearing(&world, text(&newer)).await.status, 200);
    eventually("no worker takes what old keys have signed", || async {
        bearing(&world, text(&old)).await.status == 401
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_a_real_provider_bound_to_a_key_needs_a_proof_and_each_proof_counts_once() {
    let Some(provider) = Provider::start().await else { return };
    let orders = orders().await;
    let world = before(&provider, &orders).await;
    let prover = Prover::new(Algorithm::ES256);
    for kind in ["RS256", "opaque"] {
        let at_issuer = prover.proof("POST", &format!("{}/token", provider.url), None);
        let answer = provider.token(kind, "orders:read", Some(&at_issuer)).await;
        let (token, line) = (text(&answer), format!("DPoP {}", text(&answer)));
        let proof = prover.proof("GET", URI, Some(token));
        let answer = ask(&world, &[("authorization", &line), ("dpop", &proof)]).await;
        assert_eq!(answer.status, 200, "{kind}: {}", answer.body);
        let other = Prover::new(Algorithm::ES256).proof("GET", URI, Some(token));
        for wrong in [&proof, &other, &prover.proof("POST", URI, Some(token)), &prover.proof("GET", URI, None)] {
            let answer = ask(&world, &[("authorization", &line), ("dpop", wrong)]).await;
            assert_eq!(answer.status, 401, "{kind}: {wrong}");
        }
        assert_eq!(bearing(&world, token).await.status, 401, "{kind}, as if it were not bound");
    }
}

/// A token for the scope of the route.
fn wanted() -> Wanted {
    Wanted { algorithm: Algorithm::ES256, ..Wanted::with(json!({ "scope": "orders:read" })) }
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_becomes_of_an_issuer_tokens_of_its_known_keys_are_taken() {
    let (issuer, orders) = (Issuer::start(0).await.expect("an issuer"), orders().await);
    let world = gateway(&orders, issuer.url(), r#"audience = ["https://api.example.com"]"#).await;
    assert_eq!(bearing(&world, &issuer.token(&wanted())).await.status, 200);
    let unknown = |number: u32| {
        let Value::Object(header) = json!({ "kid": format!("nobody's-{number}") }) else { unreachable!() };
        issuer.token(&Wanted { header, forged: true, ..wanted() })
    };
    let hang = Behaviour { hang: true, ..Behaviour::default() };
    let fail = Behaviour { error_percent: 100, ..Behaviour::default() };
    let garbage = Behaviour { garbage: true, ..Behaviour::default() };
    let reset = Behaviour { reset: true, ..Behaviour::default() };
    for (number, behaviour) in (0..).zip([hang, fail, garbage, reset]) {
        issuer.mock().behave(|now| *now = behaviour.clone());
        // Whose key nobody knows makes the gateway ask.
        let answer = bearing(&world, &unknown(number)).await;
        assert_eq!(said(&answer), (503, "issuer_unavailable".into()), "{behaviour:?}");
        assert!(!answer.header("retry-after").is_empty());
        let fresh = issuer.token(&wanted());
        assert_eq!(bearing(&world, &fresh).await.status, 200, "{behaviour:?}");
    }
    issuer.mock().behave(|now| *now = Behaviour::default());
    issuer.set(|settings| settings.keys = json!({ "keys": [] }));
    assert_eq!(bearing(&world, &issuer.token(&wanted())).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_an_issuer_shows_before_they_sign_are_known_when_they_do() {
    let (issuer, orders) = (Issuer::start(0).await.expect("an issuer"), orders().await);
    let world = gateway(&orders, issuer.url(), r#"audience = ["https://api.example.com"]"#).await;
    issuer.rotate(Rotation { ahead: true, ..Rotation::default() });
    let Value::Object(header) = json!({ "kid": "a stranger's" }) else { unreachable!() };
    let stranger = issuer.token(&Wanted { header, forged: true, ..wanted() });
    assert_eq!(bearing(&world, &stranger).await.status, 401);
    let asked = issuer.asked("/jwks");
    issuer.rotate(Rotation::default());
    assert_eq!(bearing(&world, &issuer.token(&wanted())).await.status, 200);
    assert_eq!(issuer.asked("/jwks"), asked, "nobody had to ask again");
}
