//! What goes on and what does not, by table and by property.

use std::sync::Arc;

use http::Method;
use proptest::prelude::*;

use super::*;
use crate::config::routes::Route;
use crate::io::body::Body;
use crate::io::{Client, Door};
use crate::proxy::call::Goal;
use crate::proxy::forwarded::{Forwarded, Told};
use crate::proxy::head;
use crate::proxy::tests::rig::Rig;
use crate::request::RequestId;
use crate::route::{Lookup, Table};

/// A request with its checked target.
fn request(uri: &str, lines: &[(&str, &str)]) -> Request {
    let mut request = http::Request::builder().uri(uri).header("host", "shop.example");
    for (name, value) in lines {
        request = request.header(*name, *value);
    }
    let (head, ()) = request.body(()).expect("a request").into_parts();
    let limits = crate::config::RequestLimits { head: 1 << 20, fields: 999, target: 8192 };
    let target = head::check(&head, &limits).expect("a good head");
    Request { head, body: Body::Empty, target }
}

/// A call of the first route of a configuration, or of another one of it.
fn call(routes: &[Arc<Route>], number: usize, path: Path, forwarded: Forwarded) -> Call {
    let route = Table::new(routes, 1).all()[number].clone();
    let service = Rig::new(&[], "").proxy.0.upstreams.named("orders").expect("it is known");
    let id = RequestId::new(&mut fastrand::Rng::with_seed(1));
    Call {
        route,
        goal: Goal::Service(service),
        path,
        forwarded,
        total: None,
        id,
        token: None,
        upgrade: None,
        via: None,
    }
}

/// The target and the fields that the instance gets.
fn passed(lines: &[(&str, &str)]) -> (String, HeaderMap) {
    let request = request("/api/orders/users?x=1", lines);
    let routes = crate::config::for_tests().routes;
    let (method, headers) = (&Method::GET, &request.head.headers);
    let lookup = Lookup { host: None, path: request.target.path(), query: None, method, headers };
    let found = crate::route::find(&Table::new(&routes, 1), &lookup).expect("a route");
    let client = Client::new(
        "10.1.2.3:4".parse().expect("an address"),
        "10.0.0.1:80".parse().expect("an address"),
        Door::Public,
        &[].into(),
    );
    let path = super::path(&request.target, &found).expect("a good path");
    let call = call(&routes, 0, path, Forwarded::of(&client, &request.head.headers));
    let head = super::head(&request, &call, &mut fastrand::Rng::with_seed(1));
    let mut headers = HeaderMap::new();
    let mut add = |name: &str, value: &[u8]| {
        let name = HeaderName::from_bytes(name.as_bytes()).expect("a name");
        headers.append(name, HeaderValue::from_bytes(value).expect("a value"));
    };
    head.authority.into_iter().for_each(|host| add("host", host));
    head.fields.each(&mut add);
    // As the connection writes it (`upstream/wire` holds it to that).
    if head.trailers {
        add("te", b"trailers");
        add("connection", b"te");
    }
    (head.target.to_owned(), headers)
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
    let aliases = aliases(&rules, &HeaderMap::new(), &[]);
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
fn a_head_announces_only_trailers_that_its_own_rules_let_pass() {
    let lines = [
        ("trailer", "x-sum, Via, x-named"),
        ("trailer", "cookie,, x-forwarded-for, x_request_id"),
        ("connection", "x-named"),
    ];
    assert_eq!(all(&passed(&lines).1, "trailer"), ["x-sum"]);
    assert!(!passed(&[("trailer", "host, te")]).1.contains_key("trailer"));
    let mut headers = HeaderMap::new();
    headers.append(header::TRAILER, HeaderValue::from_static("x-sum, x-set, age"));
    headers.append(header::TRAILER, HeaderValue::from_static("x-gone, x-named, etag"));
    let rules = HeaderRules {
        set: vec![(HeaderName::from_static("x-set"), HeaderValue::from_static("1"))],
        remove: vec![HeaderName::from_static("x-gone")],
        ..HeaderRules::default()
    };
    announce(&mut headers, &[HeaderName::from_static("x-named")], &rules);
    assert_eq!(all(&headers, "trailer"), ["x-sum, etag"]);
}

#[test]
fn a_location_of_the_instances_own_origin_gets_its_prefix_back() {
    let route = |change: &str| {
        let text = format!("[[route]]\npath = {{ prefix = \"/shop\" }}\nservice = \"orders\"\n{change}\n");
        let env = crate::config::Environment::of(&[("LICTOR_API_KEY", "k")]);
        let config = crate::config::parse(Some(&text), "test", Default::default(), &env).expect("a valid route");
        config.routes[1].clone()
    };
    let forwarded = |scheme: &'static str, host: &'static str| Forwarded {
        scheme,
        host: Some(HeaderValue::from_static(host)),
        chain: HeaderValue::from_static("10.1.2.3"),
        told: None,
    };
    let outside = |change: &str, path: &str, location: &'static str| {
        let request = request(path, &[]);
        let stripped = if change.contains("strip") { "/shop".len() } else { 0 };
        let path = Path { stripped, rewritten: None };
        let call = call(&[route(change)], 0, path, forwarded("http", "www.example"));
        let location = HeaderValue::from_static(location);
        let value =
            super::location::outside(&call, &request.target, &location, "10.0.0.5:80".parse().expect("an address"));
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
    let mut inner = request("/shop/a", &[]);
    inner.target.host = Some(HeaderValue::from_static("inner:5000"));
    let path = Path { stripped: "/shop".len(), rewritten: None };
    let secure = call(&[route(strip)], 0, path, forwarded("https", "shop.example"));
    for location in ["http://inner:5000/users", "http://shop.example/users", "https://shop.example/users"] {
        let instance = ([10, 0, 0, 5], 80).into();
        let value = super::location::outside(&secure, &inner.target, &HeaderValue::from_static(location), instance);
        assert_eq!(value.expect("it is its own"), "/shop/users", "{location}");
    }
    // What a trusted proxy took off before is part of what the instance was told to put before.
    let told = Told { prefix: Some("/outer".into()), ..Told::default() };
    let behind = Forwarded { told: Some(Box::new(told)), ..forwarded("http", "www.example") };
    let behind = call(&[route(strip)], 0, Path { stripped: "/shop".len(), rewritten: None }, behind);
    for (location, wanted) in [("/outer/shop/x", "/outer/shop/x"), ("/shop/x", "/shop/x"), ("/x", "/shop/x")] {
        let location = HeaderValue::from_static(location);
        let value =
            super::location::outside(&behind, &request("/shop/a", &[]).target, &location, ([10, 0, 0, 5], 80).into());
        assert_eq!(value.expect("it is its own"), wanted);
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

#[test]
fn claims_reach_the_instance_in_their_fields_and_nobody_else_can_set_these() {
    let env = crate::config::Environment::of(&[("LICTOR_API_KEY", "test")]);
    let text = "[[issuer]]\nname = \"corp\"\nissuer = \"https://a.example\"\naudience = \"api\"\nforward = { sub = \"X-User-Id\" }\n";
    let config =
        crate::config::parse(Some(text), "test", crate::config::Overrides::default(), &env).expect("it is valid");
    let lines = [
        ("x-user-id", "root"),
        ("x_user_id", "root"),
        ("x-user.id", "root"),
        ("trailer", "x-user-id, x_user_id, x-sum"),
    ];
    let mut request = request("/api/orders/users", &lines);
    crate::proxy::credentials::end_here(&mut request.head.headers, &config.routes[0]);
    let client = "10.1.2.3:4".parse().expect("an address");
    let client = Client::new(client, client, Door::Public, &[].into());
    let forwarded = Forwarded::of(&client, &request.head.headers);
    let mut call = call(&config.routes, 0, Path::default(), forwarded);
    let fields = vec![(HeaderName::from_static("x-user-id"), HeaderValue::from_static("alice"))].into();
    let vouched = crate::request::Vouched {
        issuer: "corp".into(),
        kid: None,
        fields,
        digest: "1".into(),
        claims: Default::default(),
    };
    call.token = Some(Arc::new(vouched));
    let head = super::head(&request, &call, &mut fastrand::Rng::with_seed(1));
    let mut found = Vec::new();
    head.fields.each(|name, value| found.push((name.to_owned(), String::from_utf8_lossy(value).into_owned())));
    let of = |names: &[&str]| -> Vec<&str> {
        found.iter().filter(|(name, _)| names.contains(&name.as_str())).map(|(_, value)| value.as_str()).collect()
    };
    assert_eq!(of(&["x-user-id", "x_user_id", "x-user.id"]), ["alice"]);
    assert_eq!(of(&["trailer"]), ["x-sum"]);
}
