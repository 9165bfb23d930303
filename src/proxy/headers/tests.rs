//! What goes on and what does not, by table and by property.

use http::{Method, Request};
use proptest::prelude::*;

use super::*;
use crate::io::Door;
use crate::route::{Asked, Table};

/// The target and the fields that the instance gets.
fn passed(lines: &[(&str, &str)]) -> (String, HeaderMap) {
    let mut request = Request::builder().uri("/api/orders/users?x=1").header("host", "shop.example");
    for (name, value) in lines {
        request = request.header(*name, *value);
    }
    let (parts, ()) = request.body(()).expect("a request").into_parts();
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
    let path = Path::new(&target, &found).expect("a good path");
    let rules = &found.route.request_headers;
    let address = Address { target: target.clone(), scheme: "http", told: None };
    let passage = Passage::new(address, path, &client, &parts.headers);
    let head = passage.head(&parts, rules, &id, &mut random, false);
    let text = std::str::from_utf8(head.as_bytes()).expect("ASCII");
    let (line, fields) = text.split_once("\r\n").expect("a request line");
    let target = line.strip_prefix("GET ").and_then(|line| line.strip_suffix(" HTTP/1.1")).expect("a request line");
    let mut headers = HeaderMap::new();
    for field in fields.lines() {
        let (name, value) = field.split_once(": ").expect("a field");
        headers.append(HeaderName::from_bytes(name.as_bytes()).expect("a name"), value.parse().expect("a value"));
    }
    (target.to_owned(), headers)
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
fn a_route_that_sets_what_we_say_under_another_spelling_leaves_one_of_the_two() {
    let name = HeaderName::from_static("x_request_id");
    let rules = HeaderRules { set: vec![(name, HeaderValue::from_static("own"))], ..HeaderRules::default() };
    let aliases = gate::aliases(&rules, &HeaderMap::new());
    assert_eq!(aliases, [X_REQUEST_ID]);
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
    let route = |change: &str| {
        let text = format!("[[route]]\npath = {{ prefix = \"/shop\" }}\nservice = \"orders\"\n{change}\n");
        let env = crate::config::Environment::of(&[("LICTOR_API_KEY", "k")]);
        let config = crate::config::parse(Some(&text), "test", Default::default(), &env).expect("a valid route");
        config.routes[1].clone()
    };
    let outside = |change: &str, path: &str, location: &'static str| {
        let request = http::Request::builder().uri(path).header("host", "shop.example").body(()).expect("a request");
        let limits = crate::config::RequestLimits { head: 1 << 20, fields: 99, target: 8192 };
        let target = head::check(&request.into_parts().0, &limits).expect("a good head");
        let told = Some(HeaderValue::from_static("www.example"));
        let address = Address { target, scheme: "http", told };
        let stripped = if change.contains("strip") { "/shop".len() } else { 0 };
        let passage = Passage { address, path: Path { stripped, rewritten: None }, chain: VIA };
        let location = HeaderValue::from_static(location);
        let value = passage.outside(&route(change), &location, "10.0.0.5:80".parse().expect("an address"));
        value.map(|value| value.to_str().expect("ASCII").to_owned())
    };
    let strip = "strip = \"/shop\"";
    for (location, wanted) in [
        ("/users/", Some("/shop/users/")),
        ("http://shop.example/users/?a", Some("/shop/users/?a")),
        ("http://WWW.example/users", Some("/shop/users")),
        ("http://10.0.0.5:80/x", Some("/shop/x")),
        ("http://10.0.0.5:80?x", Some("/shop?x")),
        ("http://shop.example", Some("/shop/")),
        ("/shop/users/", Some("/shop/users/")),
        // Another scheme must be said, or the client asks the same again.
        ("https://shop.example/users", Some("https://www.example/shop/users")),
        ("/authorize?to=https://app.example/cb", Some("/shop/authorize?to=https://app.example/cb")),
        ("http://elsewhere/x", None),
        ("ftp://shop.example/x", None),
        ("//elsewhere/x", None),
        ("relative", None),
        // No path of this host may become another host.
        ("http://shop.example//evil.example/x", Some("/shop/evil.example/x")),
    ] {
        assert_eq!(outside(strip, "/shop/a", location).as_deref(), wanted, "{location}");
    }
    // Who is there over https already is not sent back.
    let request = http::Request::builder().uri("/shop/a").header("host", "inner:5000").body(()).expect("a request");
    let limits = crate::config::RequestLimits { head: 1 << 20, fields: 99, target: 8192 };
    let target = head::check(&request.into_parts().0, &limits).expect("a good head");
    let address = Address { target, scheme: "https", told: Some(HeaderValue::from_static("shop.example")) };
    let path = Path { stripped: "/shop".len(), rewritten: None };
    let passage = Passage { address, path, chain: VIA };
    for location in ["http://inner:5000/users", "http://shop.example/users", "https://shop.example/users"] {
        let value = passage.outside(&route(strip), &HeaderValue::from_static(location), ([10, 0, 0, 5], 80).into());
        assert_eq!(value.expect("it is its own"), "/shop/users", "{location}");
    }
    let swapped = "strip = \"/shop\"\nadd = \"/v1\"";
    assert_eq!(outside(swapped, "/shop/a", "/v1/users").as_deref(), Some("/shop/users"));
    let added = "add = \"/v1\"";
    assert_eq!(outside(added, "/shop/a", "/v1/shop/b").as_deref(), Some("/shop/b"));
    assert_eq!(outside(added, "/shop/a", "/v1//evil.example/").as_deref(), Some("/evil.example/"));
    // Where nothing is taken off or put before, nothing is to be put right.
    assert_eq!(outside("", "/shop/a", "http://shop.example//evil.example/x"), None);
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
