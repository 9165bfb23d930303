//! One rule for a field, wherever it stands: heads and trailers, both ways; what a trusted proxy says, what a stranger says.

use http::Method;
use integration::client::KEY;
use integration::world::{World, service};
use mock_services::{Kind, Mock, Seen};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

/// Believes whoever asks from this host.
const TRUSTING: &str = "[[listener]]\naddress = \"127.0.0.1:0\"\ntrusted_proxies = [\"127.0.0.0/8\"]\n";

/// An instance that gives each request this answer, and passes on what it read up to the end of a chunked body, or of a head. Its address
/// stands in a configuration as the service `s`.
async fn scripted(answer: &'static str) -> (String, mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let service =
        format!("[[service]]\nname = \"s\"\ninstances = [\"{}\"]\n", listener.local_addr().expect("it listens"));
    let (tell, told) = mpsc::channel(16);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut read = String::new();
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = stream.read(&mut buffer).await {
                read += &String::from_utf8_lossy(&buffer[..count]).to_ascii_lowercase();
                let body = read.split_once("\r\n\r\n").map(|(_, body)| body);
                let whole = match read.contains("transfer-encoding: chunked") {
                    true => body.is_some_and(|body| body.contains("0\r\n") && body.ends_with("\r\n\r\n")),
                    false => body.is_some(),
                };
                if whole {
                    let _ = tell.send(std::mem::take(&mut read)).await;
                    if stream.write_all(answer.as_bytes()).await.is_err() || answer.contains("HTTP/1.0") {
                        break;
                    }
                }
            }
        }
    });
    (service, told)
}

/// What the gateway answers to these bytes, up to the connection's end.
async fn raw(world: &World, request: &str) -> String {
    let mut stream = TcpStream::connect(world.address).await.expect("it listens");
    stream.write_all(request.as_bytes()).await.expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("it answers");
    answer
}

fn values<'a>(seen: &'a Seen, name: &str) -> Vec<&'a str> {
    seen.headers.iter().filter(|(known, _)| known == name).map(|(_, value)| value.as_str()).collect()
}

/// What the instance saw of a request with these fields.
async fn seen(world: &World, mock: &Mock, fields: &[(&str, &str)]) -> Seen {
    let fields = [&[("x-api-key", KEY)], fields].concat();
    let answer = world.client.ask(Method::GET, "/api/user_service/users", &fields, "").await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    mock.seen().pop().expect("it was asked")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clients_trailers_pass_by_the_rules_of_its_head() {
    let (service, mut told) = scripted("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
    let rules = "[api]\nrequest_headers = { set = { X-Tenant = \"public\" }, remove = [\"X-Debug\"] }\n";
    let world = World::of(&format!("{service}{rules}")).await;
    let barred = [
        "X-Forwarded-For",
        "X-Forwarded-Anything",
        "X-Real-IP",
        "Forwarded",
        "X-Request-Id",
        "Via",
        "X-Tenant",
        "X_Tenant",
        "X.Tenant",
        "X-Debug",
        "X_Debug",
        "Connection",
        "Keep-Alive",
        "Upgrade",
        "TE",
        "Cookie",
        "Authorization",
        "Expect",
        "Proxy",
        "Proxy-Authorization",
        "X-API-Key",
        "X_API_Key",
        "Content-Length",
        "Transfer-Encoding",
        "Host",
        "Traceparent",
        "Tracestate",
        "Cache-Control",
        "If-Match",
        "X-Named",
    ];
    let names = [&barred[..], &["X-Sum", "X_Own"]].concat();
    let trailers: String = names.iter().map(|name| format!("{name}: 6.6.6.6\r\n")).collect();
    let request = format!(
        "POST /api/s/x HTTP/1.1\r\nHost: a\r\nX-API-Key: {KEY}\r\nConnection: close, x-named\r\nTransfer-Encoding: chunked\r\n\
         Trailer: {}\r\n\r\n3\r\nabc\r\n0\r\n{trailers}X-Not-Announced: 6.6.6.6\r\n\r\n",
        names.join(", ")
    );
    let answer = raw(&world, &request).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let read = told.recv().await.expect("it was asked");
    let (head, body) = read.split_once("\r\n\r\n").expect("a head");
    assert!(head.contains("trailer: x-sum, x_own\r\n") && head.contains("x-tenant: public\r\n"), "{head}");
    assert_eq!(body, "3\r\nabc\r\n0\r\nx-sum: 6.6.6.6\r\nx_own: 6.6.6.6\r\n\r\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instances_trailers_pass_by_the_rules_of_its_head() {
    let (service, _told) = scripted(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: x-named\r\n\
         Trailer: X-Sum, X-Request-Id, Via, Set-Cookie, X-Set, X-Gone, X-Named\r\nTrailer: Keep-Alive, RateLimit, Age, Location\r\n\r\n\
         2\r\nhi\r\n0\r\nX-Sum: 1\r\nX-Request-Id: 6\r\nVia: 6\r\nSet-Cookie: a=6\r\nX-Set: 6\r\nX-Gone: 6\r\nX-Named: 6\r\n\
         Keep-Alive: 6\r\nRateLimit: 6\r\nAge: 6\r\nLocation: 6\r\nX-Not-Announced: 6\r\n\r\n",
    )
    .await;
    let rules = "[api]\nresponse_headers = { set = { X-Set = \"ours\" }, remove = [\"X-Gone\"] }\n";
    let world = World::of(&format!("{service}{rules}")).await;
    let request = format!(
        "GET /api/s/x HTTP/1.1\r\nHost: a\r\nX-API-Key: {KEY}\r\nTE: trailers\r\nConnection: close, te\r\n\r\n"
    );
    let answer = raw(&world, &request).await.to_ascii_lowercase();
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    assert!(head.contains("trailer: x-sum\r\n") && head.contains("x-set: ours\r\n"), "{head}");
    assert_eq!(body, "2\r\nhi\r\n0\r\nx-sum: 1\r\n\r\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_trusted_proxy_says_reaches_the_instance_and_what_a_stranger_says_does_not() {
    let mock = Mock::start(Kind::User, 0).await.expect("a mock");
    let services = service("user_service", &[&mock]);
    let said = [
        ("x-forwarded-for", "203.0.113.7"),
        ("x-forwarded-proto", "HTTPS"),
        ("x-forwarded-host", "shop.example"),
        ("x-forwarded-port", "8443"),
        ("x-forwarded-prefix", "/shop/"),
        ("x-real-ip", "203.0.113.7"),
        ("x-request-id", "0f8fad5b-d9cb-469f-a165-70867728950e"),
        ("proxy", "http://evil.example"),
    ];
    let world = World::of(&format!("{TRUSTING}{services}")).await;
    let trusted = seen(&world, &mock, &said).await;
    for (name, value) in [
        ("x-forwarded-for", "203.0.113.7, 127.0.0.1"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "shop.example"),
        ("x-forwarded-port", "8443"),
        ("x-forwarded-prefix", "/shop/api/user_service"),
        ("x-real-ip", "203.0.113.7"),
        ("x-request-id", "0f8fad5b-d9cb-469f-a165-70867728950e"),
    ] {
        assert_eq!(values(&trusted, name), [value], "{name}");
    }
    assert!(values(&trusted, "proxy").is_empty());
    let named = world.client.ask(Method::GET, "/nobody", &said, "").await;
    assert_eq!((named.header("x-request-id"), named.json()["request_id"].as_str()), (said[6].1, Some(said[6].1)));
    let stranger = seen(&World::of(&services).await, &mock, &said).await;
    assert_eq!(values(&stranger, "x-forwarded-prefix"), ["/api/user_service"]);
    assert_eq!(
        (values(&stranger, "x-forwarded-proto"), values(&stranger, "x-forwarded-for")),
        (vec!["http"], vec!["127.0.0.1"])
    );
    assert!(values(&stranger, "x-forwarded-port").is_empty() && values(&stranger, "x-real-ip").is_empty());
    assert_ne!(values(&stranger, "x-request-id"), [said[6].1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trusted_proxys_word_that_is_not_valid_is_not_passed_on_as_another() {
    let mock = Mock::start(Kind::User, 0).await.expect("a mock");
    let world = World::of(&format!("{TRUSTING}{}", service("user_service", &[&mock]))).await;
    let odd = [
        ("x-forwarded-proto", "spdy"),
        ("x-forwarded-host", "a, b"),
        ("x-forwarded-port", "http"),
        ("x-forwarded-prefix", "//evil.example"),
        ("x-real-ip", "nobody"),
        ("x-request-id", "two words"),
    ];
    let seen = seen(&world, &mock, &odd).await;
    for gone in ["x-forwarded-proto", "x-forwarded-port", "x-real-ip"] {
        assert!(values(&seen, gone).is_empty(), "{gone}");
    }
    assert_eq!(values(&seen, "x-forwarded-prefix"), ["/api/user_service"]);
    assert_eq!(values(&seen, "x-forwarded-host"), values(&seen, "host"));
    assert_eq!(values(&seen, "x-request-id")[0].len(), 32);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_goes_on_with_its_state_or_begins_anew_without_one() {
    let mock = Mock::start(Kind::User, 0).await.expect("a mock");
    let world = World::of(&service("user_service", &[&mock])).await;
    let (id, parent) = ("12345678901234567890123456789012", "00-12345678901234567890123456789012-1234567890123456-03");
    let valid = [("traceparent", parent), ("tracestate", "foo=1 , bar=2"), ("tracestate", "foo=3,baz=4")];
    let on = seen(&world, &mock, &valid).await;
    let trace = values(&on, "traceparent");
    assert!(
        trace[0].starts_with(&format!("00-{id}-"))
            && trace[0].ends_with("-03")
            && !trace[0].contains("-1234567890123456-")
    );
    assert_eq!(values(&on, "tracestate"), ["foo=1,bar=2,baz=4"]);
    for (lines, continued) in [
        (&[("traceparent", parent), ("traceparent", parent), ("tracestate", "a=1")][..], false),
        (&[("tracestate", "a=1")], false),
        (&[("traceparent", "ff-12345678901234567890123456789012-1234567890123456-01"), ("tracestate", "a=1")], false),
        (&[("traceparent", parent), ("tracestate", "A=1,b=2")], true),
        (&[("traceparent", parent), ("tracestate", "")], true),
    ] {
        let seen = seen(&world, &mock, lines).await;
        let trace = values(&seen, "traceparent");
        assert_eq!((trace.len(), trace[0].contains(id)), (1, continued), "{lines:?}");
        assert!(values(&seen, "tracestate").is_empty(), "{lines:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn via_says_what_was_received_and_an_answer_has_the_version_of_its_own_hop() {
    let (service, mut told) = scripted("HTTP/1.0 200 OK\r\nVia: 1.0 fred\r\n\r\nhello").await;
    let world = World::of(&service).await;
    for (version, via) in [("1.0", "via: 1.0 lictor\r\n"), ("1.1", "via: 1.1 lictor\r\n")] {
        let request =
            format!("GET /api/s/x HTTP/{version}\r\nHost: a\r\nX-API-Key: {KEY}\r\nConnection: close\r\n\r\n");
        let answer = raw(&world, &request).await.to_ascii_lowercase();
        let read = told.recv().await.expect("it was asked");
        assert!(read.starts_with("get /x http/1.1\r\n") && read.contains(via), "{read}");
        assert!(answer.contains("via: 1.0 fred\r\n") && answer.contains("via: 1.0 lictor\r\n"), "{answer}");
        if version == "1.1" {
            assert!(answer.starts_with("http/1.1 200") && answer.ends_with("5\r\nhello\r\n0\r\n\r\n"), "{answer}");
        } else {
            assert!(answer.ends_with("\r\n\r\nhello"), "{answer}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_port_is_none_and_a_services_name_is_found_however_it_is_encoded() {
    let mock = Mock::start(Kind::User, 0).await.expect("a mock");
    let guarded = "[[route]]\npath = { prefix = \"/api/a:b/private\" }\nrespond = { status = 204 }\n";
    let world = World::of(&format!("{}{}{guarded}", service("user_service", &[&mock]), service("a:b", &[&mock]))).await;
    let seen = seen(&world, &mock, &[("host", "shop.example:")]).await;
    assert_eq!(
        (values(&seen, "host"), values(&seen, "x-forwarded-host")),
        (vec!["shop.example"], vec!["shop.example"])
    );
    for path in [
        "/api/%75ser_service/users",
        "/api/user%5Fservice/users",
        "/api/a:b/users",
        "/api/a%3Ab/users",
        "/api/%61%3ab/users",
    ] {
        assert_eq!(world.client.get(path).await.status, 200, "{path}");
    }
    assert_eq!(world.client.get("/api/a%3Bb/users").await.status, 400);
    assert_eq!(world.client.get("/api/a%40b/users").await.status, 404);
    // A route of one's own is not walked around by another spelling of its path.
    assert_eq!(world.client.get("/api/a:b/private").await.status, 204);
    let around = world.client.get("/api/a%3Ab/private").await;
    assert_eq!((around.status, around.reason().as_str()), (400, "bad_path"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_handshake_with_a_body_is_400_and_reaches_nobody() {
    let mock = Mock::start(Kind::User, 0).await.expect("a mock");
    let world = World::of(&service("user_service", &[&mock])).await;
    for framing in ["Content-Length: 5\r\n\r\nhello", "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"] {
        let request = format!(
            "GET /api/user_service/ws HTTP/1.1\r\nHost: a\r\nX-API-Key: {KEY}\r\nConnection: Upgrade, close\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{framing}"
        );
        let answer = raw(&world, &request).await;
        assert!(answer.starts_with("HTTP/1.1 400") && answer.contains("bad_framing"), "{answer}");
    }
    assert_eq!(mock.hits(), 0);
}
