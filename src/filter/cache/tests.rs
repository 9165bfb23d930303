//! The store under its policy: keys, variants, bounds, clearing, and what was changed meanwhile.

use http::{HeaderName, HeaderValue};
use http_body::Body as _;

use super::fills::{Filling, Fills, Outcome, Role};
use super::growing::Growing;
use super::*;
use crate::filter::limit::Remaining;

const WORKER: WorkerId = WorkerId(0);

fn cache() -> Arc<Cache> {
    Cache::new(&Bounds { size: 1 << 20, object: 64 << 10 }, 1)
}

const POLICY: Policy = Policy { enabled: true, ttl: Some(Duration::from_secs(60)) };

fn headers(lines: &[(&str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        headers.append(HeaderName::from_bytes(name.as_bytes()).expect("a name"), value.parse().expect("a value"));
    }
    headers
}

fn place<'a>(host: &'a str, path: &'a str) -> Place<'a> {
    let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query)));
    Place { scheme: "http", host, told: None, path, query, form: "1", claims: "", has_body: false }
}

fn find(cache: &Cache, path: &str, lines: &[(&str, &str)]) -> Found {
    cache.find(&Method::GET, &headers(lines), &place("Shop.example", path), Instant::now())
}

fn fetch(cache: &Cache, path: &str, lines: &[(&str, &str)]) -> Fetch {
    match find(cache, path, lines) {
        Found::Fetch(fetch) => fetch,
        other => panic!("{path} {lines:?}: {other:?}"),
    }
}

fn fresh(cache: &Cache, path: &str, lines: &[(&str, &str)]) -> Option<Vec<u8>> {
    match find(cache, path, lines) {
        Found::Fresh(entry) => Some(bytes(&entry.body)),
        _ => None,
    }
}

/// A stored body's bytes.
fn bytes(blocks: &Blocks) -> Vec<u8> {
    let (mut body, mut bytes) = (blocks.body(), Vec::new());
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    while let std::task::Poll::Ready(Some(frame)) = std::pin::Pin::new(&mut body).poll_frame(&mut cx) {
        bytes.extend_from_slice(frame.expect("it is here").data_ref().expect("data"));
    }
    bytes
}

/// A place among the answers on their way.
fn hold(cache: &Arc<Cache>) -> Option<Filling> {
    cache.hold(&fetch(cache, "/filling", &[]).key, &HeaderMap::new())
}

/// Stores an answer to a request that was asked for before.
fn put(cache: &Arc<Cache>, fetch: &Fetch, request: &[(&str, &str)], answer: &[(&str, &str)], body: &str) -> Answer {
    let (request, answer) = (headers(request), headers(answer));
    let head = cache.judge(&POLICY, &request, StatusCode::OK, &answer, Instant::now()).expect("it may be stored");
    let mut growing = Growing::new(cache.hold(&fetch.key, &request).expect("there is room"), Some(body.len() as u64));
    assert!(growing.push(body.as_bytes()));
    let whole = growing.finish();
    drop(growing);
    cache.store(&fetch.key, head, whole, "orders".into(), WORKER)
}

fn fill(cache: &Arc<Cache>, path: &str, request: &[(&str, &str)], answer: &[(&str, &str)], body: &str) {
    put(cache, &fetch(cache, path, request), request, answer, body);
}

#[test]
fn an_answer_is_found_by_host_path_and_query_and_by_nothing_less() {
    let cache = cache();
    fill(&cache, "/a?x=1", &[], &[], "one");
    assert_eq!(fresh(&cache, "/a?x=1", &[]).as_deref(), Some(&b"one"[..]));
    for other in ["/a", "/a?x=2", "/a?", "/b?x=1"] {
        assert_eq!(fresh(&cache, other, &[]), None, "{other}");
    }
    let ask = |place: Place<'_>| cache.find(&Method::GET, &HeaderMap::new(), &place, Instant::now());
    let same = place("SHOP.example", "/a?x=1");
    assert!(matches!(ask(same), Found::Fresh(_)));
    for other in [
        place("other.example", "/a?x=1"),
        Place { scheme: "https", ..same },
        Place { told: Some("other.example"), ..same },
        Place { form: "2", ..same },
    ] {
        assert!(matches!(ask(other), Found::Fetch(_)), "{other:?}");
    }
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
    let mut asked = headers(&[("if-none-match", "\"clients\""), ("if-modified-since", "x")]);
    Cache::prepare(&fetch, &mut asked);
    assert_eq!(asked.get("if-none-match").map(|value| value.as_bytes()), Some(&b"\"1\""[..]));
    assert!(!asked.contains_key("if-modified-since"));
    let answer = headers(&[("x-new", "2"), ("cache-control", "max-age=20")]);
    let (entry, for_all) =
        cache.revalidated(&fetch, &POLICY, &HeaderMap::new(), &answer, WORKER).expect("it was stale");
    assert!(for_all);
    assert_eq!((entry.ttl(entry.age(Instant::now())), entry.age(Instant::now()).as_secs()), (20, 0));
    assert!(entry.headers.contains_key("x-new") && entry.headers.contains_key("x-old"));
    assert_eq!(fresh(&cache, "/a", &[]).as_deref(), Some(&b"body"[..]));
    let forced = find(&cache, "/a", &[("cache-control", "no-cache")]);
    assert!(matches!(forced, Found::Fetch(Fetch { why: Forward::Request, .. })), "{forced:?}");
}

#[tokio::test(start_paused = true)]
async fn a_304_changes_the_language_that_is_stored_and_not_the_coding_of_a_body_that_it_lacks() {
    let cache = cache();
    let stored = [("content-language", "de"), ("content-encoding", "gzip"), ("cache-control", "max-age=1")];
    fill(&cache, "/a", &[], &stored, "body");
    tokio::time::advance(Duration::from_secs(2)).await;
    let answer = headers(&[("content-language", "en"), ("content-encoding", "br"), ("content-range", "bytes 0-0/9")]);
    let fetch = fetch(&cache, "/a", &[]);
    let (entry, _) = cache.revalidated(&fetch, &POLICY, &HeaderMap::new(), &answer, WORKER).expect("it was stale");
    assert_eq!(
        (&entry.headers["content-language"], &entry.headers["content-encoding"]),
        (&"en".parse().expect("a value"), &"gzip".parse().expect("a value"))
    );
    assert!(!entry.headers.contains_key("content-range"));
}

#[tokio::test(start_paused = true)]
async fn a_304_that_another_cache_kept_for_a_while_makes_an_answer_only_as_fresh_as_it_says() {
    let cache = cache();
    fill(&cache, "/a", &[], &[("etag", "\"1\""), ("cache-control", "max-age=10")], "body");
    tokio::time::advance(Duration::from_secs(11)).await;
    let fetch = fetch(&cache, "/a", &[]);
    for (said, ttl) in [("max-age=20", 5), ("no-store", -15)] {
        let answer = headers(&[("cache-control", said), ("age", "15")]);
        let after = cache.revalidated(&fetch, &POLICY, &HeaderMap::new(), &answer, WORKER);
        let (entry, _) = after.expect("it was stale");
        assert_eq!((entry.ttl(entry.age(Instant::now())), entry.age(Instant::now()).as_secs()), (ttl, 15), "{said}");
    }
}

#[test]
fn what_an_answer_says_of_itself_is_not_what_was_said_to_whom_it_was_stored_for() {
    let cache = cache();
    let said = [("age", "7"), ("cache-status", "edge; hit"), ("x-request-id", "first"), ("ratelimit", "r=1")];
    fill(&cache, "/a", &[], &[&said[..], &[("x-own", "kept"), ("content-length", "4")]].concat(), "body");
    let Found::Fresh(entry) = find(&cache, "/a", &[]) else { panic!("it was stored") };
    let own =
        |limit| Own { status: HeaderValue::from_static("lictor; hit"), id: HeaderValue::from_static("second"), limit };
    let limit = Some(Remaining { policy: HeaderValue::from_static("q=9"), left: HeaderValue::from_static("r=8") });
    let expected = [("age", "7"), ("cache-status", "lictor; hit"), ("x-request-id", "second"), ("x-own", "kept")];
    let limits = [("ratelimit-policy", "q=9"), ("ratelimit", "r=8")];
    for (answer, more) in [
        (entry.answer(own(limit), entry.age(Instant::now())), &limits[..]),
        (entry.answer(own(None), entry.age(Instant::now())), &[]),
    ] {
        let wanted = headers(&[&expected[..], more, &[("content-length", "4")]].concat());
        let mut answer = answer;
        assert!(answer.remove(header::DATE).is_some(), "an answer without a date is of now");
        assert_eq!(answer, wanted);
    }
    assert!(!entry.answer_304(own(None), entry.age(Instant::now())).contains_key(header::CONTENT_LENGTH));
}

#[tokio::test(start_paused = true)]
async fn a_304_that_takes_the_permission_back_is_for_who_asked_only_and_takes_the_stored_answer_away() {
    for said in [
        vec![("cache-control", "no-store"), ("cache-control", "max-age=60")],
        vec![("set-cookie", "a=b")],
        vec![("vary", "x-tenant"), ("cache-control", "max-age=60")],
    ] {
        let cache = cache();
        fill(&cache, "/a", &[], &[("etag", "\"1\""), ("cache-control", "max-age=10")], "body");
        tokio::time::advance(Duration::from_secs(11)).await;
        let stale = fetch(&cache, "/a", &[]);
        let after = cache.revalidated(&stale, &POLICY, &HeaderMap::new(), &headers(&said), WORKER);
        assert!(after.is_some_and(|(entry, for_all)| !for_all && bytes(&entry.body) == b"body"), "{said:?}");
        assert!(fetch(&cache, "/a", &[]).stale.is_none(), "{said:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_304_adds_is_counted_and_an_answer_that_grows_beyond_a_head_is_stored_no_more() {
    let cache = cache();
    fill(&cache, "/a", &[], &[("etag", "\"1\""), ("cache-control", "max-age=1")], "body");
    let mut counted = cache.figures().bytes;
    for (round, stays) in [(1, true), (2, false)] {
        tokio::time::advance(Duration::from_secs(2)).await;
        let stale = fetch(&cache, "/a", &[]);
        let mut answer = headers(&[("cache-control", "max-age=1")]);
        for number in 0..60 {
            let name = HeaderName::try_from(format!("x-{round}-{number}")).expect("a name");
            answer.insert(name, HeaderValue::from_static("value"));
        }
        let after = cache.revalidated(&stale, &POLICY, &HeaderMap::new(), &answer, WORKER);
        let (entry, for_all) = after.expect("it was stale");
        assert_eq!((for_all, cache.figures().entries), (stays, u64::from(stays)));
        assert!(entry.headers.len() < 110);
        drop((stale, entry));
        assert_eq!(cache.figures().bytes > counted + 60 * 10, stays);
        counted = cache.figures().bytes;
    }
    assert_eq!(counted, 0, "nothing is left");
}

#[tokio::test(start_paused = true)]
async fn while_clients_still_read_much_that_was_displaced_nothing_new_is_begun() {
    let cache = cache();
    let body = "x".repeat(60 << 10);
    let mut read = Vec::new();
    for number in 0..40 {
        let path = format!("/{number}");
        let Found::Fetch(asked) = find(&cache, &path, &[]) else { panic!("nothing is stored") };
        if cache.hold(&asked.key, &HeaderMap::new()).is_none() {
            break;
        }
        read.push(put(&cache, &asked, &[], &[], &body).entry.body.body());
    }
    // How many the store itself keeps of them depends on how they fall into its parts; the sum of all does not.
    assert!((6..22).contains(&read.len()), "{}", read.len());
    assert!(cache.figures().bytes <= (1 << 20) + (1 << 18) + (70 << 10), "{:?}", cache.figures());
    drop(read);
    assert!(hold(&cache).is_some());
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_took_long_to_come_is_as_old_as_its_head() {
    let cache = cache();
    let asked = fetch(&cache, "/a", &[]);
    let (request, answer) = (HeaderMap::new(), headers(&[("cache-control", "max-age=40")]));
    let head = cache.judge(&POLICY, &request, StatusCode::OK, &answer, Instant::now()).expect("it may be stored");
    tokio::time::advance(Duration::from_secs(30)).await;
    let entry = cache.store(&asked.key, head, Blocks::default(), "orders".into(), WORKER).entry;
    assert_eq!(entry.ttl(entry.age(Instant::now())), 10);
}

#[test]
fn what_passes_by_does_not_displace_what_can_be_used() {
    let cache = cache();
    let asked = fetch(&cache, "/a", &[]);
    cache.pass(&asked.key, Instant::now());
    assert!(matches!(find(&cache, "/a", &[]), Found::Past(Forward::UriMiss)));
    assert!(matches!(find(&cache, "/a", &[("cache-control", "only-if-cached")]), Found::NotCached));
    put(&cache, &asked, &[], &[], "body");
    cache.pass(&asked.key, Instant::now());
    assert!(fresh(&cache, "/a", &[]).is_some());
}

#[test]
fn answers_on_their_way_are_bounded_and_what_they_held_is_free_again() {
    let cache = cache();
    let mut first = hold(&cache).expect("there is room");
    assert!(first.holds(400 << 10) && !first.holds(1 << 20));
    let mut second = hold(&cache);
    assert!(second.is_none());
    drop(first);
    second = hold(&cache);
    assert!(second.is_some_and(|mut second| second.holds(400 << 10)));
    let cache = Cache::new(&Bounds { size: 1 << 30, object: 64 << 10 }, 1);
    let many: Vec<_> = std::iter::from_fn(|| hold(&cache)).collect();
    assert_eq!(many.len(), 4096);
    drop(many);
    assert!(hold(&cache).is_some());
}

#[test]
fn what_was_changed_or_cleared_meanwhile_is_not_stored() {
    let cache = cache();
    let before = fetch(&cache, "/a?x=1", &[]);
    cache.changed("shop.example", "/a");
    put(&cache, &before, &[], &[], "old");
    assert_eq!(fresh(&cache, "/a?x=1", &[]), None);
    let before = fetch(&cache, "/b", &[]);
    cache.clear(Some("nobody"), None);
    put(&cache, &before, &[], &[], "old");
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
    let large = headers(&[("content-length", "65537")]);
    assert!(cache.judge(&POLICY, &HeaderMap::new(), StatusCode::OK, &large, Instant::now()).is_none());
}

#[test]
fn what_is_stored_does_not_hold_the_buffer_that_it_came_in() {
    let whole = bytes::Bytes::from(vec![b'x'; 64 << 10]);
    let value = http::HeaderValue::from_maybe_shared(whole.slice(0..10)).expect("a value");
    let mut headers = HeaderMap::new();
    headers.insert("x-a", value.clone());
    let kept = entry::kept(&headers).expect("it is small");
    assert_ne!(kept.fields["x-a"].as_bytes().as_ptr(), value.as_bytes().as_ptr());
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
