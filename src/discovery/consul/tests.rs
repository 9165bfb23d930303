//! Faults that a real agent will not produce on demand, from a fake one; and the judgement, by table.

mod fake;
mod judging;

use std::sync::Arc;
use std::time::Duration;

use fake::{Fake, Reply};

use super::client::{Block, Client, Error};
use super::query::{News, Query};
use crate::catalog::Catalog;
use crate::config::{self, Expose};
use crate::discovery::{self, Discovery};

fn settings(address: &str, connections: usize) -> config::Consul {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    config::Consul {
        address: address.to_owned(),
        token: None,
        expose: Expose::Tagged("gateway".into()),
        connections,
        allow_loopback: false,
        namespace: None,
        partition: None,
        ca_file: None,
        client_cert: None,
    }
}

fn client(fake: &Fake) -> Client {
    Client::new(&settings(&fake.address, 16)).expect("a plain client")
}

fn discovery(fake: &Fake, connections: usize) -> Discovery {
    let config = config::Config { consul: Some(settings(&fake.address, connections)), ..config::for_tests() };
    discovery::start(&config, Vec::new()).expect("it starts")
}

async fn until(discovery: &mut Discovery, what: &str, holds: impl Fn(&Catalog) -> bool) -> Arc<Catalog> {
    let wait = discovery.catalog.wait_for(|catalog| holds(catalog));
    let held = tokio::time::timeout(Duration::from_secs(20), wait).await;
    held.unwrap_or_else(|_| panic!("never came: {what}")).expect("discovery lives").clone()
}

fn instances(catalog: &Catalog, name: &str) -> Option<usize> {
    catalog.services.get(name).map(|service| service.endpoints.len())
}

#[tokio::test]
async fn an_index_that_goes_backwards_is_forgotten_and_zero_is_never_sent() {
    let fake = Fake::start(|_, asked| match asked {
        0 => Reply::ok(100, "[]"),
        1 => Reply::ok(7, "[ ]"),
        2 => Reply::ok(0, "[  ]"),
        _ => Reply::ok(9, "[   ]"),
    })
    .await;
    let client = client(&fake);
    let mut query = Query::new("/v1/x".into(), Duration::from_secs(1));
    for _ in 0..4 {
        assert!(matches!(query.next(&client).await, Ok(News::Changed(_))));
    }
    let asked: Vec<_> = fake
        .asked()
        .iter()
        .map(|path| path.split("index=").nth(1).map(|i| i.split('&').next().unwrap_or_default().to_owned()))
        .collect();
    assert_eq!(asked, [None, Some("100".into()), None, Some("1".into())]);
}

#[tokio::test]
async fn an_agent_that_answers_at_once_without_news_is_not_hammered() {
    let fake = Fake::start(|_, _| Reply::ok(5, "[]")).await;
    let client = client(&fake);
    let mut query = Query::new("/v1/x".into(), Duration::from_secs(60));
    let began = std::time::Instant::now();
    for _ in 0..4 {
        let _ = query.next(&client).await;
    }
    assert!(began.elapsed() >= Duration::from_millis(600), "{:?} for four", began.elapsed());
}

#[tokio::test]
async fn a_refusal_is_an_error_that_names_the_token() {
    let fake = Fake::start(|_, _| Reply::status(403, "Permission denied")).await;
    let error = client(&fake).get("/v1/x", Block::default()).await.expect_err("403 is no answer");
    assert!(matches!(error, Error::Status(..)) && error.to_string().contains("token"), "{error}");
}

#[tokio::test]
async fn errors_of_every_kind_keep_what_is_known_and_the_next_answer_counts() {
    let fake = Fake::shop(&["orders"]).await;
    let mut discovery = discovery(&fake, 16);
    until(&mut discovery, "orders", |catalog| instances(catalog, "orders") == Some(1) && catalog.complete).await;
    for trouble in [
        Reply::status(500, "No cluster leader"),
        Reply::status(429, "slow down"),
        Reply::status(404, ""),
        Reply::ok(9, "not JSON"),
        Reply::Hangup,
    ] {
        fake.trouble(Some(trouble.clone()));
        let mut status = discovery.status.clone();
        let failing = status.wait_for(|status| status.providers[0].error.is_some());
        tokio::time::timeout(Duration::from_secs(20), failing).await.expect("it is noticed").expect("discovery lives");
        assert_eq!(instances(&discovery.catalog.borrow(), "orders"), Some(1), "{trouble:?}");
        fake.trouble(None);
        let well = status.wait_for(|status| status.providers[0].error.is_none());
        tokio::time::timeout(Duration::from_secs(30), well).await.expect("it recovers").expect("discovery lives");
    }
    assert_eq!(instances(&discovery.catalog.borrow(), "orders"), Some(1));
}

#[tokio::test]
async fn one_service_whose_answer_fails_costs_the_others_nothing_and_is_known_to_exist() {
    let fake = Fake::shop(&["orders", "sick", "users"]).await;
    fake.sicken("sick");
    let mut discovery = discovery(&fake, 16);
    let catalog = until(&mut discovery, "completeness", |catalog| catalog.complete).await;
    assert_eq!(
        (instances(&catalog, "orders"), instances(&catalog, "users"), instances(&catalog, "sick")),
        (Some(1), Some(1), Some(0))
    );
}

#[tokio::test]
async fn two_hundred_services_over_sixteen_connections_are_all_read_and_no_seventeenth_is_opened() {
    let names: Vec<_> = (0..200).map(|number| format!("s{number}")).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    let fake = Fake::shop(&names).await;
    let mut discovery = discovery(&fake, 16);
    let catalog = until(&mut discovery, "all of them", |catalog| catalog.complete).await;
    assert_eq!(catalog.services.values().filter(|service| service.endpoints.len() == 1).count(), 200);
    assert!(fake.most_connections() <= 16, "{} connections", fake.most_connections());
    let status = discovery.status.borrow().providers[0].clone();
    assert_eq!((status.state, status.watched + status.swept), ("sweeping", 200));
}
