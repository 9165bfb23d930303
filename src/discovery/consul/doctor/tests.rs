//! Each way in which an agent, a token or a file can be wrong is found, named and told from the others.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use super::*;
use crate::config::{SavedCatalog, Secret};
use crate::discovery::consul::tests::config;
use crate::discovery::consul::tests::fake::{Fake, Fault, instance};

/// The findings with an agent at an address.
async fn examined(address: &str, change: impl FnOnce(&mut config::Consul)) -> Page {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let mut whole = config::for_tests();
    whole.warnings.clear();
    let mut consul = config(address.to_owned());
    consul.datacenters = vec!["dc1".into()];
    change(&mut consul);
    whole.consul = Some(consul);
    let page = examine(&whole, "test").await;
    let shown = format!("{page:?}");
    assert!(!shown.contains("hush") && !shown.contains("secret"), "{shown}");
    page
}

async fn of(fake: &Fake) -> Page {
    examined(&format!("http://{}", fake.address), |_| {}).await
}

/// What was found of one thing: its level, and its text with what to do.
fn found(page: &Page, what: &str) -> Option<(Level, String)> {
    let finding = page.subjects.iter().flat_map(|subject| &subject.findings).find(|finding| finding.what == what)?;
    Some((finding.level, format!("{} -> {}", finding.text, finding.advice.clone().unwrap_or_default())))
}

fn level(page: &Page, what: &str) -> Option<Level> {
    found(page, what).map(|(level, _)| level)
}

#[track_caller]
fn says(page: &Page, what: &str, level: Level, parts: &[&str]) {
    let Some((found, text)) = found(page, what) else { panic!("nothing of {what} in {page:#?}") };
    assert!(found == level && parts.iter().all(|part| text.contains(part)), "{what}: {found:?} {text}");
}

#[tokio::test]
async fn an_agent_that_is_as_it_should_be_has_no_failure_and_what_would_be_served_is_told() {
    let fake = Fake::start().await;
    fake.put("web", vec![instance("a", "10.0.0.1", "passing"), instance("b", "10.0.0.2", "critical")]);
    let mut odd = instance("c", "169.254.169.254", "passing");
    odd["Service"]["Tags"] = serde_json::json!(["gateway"]);
    fake.put("odd", vec![odd]);
    let mut other = instance("d", "10.0.0.3", "passing");
    other["Service"]["Tags"] = serde_json::json!([]);
    fake.put("other", vec![other]);
    let page = of(&fake).await;
    assert_eq!(page.count(Level::Fail), 0, "{page:#?}");
    says(&page, "token", Level::Ok, &["policies: lictor", "until 2027-01-01"]);
    says(&page, "plan", Level::Ok, &["each of 2 services"]);
    let served: Vec<_> = page.served.iter().map(|one| (one.name.as_str(), one.available, one.instances)).collect();
    assert_eq!(served, [("odd", 0, 0), ("web", 1, 2)]);
    let not: Vec<_> = page.not_served.iter().map(|one| one.name.as_str()).collect();
    assert_eq!(not, ["consul", "odd mine/c 169.254.169.254:80", "other"]);
    assert!(page.not_served[1].reason.contains("link-local") && page.not_served[2].reason.contains("no tag"));
    says(&page, "without", Level::Warn, &["odd"]);
}

#[tokio::test]
async fn an_agent_that_does_not_answer_is_told_from_one_that_is_none() {
    let nobody = examined("http://127.0.0.1:1", |_| {}).await;
    says(&nobody, "reachable", Level::Fail, &["refused", "is the agent running"]);
    says(&nobody, "unread", Level::Fail, &["no agent"]);
    let fake = Fake::start().await;
    for (fault, part) in [
        (Fault::Status(401), "http_auth"),
        (Fault::Status(429), "limits.http_max_conns_per_client"),
        (Fault::Status(500), "is a Consul agent at this address"),
        (Fault::Eof, "is the agent running"),
    ] {
        fake.fail("/v1/status/leader", fault);
        says(&of(&fake).await, "reachable", Level::Fail, &[part]);
        fake.heal();
    }
    fake.fail("/v1/status/leader", Fault::Nonsense);
    says(&of(&fake).await, "leader", Level::Fail, &["no agent"]);
}

#[tokio::test]
async fn a_token_that_is_missing_unreadable_unknown_or_not_needed_is_told_apart() {
    let fake = Fake::start().await;
    let address = format!("http://{}", fake.address);
    let none = examined(&address, |consul| consul.token = None).await;
    says(&none, "token", Level::Warn, &["none is configured"]);
    let lost = examined(&address, |consul| consul.token = Some(Secret::File("/nowhere/token".into()))).await;
    says(&lost, "token", Level::Fail, &["cannot be read", "/nowhere/token"]);
    fake.fail("/v1/acl/token/self", Fault::Status(403));
    let unknown = of(&fake).await;
    says(&unknown, "token", Level::Fail, &["does not know it", "consul acl token create"]);
    assert_eq!(level(&unknown, "sees services"), None, "an unknown token is one failure, not five");
    fake.heal();
    for (status, part) in [(404, "cannot be judged"), (500, "cannot be judged")] {
        fake.fail("/v1/acl/token/self", Fault::Status(status));
        says(&of(&fake).await, "token", Level::Warn, &[part]);
        fake.heal();
    }
}

#[tokio::test]
async fn each_right_that_the_token_lacks_is_named_with_the_rule_that_gives_it() {
    let fake = Fake::start().await;
    fake.put("web", vec![instance("a", "10.0.0.1", "passing")]);
    fake.fail("/v1/catalog/services", Fault::Status(403));
    says(&of(&fake).await, "sees services", Level::Fail, &["403", "service_prefix"]);
    fake.heal();
    let address = format!("http://{}", fake.address);
    let blind = examined(&address, |consul| consul.canary = Some("billing".into())).await;
    says(&blind, "sees services", Level::Warn, &["2 services", "`billing`", "service_prefix", "canary"]);
    let any = examined(&address, |consul| consul.canary = None).await;
    says(&any, "sees services", Level::Ok, &["2 services"]);
    fake.fail("/v1/agent/self", Fault::Status(403));
    says(&of(&fake).await, "reads agent", Level::Warn, &["loopback", "agent_prefix"]);
    fake.fail("/v1/health", Fault::Nonsense);
    says(&of(&fake).await, "sees nodes", Level::Fail, &["not understood"]);
}

#[tokio::test]
async fn connections_plan_and_datacenters_are_judged_by_what_the_agent_has() {
    let fake = Fake::start().await;
    for number in 0..12 {
        fake.put(&format!("s{number:02}"), vec![instance("a", "10.0.0.1", "passing")]);
    }
    let address = format!("http://{}", fake.address);
    let few = examined(&address, |consul| consul.connections = 4).await;
    says(&few, "plan", Level::Warn, &["2 of 12 services", "no room", "connections = 17"]);
    let some = examined(&address, |consul| consul.connections = 12).await;
    says(&some, "plan", Level::Ok, &["8 of 12 services", "what changes in the catalog"]);
    let enough = examined(&address, |consul| consul.connections = 17).await;
    says(&enough, "plan", Level::Ok, &["each of 12 services"]);
    says(&enough, "datacenter", Level::Ok, &["dc1: the agent's own"]);
    let far = examined(&address, |consul| consul.datacenters = vec!["dc9".into()]).await;
    says(&far, "datacenter", Level::Fail, &["dc9 is not known here; there are dc1"]);
}

#[tokio::test]
async fn without_an_agent_what_was_saved_would_be_served() {
    let place = std::env::temp_dir().join(format!("lictor-doctor-{}", std::process::id()));
    std::fs::create_dir(&place).unwrap();
    let catalog = SavedCatalog { file: place.join("c.json"), max_age: Duration::from_secs(60) };
    let off = examined("http://127.0.0.1:1", |_| {}).await;
    says(&off, "snapshot", Level::Ok, &["off"]);
    let saved = |consul: &mut config::Consul| consul.saved = Some(catalog.clone());
    let first = examined("http://127.0.0.1:1", saved).await;
    says(&first, "snapshot", Level::Ok, &["is not there yet"]);
    says(&first, "its place", Level::Ok, &["can be written"]);

    let consul = config("http://127.0.0.1:1".into());
    let rules = crate::discovery::consul::tests::rules();
    let name = ServiceName::new("web").unwrap();
    let entries = model::entries(serde_json::json!([instance("a", "127.0.0.1", "passing")]).to_string().as_bytes());
    let Assembled::Exposed(service, _) = assemble::service(&name, &entries.unwrap(), &rules) else { panic!() };
    let services = [(name, Arc::new(service))].into_iter().collect();
    let confirmed = saved::Confirmed { services, datacenter: "dc1".into(), trust: rules.trust };
    saved::save(&catalog, &Scope::of(&consul), &confirmed, SystemTime::now()).unwrap();
    let page = examined("http://127.0.0.1:1", saved).await;
    says(&page, "snapshot", Level::Ok, &["1 service with 1 instance, saved 0 s ago"]);
    says(&page, "served", Level::Ok, &["the saved catalog"]);
    assert_eq!((page.served[0].name.as_str(), page.served[0].available), ("web", 1));

    std::fs::write(&catalog.file, "{").unwrap();
    let broken = examined("http://127.0.0.1:1", saved).await;
    says(&broken, "snapshot", Level::Warn, &["c.json is not used: it is broken"]);
    std::fs::remove_dir_all(&place).unwrap();
    let gone = examined("http://127.0.0.1:1", saved).await;
    says(&gone, "its place", Level::Fail, &["No such file"]);
}

#[tokio::test]
async fn services_of_the_file_are_served_whatever_consul_says() {
    let mut whole = config::for_tests();
    (whole.consul, whole.warnings) = (None, Vec::new());
    let address: SocketAddr = "10.0.0.1:80".parse().unwrap();
    let instances = vec![config::StaticInstance { address, weight: 1 }];
    whole.services = vec![StaticService { name: ServiceName::new("legacy").unwrap(), instances }];
    let page = examine(&whole, "test").await;
    says(&page, "Consul", Level::Ok, &["is not asked"]);
    says(&page, "served", Level::Ok, &["1 service with 1 instance, 1 of them available"]);
}

#[tokio::test]
async fn an_agent_that_does_not_say_its_datacenter_is_taken_to_be_in_the_one_that_it_lists_first() {
    let fake = Fake::start().await;
    fake.fail("/v1/agent/self", Fault::Status(403));
    let mut entry = instance("a", "10.0.0.1", "passing");
    // From another datacenter it would be called at an address that is never taken.
    entry["Service"]["TaggedAddresses"] = serde_json::json!({"wan": {"Address": "169.254.1.1", "Port": 80}});
    fake.put("web", vec![entry]);
    for (own, instances) in [("dc1", 1), ("dc2", 0)] {
        fake.say("/v1/catalog/datacenters", serde_json::json!([own, "dc1"]));
        assert_eq!(of(&fake).await.served[0].instances, instances, "{own}");
    }
}
