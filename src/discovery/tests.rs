//! What discovery promises over all providers.

use std::future::Future;
use std::pin::Pin;

use super::*;
use crate::catalog::ServiceName;
use crate::config::{Config, StaticInstance, StaticService};

struct Other(&'static str);

impl Provider for Other {
    fn name(&self) -> &'static str {
        self.0
    }

    fn source(&self) -> String {
        "elsewhere".into()
    }

    fn run(self: Box<Self>, outlet: Outlet) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(async move {
            let (_newest, config) = listing(&["web", "more"]);
            Box::new(file::File::new(config)).run(outlet).await;
        })
    }
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
    let mut discovery = spawn(vec![Box::new(file::File::new(config)), Box::new(Other("other"))]);
    assert!(!discovery.catalog.borrow().complete);
    let catalog = discovery.catalog.wait_for(|catalog| catalog.complete).await.unwrap().clone();
    assert_eq!(catalog.services.len(), 2);
    assert_eq!(catalog.services["web"].endpoints.len(), 1);
    assert_eq!(catalog.services["web"].endpoints[0].weight, 3);
    assert_eq!(catalog.hidden[0].name, "web");
    assert!(catalog.hidden[0].reason.contains("beats other's"));
    assert_eq!(discovery.status.borrow().providers[0].state, "watching");
}

#[tokio::test]
async fn without_any_provider_the_empty_catalog_is_complete() {
    assert!(spawn(Vec::new()).catalog.borrow().complete);
}

#[tokio::test]
async fn services_of_a_configuration_read_again_replace_those_before() {
    let (newest, config) = listing(&["web", "old"]);
    let mut discovery = spawn(vec![Box::new(file::File::new(config))]);
    discovery.catalog.wait_for(|catalog| catalog.services.contains_key("old")).await.unwrap();
    newest.send_replace(Arc::new(Config { services: services(&["web", "new"]), ..crate::config::for_tests() }));
    let catalog = discovery.catalog.wait_for(|catalog| catalog.services.contains_key("new")).await.unwrap();
    assert_eq!(catalog.services.len(), 2);
}
