//! Instances that have vanished in a way that is not believed yet, and what discovery is told of them and of requests.

use std::time::SystemTime;

use super::*;
use crate::catalog::notice::Notice;
use crate::catalog::{Endpoint, Health, Suspect};

/// These endpoints are suspect, the others are not.
fn suspect(which: &'static [usize]) -> impl FnOnce(&mut Vec<Endpoint>) {
    move |endpoints| {
        let now = SystemTime::now();
        let why = Suspect { reason: "a crowd".into(), since: now, until: now + Duration::from_secs(600) };
        for (index, endpoint) in endpoints.iter_mut().enumerate() {
            endpoint.suspect = which.contains(&index).then(|| why.clone().into());
        }
    }
}

/// Which instances were told to be gone, by their ports.
fn refused(heard: &[Notice]) -> Vec<u16> {
    let port = |notice: &Notice| match notice {
        Notice::Refused(key) => Some(key.address.port()),
        _ => None,
    };
    heard.iter().filter_map(port).collect()
}

#[test]
fn a_suspect_is_asked_only_where_its_service_has_no_confirmed_instance() {
    paused(async {
        let rig = Rig::new(&[OK, OK, OK], "");
        rig.rewrite(suspect(&[0, 1])).await;
        for _ in 0..9 {
            assert_eq!(rig.get().await, 200);
        }
        assert_eq!([0, 1, 2].map(|index| rig.peers[index].requests()), [0, 0, 9]);
        // By its provider's word none is left that is confirmed.
        rig.rewrite(|endpoints| endpoints[2].health = Health::Critical).await;
        for _ in 0..6 {
            assert_eq!(rig.get().await, 200);
        }
        assert_eq!([0, 1, 2].map(|index| rig.peers[index].requests()), [3, 3, 9]);
        // One of them is back: it is the same instance, and has its share again.
        let instance = rig.instance(0);
        rig.rewrite(suspect(&[1])).await;
        assert!(std::sync::Arc::ptr_eq(&instance, &rig.instance(0)) && !instance.departed());
        assert_eq!(rig.get().await, 200);
        assert_eq!([0, 1, 2].map(|index| rig.peers[index].requests()), [4, 3, 9]);
        assert!(refused(&rig.heard()).is_empty());
    });
}

#[test]
fn the_first_refused_connect_of_a_suspect_is_told_once_and_its_client_gets_anothers_answer() {
    paused(async {
        let rig = Rig::new(&[Play::Refuse, OK], "[breaker]\nenabled = false\n");
        assert_eq!((rig.get().await, rig.get().await), (200, 200));
        assert!(refused(&rig.heard()).is_empty(), "nobody suspects it");
        rig.rewrite(suspect(&[0, 1])).await;
        for _ in 0..6 {
            assert_eq!(rig.get().await, 200);
        }
        assert_eq!(refused(&rig.heard()), [1]);
        // It is back, and suspect once more: that is another case.
        rig.rewrite(suspect(&[])).await;
        rig.rewrite(suspect(&[0, 1])).await;
        assert_eq!((rig.get().await, rig.get().await), (200, 200));
        assert_eq!(refused(&rig.heard()), [1]);
    });
}

#[test]
fn a_suspect_that_does_not_answer_a_connect_is_not_told_to_be_gone() {
    paused(async {
        for play in [Play::Silent, Play::Shortage, Play::Break("")] {
            let rig = Rig::new(&[play, OK], "");
            rig.rewrite(suspect(&[0, 1])).await;
            for _ in 0..4 {
                rig.get().await;
            }
            assert!(refused(&rig.heard()).is_empty(), "{play:?}");
        }
    });
}

#[test]
fn the_first_request_for_a_service_is_told_although_it_has_no_instance_and_an_unknown_service_is_not() {
    paused(async {
        let rig = Rig::new(&[], "");
        assert_eq!((rig.get().await, rig.get().await), (503, 503));
        let heard = rig.heard();
        assert!(matches!(&heard[..], [Notice::Asked(name)] if name.as_str() == "orders"), "{heard:?}");
        rig.begin_period();
        assert_eq!((rig.get().await, rig.get().await), (503, 503));
        assert_eq!(rig.heard().len(), 1);
        assert_eq!(rig.page_at("/api/unknown/1").await.0, 404);
        assert!(rig.heard().is_empty());
    });
}

#[test]
fn a_fill_of_the_cache_is_told_and_a_hit_is_not() {
    paused(async {
        let rig = Rig::new(&[OK], "[api]\ncache = { ttl = \"30s\" }\n");
        for told in [1, 0] {
            assert_eq!(rig.get().await, 200);
            assert_eq!(rig.heard().len(), told);
        }
        rig.begin_period();
        assert_eq!((rig.get().await, rig.heard().len(), rig.peers[0].requests()), (200, 0, 1));
        advance(Duration::from_secs(60)).await;
        assert_eq!((rig.get().await, rig.heard().len(), rig.peers[0].requests()), (200, 1, 2));
    });
}

#[test]
fn while_there_are_suspects_the_gateway_is_ready_and_degraded_and_says_how_many() {
    paused(async {
        let rig = Rig::new(&[OK, OK, OK], "");
        assert!(rig.page_at("/ready").await.1.contains("\"status\":\"ready\""));
        for (which, words) in
            [(&[0][..], "file: 1 instance has vanished"), (&[0, 2], "file: 2 instances have vanished")]
        {
            rig.rewrite(suspect(which)).await;
            let (status, page) = rig.page_at("/ready").await;
            assert!(status == 200 && page.contains("\"degraded\"") && page.contains(words), "{page}");
        }
        rig.rewrite(suspect(&[])).await;
        assert!(rig.page_at("/ready").await.1.contains("\"status\":\"ready\""));
    });
}

#[test]
fn a_stream_goes_on_for_as_long_as_its_instance_is_suspect_and_ends_five_minutes_after_it_is_given_up() {
    paused(async {
        let stream = Play::Tick("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n");
        let rig = Rig::new(&[stream, OK], "");
        let mut body = rig.begin("GET", Body::Empty).await.into_body();
        assert!(body.frame().await.is_some_and(|frame| frame.is_ok()));
        // The other is confirmed: no new request goes to this one.
        rig.rewrite(suspect(&[0])).await;
        assert_eq!((rig.get().await, rig.peers[0].requests()), (200, 1));
        for minute in 0..10 {
            assert!(body.frame().await.is_some_and(|frame| frame.is_ok()), "{minute}");
        }
        rig.rewrite(|endpoints| drop(endpoints.remove(0))).await;
        let began = Instant::now();
        let why = loop {
            if let Err(why) = body.frame().await.expect("it does not just end") {
                break why;
            }
        };
        assert!(matches!(why, Error::Departed) && (300..=360).contains(&began.elapsed().as_secs()), "{why}");
    });
}
