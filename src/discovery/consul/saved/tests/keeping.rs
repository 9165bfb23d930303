//! When the catalog is written, and when it is not.

use std::path::Path;

use super::*;
use crate::catalog::Suspect;

/// A saver, and what is confirmed, which a test may change.
type Source = Arc<Mutex<Option<Confirmed>>>;

fn saver(place: &Place, now: &Source) -> (Saver, impl Fn() -> Option<Confirmed> + use<>) {
    let now = now.clone();
    (Saver::new(&place.catalog(), scope()), move || now.lock().clone())
}

/// Runs a saver on paused time until `done`; then it is dropped. Writes happen on another thread: time stands still meanwhile.
async fn run_until(saver: &Saver, source: impl Fn() -> Option<Confirmed>, done: impl Fn() -> bool) {
    let wait = async {
        while !done() {
            tokio::time::sleep(Duration::from_millis(50)).await; // paused time: the pace of looking
        }
    };
    tokio::select! {
        biased;
        () = saver.run(source, |_| {}) => {}
        () = wait => {}
    }
}

fn saved_at(path: &Path) -> Option<u64> {
    let body = fs::read(path).ok()?;
    serde_json::from_slice::<Value>(&body).unwrap()["saved_at_ms"].as_u64()
}

#[tokio::test(start_paused = true)]
async fn what_is_confirmed_is_written_soon_and_what_changed_last_is_written_at_the_end() {
    let place = Place::new();
    let file = place.catalog().file;
    let source: Source = Arc::default();
    let (saver, confirmed) = saver(&place, &source);
    let polls = AtomicUsize::new(0);
    let counted = || {
        // Nothing is confirmed at first.
        if polls.fetch_add(1, Ordering::Relaxed) == 3 {
            *source.lock() = Some(web());
        }
        confirmed()
    };
    run_until(&saver, counted, || file.exists()).await;
    let load = || load(&place.catalog(), &scope(), &rules_at_start(), SystemTime::now()).unwrap().unwrap();
    assert_eq!(addresses(&load(), "web").len(), 2);
    let changed = super::confirmed([("web", vec![entry("a", "10.0.0.1")])]);
    *source.lock() = Some(changed.clone());
    run_until(&saver, &confirmed, || true).await;
    assert_eq!(load().services, stripped(&changed.services));
}

#[tokio::test(start_paused = true)]
async fn nothing_in_doubt_replaces_what_was_good() {
    let place = Place::new();
    let source: Source = Arc::new(Mutex::new(Some(web())));
    let (saver, confirmed) = saver(&place, &source);
    run_until(&saver, &confirmed, || place.catalog().file.exists()).await;
    let before = saved_at(&place.catalog().file);
    let mut doubtful = web();
    let mut service = (*doubtful.services["web"]).clone();
    let suspect = Suspect { reason: "a crowd".into(), since: now(), until: now() };
    service.endpoints[0].suspect = Some(Arc::new(suspect));
    doubtful.services.insert(service.name.clone(), Arc::new(service));
    for source_now in [Some(doubtful), None] {
        *source.lock() = source_now;
        let begin = tokio::time::Instant::now();
        run_until(&saver, &confirmed, || begin.elapsed() > Duration::from_secs(300)).await;
        assert_eq!(saved_at(&place.catalog().file), before);
    }
}

#[tokio::test(start_paused = true)]
async fn a_place_that_cannot_be_written_is_told_and_the_catalog_is_written_when_it_can() {
    let place = Place::new();
    let hidden = place.0.join("there");
    let catalog = SavedCatalog { file: hidden.join("catalog.json"), ..place.catalog() };
    let saver = Saver::new(&catalog, scope());
    let told = Mutex::new(Vec::new());
    let report = |why: Option<String>| {
        told.lock().push(why);
        let _ = fs::create_dir(&hidden);
    };
    tokio::select! {
        biased;
        () = saver.run(|| Some(web()), report) => {}
        () = async { while told.lock().len() < 2 { tokio::time::sleep(Duration::from_millis(50)).await } } => {} // paused time
    }
    let told = told.into_inner();
    assert!(told[0].as_ref().is_some_and(|why| why.contains("cannot be saved")), "{told:?}");
    assert!(told[1].is_none() && catalog.file.exists(), "{told:?}");
}
