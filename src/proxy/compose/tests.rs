//! Aggregates without sockets: what is asked for, and what a value can and cannot do.

mod effort;
mod values;

use std::sync::Arc;

use http::HeaderMap;

use super::content::Heavy;
use super::freshness;
use super::render::{Caller, Known};
use crate::config::compose::{Aggregates, Compose};
use crate::config::routes::Action;
use crate::filter::cache::Lifetime;
use crate::proxy::error::Error;
use crate::proxy::room::Composing;
use crate::proxy::tests::rig::{self, paused};
use crate::shape::{self, Value};
use std::time::Duration;
use tokio::time::{Instant, timeout};

/// The aggregate of a configuration whose calls these are, for a route with the parameters `id` and `name`.
pub(super) fn compose(calls: &str) -> Arc<Compose> {
    let route = "[[route]]\npath = { pattern = \"/x/{id}/{name}\" }\ncompose = \"page\"\n";
    let config = rig::read(&format!("[[compose]]\nname = \"page\"\n{calls}\n{route}"));
    let found = config.routes.iter().find_map(|route| match &route.action {
        Action::Compose { compose, .. } => Some(compose.clone()),
        _ => None,
    });
    found.expect("it has an aggregate")
}

/// What is known of a request and of earlier answers, which are written as JSON.
pub(super) fn known(compose: &Arc<Compose>, parameters: &[&str], query: &str, answers: &[(usize, &str)]) -> Known {
    let caller = Caller {
        parameters: parameters.iter().map(|text| (*text).to_owned()).collect(),
        query: Some(query.to_owned()),
        headers: HeaderMap::new(),
        claims: None,
        target: 8192,
        head: 32 * 1024,
    };
    let value = |(call, json): &(usize, &str)| (*call, shape::read(json.as_bytes()).expect("JSON"));
    let answers = answers.iter().map(value).collect();
    Known {
        compose: compose.clone(),
        caller: Arc::new(caller),
        answers,
        budget: shape::Budget::default(),
        bodies: 1 << 20,
    }
}

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

#[test]
fn the_whole_is_as_fresh_as_its_shortest_part_as_old_as_its_oldest_and_as_private_as_any() {
    let part = |left, age, private, no_store| Lifetime { left: seconds(left), age: seconds(age), private, no_store };
    for (parts, wanted) in [
        (&[part(60, 0, false, false)][..], "max-age=60"),
        (&[part(60, 5, false, false), part(30, 1, false, false)], "max-age=35, age 5"),
        (&[part(60, 0, false, false), part(30, 0, true, false)], "private, max-age=30"),
        (&[part(60, 9, false, false), part(0, 0, false, false)], "no-cache"),
        (&[part(0, 0, true, false)], "private, no-cache"),
        (&[part(60, 3, true, false), part(60, 0, false, true)], "no-store"),
        (&[], "no-cache"),
    ] {
        let mut headers = HeaderMap::new();
        freshness::say(parts.iter().copied().fold(freshness::UNBOUNDED, freshness::both), &mut headers);
        let text = |name| headers.get(name).map(|value: &http::HeaderValue| value.to_str().expect("ASCII"));
        let age = text("age").map(|age| format!(", age {age}")).unwrap_or_default();
        assert_eq!(format!("{}{age}", text("cache-control").expect("it says something")), wanted);
    }
}

#[test]
fn who_finds_no_room_waits_for_it_and_is_refused_after_that() {
    paused(async {
        let bounds = Aggregates { memory: 1024 * 1024, wait: seconds(1) };
        let composing = Composing::new(&bounds, 1);
        let end = Instant::now() + seconds(60);
        // Of 1 MiB three quarters are for what is expected, at most a sixteenth of it all for each.
        let mut held = Vec::new();
        for _ in 0..12 {
            held.push(composing.reserve(&bounds, usize::MAX, end).await.expect("there is room"));
        }
        let began = Instant::now();
        assert_eq!(composing.reserve(&bounds, 1, end).await.err(), Some(Error::Overloaded));
        assert_eq!(began.elapsed(), seconds(1));
        // Of the last quarter each may take what it takes beyond, until that is taken.
        held[0].take(64 * 1024 + 200 * 1024).await.expect("there is room");
        assert_eq!(held[1].take(64 * 1024 + 57 * 1024).await.err(), Some(Error::Overloaded));
        drop(held.remove(0));
        held[0].take(1).await.expect("the room of who is gone");
        composing.reserve(&bounds, 64 * 1024, end).await.expect("likewise");
        // A body holds what it takes, and no more, until nobody reads it any longer.
        let body = held.remove(0).holding(vec![b'x'; 4 * 1024]);
        assert_eq!(body.len(), 4 * 1024);
        composing.reserve(&bounds, 60 * 1024, end).await.expect("what the body does not take");
    });
}

#[test]
fn an_answer_that_is_larger_than_what_was_expected_takes_room_until_nobody_holds_it() {
    paused(async {
        let bounds = Aggregates { memory: 1024 * 1024, wait: seconds(1) };
        let composing = Composing::new(&bounds, 1);
        let end = Instant::now() + seconds(60);
        let held = || composing.gauge().figures().held;
        let mut bodies = Vec::new();
        for _ in 0..4 {
            let room = composing.reserve(&bounds, 10 * 1024, end).await.expect("there is room");
            room.take(30 * 1024).await.expect("there is room");
            // Its parts are gone, and a shape has made much of them.
            room.take_instead(200 * 1024).await.expect("there is room");
            assert_eq!(room.taken(), 200 * 1024);
            bodies.push(room.holding(vec![b'x'; 200 * 1024]));
        }
        assert_eq!(held(), 800 * 1024);
        let fifth = composing.reserve(&bounds, 10 * 1024, end).await.expect("there is room for what is expected");
        assert_eq!(fifth.take_instead(300 * 1024).await.err(), Some(Error::Overloaded));
        drop(fifth);
        assert_eq!(held(), 800 * 1024);
        // A small answer of large parts holds what it is.
        drop(bodies);
        let room = composing.reserve(&bounds, 10 * 1024, end).await.expect("there is room");
        room.take(300 * 1024).await.expect("there is room");
        room.take_instead(12 * 1024).await.expect("it has more");
        let body = room.holding(vec![b'x'; 12 * 1024]);
        assert_eq!((held(), body.len()), (12 * 1024, 12 * 1024));
    });
}

#[test]
fn what_is_more_than_there_is_for_all_is_too_large_at_once_and_nobody_is_to_come_back() {
    paused(async {
        let bounds = Aggregates { memory: 1024 * 1024, wait: seconds(1) };
        let composing = Composing::new(&bounds, 1);
        let began = Instant::now();
        let alone = composing.reserve(&bounds, 10 * 1024, began + seconds(60)).await.expect("there is room");
        alone.take(1024 * 1024).await.expect("all of it");
        assert_eq!(alone.take(1).await.err(), Some(Error::AnswerTooLarge));
        assert_eq!(began.elapsed(), Duration::ZERO);
    });
}

#[test]
fn one_that_has_all_the_room_for_what_is_not_expected_gets_what_others_let_go_of() {
    paused(async {
        let bounds = Aggregates { memory: 1024 * 1024, wait: seconds(60) };
        let composing = Composing::new(&bounds, 1);
        let end = Instant::now() + seconds(60);
        let mut others = Vec::new();
        for _ in 0..11 {
            others.push(composing.reserve(&bounds, 64 * 1024, end).await.expect("there is room"));
        }
        let own = composing.reserve(&bounds, 64 * 1024, end).await.expect("the last of what is expected");
        own.take((64 + 256) * 1024).await.expect("a quarter of it all is free");
        let began = Instant::now();
        let mut more = Box::pin(own.take(128 * 1024));
        assert!(timeout(Duration::ZERO, &mut more).await.is_err(), "nothing is free");
        others.truncate(9);
        more.await.expect("two others have let go of as much");
        assert_eq!(began.elapsed(), Duration::ZERO);
        drop(others);
        own.take(576 * 1024).await.expect("it is alone");
        assert_eq!(own.take(1).await.err(), Some(Error::AnswerTooLarge));
    });
}

#[test]
fn what_takes_long_to_be_dropped_is_dropped_by_a_helper() {
    let runtime = tokio::runtime::Builder::new_current_thread().max_blocking_threads(1).build().expect("a runtime");
    runtime.block_on(async {
        let (go, until) = std::sync::mpsc::channel::<()>();
        let busy = tokio::task::spawn_blocking(move || until.recv());
        let value = shape::read(b"[1]").expect("JSON");
        let Value::Array(list) = &value else { panic!("it is a list") };
        let left = Arc::downgrade(list);
        let heavy = Heavy::default();
        heavy.keep(&value.into());
        drop(heavy);
        assert!(left.upgrade().is_some(), "the only helper has other things to do");
        drop(go);
        let _ = busy.await;
        tokio::task::spawn_blocking(|| ()).await.expect("what comes after it");
        assert!(left.upgrade().is_none());
    });
}

#[test]
fn other_bounds_hold_from_the_next_aggregate_on() {
    paused(async {
        let end = Instant::now() + seconds(60);
        let (none, some) =
            (Aggregates { memory: 0, wait: Duration::ZERO }, Aggregates { memory: 1 << 20, wait: seconds(1) });
        let composing = Composing::new(&none, 1);
        assert!(composing.reserve(&none, 1, end).await.expect("nothing is expected of nothing").take(1).await.is_err());
        composing.reserve(&some, 1, end).await.expect("there is room").take(1).await.expect("there is room");
    });
}
