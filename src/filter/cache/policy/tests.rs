//! What may be stored, for how long, and for whom: by table.

use super::*;

const NOW: u64 = 1_800_000_000;

fn at(seconds: i64) -> String {
    httpdate::fmt_http_date(SystemTime::UNIX_EPOCH + Duration::from_secs((NOW as i64 + seconds) as u64))
}

fn headers(lines: &[(&str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        let value = value.strip_prefix('@').map_or_else(|| (*value).to_owned(), |s| at(s.parse().expect("seconds")));
        headers.append(HeaderName::from_bytes(name.as_bytes()).expect("a name"), value.parse().expect("a value"));
    }
    headers
}

/// Seconds fresh, seconds old, for all.
fn lives(request: &[(&str, &str)], status: u16, answer: &[(&str, &str)], ttl: u64) -> Option<(u64, u64, bool)> {
    let ttl = (ttl > 0).then(|| Duration::from_secs(ttl));
    let policy = Cache { enabled: true, ttl };
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(NOW);
    let status = StatusCode::from_u16(status).expect("a status");
    let life = life(&headers(request), status, &headers(answer), &policy, now)?;
    Some((life.fresh.as_secs(), life.age.as_secs(), life.for_all))
}

#[test]
fn what_may_be_stored_is_as_rfc_9111_and_the_route_say() {
    let cc = |value: &'static str| ("cache-control", value);
    for (answer, wanted) in [
        (vec![cc("max-age=60")], Some((60, 0, false))),
        (vec![cc("max-age=60, s-maxage=10")], Some((10, 0, true))),
        (vec![cc("public, max-age=\"60\"")], Some((60, 0, true))),
        (vec![cc("max-age=60"), cc("max-age=5")], Some((5, 0, false))),
        (vec![cc("max-age=60, no-store")], None),
        (vec![cc("max-age=60, private")], None),
        (vec![cc("private=\"x-a, no-store\", max-age=60")], None),
        (vec![cc("MAX-AGE=60, No-Store")], None),
        (vec![cc("max-age=60"), ("set-cookie", "a=b")], None),
        (vec![cc("max-age=60"), ("vary", "accept, *")], None),
        (vec![cc("max-age=60"), ("vary", "accept, X-Forwarded-For")], None),
        (vec![cc("max-age=60"), ("vary", "a b")], None),
        (vec![cc("max-age=60"), ("vary", "Origin, X-Forwarded-Proto")], Some((60, 0, false))),
        (vec![cc("max-age=60"), ("age", "18446744073709551616")], None),
        (vec![cc("max-age=0")], None),
        (vec![cc("max-age=0"), ("etag", "\"a\"")], Some((0, 0, false))),
        (vec![cc("no-cache, max-age=60"), ("etag", "\"a\"")], Some((0, 0, false))),
        (vec![cc("max-age=abc"), ("etag", "\"a\"")], Some((0, 0, false))),
        (vec![cc("max-age=99999999999999999999")], Some((315_360_000, 0, false))),
        (vec![("expires", "@30"), ("date", "@0")], Some((30, 0, false))),
        (vec![("expires", "@30"), ("date", "@-10")], Some((40, 10, false))),
        (vec![("expires", "0")], None),
        (vec![("expires", "@30"), cc("max-age=5")], Some((5, 0, false))),
        (vec![cc("max-age=60"), ("age", "20")], Some((60, 20, false))),
        (vec![cc("max-age=60"), ("date", "@-30"), ("age", "20")], Some((60, 30, false))),
        (vec![], None),
        (vec![("etag", "\"a\"")], Some((0, 0, false))),
    ] {
        assert_eq!(lives(&[], 200, &answer, 0), wanted, "{answer:?}");
    }
}

#[test]
fn a_routes_time_to_live_is_for_plain_answers_that_say_nothing_themselves() {
    assert_eq!(lives(&[], 200, &[], 30), Some((30, 0, false)));
    assert_eq!(lives(&[], 301, &[], 30), Some((30, 0, false)));
    assert_eq!(lives(&[], 404, &[], 30), None);
    assert_eq!(lives(&[], 500, &[], 30), None);
    assert_eq!(lives(&[], 206, &[("cache-control", "max-age=60")], 30), None);
    assert_eq!(lives(&[], 404, &[("cache-control", "max-age=60")], 30), Some((60, 0, false)));
    assert_eq!(lives(&[], 200, &[("cache-control", "max-age=5")], 30), Some((5, 0, false)));
    assert_eq!(lives(&[], 200, &[("cache-control", "public")], 30), None);
    assert_eq!(lives(&[], 200, &[("set-cookie", "a=b")], 30), None);
    assert_eq!(lives(&[("cookie", "a=b")], 200, &[], 30), None);
}

#[test]
fn an_answer_to_a_request_that_authorizes_itself_is_shared_only_when_it_says_so() {
    let asked = [("authorization", "Bearer x")];
    let with = |value: &'static str| lives(&asked, 200, &[("cache-control", value)], 30);
    assert_eq!(with("max-age=60"), None);
    assert_eq!(with("max-age=60, public"), Some((60, 0, true)));
    assert_eq!(with("s-maxage=60"), Some((60, 0, true)));
    assert_eq!(with("max-age=60, must-revalidate"), Some((60, 0, true)));
    assert_eq!(lives(&asked, 200, &[], 30), None);
}

/// What is not understood in an answer that would be fresh for a minute without it, and that could be asked about. `None`: it is not
/// stored at all.
#[test]
fn what_an_answer_says_in_a_way_that_is_not_understood_stores_less_and_asks_more() {
    let stale = |seconds: u64, age: u64| Some((seconds, age, false));
    let old = Some((60, LONGEST.as_secs(), false));
    for (lines, wanted) in [
        // Ages.
        (&[("age", "x")][..], old),
        (&[("age", "-5")], old),
        (&[("age", "+5")], old),
        (&[("age", "1.5")], old),
        (&[("age", "0x10")], old),
        (&[("age", "5 6")], old),
        (&[("age", "")], old),
        (&[("age", "\"5\"")], old),
        (&[("age", "5, x")], old),
        (&[("age", "5"), ("age", "x")], old),
        (&[("age", "99999999999999999999")], old),
        (&[("age", "5, 70")], stale(60, 70)),
        (&[("age", "5"), ("age", "70")], stale(60, 70)),
        (&[("age", " 5 ")], stale(60, 5)),
        // Dates.
        (&[("date", "soon")], old),
        (&[("date", "0")], old),
        (&[("date", "")], old),
        (&[("date", "2026-11-28T10:00:00Z")], old),
        (&[("date", "@0"), ("date", "@-70")], old),
        (&[("date", "@70")], stale(60, 0)),
        // Lifetimes.
        (&[("cache-control", "max-age=abc")], stale(0, 0)),
        (&[("cache-control", "max-age=-1")], stale(0, 0)),
        (&[("cache-control", "max-age=+60")], stale(0, 0)),
        (&[("cache-control", "max-age=1e3")], stale(0, 0)),
        (&[("cache-control", "max-age=")], stale(0, 0)),
        (&[("cache-control", "max-age")], stale(0, 0)),
        (&[("cache-control", "max-age = 90")], stale(0, 0)),
        (&[("cache-control", "max-age =90")], stale(0, 0)),
        (&[("cache-control", "max-age=\" 90\"")], stale(0, 0)),
        (&[("cache-control", "max-age=90, max-age=x")], stale(0, 0)),
        (&[("cache-control", "max-age=5")], stale(5, 0)),
        (&[("cache-control", "max-age=90"), ("cache-control", "max-age=7")], stale(7, 0)),
        (&[("cache-control", "s-maxage=-1")], stale(0, 0)),
        (&[("cache-control", "s-maxage=x, public=yes")], stale(0, 0)),
        (&[("cache-control", "s-maxage=90, s-maxage=")], stale(0, 0)),
        (&[("cache-control", "must-revalidate=0")], stale(60, 0)),
        (&[("cache-control", "public=\"x\"")], stale(60, 0)),
        // What is no directive may hide one.
        (&[("cache-control", "max-age=60; no-store")], None),
        (&[("cache-control", "no-store; max-age=60")], None),
        (&[("cache-control", "no store")], None),
        (&[("cache-control", "=")], None),
        (&[("cache-control", "max-age=\"60")], None),
        (&[("cache-control", "max-age=60\"")], None),
        (&[("cache-control", "ext=\"a, no-store")], None),
        (&[("cache-control", "ext=\"a\"b")], None),
        (&[("cache-control", "ext=\"\\\"\", no-store, ext=\"\\\"\"")], None),
        (&[("cache-control", "private = \"x-a\"")], None),
        (&[("cache-control", "no-store=x")], None),
        (&[("cache-control", "NO-CACHE=\"x-a\"")], stale(0, 0)),
        // What is only unknown is left alone (RFC 9111 section 5.2.3).
        (&[("cache-control", "immutable, ext=1, ext=\"a, \\\"private\"")], stale(60, 0)),
        (&[("cache-control", ",, ,")], stale(60, 0)),
    ] {
        let rest = [("cache-control", "max-age=60"), ("etag", "\"a\"")];
        assert_eq!(lives(&[], 200, &[lines, &rest].concat(), 0), wanted, "{lines:?}");
        // Without a tag it could not even be asked about.
        let fresh = wanted.filter(|(fresh, age, _)| fresh > age);
        assert_eq!(lives(&[], 200, &[lines, &rest[..1]].concat(), 0), fresh, "{lines:?}");
    }
    assert_eq!(lives(&[], 200, &[("etag", "\"a\""), ("cache-control", "\u{e4}, max-age=60")], 0), None);
}

#[test]
fn an_answer_that_says_until_when_in_a_way_that_is_not_understood_is_stale_already() {
    for (lines, wanted) in [
        (&[("expires", "0")][..], 0),
        (&[("expires", "-1")], 0),
        (&[("expires", "")], 0),
        (&[("expires", "never")], 0),
        (&[("expires", "Thu, 32 Jan 2099 00:00:00 GMT")], 0),
        (&[("expires", "4102444800")], 0),
        (&[("expires", "Sun, 06 Nov 2094 08:49:37 GMT, Sun, 06 Nov 2094 08:49:37 GMT")], 0),
        (&[("expires", "@90"), ("expires", "0")], 0),
        (&[("expires", "@90"), ("expires", "@30")], 30),
        (&[("expires", "@90"), ("date", "@-10"), ("date", "@-20")], 0),
        (&[("expires", "@90"), ("date", "soon")], 0),
        (&[("expires", "@-90")], 0),
        (&[("expires", "@90"), ("cache-control", "max-age=x")], 0),
        (&[("expires", "@90"), ("cache-control", "s-maxage=x")], 0),
        (&[("expires", "@90"), ("pragma", "x, No-Cache")], 0),
        (&[("expires", "@90"), ("pragma", "x"), ("pragma", "no-cache")], 0),
        (&[("expires", "@90")], 90),
    ] {
        let life = lives(&[], 200, &[lines, &[("etag", "\"a\"")]].concat(), 500).expect("it can be asked about");
        assert_eq!(life.0, wanted, "{lines:?}");
    }
}

#[test]
fn only_what_is_understood_lets_an_answer_be_shared_although_its_request_authorizes_itself() {
    for said in ["public=1", "public = ", "s-maxage=x", "s-maxage=-5", "s-maxage", "must-revalidate=x", "publick"] {
        for who in ["authorization", "cookie"] {
            let answer = [("cache-control", "max-age=60"), ("cache-control", said), ("etag", "\"a\"")];
            let life = lives(&[(who, "x")], 200, &answer, 30);
            assert!(life.is_none_or(|(_, _, for_all)| who == "cookie" && !for_all), "{who} {said}: {life:?}");
        }
    }
}

#[test]
fn an_answer_that_depends_on_what_is_not_understood_or_on_too_much_is_not_stored() {
    let many = |count| (0..count).map(|number| format!("x-{number}")).collect::<Vec<_>>().join(", ");
    for (vary, wanted) in [
        ("*", false),
        ("accept, *", false),
        ("a b", false),
        ("\"accept\"", false),
        ("accept;q=1", false),
        ("x-\u{e4}", false),
        (&many(65), false),
        (&many(64), true),
        (",, accept ,", true),
        ("", true),
    ] {
        let answer = [("cache-control", "max-age=60"), ("vary", vary)];
        assert_eq!(lives(&[], 200, &answer, 0).is_some(), wanted, "{vary}");
    }
}

fn wishes(method: &str, lines: &[(&str, &str)]) -> (Wish, bool) {
    wish(&Method::from_bytes(method.as_bytes()).expect("a method"), &headers(lines), false)
}

#[test]
fn what_a_request_asks_of_the_cache_is_heard() {
    let cached = |max_age: Option<u64>, only, personal| {
        let max_age = max_age.map(Duration::from_secs);
        (Wish::Cached { max_age, personal }, only)
    };
    let past = |why| (Wish::Past(why), false);
    assert_eq!(wishes("GET", &[]), cached(None, false, false));
    assert_eq!(wishes("POST", &[]), past(Forward::Method));
    assert_eq!(wishes("GET", &[("range", "bytes=0-1")]), past(Forward::Bypass));
    assert_eq!(wishes("GET", &[("if-match", "\"a\"")]), past(Forward::Bypass));
    assert_eq!(wishes("GET", &[("cache-control", "no-store")]), past(Forward::Request));
    assert_eq!(wishes("GET", &[("cache-control", "no-cache")]), cached(Some(0), false, false));
    assert_eq!(wishes("GET", &[("pragma", "no-cache")]), cached(Some(0), false, false));
    assert_eq!(wishes("GET", &[("cache-control", "max-age=5, only-if-cached")]), cached(Some(5), true, false));
    assert_eq!(wishes("HEAD", &[("cookie", "a=b")]), cached(None, false, true));
    assert_eq!(wishes("GET", &[("authorization", "Bearer x")]), cached(None, false, true));
    assert_eq!(wishes("GET", &[("authorization", "ApiKey x")]), cached(None, false, false));
    // What `Connection` takes away does not reach the instance: its answer would be stored for those who keep it.
    assert_eq!(wishes("GET", &[("connection", "Accept-Language")]), past(Forward::Bypass));
    assert_eq!(wishes("GET", &[("connection", "keep-alive, TE")]), cached(None, false, false));
    // What is not understood asks the instance.
    for said in ["max-age=x", "max-age=-1", "max-age", "min-fresh=9", "max-age=9, min-fresh=9", "no-cache=x"] {
        assert_eq!(wishes("GET", &[("cache-control", said)]), cached(Some(0), false, false), "{said}");
    }
    for said in ["no-store=x", "max-age=9; no-store", "ext=\"a"] {
        assert_eq!(wishes("GET", &[("cache-control", said)]), past(Forward::Request), "{said}");
    }
    assert_eq!(wishes("GET", &[("pragma", "x, No-Cache")]), cached(Some(0), false, false));
    let only = wishes("GET", &[("range", "bytes=0-1"), ("cache-control", "only-if-cached")]);
    assert_eq!(only, (Wish::Past(Forward::Bypass), true));
}

#[test]
fn a_clients_own_copy_is_judged_by_its_tag_and_only_without_one_by_its_date() {
    let stored = headers(&[("etag", "W/\"a,b\""), ("last-modified", "@-100")]);
    let has = |lines: &[(&str, &str)]| not_modified(&headers(lines), &stored);
    assert!(has(&[("if-none-match", "\"x\", \"a,b\"")]));
    assert!(has(&[("if-none-match", "*")]));
    assert!(!has(&[("if-none-match", "\"a\"")]));
    // A backslash means nothing in a tag.
    assert!(has(&[("if-none-match", "\"x\\\", W/\"a,b\"")]));
    assert!(!has(&[("if-none-match", "\"x\""), ("if-modified-since", "@0")]));
    assert!(has(&[("if-modified-since", "@-100")]));
    assert!(!has(&[("if-modified-since", "@-101")]));
    assert!(!has(&[("if-modified-since", "soon")]));
    assert!(!has(&[]));
}
