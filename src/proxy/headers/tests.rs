//! What goes on and what does not, by table and by property.

use http::{Method, Request};
use proptest::prelude::*;

use super::*;
use crate::io::Door;
use crate::route::{Asked, Table};

fn passed(lines: &[(&str, &str)]) -> (Uri, HeaderMap) {
    let mut request = Request::builder().uri("/api/orders/users?x=1").header("host", "shop.example");
    for (name, value) in lines {
        request = request.header(*name, *value);
    }
    let (mut parts, ()) = request.body(()).expect("a request").into_parts();
    let limits = crate::config::RequestLimits { head: 1 << 20, fields: 999, target: 8192 };
    let target = head::check(&parts, &limits).expect("a good head");
    let table = Table::new(&crate::config::for_tests().routes, 1);
    let headers = parts.headers.clone();
    let asked = Asked { host: None, path: target.path(), query: None, method: &Method::GET, headers: &headers };
    let found = table.find(&asked).expect("a route");
    let client = Client::new(
        "10.1.2.3:4".parse().expect("an address"),
        "10.0.0.1:80".parse().expect("an address"),
        Door::Public,
        &[].into(),
    );
    let mut random = fastrand::Rng::with_seed(1);
    let id = TraceId::new(&mut random);
    request_done(&mut parts, &target, &found, &client, &id, &mut random);
    (parts.uri, parts.headers)
}

fn request_done(
    parts: &mut Parts,
    target: &Target,
    found: &Found<'_>,
    client: &Client,
    id: &TraceId,
    random: &mut fastrand::Rng,
) {
    super::request(parts, target, found, client, id, random).expect("a good request");
}

fn all(headers: &HeaderMap, name: &str) -> Vec<String> {
    headers.get_all(name).iter().map(|value| value.to_str().expect("ASCII").to_owned()).collect()
}

#[test]
fn the_instance_learns_who_asked_for_what_and_never_the_key() {
    let (uri, headers) = passed(&[
        ("x-api-key", "secret"),
        ("x-forwarded-for", "6.6.6.6"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-port", "1"),
        ("x-real-ip", "6.6.6.6"),
        ("forwarded", "for=6.6.6.6"),
        ("x-request-id", "mine"),
        ("via", "1.0 fred"),
    ]);
    assert_eq!(uri, "/users?x=1");
    assert_eq!(all(&headers, "x-forwarded-for"), ["10.1.2.3"]);
    assert_eq!(all(&headers, "x-forwarded-proto"), ["http"]);
    assert_eq!(all(&headers, "x-forwarded-host"), ["shop.example"]);
    assert_eq!(all(&headers, "x-forwarded-prefix"), ["/api/orders"]);
    assert_eq!(all(&headers, "via"), ["1.0 fred", "1.1 lictor"]);
    assert_eq!(all(&headers, "x-request-id")[0].len(), 32);
    assert_eq!(all(&headers, "host"), ["shop.example"]);
    for gone in ["x-api-key", "x-forwarded-port", "x-real-ip", "forwarded"] {
        assert!(!headers.contains_key(gone), "{gone}");
    }
}

#[test]
fn connection_removes_what_it_names_but_not_what_is_not_its_to_name() {
    let (_, headers) = passed(&[
        ("connection", "close, x-mine, X-Forwarded-For, host, authorization, cookie"),
        ("x-mine", "1"),
        ("authorization", "Bearer t"),
        ("cookie", "c=1"),
        ("upgrade", "h2c"),
        ("http2-settings", "x"),
    ]);
    assert!(
        !headers.contains_key("x-mine") && !headers.contains_key("upgrade") && !headers.contains_key("http2-settings")
    );
    for kept in ["x-forwarded-for", "host", "authorization", "cookie"] {
        assert!(headers.contains_key(kept), "{kept}");
    }
}

#[test]
fn te_goes_on_only_as_trailers_and_the_api_keys_scheme_not_at_all() {
    let (_, headers) = passed(&[("te", "gzip;q=0.5, trailers"), ("authorization", "ApiKey k"), ("trailer", "x")]);
    assert_eq!(all(&headers, "te"), ["trailers"]);
    assert_eq!(all(&headers, "connection"), ["te"]);
    assert!(headers.contains_key("trailer") && !headers.contains_key("authorization"));
    assert!(!passed(&[("te", "gzip")]).1.contains_key("te"));
}

#[test]
fn a_location_of_the_instances_own_origin_gets_its_prefix_back() {
    let path =
        http::Request::builder().uri("/api/orders/users").header("host", "shop.example").body(()).expect("a request");
    let limits = crate::config::RequestLimits { head: 1 << 20, fields: 99, target: 8192 };
    let target = head::check(&path.into_parts().0, &limits).expect("a good head");
    let route = crate::config::for_tests().routes[0].clone();
    let passage = Passage { host: target.host.clone(), target, stripped: "/api/orders".len(), route };
    let outside = |location: &'static str| {
        let value = passage.outside(&HeaderValue::from_static(location), "10.0.0.5:80".parse().expect("an address"));
        value.map(|value| value.to_str().expect("ASCII").to_owned())
    };
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(outside("/users/"), some("/api/orders/users/"));
    assert_eq!(outside("http://shop.example/users/?a"), some("/api/orders/users/?a"));
    assert_eq!(outside("http://10.0.0.5:80/x"), some("/api/orders/x"));
    assert_eq!(outside("/api/orders/users/"), some("/api/orders/users/"));
    assert_eq!(outside("http://elsewhere/x"), None);
    assert_eq!(outside("//elsewhere/x"), None);
    assert_eq!(outside("relative"), None);
}

proptest! {
    #[test]
    fn no_hop_by_hop_or_trusted_header_survives(
        names in proptest::collection::vec(proptest::sample::select(vec![
            "connection", "keep-alive", "proxy-connection", "te", "transfer-encoding", "upgrade", "proxy-authenticate",
            "proxy-authorization", "http2-settings", "expect", "x-api-key", "x-forwarded-for", "x-forwarded-anything",
            "x-real-ip", "forwarded", "x-custom", "accept",
        ]), 0..12),
        value in "[a-z-]{1,12}",
    ) {
        let lines: Vec<_> = names.iter().map(|name| (*name, if *name == "transfer-encoding" { "chunked" } else { value.as_str() })).collect();
        if lines.iter().filter(|(name, _)| *name == "transfer-encoding").count() < 2 {
            let (_, headers) = passed(&lines);
            for gone in ["keep-alive", "proxy-connection", "transfer-encoding", "upgrade", "proxy-authenticate",
                "proxy-authorization", "http2-settings", "expect", "x-api-key", "x-forwarded-anything", "x-real-ip", "forwarded", "connection"] {
                prop_assert!(!headers.contains_key(gone), "{}", gone);
            }
            prop_assert_eq!(all(&headers, "x-forwarded-for"), ["10.1.2.3"]);
        }
    }
}
