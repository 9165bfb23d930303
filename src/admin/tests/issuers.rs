//! What admin shows of issuers, and how tokens are revoked.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::mpsc;

use super::*;
use crate::config::Secret;
use crate::config::identity::{Encoding, Introspection, Issuer, Keys};
use crate::issuers::tests::issuer;
use crate::own_file::tests::Place;
use crate::pages::issuers::{Key, Revocations};
use crate::plane::Wake;
use crate::snapshot::{self, Writer};
use crate::token::revoked::Which;

/// Admin's sources, with an issuer that has a secret and was followed.
async fn with_an_issuer() -> Sources {
    keeping(None).await
}

/// Makes snapshots of what these sources know, as requests use them.
fn write_snapshots(sources: &Sources) {
    let config = watch::channel(sources.current.load().config.clone()).1;
    let inputs = (config, watch::channel(Arc::default()).1, sources.issuers.keys.clone());
    let keep = Supervisor::default();
    let writer = Writer::new(sources.current.clone(), inputs, Wake::new(2), mpsc::channel(1).1, keep.clone());
    keep.spawn(snapshot::WRITER, writer, |writer| Box::pin(writer.run()));
}

/// The same, where revocations are kept in a file.
async fn keeping(file: Option<PathBuf>) -> Sources {
    let keys = Keys::Secret(Secret::Text("a secret of at least 32 characters".into()), Encoding::Text);
    let corp = Issuer { keys, ..issuer("corp", "https://corp.example") };
    let mut config = parse(Some(CONFIG), "test", Overrides::default(), &Environment::of(&[])).expect("it is valid");
    config.admin.revocations = file;
    let (sources, _) = sources(Config { issuers: vec![Arc::new(corp)], ..config });
    let mut status = sources.issuers.status.clone();
    status.wait_for(|all| all.values().any(|one| one.next.is_some())).await.expect("it is followed");
    sources
}

#[tokio::test]
async fn the_page_of_issuers_shows_keys_counts_and_revocations_but_no_secret() {
    let sources = with_an_issuer().await;
    let counted = sources.issuers.counts.of(&"corp".into());
    (0..3).for_each(|worker| counted.accept(WorkerId(worker % 2)));
    counted.refuse("expired");
    sources.issuers.counts.of_nobody().refuse("not_a_jwt");
    let page = super::super::issuers::page(&sources, None);
    let [corp] = page.issuers.as_slice() else { panic!("{page:?}") };
    assert_eq!((&*corp.name, corp.accepted, corp.refused.get("expired")), ("corp", 3, Some(&1)));
    assert_eq!((page.refused.get("not_a_jwt"), page.revocations), (Some(&1), 0));
    let set = &corp.key_sets[0];
    assert_eq!((&*set.issuer, &*set.source, set.failures), ("https://corp.example", "a secret", 0));
    assert!(set.age_ms.is_some() && set.next_refresh_ms.is_some() && set.error.is_none());
    let [Key { kid: None, kty, alg, usage: None }] = set.keys.as_slice() else { panic!("{set:?}") };
    assert_eq!((&**kty, alg.as_slice()), ("secret", ["HS256".to_owned()].as_slice()));
    assert!(!format!("{page:?}").contains("32 characters"));
    assert!(super::super::issuers::page(&sources, Some("other")).issuers.is_empty());
}

#[tokio::test]
async fn issuers_are_counted_for_prometheus_by_name_and_reason() {
    let sources = with_an_issuer().await;
    let counted = sources.issuers.counts.of(&"corp".into());
    counted.accept(WorkerId(0));
    counted.refuse("expired");
    sources.issuers.counts.of_nobody().refuse("unknown_issuer");
    let metrics = String::from_utf8_lossy(metrics::page(&sources).body()).into_owned();
    for line in [
        "lictor_tokens_accepted_total{issuer=\"corp\"} 1",
        "lictor_tokens_refused_total{issuer=\"corp\",reason=\"expired\"} 1",
        "lictor_tokens_refused_total{issuer=\"\",reason=\"unknown_issuer\"} 1",
        "lictor_issuer_up{issuer=\"corp\"} 1",
        "lictor_issuer_keys{issuer=\"corp\"} 1",
        "lictor_issuer_fetches_total{issuer=\"corp\"} 0",
        "lictor_revocations 0",
    ] {
        assert!(metrics.contains(&format!("\n{line}\n")), "{line}: {metrics}");
    }
}

#[tokio::test]
async fn an_issuer_that_refuses_questions_about_tokens_is_told_from_one_that_says_that_they_do_not_hold() {
    let secret = || Secret::Text("a secret of at least 32 characters".into());
    let (url, client) = ("https://corp.example/introspect".to_owned(), "lictor".to_owned());
    let opaque = Some(Introspection { url, client, secret: secret(), remember: Duration::from_secs(30) });
    let corp =
        Issuer { opaque, keys: Keys::Secret(secret(), Encoding::Text), ..issuer("corp", "https://corp.example") };
    let config = parse(Some(CONFIG), "test", Overrides::default(), &Environment::of(&[])).expect("it is valid");
    let (sources, _) = sources(Config { issuers: vec![Arc::new(corp)], ..config });
    let mut asked = sources.issuers.introspection.clone();
    let figures = asked.wait_for(|all| !all.is_empty()).await.expect("it is followed")["corp"].clone();
    figures.refused.store(9, Ordering::Relaxed);
    figures.declined.store(7, Ordering::Relaxed);
    *figures.declined_why.lock() = Some("it answers 403 Forbidden".into());
    let page = super::super::issuers::page(&sources, None);
    let asked = page.issuers[0].introspection.as_ref().expect("it is asked");
    let why = asked.declined_why.as_deref();
    assert_eq!((asked.refused, asked.declined, why), (9, 7, Some("it answers 403 Forbidden")));
    let metrics = String::from_utf8_lossy(metrics::page(&sources).body()).into_owned();
    assert!(metrics.contains("\nlictor_introspections_declined_total{issuer=\"corp\"} 7\n"), "{metrics}");
}

#[tokio::test]
async fn an_operator_revokes_tokens_of_an_issuer_that_there_is_and_sees_what_he_revoked() {
    let (sources, (handoff, mut errands)) = (with_an_issuer().await, Handoff::new());
    write_snapshots(&sources);
    let asked = async {
        let revoke = async |query: &str| ask(&handoff, "POST", &format!("/admin/tokens/revoke?{query}")).await;
        for (query, count) in [("issuer=corp&jti=a%20b", 1), ("issuer=corp&sub=eve&seconds=60", 2), ("issuer=corp", 3)]
        {
            let (status, page) = revoke(query).await;
            assert_eq!((status, page.contains(&format!("\"count\":{count}"))), (200, true), "{page}");
            assert!(page.contains("\"survives_restart\":false"), "{page}");
        }
        for mistake in [
            "",
            "issuer=other&jti=a",
            "jti=a",
            "issuer=corp&jti=",
            "issuer=corp&jit=a",
            "issuer=corp&jti=a&sub=b",
            "issuer=corp&seconds=0",
            "issuer=corp&seconds=31536001",
            "issuer=corp&seconds=soon",
            &format!("issuer=corp&jti={}", "a".repeat(513)),
            &format!("issuer=corp&sub={}", "%C3%A9".repeat(257)),
        ] {
            assert_eq!(revoke(mistake).await.0, 400, "{mistake}");
        }
        assert_eq!(ask(&handoff, "GET", "/admin/tokens/revoke?issuer=corp").await.0, 405);
        assert_eq!(ask(&handoff, "GET", "/admin/tokens/revoked").await.0, 200);
    };
    tokio::select! {
        () = serve(&sources, &mut errands) => panic!("it ended"),
        () = asked => {}
    }
    let Revocations { count, survives_restart, revocations } = tokens::page(&sources, Some("corp"));
    assert!(!survives_restart, "there is no file");
    let all: Vec<_> = revocations.iter().map(|one| (one.jti.as_deref(), one.sub.as_deref(), &*one.by)).collect();
    assert_eq!((count, all), (3, vec![(Some("a b"), None, "shop"), (None, Some("eve"), "shop"), (None, None, "shop")]));
    assert!(tokens::page(&sources, Some("other")).revocations.is_empty());
    assert_eq!(sources.issuers.keys.borrow().version(), 1, "no remembered token need be verified anew");
}

#[tokio::test]
async fn an_operator_is_told_whether_a_revocation_survives_a_restart_and_that_nothing_is_revoked_without_its_file() {
    let place = Place::new();
    let file = place.0.join("revocations.json");
    let (sources, (handoff, mut errands)) = (keeping(Some(file.clone())).await, Handoff::new());
    write_snapshots(&sources);
    let asked = async {
        let revoke = async || ask(&handoff, "POST", "/admin/tokens/revoke?issuer=corp&jti=a").await;
        std::fs::create_dir(&file).expect("it is ours");
        let (status, page) = revoke().await;
        assert_eq!((status, page.contains("nothingisrevoked")), (503, true), "{page}");
        assert!(page.contains("revocations.jsoncannotbeused:"), "{page}");
        assert_eq!(tokens::page(&sources, None).count, 0);
        std::fs::remove_dir(&file).expect("it is ours");
        let (status, page) = revoke().await;
        assert_eq!((status, page.contains("\"survives_restart\":true")), (200, true), "{page}");
    };
    tokio::select! {
        () = serve(&sources, &mut errands) => panic!("it ended"),
        () = asked => {}
    }
    let page = tokens::page(&sources, None);
    assert_eq!((page.count, page.survives_restart, file.exists()), (1, true, true));
}

#[tokio::test(start_paused = true)]
async fn no_operator_hears_that_tokens_are_revoked_before_requests_are_held_to_it() {
    let (sources, (handoff, mut errands)) = (with_an_issuer().await, Handoff::new());
    let revoke = async |jti: &str| ask(&handoff, "POST", &format!("/admin/tokens/revoke?issuer=corp&jti={jti}")).await;
    let holds = |jti: &str| {
        let snapshot = sources.current.load();
        snapshot.keys.revoked().of("corp", &Which::Jti(jti.into())).is_some()
    };
    let asked = async {
        // Nobody makes snapshots.
        let (status, page) = revoke("a").await;
        assert_eq!((status, page.contains("doesnotholdyet"), holds("a")), (503, true, false), "{page}");
        write_snapshots(&sources);
        for jti in ["a", "b"] {
            assert_eq!((revoke(jti).await.0, holds(jti)), (200, true), "{jti}");
        }
    };
    tokio::select! {
        () = serve(&sources, &mut errands) => panic!("it ended"),
        () = asked => {}
    }
}

#[tokio::test]
async fn a_gateway_that_is_ending_revokes_nothing_because_its_successor_would_not_know_of_it() {
    let (sources, (handoff, mut errands)) = (with_an_issuer().await, Handoff::new());
    sources.pulse.draining.store(true, Ordering::Relaxed);
    let asked = async {
        let (status, page) = ask(&handoff, "POST", "/admin/tokens/revoke?issuer=corp&jti=a").await;
        assert_eq!((status, page.contains("revokeatitssuccessor")), (503, true), "{page}");
    };
    tokio::select! {
        () = serve(&sources, &mut errands) => panic!("it ended"),
        () = asked => {}
    }
    assert_eq!(tokens::page(&sources, None).count, 0);
}
