//! What operators revoke holds until its end, also over restarts where there is a file for it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::SystemTime;

use serde_json::{Value, json};

use super::script::{Reply, Script};
use super::*;
use crate::issuers::revocations::load;
use crate::own_file::tests::Place;
use crate::token::asking::{Effect, Unrevoked};
use crate::token::revoked::{Revocation, Which};

const HOUR: Duration = Duration::from_secs(3600);

fn revocation(which: Which) -> Revocation {
    let at = SystemTime::now();
    Revocation { issuer: "corp".into(), which, at, until: at + HOUR, by: "ops".into() }
}

fn jti(name: &str) -> Revocation {
    revocation(Which::Jti(name.into()))
}

/// A configuration that keeps revocations in a place.
fn keeping(place: &Place) -> Config {
    let mut config = (*config(Vec::new())).clone();
    config.admin.revocations = Some(place.0.join("revocations.json"));
    config
}

/// A gateway's start.
fn started(config: &Config) -> Issuers {
    let (_, seen) = watch::channel(Arc::new(config.clone()));
    let revoked = load(config, SystemTime::now()).expect("it can be read");
    start_by(Http::scripted(Script::default()), &seen, revoked, &Supervisor::default())
}

/// What holds there, in words.
fn held(issuers: &Issuers) -> Vec<String> {
    let keys = issuers.keys.borrow().clone();
    keys.revoked().iter().map(|one| format!("{} {:?} {}", one.issuer, one.which, one.by)).collect()
}

#[tokio::test(start_paused = true)]
async fn revocations_are_published_with_the_keys_and_forgotten_when_they_have_ended() {
    let script = Script::default();
    script.says(KEYS, Reply::body(jwks(&["a"])));
    let world = World::scripted(&script, vec![with_url("corp", KEYS)]);
    world.until_known("corp", "a").await;
    let version = world.issuers.keys.borrow().version();
    let all = revocation(Which::All);
    let effect = Effect { until: all.until, count: 1, survives_restart: false };
    assert_eq!(world.issuers.asker.revoke(all).await, Some(Ok(effect)));
    let keys = world.issuers.keys.borrow().clone();
    assert_eq!((keys.revoked().len(), keys.version()), (1, version), "what is remembered need not be verified anew");
    assert!(keys.at("corp").is_some());
    let ended = Revocation { until: SystemTime::now(), ..jti("j") };
    assert_eq!(world.issuers.asker.revoke(ended).await.map(|done| done.map(|effect| effect.count)), Some(Ok(2)));
    // They end by the clock of the day: this one has ended, and is gone with the next turn.
    let mut keys = world.issuers.keys.clone();
    keys.wait_for(|keys| keys.revoked().len() == 1).await.expect("it is followed");
}

#[tokio::test]
async fn what_is_revoked_is_in_the_file_before_the_operator_hears_of_it_and_holds_after_a_restart() {
    let place = Place::new();
    let config = keeping(&place);
    let before = started(&config);
    let odd = "a\"\\\n\u{1F600}";
    let all = [jti(odd), revocation(Which::Sub("eve".into())), revocation(Which::All)];
    for (number, one) in all.iter().enumerate() {
        let effect = Effect { until: one.until, count: number + 1, survives_restart: true };
        assert_eq!(before.asker.revoke(one.clone()).await, Some(Ok(effect)));
        assert_eq!(load(&config, SystemTime::now()).expect("it can be read").len(), number + 1);
    }
    let file = place.0.join("revocations.json");
    assert_eq!(fs::metadata(&file).expect("a file").permissions().mode() & 0o7777, 0o600);
    assert_eq!(place.files(), ["revocations.json"]);
    let longer = before.asker.revoke(Revocation { until: all[0].until - HOUR / 2, ..jti(odd) }).await;
    assert_eq!(longer.map(|done| done.map(|effect| effect.until)), Some(Ok(all[0].until)), "the later end holds");
    before.stop();
    let after = started(&config);
    assert_eq!((held(&after), held(&after).len()), (held(&before), 3));
    // The configuration has no issuer at all: they stay all the same, also over the next write.
    assert!(matches!(after.asker.revoke(jti("b")).await, Some(Ok(Effect { count: 4, .. }))));
    assert_eq!(held(&started(&config)).len(), 4);
    assert!(load(&config, SystemTime::now() + 2 * HOUR).expect("it can be read").is_empty(), "all have ended");
}

#[tokio::test]
async fn of_two_gateways_that_run_side_by_side_at_a_restart_neither_erases_what_the_other_one_revoked() {
    let place = Place::new();
    let config = keeping(&place);
    let (old, new) = (started(&config), started(&config));
    let revoke = async |at: &Issuers, what: Revocation| {
        let done = at.asker.revoke(what).await.expect("an answer").expect("it is revoked");
        (done.count, load(&config, SystemTime::now()).expect("it can be read").len())
    };
    assert_eq!(revoke(&old, jti("a")).await, (1, 1));
    assert_eq!(revoke(&new, jti("b")).await, (2, 2), "what is written here holds here");
    assert_eq!(revoke(&old, revocation(Which::All)).await, (3, 3));
    let longer = Revocation { until: SystemTime::now() + 2 * HOUR, ..jti("a") };
    assert_eq!(revoke(&old, longer.clone()).await, (3, 3));
    assert_eq!(revoke(&new, jti("b")).await, (3, 3));
    assert_eq!(held(&new), held(&old));
    let keys = new.keys.borrow().clone();
    assert!(keys.revoked().of("corp", &longer.which).is_some_and(|one| one.until >= longer.until));
}

#[tokio::test]
async fn no_token_is_let_in_again_because_its_revocations_time_was_rounded() {
    let place = Place::new();
    let config = keeping(&place);
    let one = revocation(Which::All);
    started(&config).asker.revoke(one.clone()).await.expect("an answer").expect("it is revoked");
    let table = load(&config, SystemTime::now()).expect("it can be read");
    let read = table.iter().next().expect("one");
    assert!(read.at >= one.at && read.at < one.at + Duration::from_millis(1), "{read:?}");
    assert!(read.until >= one.until && read.until < one.until + Duration::from_millis(1), "{read:?}");
}

#[tokio::test]
async fn where_the_file_cannot_be_read_or_written_nothing_is_revoked_and_the_operator_hears_why() {
    let place = Place::new();
    let config = keeping(&place);
    let issuers = started(&config);
    issuers.asker.revoke(jti("a")).await.expect("an answer").expect("it is revoked");
    let file = place.0.join("revocations.json");
    let good = fs::read(&file).expect("a file");
    // Not even root can put a file in a directory's place.
    fs::remove_file(&file).expect("it is ours");
    fs::create_dir(&file).expect("it is ours");
    let asked = ["b", "c"].map(|name| issuers.asker.revoke(jti(name)));
    for answer in asked {
        let Some(Err(Unrevoked::Unwritten(why))) = answer.await else { panic!("it was revoked") };
        assert!(why.contains("revocations.json cannot be used: it is not a regular file"), "{why}");
    }
    assert_eq!(held(&issuers).len(), 1);
    fs::remove_dir(&file).expect("it is ours");
    fs::write(&file, good).expect("it is ours");
    // Where the next content is written first, something lies that is no file.
    let beside = place.0.join(format!(".revocations.json.new-{}", std::process::id()));
    fs::create_dir(&beside).expect("it is ours");
    let Some(Err(Unrevoked::Unwritten(why))) = issuers.asker.revoke(jti("d")).await else { panic!("it was revoked") };
    assert!(why.contains("revocations.json cannot be written"), "{why}");
    fs::remove_dir(&beside).expect("it is ours");
    assert!(matches!(issuers.asker.revoke(jti("b")).await, Some(Ok(Effect { count: 2, .. }))));
    assert_eq!((load(&config, SystemTime::now()).map(|table| table.len()), place.files().len()), (Ok(2), 1));
}

#[test]
fn a_file_that_is_not_there_is_begun_at_the_start_so_that_no_later_start_misses_it_in_silence() {
    let place = Place::new();
    let config = keeping(&place);
    for start in ["the first", "another"] {
        assert_eq!(load(&config, SystemTime::now()).map(|table| table.len()), Ok(0), "{start}");
        assert_eq!(place.files(), ["revocations.json"], "{start}");
    }
    let file = place.0.join("revocations.json");
    assert_eq!(fs::read_to_string(&file).expect("a file"), r#"{"format":1,"revocations":[]}"#);
    assert_eq!(fs::metadata(&file).expect("a file").permissions().mode() & 0o7777, 0o600);
}

#[test]
fn a_file_that_cannot_be_understood_keeps_the_gateway_from_starting() {
    let place = Place::new();
    let config = keeping(&place);
    let now = SystemTime::now();
    let file = place.0.join("revocations.json");
    let good = json!({ "issuer": "corp", "tokens": { "jti": "a" }, "at_ms": 1, "until_ms": 253_402_300_799_999_u64, "by": "ops" });
    let whole = |rows: Vec<Value>| json!({ "format": 1, "revocations": rows }).to_string();
    let with = |key: &str, value: Value| {
        let mut row = good.clone();
        row[key] = value;
        whole(vec![row])
    };
    let read = |text: &str| {
        fs::write(&file, text).expect("a file");
        fs::set_permissions(&file, PermissionsExt::from_mode(0o600)).expect("it is ours");
        load(&config, now).map(|table| table.len())
    };
    assert_eq!(read(&whole(vec![good.clone()])), Ok(1));
    assert_eq!(read(&with("until_ms", 2.into())), Ok(0), "it has ended");
    let later = json!({ "format": 2, "revocations": [] }).to_string();
    let cut = &whole(vec![good.clone()])[..60];
    for bad in [
        "",
        "{}",
        "[]",
        "null",
        cut,
        &later,
        r#"{"format":1}"#,
        &with("tokens", json!({ "jti": null })),
        &with("tokens", json!({ "jti": "a", "sub": "b" })),
        &with("tokens", json!("some")),
        &with("tokens", json!({ "kid": "a" })),
        &with("until_ms", Value::Null),
        &with("until_ms", json!(-1)),
        &with("until_ms", json!(253_402_300_800_000_u64)),
        &with("only_for", json!("/orders")),
    ] {
        let why = read(bad).expect_err(bad);
        let names = why.contains("[admin] revocations") && why.contains("revocations.json cannot be used");
        assert!(names && why.contains("move it away"), "{bad}: {why}");
    }
    fs::set_permissions(&file, PermissionsExt::from_mode(0o666)).expect("it is ours");
    assert!(load(&config, now).expect_err("anybody could have written it").contains("chmod 600"));
    let mut nowhere = config;
    nowhere.admin.revocations = Some(place.0.join("nowhere/revocations.json"));
    assert!(load(&nowhere, now).expect_err("a disk is not mounted").contains("its directory is not there"));
    assert_eq!(place.files(), ["revocations.json"], "no directory is made");
}
