//! What an operator revokes, from outside: it holds at once, and over restarts where there is a file for it.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::Method;
use integration::client::Response;
use integration::eventually;
use integration::world::{World, config, service};
use mock_services::issuer::Wanted;
use mock_services::{Issuer, Kind, Mock};
use serde_json::json;

/// A folder of a test's own, which ends with it.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Folder {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("lictor-revoking-{}-{number}", std::process::id()));
        std::fs::create_dir(&path).expect("a folder");
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).expect("it is ours");
        Folder(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A gateway before one service, for tokens of one issuer, with a file for revocations.
fn text(issuer: &Issuer, mock: &Mock, file: &Path) -> String {
    format!(
        "{}[api]\nauth = {{ any = [\"corp\"] }}\n[[issuer]]\nname = \"corp\"\nissuer = \"{}\"\naudience = \"https://api.example.com\"\n\
         [admin]\naddress = \"127.0.0.1:0\"\nrevocations = {{ file = {file:?} }}\n",
        service("user_service", &[mock]),
        issuer.url(),
    )
}

async fn bearer(world: &World, token: &str) -> Response {
    let line = format!("Bearer {token}");
    world.client.ask(Method::GET, "/api/user_service/users", &[("authorization", &line)], "").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_was_revoked_is_refused_at_once_and_also_by_the_gateway_of_after_a_restart() {
    let folder = Folder::new();
    let (issuer, mock) =
        (Issuer::start(0).await.expect("an issuer"), Mock::start(Kind::User, 0).await.expect("a mock"));
    let text = text(&issuer, &mock, &folder.0.join("revocations.json"));
    let token = |jti: &str| issuer.token(&Wanted::with(json!({ "sub": "alice", "jti": jti })));
    let (stolen, good) = (token("stolen"), token("good"));
    let world = World::of(&text).await;
    eventually("the keys are there", async || bearer(&world, &stolen).await.status == 200).await;
    let revoked = world.admin.post("/admin/tokens/revoke?issuer=corp&jti=stolen", "").await;
    assert_eq!((revoked.status, &revoked.json()["survives_restart"]), (200, &json!(true)));
    // The very next request, without a wait: the answer came when it held.
    assert_eq!(bearer(&world, &stolen).await.reason(), "revoked_token");
    world.stop().await;

    let world = World::of(&text).await;
    eventually("the keys are there", async || bearer(&world, &good).await.status == 200).await;
    let refused = bearer(&world, &stolen).await;
    assert_eq!((refused.status, refused.reason().as_str()), (401, "revoked_token"));
    let listed = world.admin.get("/admin/tokens/revoked?issuer=corp").await.json();
    assert_eq!((&listed["count"], &listed["revocations"][0]["jti"]), (&json!(1), &json!("stolen")));
}

#[tokio::test(flavor = "multi_thread")]
async fn unless_the_operator_says_until_when_a_revocation_holds_as_long_as_the_tokens_that_were_seen() {
    let folder = Folder::new();
    let (issuer, mock) =
        (Issuer::start(0).await.expect("an issuer"), Mock::start(Kind::User, 0).await.expect("a mock"));
    let world = World::of(&text(&issuer, &mock, &folder.0.join("revocations.json"))).await;
    // In whole seconds, as what is answered is: a test that begins late in one could be later than the answer.
    let begun = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
    let begun = UNIX_EPOCH + Duration::from_secs(begun);
    let day = Duration::from_secs(86_400);
    // For how many whole days a revocation holds; each begins a little later than the test.
    let days = async |query: &str| {
        let answer = world.admin.post(&format!("/admin/tokens/revoke?issuer=corp{query}"), "").await;
        let until =
            answer.json()["until"].as_str().and_then(|text| humantime::parse_rfc3339(text).ok()).expect("a time");
        until.duration_since(begun).expect("it is later").as_secs() / day.as_secs()
    };
    let taken = async |life: Duration| {
        let exp = (begun + life).duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
        let token = issuer.token(&Wanted::with(json!({ "sub": "alice", "exp": exp })));
        eventually("it is taken", async || bearer(&world, &token).await.status == 200).await;
    };
    assert_eq!(days("&jti=a").await, 1, "no token was seen");
    taken(Duration::from_secs(300)).await;
    assert_eq!(days("&jti=b").await, 1, "none lives longer");
    taken(7 * day).await;
    assert_eq!((days("&jti=c").await, days("&jti=d&seconds=259200").await), (7, 3));
    assert_eq!(days("&jti=d&seconds=86400").await, 3, "it holds until then already");
    taken(1000 * day).await;
    assert_eq!(days("").await, 365, "that is the most");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_whose_revocations_cannot_be_understood_does_not_start_and_takes_no_address_before_it_says_so() {
    let folder = Folder::new();
    let (issuer, mock) =
        (Issuer::start(0).await.expect("an issuer"), Mock::start(Kind::User, 0).await.expect("a mock"));
    let file = folder.0.join("revocations.json");
    std::fs::write(&file, "{\"format\":1,").expect("a file");
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o600)).expect("it is ours");
    // That somebody else listens at its address would be another error.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let taken = format!("[[listener]]\naddress = \"{}\"\n", listener.local_addr().expect("an address"));
    let config = config(&format!("{}{taken}", text(&issuer, &mock, &file)));
    let started = tokio::task::spawn_blocking(move || lictor::app::start(config).map(drop)).await.expect("no panic");
    let why = started.expect_err("it starts").to_string();
    assert!(why.contains(&format!("[admin] revocations: {} cannot be used: it is broken", file.display())), "{why}");
}
