//! The store under its policy: keys, variants, bounds, clearing, and what was changed meanwhile.

use http::{HeaderName, Request};

use super::fills::{Fills, Outcome, Role};
use super::*;

const WORKER: WorkerId = WorkerId(0);

fn cache() -> Arc<Cache> {
    Cache::new(&Bounds { size: 1 << 20, object: 64 << 10 }, 1)
}

fn route() -> Arc<Route> {
    let mut route = (*crate::config::for_tests().routes[0]).clone();
    route.policy.cache = Policy { enabled: true, ttl: Some(Duration::from_secs(60)) };
    Arc::new(route)
}

fn parts(lines: &[(&str, &str)]) -> Parts {
    let mut request = Request::builder();
    for (name, value) in lines {
        request = request.header(HeaderName::from_bytes(name.as_bytes()).expect("a name"), *value);
    }
    request.body(()).expect("a request").into_parts().0
}

fn find(cache: &Cache, path: &str, lines: &[(&str, &str)]) -> Found {
    let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query)));
    let place = Place { scheme: "http", host: "Shop.example", path, query, service: "orders", has_body: false };
    cache.find(&route(), &parts(lines), &place, Instant::now(), WORKER)
}

fn fetch(cache: &Cache, path: &str, lines: &[(&str, &str)]) -> Fetch {
    match find(cache, path, lines) {
        Found::Fetch(fetch) => fetch,
        other => panic!("{path} {lines:?}: {other:?}"),
    }
}

fn fresh(cache: &Cache, path: &str, lines: &[(&str, &str)]) -> Option<Bytes> {
    match find(cache, path, lines) {
        Found::Fresh(entry) => Some(entry.body.clone()),
        _ => None,
    }
}

fn answers(lines: &[(&str, &str)]) -> HeaderMap {
    parts(lines).headers
}

/// Stores an answer to a request that was asked for before.
fn put(cache: &Cache, path: &str, fetch: &Fetch, request: &[(&str, &str)], answer: &[(&str, &str)], body: &str) {
    let (request, answer) = (parts(request).headers, answers(answer));
    let head = (StatusCode::OK, &answer);
    let Judgement::Store(life) = cache.judge(fetch, &route().policy.cache, &request, head, Instant::now()) else {
        panic!("it may be stored")
    };
    let pieces = [Bytes::copy_from_slice(body.as_bytes())];
    let whole = Whole {
        life,
        status: StatusCode::OK,
        headers: &answer,
        request: &request,
        pieces: &pieces,
        service: "orders".into(),
        path: path.split('?').next().unwrap_or_default(),
        now: Instant::now(),
    };
    cache.store(&fetch.key, whole, WORKER);
}

fn fill(cache: &Cache, path: &str, request: &[(&str, &str)], answer: &[(&str, &str)], body: &str) {
    let fetch = fetch(cache, path, request);
    put(cache, path, &fetch, request, answer, body);
}

#[test]
fn an_answer_is_found_by_host_path_and_query_and_by_nothing_less() {
    let cache = cache();
    fill(&cache, "/a?x=1", &[], &[], "one");
    assert_eq!(fresh(&cache, "/a?x=1", &[]).as_deref(), Some(&b"one"[..]));
    for other in ["/a", "/a?x=2", "/a?", "/b?x=1"] {
        assert_eq!(fresh(&cache, other, &[]), None, "{other}");
    }
    let place = Place {
        scheme: "http",
        host: "other.example",
        path: "/a",
        query: Some("x=1"),
        service: "orders",
        has_body: false,
    };
    assert!(matches!(cache.find(&route(), &parts(&[]), &place, Instant::now(), WORKER), Found::Fetch(_)));
}

#[test]
fn answers_that_vary_are_kept_apart_by_what_they_vary_on() {
    let cache = cache();
    let vary = [("vary", "Accept-Language, X-B")];
    fill(&cache, "/a", &[("accept-language", "de")], &vary, "gut");
    fill(&cache, "/a", &[("accept-language", "en")], &vary, "good");
    assert_eq!(fresh(&cache, "/a", &[("accept-language", "de")]).as_deref(), Some(&b"gut"[..]));
    assert_eq!(fresh(&cache, "/a", &[("accept-language", "en"), ("x-c", "1")]).as_deref(), Some(&b"good"[..]));
    assert_eq!(fresh(&cache, "/a", &[("accept-language", "en"), ("x-b", "1")]), None);
    assert_eq!(fresh(&cache, "/a", &[]), None);
    let long = "x".repeat(2000);
    assert!(matches!(find(&cache, "/a", &[("x-b", &long)]), Found::Past(Forward::Bypass)));
}

#[test]
fn who_identifies_themselves_gets_only_what_is_said_to_be_for_all() {
    let cache = cache();
    fill(&cache, "/plain", &[], &[], "plain");
    fill(&cache, "/public", &[], &[("cache-control", "public, max-age=60")], "public");
    for who in [("authorization", "Bearer x"), ("cookie", "a=b")] {
        assert!(matches!(find(&cache, "/plain", &[who]), Found::Past(_)));
        assert_eq!(fresh(&cache, "/public", &[who]).as_deref(), Some(&b"public"[..]));
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_too_old_is_asked_about_and_a_304_makes_it_fresh_again() {
    let cache = cache();
    fill(&cache, "/a", &[], &[("etag", "\"1\""), ("cache-control", "max-age=10"), ("x-old", "1")], "body");
    tokio::time::advance(Duration::from_secs(11)).await;
    let fetch = fetch(&cache, "/a", &[]);
    assert_eq!((fetch.why, fetch.stale.is_some()), (Forward::Stale, true));
    let mut asked = parts(&[("if-none-match", "\"clients\""), ("if-modified-since", "x")]).headers;
    Cache::prepare(&fetch, &mut asked);
    assert_eq!(asked.get("if-none-match").map(|value| value.as_bytes()), Some(&b"\"1\""[..]));
    assert!(!asked.contains_key("if-modified-since"));
    let answer = answers(&[("x-new", "2"), ("cache-control", "max-age=20")]);
    let head = (StatusCode::NOT_MODIFIED, &answer);
    let judged = cache.judge(&fetch, &route().policy.cache, &HeaderMap::new(), head, Instant::now());
    let Judgement::Refreshed(entry) = judged else { panic!("{judged:?}") };
    cache.refresh(&fetch.key, &entry, WORKER);
    assert_eq!((entry.ttl(Instant::now()), entry.age(Instant::now()).as_secs()), (20, 0));
    assert!(entry.headers.contains_key("x-new") && entry.headers.contains_key("x-old"));
    assert_eq!(fresh(&cache, "/a", &[]).as_deref(), Some(&b"body"[..]));
    assert_eq!(fresh(&cache, "/a", &[("cache-control", "no-cache")]), None);
}

#[test]
fn what_was_changed_or_cleared_meanwhile_is_not_stored() {
    let cache = cache();
    let before = fetch(&cache, "/a?x=1", &[]);
    cache.changed("shop.example", "/a");
    put(&cache, "/a?x=1", &before, &[], &[], "old");
    assert_eq!(fresh(&cache, "/a?x=1", &[]), None);
    let before = fetch(&cache, "/b", &[]);
    cache.clear(Some("nobody"), None);
    put(&cache, "/b", &before, &[], &[], "old");
    assert_eq!(fresh(&cache, "/b", &[]), None);
}

#[test]
fn a_change_forgets_all_of_its_path_and_a_clear_what_it_names() {
    let cache = cache();
    for path in ["/a?x=1", "/a", "/a/b", "/c"] {
        fill(&cache, path, &[], &[], "x");
    }
    fill(&cache, "/v", &[("x-v", "1")], &[("vary", "x-v")], "x");
    cache.changed("SHOP.example", "/a");
    assert_eq!((fresh(&cache, "/a?x=1", &[]), fresh(&cache, "/a", &[])), (None, None));
    assert!(fresh(&cache, "/a/b", &[]).is_some() && fresh(&cache, "/v", &[("x-v", "1")]).is_some());
    assert_eq!(cache.clear(None, Some("/a/")), 1);
    assert_eq!(fresh(&cache, "/a/b", &[]), None);
    assert_eq!(cache.clear(Some("nobody"), None), 0);
    assert_eq!(cache.clear(Some("orders"), Some("/c")), 1);
    assert!(cache.clear(None, None) >= 1);
    assert_eq!(fresh(&cache, "/v", &[("x-v", "1")]), None);
    assert_eq!(cache.figures().entries, 0);
}

#[test]
fn however_much_comes_the_store_stays_within_its_bytes_and_too_large_an_object_is_not_taken() {
    let cache = cache();
    let body = "x".repeat(10_000);
    for number in 0..1000 {
        fill(&cache, &format!("/{number}"), &[], &[], &body);
    }
    let figures = cache.figures();
    assert!(figures.bytes <= 1 << 20 && figures.entries > 50, "{figures:?}");
    let asked = fetch(&cache, "/big", &[]);
    let large = answers(&[("content-length", "65537")]);
    let judged =
        cache.judge(&asked, &route().policy.cache, &HeaderMap::new(), (StatusCode::OK, &large), Instant::now());
    assert!(matches!(judged, Judgement::Pass), "{judged:?}");
}

#[test]
fn what_is_stored_does_not_hold_the_buffer_that_it_came_in() {
    let whole = Bytes::from(vec![b'x'; 64 << 10]);
    let kept = entry::joined(&[whole.slice(10..20)]);
    assert!(kept.as_ptr() < whole.as_ptr() || kept.as_ptr() > whole[whole.len() - 1..].as_ptr());
    assert_eq!(kept.len(), 10);
    let value = http::HeaderValue::from_maybe_shared(whole.slice(0..10)).expect("a value");
    let mut headers = HeaderMap::new();
    headers.insert("x-a", value.clone());
    assert_ne!(entry::kept(&headers)["x-a"].as_bytes().as_ptr(), value.as_bytes().as_ptr());
}

#[tokio::test]
async fn one_leads_the_others_follow_and_whoever_comes_after_a_change_begins_anew() {
    let fills: Arc<Fills<u8>> = Arc::default();
    let epoch = |changes| Epoch { clears: 0, slot: 0, changes };
    let Role::Lead(lead) = fills.enter("k", epoch(0)) else { panic!("the first leads") };
    let Role::Follow(mut outcome) = fills.enter("k", epoch(0)) else { panic!("the second follows") };
    let Role::Lead(second) = fills.enter("k", epoch(1)) else { panic!("after a change, another leads") };
    lead.tell(Outcome::Failed(7));
    assert!(matches!(*outcome.borrow_and_update(), Outcome::Failed(7)));
    let Role::Follow(outcome) = fills.enter("k", epoch(1)) else { panic!("the first's end is not the second's") };
    drop(second);
    assert!(matches!(*outcome.borrow(), Outcome::Pass));
    assert!(matches!(fills.enter("k", epoch(1)), Role::Lead(_)));
}
