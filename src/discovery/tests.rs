//! What discovery promises over all providers.

use super::*;
use crate::catalog::ServiceName;
use crate::config::{Config, StaticInstance, StaticService};
use crate::supervisor::Running;

struct Other(&'static str);

impl Provider for Other {
    fn name(&self) -> &'static str {
        self.0
    }

    fn source(&self) -> String {
        "elsewhere".into()
    }

    fn run<'a>(&'a mut self, outlet: &'a Outlet) -> Running<'a> {
        Box::pin(async move {
            let (_newest, config) = listing(&["web", "more"]);
            file::File::new(config).run(outlet).await;
        })
    }
}

/// Reports what it is told; told of nothing, it panics. When it is begun again it knows little, and then all.
struct Panics(watch::Receiver<Vec<&'static str>>);

impl Provider for Panics {
    fn name(&self) -> &'static str {
        "panics"
    }

    fn source(&self) -> String {
        "a test".into()
    }

    fn run<'a>(&'a mut self, outlet: &'a Outlet) -> Running<'a> {
        Box::pin(async move {
            outlet.publish(Catalog::default(), outlet.status());
            tokio::task::yield_now().await;
            loop {
                let names = self.0.borrow_and_update().clone();
                assert!(!names.is_empty(), "on command");
                let services = services(&names).iter().map(|s| (s.name.clone(), Arc::new(file::service(s)))).collect();
                outlet.publish(Catalog { services, complete: true, ..Catalog::default() }, outlet.status());
                if self.0.changed().await.is_err() {
                    return;
                }
            }
        })
    }
}

fn discover(providers: Vec<Box<dyn Provider>>) -> Discovery {
    spawn(providers, &Supervisor::default())
}

fn listing(names: &[&str]) -> (watch::Sender<Arc<Config>>, watch::Receiver<Arc<Config>>) {
    watch::channel(Arc::new(Config { services: services(names), ..crate::config::for_tests() }))
}

fn services(names: &[&str]) -> Vec<StaticService> {
    let instances = vec![
        StaticInstance { address: "10.0.0.1:80".parse().unwrap(), weight: 2 },
        StaticInstance { address: "10.0.0.1:80".parse().unwrap(), weight: 3 },
    ];
    let service = |name: &&str| StaticService { name: ServiceName::new(name).unwrap(), instances: instances.clone() };
    names.iter().map(service).collect()
}

#[tokio::test]
async fn the_file_beats_other_providers_and_the_loser_is_shown() {
    let (_newest, config) = listing(&["web"]);
    let mut discovery = discover(vec![Box::new(file::File::new(config)), Box::new(Other("other"))]);
    assert!(!discovery.catalog.borrow().complete);
    let catalog = discovery.catalog.wait_for(|catalog| catalog.complete).await.unwrap().clone();
    assert_eq!(catalog.services.len(), 2);
    assert_eq!(catalog.services["web"].endpoints.len(), 1);
    assert_eq!(catalog.services["web"].endpoints[0].weight, 3);
    assert_eq!(catalog.hidden[0].name, "web");
    assert!(catalog.hidden[0].reason.contains("beats other's"));
    assert_eq!(discovery.status.borrow().providers[0].state, "watching");
}

#[test]
fn a_report_wakes_nobody_when_it_is_equal_or_hidden_and_equal_services_stay_the_same() {
    let named = [("first", String::new()), ("second", String::new())];
    let (outlets, mut seen, _status) = outlet::outlets(named.into_iter());
    let report = |which: usize, names: &[&str], weight: u32| {
        let service = |name: &&str| {
            let mut service = file::service(&services(&[*name])[0]);
            service.endpoints[0].weight = weight;
            (service.name.clone(), Arc::new(service))
        };
        let services = names.iter().map(service).collect();
        outlets[which].publish(Catalog { services, complete: true, ..Catalog::default() }, outlets[which].status())
    };
    let first = report(0, &["web"], 1).expect("it was taken");
    let kept = report(1, &["web", "more"], 1).expect("it was taken");
    assert!(seen.has_changed().unwrap());
    let catalog = seen.borrow_and_update().clone();
    assert!(Arc::ptr_eq(&catalog.services["web"], &first["web"]));
    let again = report(1, &["web", "more"], 1).expect("it was taken");
    assert!(!seen.has_changed().unwrap() && Arc::ptr_eq(&kept["more"], &again["more"]));
    // `web` of the second is hidden behind that of the first.
    let other = report(1, &["more", "web"], 7);
    let catalog = seen.borrow_and_update().clone();
    assert_eq!((catalog.services["web"].endpoints[0].weight, catalog.services["more"].endpoints[0].weight), (1, 7));
    assert!(other.is_some() && !seen.has_changed().unwrap());
    report(1, &["more"], 7);
    assert!(seen.has_changed().unwrap() && seen.borrow_and_update().hidden.is_empty());
}

#[tokio::test]
async fn without_any_provider_the_empty_catalog_is_complete() {
    assert!(discover(Vec::new()).catalog.borrow().complete);
}

#[tokio::test]
async fn services_of_a_configuration_read_again_replace_those_before() {
    let (newest, config) = listing(&["web", "old"]);
    let mut discovery = discover(vec![Box::new(file::File::new(config))]);
    discovery.catalog.wait_for(|catalog| catalog.services.contains_key("old")).await.unwrap();
    newest.send_replace(Arc::new(Config { services: services(&["web", "new"]), ..crate::config::for_tests() }));
    let catalog = discovery.catalog.wait_for(|catalog| catalog.services.contains_key("new")).await.unwrap();
    assert_eq!(catalog.services.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_panics_is_begun_again_and_until_it_knows_all_what_it_reported_before_holds() {
    let (told, tells) = watch::channel(vec!["web", "old"]);
    let supervisor = Supervisor::default();
    let mut discovery = spawn(vec![Box::new(Panics(tells))], &supervisor);
    discovery.catalog.wait_for(|catalog| catalog.services.contains_key("old")).await.unwrap();
    told.send_replace(Vec::new());
    // Paused time: it panics, is begun again and panics, again and again.
    tokio::time::sleep(std::time::Duration::from_secs(60)).await;
    assert!(supervisor.tasks()[0].failures > 5 && !supervisor.tasks()[0].well);
    assert!(supervisor.faults()[0].starts_with("panics: "), "{:?}", supervisor.faults());
    let catalog = discovery.catalog.borrow_and_update().clone();
    assert!(catalog.complete && catalog.services.len() == 2, "{catalog:?}");
    told.send_replace(vec!["web", "new"]);
    let catalog = discovery.catalog.wait_for(|catalog| catalog.services.contains_key("new")).await.unwrap().clone();
    assert!(catalog.complete && !catalog.services.contains_key("old"));
    // Paused time: it is well for a while.
    tokio::time::sleep(std::time::Duration::from_secs(30)).await;
    assert!(supervisor.faults().is_empty() && supervisor.tasks()[0].well);
}
