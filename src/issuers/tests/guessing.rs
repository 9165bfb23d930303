//! Names of keys that are not there, from strangers and from tokens of a new key: each stranger's name has a claim to what is spare of the
//! budget, and a name that is asked for again to its reserve.

use super::*;
use tokio::task::JoinSet;
use tokio::time::Instant;

const SECOND: Duration = Duration::from_secs(1);

/// Keys, after a moment.
fn slow(milliseconds: u64, kids: &[&str]) -> Reply {
    Reply::After(Duration::from_millis(milliseconds), Box::new(Reply::body(jwks(kids))))
}

/// A world where strangers have used up all that is spare.
async fn guessed(script: &Script, kids: &[&str]) -> World {
    let world = fetched(script, kids).await;
    for number in 0..3 {
        assert!(matches!(world.ask(&format!("guess-{number}")).await, Look::Unknown));
    }
    assert_eq!(script.count(KEYS), 4);
    world
}

/// Asks for a name as the first two tokens of a new key do.
async fn twice(world: &World, kid: &str) -> [Look; 2] {
    let (one, two) = (world.ask(kid), world.ask(kid));
    let (one, two) = tokio::join!(one, two);
    [one, two]
}

fn all_know(looks: &[Look], kid: &str) -> bool {
    looks.iter().all(|look| matches!(look, Look::Known(set) if set.has(Some(kid))))
}

/// Each 10 ms a token of the newest key, and a stranger's with another name each time.
async fn rotate(script: &Script, world: &Arc<World>, stranger: impl Fn(usize) -> String) {
    let mut strangers = JoinSet::new();
    let mut newest = "key-0".to_owned();
    for step in 0..38_500 {
        if step > 0 && step % 3_500 == 0 {
            let next = format!("key-{}", step / 3_500);
            script.says(KEYS, slow(20, &[&next, &newest]));
            newest = next;
        }
        if !world.knows("corp", &newest) {
            let (world, kid) = (world.clone(), newest.clone());
            strangers.spawn(async move { assert!(all_know(&[world.ask(&kid).await], &kid), "{kid} was refused") });
        }
        let (world, kid) = (world.clone(), stranger(step));
        strangers.spawn(async move { assert!(!matches!(world.ask(&kid).await, Look::Known(_)), "nobody has it") });
        after(Duration::from_millis(10)).await;
        while let Some(ended) = strangers.try_join_next() {
            ended.expect("nobody was answered wrongly");
        }
    }
    assert!(world.knows("corp", "key-10"));
}

#[tokio::test(start_paused = true)]
async fn ten_rotations_refuse_no_token_of_a_key_that_signs_at_once_while_strangers_send_38_500_random_kids() {
    let script = Script::default();
    let world = Arc::new(fetched(&script, &["key-0"]).await);
    let begun = Instant::now();
    rotate(&script, &world, |step| format!("random-{step}")).await;
    let (seconds, fetches) = (begun.elapsed().as_secs(), script.count(KEYS) as u64);
    assert!(fetches <= 1 + 5 + seconds / 30, "{fetches} fetches in {seconds} s");
    assert!(fetches >= 1 + 3 + 10, "{fetches}: strangers had some, too");
}

#[tokio::test(start_paused = true)]
async fn a_stranger_who_repeats_one_name_for_ever_leaves_the_reserve_to_ten_rotations() {
    let script = Script::default();
    let world = Arc::new(fetched(&script, &["key-0"]).await);
    for _ in 0..1200 {
        assert!(!matches!(world.ask("the same").await, Look::Known(_)));
        after(SECOND).await;
    }
    rotate(&script, &world, |_| "the same".to_owned()).await;
}

#[tokio::test(start_paused = true)]
async fn who_asks_first_for_a_name_waits_for_the_second_who_has_the_keys_fetched_for_both() {
    let script = Script::default();
    let world = guessed(&script, &["a"]).await;
    script.says(KEYS, slow(20, &["a", "b"]));
    let begun = Instant::now();
    let first = world.issuers.asker.keys("corp", Some("b"));
    after(SECOND / 2).await;
    assert_eq!(script.count(KEYS), 4, "a name that was asked for once");
    let second = world.ask("b").await;
    assert!(all_know(&[first.await, second], "b"));
    assert_eq!((script.count(KEYS), begun.elapsed().as_millis()), (5, 520));
}

#[tokio::test(start_paused = true)]
async fn a_name_that_nobody_else_asks_for_is_503_after_a_second_and_the_next_question_has_it_fetched() {
    for pause in [1, 28] {
        let script = Script::default();
        let world = guessed(&script, &["a"]).await;
        script.says(KEYS, Reply::body(jwks(&["a", "b"])));
        let begun = Instant::now();
        assert!(matches!(world.ask("b").await, Look::Away { retry_after: SECOND }), "another try is worth it then");
        assert_eq!((begun.elapsed(), script.count(KEYS)), (SECOND, 4));
        after(pause * SECOND).await;
        assert!(all_know(&[world.ask("b").await], "b"), "after {pause} s");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_in_reserve_is_no_more_than_two_fetches_and_then_it_is_said_when_there_is_another() {
    let script = Script::default();
    let world = guessed(&script, &["a"]).await;
    let begun = Instant::now();
    for kid in ["b", "c"] {
        assert!(matches!(twice(&world, kid).await, [Look::Unknown, Look::Unknown | Look::Away { .. }]));
    }
    assert_eq!(script.count(KEYS), 6);
    // The first waits for no second, which could have nothing fetched.
    for _ in 0..2 {
        assert!(matches!(world.ask("d").await, Look::Away { retry_after } if retry_after > 28 * SECOND));
    }
    // The reserve comes first.
    let look = world.ask("b").await;
    assert!(matches!(look, Look::Unknown), "{look:?}");
    after(6 * SECOND).await;
    let look = world.ask("b").await;
    assert!(matches!(look, Look::Away { retry_after } if retry_after > 80 * SECOND), "{look:?}");
    script.says(KEYS, Reply::body(jwks(&["a", "d"])));
    after(30 * SECOND - begun.elapsed()).await;
    assert!(all_know(&[world.ask("d").await], "d"));
}

#[tokio::test(start_paused = true)]
async fn a_name_that_was_looked_for_in_vain_takes_nothing_from_the_reserve_however_often_it_is_asked_for() {
    for spent in 0..3 {
        let script = Script::default();
        let world = fetched(&script, &["a"]).await;
        for number in 0..spent {
            assert!(matches!(world.ask(&format!("guess-{number}")).await, Look::Unknown));
        }
        // Many of them come while it is looked for.
        script.says(KEYS, slow(300, &["a"]));
        let (begun, mut askers) = (Instant::now(), JoinSet::new());
        while begun.elapsed() < 29 * SECOND {
            askers.spawn(world.issuers.asker.keys("corp", Some("the same")));
            after(Duration::from_millis(10)).await;
        }
        while let Some(look) = askers.join_next().await {
            assert!(!matches!(look, Ok(Look::Known(_))));
        }
        assert_eq!(script.count(KEYS), 1 + 3, "{spent} were spent before");
        script.says(KEYS, slow(300, &["a", "b"]));
        assert!(all_know(&twice(&world, "b").await, "b"));
    }
}

#[tokio::test(start_paused = true)]
async fn names_that_come_while_a_fetch_is_under_way_take_nothing_from_the_reserve_unless_two_ask_for_one() {
    let script = Script::default();
    let world = fetched(&script, &["a"]).await;
    script.says(KEYS, slow(300, &["a"]));
    let (begun, mut strangers) = (Instant::now(), JoinSet::new());
    for number in 0..2_900 {
        strangers.spawn(world.issuers.asker.keys("corp", Some(&format!("random-{number}"))));
        after(Duration::from_millis(10)).await;
    }
    assert_eq!(script.count(KEYS), 1 + 3, "in {:?}", begun.elapsed());
    after(Duration::from_millis(1100)).await;
    // A stranger's question has the keys fetched; the answer is under way when a new key comes.
    let stranger = world.issuers.asker.keys("corp", Some("random"));
    after(Duration::from_millis(100)).await;
    script.says(KEYS, slow(300, &["a", "b"]));
    let (once, one) = (world.issuers.asker.keys("corp", Some("once")), world.issuers.asker.keys("corp", Some("b")));
    after(Duration::from_millis(100)).await;
    assert_eq!(script.count(KEYS), 1 + 3 + 1);
    let two = world.ask("b").await;
    assert!(all_know(&[one.await, two], "b"));
    assert!(matches!((stranger.await, once.await), (Look::Unknown, Look::Unknown)), "both were looked for");
    assert_eq!(script.count(KEYS), 1 + 3 + 1 + 1);
}

#[tokio::test(start_paused = true)]
async fn a_thousand_names_that_nobody_else_asks_for_wait_at_once_and_keep_no_new_key_from_being_fetched() {
    let script = Script::default();
    let world = guessed(&script, &["a"]).await;
    script.says(KEYS, slow(20, &["a", "b"]));
    let mut strangers = JoinSet::new();
    for number in 0..1_000 {
        strangers.spawn(world.issuers.asker.keys("corp", Some(&format!("random-{number}"))));
    }
    let begun = Instant::now();
    assert!(matches!(world.ask("one more").await, Look::Away { retry_after: SECOND }));
    assert!(matches!(world.ask("b").await, Look::Away { retry_after: SECOND }), "the first of its name");
    assert_eq!(begun.elapsed(), Duration::ZERO);
    assert!(all_know(&[world.ask("b").await], "b"));
    assert_eq!(begun.elapsed().as_millis(), 20);
    while let Some(look) = strangers.join_next().await {
        assert!(matches!(look, Ok(Look::Unknown)), "all who wait are answered: {look:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn bad_signatures_take_nothing_from_the_reserve_and_tokens_without_a_kid_may_where_no_key_is_known() {
    let script = Script::default();
    let world = fetched(&script, &["a"]).await;
    let old = world.keys("corp").expect("keys");
    after(31 * SECOND).await;
    // Where the issuer is away, no fetch says that there are no others.
    script.says(KEYS, Reply::away());
    for _ in 0..10 {
        assert!(matches!(world.issuers.asker.others("corp", &old).await, Look::Away { .. }));
    }
    assert_eq!(script.count(KEYS), 1 + 3);
    script.says(KEYS, Reply::body(jwks(&["a", "b"])));
    assert!(all_know(&twice(&world, "b").await, "b"));

    script.says(KEYS, Reply::away());
    let world = World::scripted(&script, vec![with_url("new", KEYS)]);
    let before = script.count(KEYS);
    for _ in 0..10 {
        assert!(matches!(world.issuers.asker.keys("new", None).await, Look::Away { .. }));
    }
    assert_eq!(script.count(KEYS), before + 1 + 5);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_was_made_before_a_question_came_refuses_nobody() {
    let script = Script::default();
    let world = fetched(&script, &["a"]).await;
    script.says(KEYS, slow(300, &["a"]));
    let stranger = world.issuers.asker.keys("corp", Some("random"));
    after(Duration::from_millis(100)).await;
    // The answer to the stranger's question is under way when the key comes.
    script.says(KEYS, slow(300, &["a", "b"]));
    assert!(matches!(world.ask("b").await, Look::Known(_)));
    assert!(matches!(stranger.await, Look::Unknown));
    assert_eq!(script.count(KEYS), 3);
}

#[tokio::test(start_paused = true)]
async fn a_key_that_is_not_there_is_remembered_until_the_keys_change_and_looked_for_again_now_and_then() {
    let script = Script::default();
    let world = fetched(&script, &["a"]).await;
    for _ in 0..100 {
        assert!(matches!(world.ask("b").await, Look::Unknown));
    }
    assert_eq!(script.count(KEYS), 2);
    // Its issuer signed with it before it was published.
    script.says(KEYS, Reply::body(jwks(&["a", "b"])));
    assert!(matches!(world.ask("b").await, Look::Unknown));
    after(5 * SECOND).await;
    assert!(matches!(world.ask("b").await, Look::Known(_)));
    assert_eq!(script.count(KEYS), 3);
    // What was refused before the keys changed is looked for at once.
    let world = fetched(&script, &["a"]).await;
    assert!(matches!(world.ask("c").await, Look::Unknown));
    script.says(KEYS, Reply::body(jwks(&["a", "b"])));
    assert!(matches!(world.ask("d").await, Look::Unknown));
    script.says(KEYS, Reply::body(jwks(&["a", "b", "c"])));
    assert!(matches!(world.ask("c").await, Look::Known(_)));
}

#[tokio::test(start_paused = true)]
async fn a_key_that_strangers_had_looked_for_before_its_time_is_not_refused_when_nobody_may_look_again() {
    let script = Script::default();
    let world = fetched(&script, &["a"]).await;
    assert!(matches!(world.ask("next").await, Look::Unknown));
    for number in 0..2 {
        assert!(matches!(world.ask(&format!("random-{number}")).await, Look::Unknown));
    }
    script.says(KEYS, Reply::body(jwks(&["a", "next"])));
    after(6 * SECOND).await;
    let look = world.ask("next").await;
    assert!(matches!(look, Look::Away { retry_after } if retry_after <= 24 * SECOND), "{look:?}");
    after(24 * SECOND).await;
    assert!(matches!(world.ask("next").await, Look::Known(_)));
}
