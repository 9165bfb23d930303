//! Who gets a watch, who is read, and when.

use std::time::Duration;

use super::super::agent::Budget;
use super::*;

/// Three watches, one read at a time.
fn budget() -> Budget {
    Budget { watches: 5, watches_beside_signals: 3, spare: 1, signals: true }
}

fn name(text: &str) -> ServiceName {
    ServiceName::new(text).expect("a name")
}

fn names(count: usize) -> Vec<ServiceName> {
    (0..count).map(|number| name(&format!("s{number:02}"))).collect()
}

/// Reads whatever is due, and says what that was.
fn read(roster: &Roster) -> Vec<String> {
    let mut read = Vec::new();
    while let Some((name, cursor, _)) = roster.next() {
        let trace = Trace { node: 1, id: 2, modified: 3 };
        roster.answered(&name, cursor, (Box::new([trace]), false), budget());
        read.push(name.to_string());
    }
    read
}

/// Gives a watch to those that are to get one, and says who they are.
async fn promote(roster: &Roster) -> Vec<String> {
    let mut promoted = Vec::new();
    for (name, ..) in roster.promotions() {
        roster.watched(&name, tokio::spawn(std::future::pending::<()>()).abort_handle());
        promoted.push(name.to_string());
    }
    promoted
}

#[tokio::test(start_paused = true)]
async fn while_all_services_fit_each_gets_a_watch_as_soon_as_it_was_read() {
    let roster = Roster::default();
    roster.list(&names(5), budget());
    assert_eq!((roster.promotions().len(), roster.is_filled()), (0, false));
    assert_eq!(read(&roster).len(), 5);
    assert_eq!(promote(&roster).await.len(), 5);
    assert_eq!(roster.count(), Count { watched: 5, swept: 0, beyond: false });
    // What has a watch need not be read.
    roster.enqueue(&names(5));
    roster.enqueue_all();
    assert!(roster.next().is_none());
}

#[tokio::test(start_paused = true)]
async fn where_there_are_more_they_are_watched_once_all_were_read_and_those_first_that_were_used() {
    let roster = Roster::default();
    roster.list(&names(9), budget());
    roster.touch(&name("s07"), budget());
    assert_eq!(read(&roster).len(), 9);
    let promoted = promote(&roster).await;
    assert!(promoted.len() == 3 && promoted[0] == "s07", "{promoted:?}");
    assert_eq!(roster.count(), Count { watched: 3, swept: 6, beyond: true });
    // With more services than before, the watches that signals need end.
    let fewer = Roster::default();
    fewer.list(&names(5), budget());
    read(&fewer);
    promote(&fewer).await;
    fewer.list(&names(6), budget());
    read(&fewer);
    assert_eq!(fewer.count(), Count { watched: 3, swept: 3, beyond: true });
}

#[tokio::test(start_paused = true)]
async fn a_service_that_is_used_takes_the_watch_of_one_that_is_not_which_is_read_once_more() {
    let roster = Roster::default();
    roster.list(&names(9), budget());
    read(&roster);
    let before = promote(&roster).await;
    roster.touch(&name("s08"), budget());
    assert_eq!(promote(&roster).await, ["s08"]);
    let read = read(&roster);
    assert!(read.len() == 1 && before.contains(&read[0]), "{read:?}");
    // Those that were used keep theirs for a while: a fourth one is read instead.
    for other in ["s05", "s06"] {
        roster.touch(&name(other), budget());
    }
    assert_eq!(promote(&roster).await.len(), 2);
    self::read(&roster);
    roster.touch(&name("s07"), budget());
    assert!(promote(&roster).await.is_empty());
    assert_eq!(self::read(&roster), ["s07"]);
    tokio::time::advance(Duration::from_secs(61)).await;
    roster.touch(&name("s04"), budget());
    assert_eq!(promote(&roster).await, ["s04"]);
}

#[tokio::test(start_paused = true)]
async fn a_service_that_has_changed_and_gets_no_watch_is_not_read_a_second_time() {
    let roster = Roster::default();
    roster.list(&names(9), budget());
    read(&roster);
    let watched = promote(&roster).await;
    watched.iter().for_each(|watched| roster.touch(&name(watched), budget()));
    roster.changed(&name("s08"), budget());
    assert!(promote(&roster).await.is_empty() && read(&roster).is_empty());
}

#[tokio::test(start_paused = true)]
async fn of_another_list_only_what_is_new_is_read_and_the_watches_of_what_is_gone_end() {
    let roster = Roster::default();
    roster.list(&names(9), budget());
    read(&roster);
    let watched = promote(&roster).await;
    let gone = name(&watched[0]);
    let other: Vec<_> = names(9).into_iter().filter(|name| *name != gone).chain([name("t"), name("u")]).collect();
    roster.list(&other, budget());
    assert!(!roster.has(gone.as_str()));
    assert_eq!(read(&roster), ["t", "u"]);
    // Another service has the watch that is free now.
    assert_eq!(promote(&roster).await.len(), 1);
    assert_eq!(roster.count(), Count { watched: 3, swept: 7, beyond: true });
    roster.list(&[], budget());
    assert_eq!((roster.count(), roster.next().is_none()), (Count { watched: 0, swept: 0, beyond: false }, true));
}

#[tokio::test(start_paused = true)]
async fn what_could_not_be_read_waits_for_its_pause_and_asks_without_an_index() {
    let (roster, none) = (Roster::default(), Budget { watches: 0, watches_beside_signals: 0, ..budget() });
    roster.list(&names(1), none);
    let (first, mut cursor, _) = roster.next().expect("it is due");
    cursor.take(Some(7));
    roster.answered(&first, cursor, (Box::default(), false), none);
    roster.unanswered(&first, true);
    roster.failed(&first, 1, Duration::from_secs(5), none);
    assert!(roster.next().is_none() && roster.next_retry().is_some());
    tokio::time::advance(Duration::from_secs(6)).await;
    let (again, cursor, failures) = roster.next().expect("it is due");
    assert_eq!((again, cursor.index, failures), (first, None, 1));
}

#[tokio::test(start_paused = true)]
async fn a_service_that_fails_by_several_reads_is_tried_again_once() {
    let (roster, none) = (Roster::default(), Budget { watches: 0, watches_beside_signals: 0, ..budget() });
    roster.list(&names(1), none);
    let (first, cursor, _) = roster.next().expect("it is due");
    for seconds in [1, 5] {
        roster.failed(&first, 1, Duration::from_secs(seconds), none);
    }
    tokio::time::advance(Duration::from_secs(2)).await;
    assert!(roster.next().is_none());
    tokio::time::advance(Duration::from_secs(4)).await;
    assert!(roster.next().is_some());
    roster.failed(&first, 2, Duration::from_secs(5), none);
    roster.answered(&first, cursor, (Box::default(), false), none);
    assert!(roster.next_retry().is_none());
}

#[tokio::test(start_paused = true)]
async fn only_services_whose_entries_differ_from_the_catalogs_are_to_be_read() {
    let roster = Roster::default();
    roster.list(&names(9), budget());
    read(&roster);
    let trace = |modified| Trace { node: 1, id: 2, modified };
    let mut found: HashMap<String, HashSet<Trace>> =
        (0..9).map(|number| (format!("s{number:02}"), HashSet::from([trace(3)]))).collect();
    found.insert("s01".into(), HashSet::from([trace(4)]));
    found.insert("s02".into(), HashSet::from([trace(3), Trace { node: 9, ..trace(3) }]));
    found.remove("s03");
    let differing: Vec<_> = roster.differing(&found).iter().map(ToString::to_string).collect();
    assert_eq!(differing, ["s01", "s02", "s03"]);
    assert_eq!(roster.on_nodes(&HashSet::from([1])).len(), 9);
    assert!(roster.on_nodes(&HashSet::from([9])).is_empty());
}
