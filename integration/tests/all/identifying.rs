//! Who is calling, from outside: tokens of an issuer that misbehaves on command, passwords, and what instances get to see.

use http::Method;
use integration::client::Response;
use integration::eventually;
use integration::world::{World, service};
use mock_services::issuer::{Algorithm, Prover, Rotation, Wanted};
use mock_services::{Issuer, Kind, Mock};
use serde_json::json;

const AUDIENCE: &str = "https://api.example.com";

/// A gateway before one service, which takes what `auth` says, with the issuer `corp` and what is said of it besides.
async fn world(issuer: &Issuer, mock: &Mock, auth: &str, more: &str) -> World {
    let text = format!(
        "public_url = \"{AUDIENCE}\"\n{}[api]\nauth = {auth}\n[[issuer]]\nname = \"corp\"\nissuer = \"{}\"\naudience = \"{AUDIENCE}\"\n{more}\n",
        service("user_service", &[mock]),
        issuer.url(),
    );
    World::of(&text).await
}

async fn ask(world: &World, lines: &[(&str, &str)]) -> Response {
    world.client.ask(Method::GET, "/api/user_service/users", lines, "").await
}

async fn bearer(world: &World, token: &str) -> Response {
    ask(world, &[("authorization", &format!("Bearer {token}"))]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_opens_a_route_names_its_caller_and_goes_no_further() {
    let (issuer, mock) =
        (Issuer::start(0).await.expect("an issuer"), Mock::start(Kind::User, 0).await.expect("a mock"));
    let more = "forward = { sub = \"X-User-Id\" }";
    let world = world(&issuer, &mock, "{ any = [\"corp\"], scopes = [\"users:read\"] }", more).await;
    let token = issuer.token(&Wanted::with(json!({ "sub": "alice smith", "scope": "users:read" })));
    let lines = [("authorization", &*format!("Bearer {token}")), ("x-user-id", "root"), ("x_user_id", "root")];
    assert_eq!(ask(&world, &lines).await.status, 200);
    let seen = mock.seen().pop().expect("a request");
    let of = |wanted: &str| -> Vec<&str> {
        seen.headers.iter().filter(|(name, _)| name == wanted).map(|(_, value)| value.as_str()).collect()
    };
    assert_eq!(of("x-user-id"), ["alice%20smith"]);
    assert!(of("authorization").is_empty() && of("x_user_id").is_empty());
    let lacking = bearer(&world, &issuer.token(&Wanted::with(json!({ "sub": "bob", "scope": "other" })))).await;
    assert_eq!((lacking.status, lacking.reason().as_str()), (403, "insufficient_scope"));
    assert!(lacking.header("www-authenticate").contains("scope=\"users:read\""));
    let forged = Wanted { forged: true, ..Wanted::with(json!({ "sub": "eve", "scope": "users:read" })) };
    assert_eq!(bearer(&world, &issuer.token(&forged)).await.reason(), "bad_signature");
    assert_eq!(bearer(&world, "x").await.reason(), "not_a_jwt");
    assert_eq!(mock.hits(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_signed_with_a_new_key_waits_for_it_and_is_taken() {
    let (issuer, mock) =
        (Issuer::start(0).await.expect("an issuer"), Mock::start(Kind::User, 0).await.expect("a mock"));
    let world = world(&issuer, &mock, "{ any = [\"corp\"] }", "").await;
    let old = issuer.token(&Wanted::with(json!({ "sub": "alice" })));
    eventually("the keys are there", async || bearer(&world, &old).await.status == 200).await;
    issuer.rotate(Rotation::default());
    let new = issuer.token(&Wanted::with(json!({ "sub": "alice" })));
    assert_eq!(bearer(&world, &new).await.status, 200);
    assert_eq!(bearer(&world, &old).await.status, 200, "its key is still shown");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_opaque_token_is_explained_by_its_issuer() {
    let (issuer, mock) =
        (Issuer::start(0).await.expect("an issuer"), Mock::start(Kind::User, 0).await.expect("a mock"));
    let url = format!("{}/introspect", issuer.url());
    let more = format!("opaque = {{ url = \"{url}\", client = \"lictor\", secret = \"lictor-secret\" }}");
    let world = world(&issuer, &mock, "{ any = [\"key\", \"corp\"] }", &more).await;
    let token = issuer.token(&Wanted { opaque: true, ..Wanted::with(json!({ "sub": "alice" })) });
    assert_eq!(bearer(&world, &token).await.status, 200);
    assert_eq!(bearer(&world, "unknown").await.reason(), "inactive_token");
    let both = [("x-api-key", "test-api-key"), ("authorization", &*format!("Bearer {token}"))];
    assert_eq!(ask(&world, &both).await.reason(), "several_credentials");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bound_token_needs_a_proof_for_this_request_and_each_proof_counts_once() {
    let (issuer, mock) =
        (Issuer::start(0).await.expect("an issuer"), Mock::start(Kind::User, 0).await.expect("a mock"));
    let world = world(&issuer, &mock, "{ any = [\"corp\"] }", "dpop = \"require\"").await;
    let prover = Prover::new(Algorithm::ES256);
    let bound = json!({ "sub": "alice", "cnf": { "jkt": prover.thumbprint() } });
    let token = issuer.token(&Wanted::with(bound));
    let dpop = format!("DPoP {token}");
    let url = format!("{AUDIENCE}/api/user_service/users");
    eventually("the keys are there", async || {
        let proof = prover.proof("GET", &url, Some(&token));
        ask(&world, &[("authorization", &dpop), ("dpop", &proof)]).await.status == 200
    })
    .await;
    let proof = prover.proof("GET", &url, Some(&token));
    assert_eq!(ask(&world, &[("authorization", &dpop), ("dpop", &proof)]).await.status, 200);
    let again = ask(&world, &[("authorization", &dpop), ("dpop", &proof)]).await;
    assert_eq!((again.status, again.reason().as_str()), (401, "dpop_replayed"));
    assert!(again.header("www-authenticate").starts_with("DPoP algs="));
    let elsewhere = prover.proof("GET", &format!("{AUDIENCE}/other"), Some(&token));
    assert_eq!(ask(&world, &[("authorization", &dpop), ("dpop", &elsewhere)]).await.reason(), "dpop_wrong_htu");
    assert_eq!(bearer(&world, &token).await.reason(), "dpop_missing");
    assert!(
        mock.seen()
            .iter()
            .flat_map(|seen| seen.headers.clone())
            .all(|(name, _)| name != "dpop" && name != "authorization")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_and_a_password_open_a_route_for_old_clients() {
    let mock = Mock::start(Kind::User, 0).await.expect("a mock");
    let hash = lictor::config::hash_password("open sesame").expect("a hash");
    let text = format!(
        "{}[api]\nauth = {{ any = [\"basic\"] }}\n[[consumer]]\nname = \"old\"\npassword = \"{hash}\"\n",
        service("user_service", &[&mock])
    );
    let world = World::of(&text).await;
    // old:open sesame, old:wrong, new:open sesame
    for (sent, status) in [("b2xkOm9wZW4gc2VzYW1l", 200), ("b2xkOndyb25n", 401), ("bmV3Om9wZW4gc2VzYW1l", 401)] {
        let answer = ask(&world, &[("authorization", &format!("Basic {sent}"))]).await;
        assert_eq!(answer.status, status, "{sent}");
        assert_eq!(answer.header("www-authenticate").starts_with("Basic realm="), status == 401);
    }
    assert!(mock.seen()[0].headers.iter().all(|(name, _)| name != "authorization"));
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_find_the_issuer_by_themselves_and_admins_come_by_token() {
    let (issuer, mock) =
        (Issuer::start(0).await.expect("an issuer"), Mock::start(Kind::User, 0).await.expect("a mock"));
    let more = format!(
        "admin = {{ claim = \"roles\", has = \"boss\" }}\n[admin]\naddress = \"127.0.0.1:0\"\naudience = \"{AUDIENCE}\""
    );
    let world = world(&issuer, &mock, "{ any = [\"corp\"], scopes = [\"a\"] }", &more).await;
    let none = ask(&world, &[]).await;
    let wanted = format!("resource_metadata=\"{AUDIENCE}/.well-known/oauth-protected-resource\"");
    assert!(none.header("www-authenticate").contains(&wanted), "{}", none.header("www-authenticate"));
    let metadata = world.client.ask(Method::GET, "/.well-known/oauth-protected-resource", &[], "").await;
    assert_eq!((metadata.status, metadata.json()["resource"].as_str()), (200, Some(AUDIENCE)));
    assert_eq!(metadata.json()["scopes_supported"], json!(["a"]));
    let boss = format!("Bearer {}", issuer.token(&Wanted::with(json!({ "sub": "alice", "roles": ["boss"] }))));
    let guest = format!("Bearer {}", issuer.token(&Wanted::with(json!({ "sub": "bob" }))));
    let page =
        async |line: &str| world.admin.ask(Method::GET, "/admin/services", &[("authorization", line)], "").await.status;
    eventually("the keys are there", async || page(&boss).await == 200).await;
    assert_eq!(page(&guest).await, 403);
    assert_eq!(world.admin.get("/admin/services").await.status, 200, "a key still opens it");
}
