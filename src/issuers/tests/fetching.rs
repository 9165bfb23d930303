//! Over real sockets: what an issuer may not do, and what is believed of it.

use std::path::PathBuf;

use super::server::{Manner, Server, answer, ok};
use super::*;
use crate::issuers::http::{Request, url};
use crate::issuers::status::KeysStatus;

/// An issuer on loopback with metadata and keys.
async fn good(kids: &'static [&'static str]) -> Server {
    let server = Server::start(|_| Manner::Dies).await;
    server.becomes(behaves(&server.origin, kids));
    server
}

fn behaves(origin: &str, kids: &'static [&'static str]) -> impl FnMut(&str) -> Manner + Send + use<> {
    let metadata = format!(r#"{{"issuer":"{origin}/corp","jwks_uri":"{origin}/keys"}}"#);
    move |path| match path {
        "/corp/.well-known/openid-configuration" => ok(&metadata),
        "/keys" => ok(&jwks(kids)),
        _ => answer("404 Not Found", "", b""),
    }
}

fn discovered(server: &Server) -> Issuer {
    issuer("corp", &format!("{}/corp", server.origin))
}

#[tokio::test]
async fn keys_are_found_by_discovery_and_a_new_one_when_a_token_names_it() {
    let server = good(&["a"]).await;
    let world = World::new(Http::new(), vec![discovered(&server)]);
    world.until_known("corp", "a").await;
    server.becomes(behaves(&server.origin, &["b"]));
    assert!(matches!(world.issuers.asker.keys("corp", Some("b")).await, Look::Known(_)));
    let status = world.until(|status| status.keys[0].kid.as_deref() == Some("b")).await;
    assert_eq!((status.fetches, status.failures, status.keys.len()), (2, 0, 1));
    let heard = server.heard();
    assert!(heard.iter().all(|request| request.to_lowercase().contains("\r\nuser-agent: lictor/")), "{heard:?}");
}

#[tokio::test]
async fn whatever_an_issuer_does_its_good_keys_stay_and_the_operator_reads_why() {
    let other = Server::start(|_| ok(&jwks(&["stolen"]))).await;
    let server = good(&["a"]).await;
    let (origin, elsewhere) = (server.origin.clone(), other.origin.clone());
    let metadata = |issuer: String, keys: String| ok(&format!(r#"{{"issuer":"{issuer}","jwks_uri":"{keys}"}}"#));
    let redirect = answer("302 Found", &format!("Location: {elsewhere}/keys\r\n"), b"");
    let large = answer("200 OK", "", &vec![b' '; 2 << 20]);
    let endless = Manner::Bytes([&b"HTTP/1.1 200 OK\r\n\r\n"[..], &vec![b' '; 3 << 20]].concat());
    let cut = Manner::Bytes(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{".to_vec());
    let cases = [
        (Manner::Dies, ""),
        (answer("500 Internal Server Error", "", b"secret"), "it answers 500"),
        (answer("404 Not Found", "", b"secret"), "it answers 404"),
        (answer("204 No Content", "", b""), "it answers 204"),
        (redirect, "redirects are not followed"),
        (ok("<html>"), "is not understood"),
        (Manner::Bytes(b"not HTTP\r\n\r\n".to_vec()), ""),
        (large, "larger than 1024 KiB"),
        (endless, "larger than 1024 KiB"),
        (cut, ""),
        (metadata(elsewhere.clone(), format!("{origin}/keys")), "another `issuer`"),
        (metadata(format!("{origin}/corp"), format!("{elsewhere}/keys")), "`keys_origin` does not allow"),
        (metadata(format!("{origin}/corp"), "http://corp.example/keys".into()), "only https"),
        (metadata(format!("{origin}/corp"), "file:///etc/passwd".into()), "only https"),
    ];
    for (manner, expected) in cases {
        let world = World::new(Http::new(), vec![discovered(&server)]);
        world.until_known("corp", "a").await;
        let bad = manner.clone();
        server.becomes(move |_| bad.clone());
        // A configuration that is read again fetches at once.
        world.reconfigure(vec![Issuer { leeway: Duration::from_secs(1), ..discovered(&server) }]);
        let why = |status: &KeysStatus| status.error.as_ref().is_some_and(|error| error.contains(expected));
        let error = world.until(why).await.error.expect("an error");
        assert!(!error.contains("secret"), "{error}");
        assert!(world.knows("corp", "a") && !world.knows("corp", "stolen"), "{manner:?}");
        server.becomes(behaves(&origin, &["a"]));
    }
    assert!(other.heard().is_empty(), "nobody was led elsewhere");
}

#[tokio::test]
async fn an_issuer_that_hangs_is_given_up_at_the_deadline_and_one_that_drips_too() {
    for manner in [Manner::Hangs, Manner::Bytes(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{".to_vec())] {
        let hangs = matches!(manner, Manner::Hangs);
        let server = Server::start(move |_| manner.clone()).await;
        let url = url(&format!("{}/keys", server.origin)).expect("a URL");
        let request = Request { url: &url, form: None, deadline: Duration::from_millis(200), largest: 100 };
        let failure = Http::new().send(&request).await.expect_err("no answer");
        assert!(failure.away && (!hangs || failure.reason.contains("no answer within 200ms")), "{failure:?}");
    }
}

#[tokio::test]
async fn how_long_keys_hold_and_when_to_come_again_is_read_from_the_head() {
    let lines = "Cache-Control: public, max-age=3600\r\nAge: 600\r\n";
    let server = Server::start(move |path| match path {
        "/keys" => answer("200 OK", lines, b"{}"),
        _ => answer("503 Service Unavailable", "Retry-After: 120\r\n", b""),
    });
    let server = server.await;
    let ask = async |path: &str| {
        let url = url(&format!("{}{path}", server.origin)).expect("a URL");
        Http::new().send(&Request { url: &url, form: None, deadline: Duration::from_secs(20), largest: 100 }).await
    };
    assert_eq!(ask("/keys").await.expect("an answer").fresh, Some(Duration::from_secs(3000)));
    assert_eq!(ask("/busy").await.expect_err("no answer").retry_after, Some(Duration::from_secs(120)));
}

/// A file of a test, which is removed at its end.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str, content: &str) -> Scratch {
        let path = std::env::temp_dir().join(format!("lictor-{name}-{}", std::process::id()));
        std::fs::write(&path, content).expect("a file");
        Scratch(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_file_with_keys_is_read_again_when_it_changes_and_one_that_is_half_written_takes_none_away() {
    let file = Scratch::new("keys", &jwks(&["a"]));
    let world = World::new(Http::new(), vec![Issuer { keys: Keys::File(file.0.clone()), ..issuer("corp", "x") }]);
    world.until_known("corp", "a").await;
    std::fs::write(&file.0, &jwks(&["b"])[..40]).expect("a file");
    let status = world.until(|status| status.error.is_some()).await;
    assert!(world.knows("corp", "a") && status.fetches == 0, "{status:?}");
    std::fs::write(&file.0, jwks(&["b"])).expect("a file");
    world.until_known("corp", "b").await;
    drop(file);
    let status = world.until(|status| status.error.is_some()).await;
    assert!(status.error.expect("an error").contains("cannot be read") && world.knows("corp", "b"));
}

#[tokio::test(start_paused = true)]
async fn a_secret_is_a_key_and_is_read_again_when_its_file_changes_but_never_shown() {
    let (one, two) = ("a secret of at least 32 characters", "another secret of 32 characters and more");
    let file = Scratch::new("secret", one);
    let keys = Keys::Secret(Secret::File(file.0.clone()), Encoding::Text);
    let world = World::new(Http::new(), vec![Issuer { keys, ..issuer("corp", "x") }]);
    let status = world.until(|status| status.taken.is_some()).await;
    assert_eq!(world.issuers.keys.borrow().version(), 1);
    assert!(!format!("{status:?}").contains(one));
    std::fs::write(&file.0, two).expect("a file");
    let mut keys = world.issuers.keys.clone();
    keys.wait_for(|keys| keys.version() == 2).await.expect("it is followed");
}

#[tokio::test(start_paused = true)]
async fn a_secret_in_base64_is_the_bytes_that_it_stands_for_and_what_is_none_takes_no_key_away() {
    let file = Scratch::new("base64", "AAECAwQFBgcICQoLDA0ODw\nAAECAwQFBgcICQoLDA0ODw==\n");
    let keys = Keys::Secret(Secret::File(file.0.clone()), Encoding::Base64);
    let world = World::new(Http::new(), vec![Issuer { keys, ..issuer("corp", "x") }]);
    let status = world.until(|status| status.error.is_some()).await;
    assert!(status.error.expect("an error").contains("no base64"), "padding stands at an end alone");
    std::fs::write(&file.0, "AAECAwQFBgcICQoLDA0ODwABAgMEBQYHCAkK\nCwwNDg8=\n").expect("a file");
    world.until(|status| status.taken.is_some()).await;
    let bytes: Vec<u8> = (0..16).chain(0..16).collect();
    let wanted = KeySet::of_secret(&bytes, &issuer("corp", "x")).expect("32 bytes");
    assert_eq!(*world.keys("corp").expect("keys"), wanted);
}

#[tokio::test(start_paused = true)]
async fn a_secret_is_not_looked_for_again_because_signatures_are_bad() {
    let keys = Keys::Secret(Secret::Text("a secret of at least 32 characters".into()), Encoding::Text);
    let world = World::scripted(&Script::default(), vec![Issuer { keys, ..issuer("corp", "https://corp.example") }]);
    world.until_known("corp", "any").await;
    tokio::time::sleep(Duration::from_secs(60)).await; // paused time
    let old = world.keys("corp").expect("keys");
    assert!(matches!(world.issuers.asker.others("corp", &old).await, Look::Unknown));
}
