//! The head rules, by table and by property.

use http::Request;
use proptest::prelude::*;

use super::*;

fn limits() -> RequestLimits {
    RequestLimits { head: 32 * 1024, fields: 64, target: 8 * 1024 }
}

fn target(path: &str) -> Result<String, Error> {
    let uri: http::Uri = path.parse().expect("a target that hyper lets through");
    let request = Request::builder().uri(uri).header("host", "a").body(()).expect("a request");
    check(&request.into_parts().0, &limits()).map(|target| target.path_and_query.as_str().to_owned())
}

fn head(method: &str, uri: &str, lines: &[(&str, &str)]) -> Result<Option<HeaderValue>, Error> {
    let mut request = Request::builder().method(method).uri(uri);
    for (name, value) in lines {
        request = request.header(*name, *value);
    }
    let request = request.body(()).expect("a request");
    check(&request.into_parts().0, &limits()).map(|target| target.host)
}

#[test]
fn a_path_becomes_canonical_and_the_query_stays_as_it_is() {
    for (given, wanted) in [
        ("/api/x/users", "/api/x/users"),
        ("/api/x/%7Euser/%2d", "/api/x/~user/-"),
        ("/a%20b/%c3%a4?q=%c3%a4&%2F=..", "/a%20b/%C3%A4?q=%c3%a4&%2F=.."),
        ("//a//b", "//a//b"),
        ("http://a?x=/1", "/?x=/1"),
        ("http://a", "/"),
        ("/file.txt", "/file.txt"),
        ("/a/...", "/a/..."),
        ("/a/.hidden", "/a/.hidden"),
        ("/a;v=1/b", "/a;v=1/b"),
    ] {
        assert_eq!(target(given).as_deref(), Ok(wanted), "{given}");
    }
}

#[test]
fn what_servers_read_differently_is_refused() {
    for given in [
        "/a/../b",
        "/a/..",
        "/.",
        "/./a",
        "/a/%2e%2e/b",
        "/a/%2E",
        "/a/.%2e/",
        "/%2e%2e%2fetc",
        "/a%2fb",
        "/a%5Cb",
        "/a%00",
        "/a%3Bb",
        "/a/..;/b",
        "/a/..;x=1",
        "/%",
        "/%4",
        "/%zz",
    ] {
        assert!(matches!(target(given), Err(Error::BadRequest("bad_path", _))), "{given}");
    }
}

#[test]
fn exactly_one_valid_host_is_needed() {
    let host = |value: &str| head("GET", "/", &[("host", value)]).is_ok();
    for good in ["a", "a.b:80", "[::1]:5000", "[::1]", "127.0.0.1:1", "a_b", "a:", "[::1]:"] {
        assert!(host(good), "{good}");
    }
    for wrong in
        ["", " ", "a b", "a/b", "a@b", "a::", ":", "[]:", "a:x", "a:99999", "[::1", "[]", "[::1]x", "a,b", ":80"]
    {
        assert!(!host(wrong), "{wrong}");
    }
    assert!(head("GET", "/", &[]).is_err());
    assert!(head("GET", "/", &[("host", "a"), ("host", "a")]).is_err());
}

#[test]
fn an_empty_port_is_no_part_of_the_host() {
    for (given, wanted) in [("a:", "a"), ("[::1]:", "[::1]"), ("127.0.0.1:", "127.0.0.1"), ("a:80", "a:80"), ("a", "a")]
    {
        let host = head("GET", "/", &[("host", given)]).expect("a good head").expect("a host");
        assert_eq!(host, wanted, "{given}");
    }
    assert!(
        head("GET", "http://a/x", &[("host", "a:")]).is_ok() && head("GET", "http://a:80/", &[("host", "a:")]).is_ok()
    );
}

#[test]
fn a_websocket_handshake_with_a_body_is_refused_and_any_other_request_may_have_one() {
    let key = ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
    let asks = [("host", "a"), ("connection", "upgrade"), ("upgrade", "websocket"), key];
    let with = |method: &str, more: &[(&'static str, &'static str)]| head(method, "/", &[&asks, more].concat());
    assert!(with("GET", &[]).is_ok() && with("GET", &[("content-length", "0")]).is_ok());
    for framing in [
        ("content-length", "1"),
        ("content-length", "00"),
        ("content-length", "0, 7"),
        ("transfer-encoding", "chunked"),
    ] {
        assert!(matches!(with("GET", &[framing]), Err(Error::BadRequest("bad_framing", _))), "{framing:?}");
        assert!(with("POST", &[framing]).is_ok(), "{framing:?}");
    }
    let other = [("host", "a"), ("connection", "upgrade"), ("upgrade", "h2c"), ("content-length", "1")];
    assert!(head("GET", "/", &other).is_ok());
}

#[test]
fn an_absolute_target_must_agree_with_host_and_carry_no_user() {
    let at = |uri: &str, host: &str| head("GET", uri, &[("host", host)]).is_ok();
    assert!(at("http://a/x", "a") && at("http://A:80/x", "a") && at("https://a/x", "a:443"));
    assert!(!at("http://b/x", "a") && !at("http://a:81/x", "a") && !at("http://u:p@a/x", "a") && !at("ftp://a/x", "a"));
}

#[test]
fn only_what_an_origin_serves_is_understood() {
    assert_eq!(head("CONNECT", "a:80", &[("host", "a")]), Err(Error::MethodNotAllowed));
    assert_eq!(head("GET", "a:80", &[("host", "a")]), Err(Error::MethodNotAllowed));
    assert!(head("OPTIONS", "*", &[("host", "a")]).is_ok());
    assert!(head("GET", "*", &[("host", "a")]).is_err());
}

#[test]
fn codings_limits_and_aliases_have_their_own_answers() {
    let with = |name: &str, value: &str| head("POST", "/", &[("host", "a"), (name, value)]);
    assert!(with("transfer-encoding", "chunked").is_ok());
    assert_eq!(with("transfer-encoding", "gzip, chunked"), Err(Error::CodingUnknown));
    assert!(matches!(with("transfer-encoding", "chunked, chunked"), Err(Error::BadRequest("bad_framing", _))));
    assert_eq!(with("x", &"v".repeat(33 * 1024)), Err(Error::HeadTooLarge));
    let many: Vec<_> = (0..65).map(|_| ("a", "b")).chain([("host", "a")]).collect();
    assert_eq!(head("GET", "/", &many), Err(Error::HeadTooLarge));
    assert_eq!(head("GET", &format!("/{}", "x".repeat(9000)), &[("host", "a")]), Err(Error::TargetTooLong));
    for alias in ["x_forwarded_for", "x-forwarded_proto", "x.real.ip", "content_length", "x_api_key"] {
        assert!(matches!(with(alias, "1"), Err(Error::BadRequest("header_alias", _))), "{alias}");
    }
    assert!(with("my_own_header", "1").is_ok());
}

proptest! {
    #[test]
    fn the_canonical_path_is_its_own_canonical_form(path in "/([a-zA-Z0-9/.;_~-]|%[0-9a-fA-F]{2}){0,40}") {
        if let Ok(once) = target(&path) {
            prop_assert_eq!(target(&once), Ok(once.clone()));
            prop_assert!(!once.split('/').any(|segment| segment == "." || segment == ".."));
            let lower = once.to_ascii_lowercase();
            prop_assert!(!["%2f", "%5c", "%00", "%3b", "%2e"].iter().any(|hidden| lower.contains(hidden)));
        }
    }

    #[test]
    fn what_the_matcher_saw_is_what_is_forwarded(rest in "(/([a-z0-9;_~.-]|%20|%7e){0,8}){0,4}", query in "(\\?[a-z=&%/]{0,8})?") {
        let uri = format!("/api/orders{rest}{query}");
        let request = Request::builder().uri(uri).header("host", "a").body(()).expect("a request");
        if let Ok(target) = check(&request.into_parts().0, &limits()) {
            let (table, headers) = (crate::route::Table::new(&crate::config::for_tests().routes, 1), HeaderMap::new());
            let (method, path) = (&Method::GET, target.path());
            let lookup = crate::route::Lookup { host: None, path, query: None, method, headers: &headers };
            let found = crate::route::find(&table, &lookup).expect("a route");
            let made = crate::proxy::rewrite::path(&target, &found).expect("a path");
            let sent = made.rewritten.as_deref().unwrap_or(&target.as_str()[made.stripped..]);
            let seen = &target.path()["/api/orders".len()..];
            let query = target.query().map(|query| format!("?{query}")).unwrap_or_default();
            prop_assert_eq!(sent, format!("{}{query}", if seen.is_empty() { "/" } else { seen }));
        }
    }

    #[test]
    fn no_head_makes_the_check_panic(path in "/[!-~]{0,60}", name in "[a-z_.-]{1,20}", value in "[ -~]{0,40}") {
        let Ok(uri) = path.parse::<http::Uri>() else { return Ok(()) };
        let request = Request::builder().uri(uri).header("host", "a").header(name, value).body(());
        if let Ok(request) = request {
            let _ = check(&request.into_parts().0, &limits());
        }
    }
}

#[test]
fn a_method_has_a_limit_and_so_have_the_names_in_connection_and_trailer() {
    let long = |length: usize| head(&"M".repeat(length), "/x", &[("host", "a")]);
    assert!(long(64).is_ok());
    assert_eq!(long(65), Err(Error::MethodTooLong));
    assert_eq!(long(60_000), Err(Error::MethodTooLong));
    for field in ["connection", "trailer"] {
        let names = |lists: &[&str]| {
            let lines: Vec<_> = lists.iter().map(|list| (field, *list)).chain([("host", "a")]).collect();
            head("GET", "/x", &lines)
        };
        assert!(names(&["close, te", "x-one"]).is_ok());
        assert!(names(&[&["x"; 100].join(",")]).is_ok());
        for lists in
            [vec!["x,".repeat(100)], vec![",".repeat(15_000)], vec!["a,".repeat(40), "b,".repeat(40), "c,".repeat(40)]]
        {
            let lists: Vec<_> = lists.iter().map(String::as_str).collect();
            assert_eq!(names(&lists), Err(Error::HeadTooLarge), "{field}, {} bytes", lists[0].len());
        }
    }
}
