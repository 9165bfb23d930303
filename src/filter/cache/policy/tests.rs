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
        (vec![cc("max-age=60"), ("age", "18446744073709551616")], Some((60, 315_360_000, false))),
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
    assert!(!has(&[("if-none-match", "\"x\""), ("if-modified-since", "@0")]));
    assert!(has(&[("if-modified-since", "@-100")]));
    assert!(!has(&[("if-modified-since", "@-101")]));
    assert!(!has(&[("if-modified-since", "soon")]));
    assert!(!has(&[]));
}
