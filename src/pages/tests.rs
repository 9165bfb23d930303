//! The JSON of each page, byte for byte: programs read it, and have done so before these types were there.

use std::collections::BTreeMap;
use std::fmt::Debug;

use serde::de::DeserializeOwned;

use super::*;

mod fleet;

/// A page is written as this text, and the text is read as this page.
fn golden<T: Serialize + DeserializeOwned + PartialEq + Debug>(page: &T, text: &str) {
    assert_eq!(serde_json::to_string_pretty(page).expect("JSON"), text);
    assert_eq!(serde_json::from_str::<T>(text).expect("the page"), *page);
}

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(ToString::to_string).collect()
}

fn instance() -> services::Instance {
    services::Instance {
        address: "10.0.0.1:8080".into(),
        health: "passing".into(),
        weight: 1,
        picked: true,
        breaker: services::Breaker {
            state: "closed".into(),
            since: "2026-01-02T03:04:05.678Z".into(),
            why: None,
            consecutive_failures: 0,
            next_probe_ms: None,
            opened: 0,
        },
        in_flight: 2,
        requests: 10,
        failures: 1,
        tags: Some(texts(&["gateway", "v2"])),
        meta: Some(BTreeMap::from([("version".into(), "2".into()), ("team".into(), "shop".into())])),
        registrations: vec![services::Registration {
            node: "n1".into(),
            id: "orders-1".into(),
            health: "passing".into(),
            weight: 1,
            create_index: 7,
            modify_index: 9,
            checks: vec![services::Check { id: "serfHealth".into(), status: "passing".into(), of: "node".into() }],
        }],
        paused_ms: None,
        suspect: None,
    }
}

#[test]
fn the_page_of_services_keeps_its_keys_their_order_and_its_nulls() {
    let tripped = services::Instance {
        address: "10.0.0.2:8080".into(),
        picked: false,
        breaker: services::Breaker {
            state: "open".into(),
            why: Some("reset".into()),
            consecutive_failures: 5,
            next_probe_ms: Some(4200),
            opened: 1,
            ..instance().breaker
        },
        tags: None,
        meta: None,
        registrations: Vec::new(),
        paused_ms: Some(2500),
        suspect: Some(services::Suspect {
            reason: "the agent was started again without its memory".into(),
            since: "2026-01-02T03:04:05.678Z".into(),
            until: "2026-01-02T03:14:05.678Z".into(),
        }),
        ..instance()
    };
    let orders = services::Service {
        name: "orders".into(),
        provider: "consul".into(),
        followed: Some("signals".into()),
        lag_ms: Some(20),
        routes: texts(&["api", "/orders/*"]),
        instances: vec![instance(), tripped],
        unroutable: vec![services::Unroutable {
            id: "n1/orders-3".into(),
            address: "169.254.169.254:80".into(),
            reason: "its address is link-local, which is never called".into(),
        }],
        gone_since: None,
    };
    let legacy = services::Service {
        name: "legacy".into(),
        provider: "file".into(),
        gone_since: Some("2026-01-02T03:04:05.678Z".into()),
        ..services::Service::default()
    };
    let consul = services::Provider {
        provider: "consul".into(),
        source: "http://127.0.0.1:8500".into(),
        state: "watching".into(),
        index: 42,
        watched: 2,
        swept: 0,
        plan: Some(services::Plan {
            name: "signals".into(),
            agent: "http://127.0.0.1:8500".into(),
            requests: 7,
            requests_per_second: 0.5,
        }),
        suspects: 1,
        stale_since: Some("2026-01-02T03:04:05.678Z".into()),
        last_answer: Some("2026-01-02T03:04:05.678Z".into()),
        last_answer_age_ms: Some(300),
        errors: 0,
        error: None,
        notes: texts(&["no token: the agent's default token is used"]),
    };
    let page = services::Page {
        snapshot: services::Snapshot { version: 3, complete: true },
        discovery: vec![consul, services::Provider { error: Some("503".into()), ..services::Provider::default() }],
        services: vec![orders, legacy],
        not_exposed: vec![services::Hidden { name: "web".into(), reason: "has no tag `gateway`".into() }],
        gateway: services::Gateway {
            uptime_ms: 1000,
            connections_per_worker: vec![1, 0],
            unparsed_requests: 1,
            refused_connections: 2,
            panics: 3,
        },
    };
    golden(&page, include_str!("tests/services.json").trim_end());
    golden(&services::Accepted { accepted: 3 }, "{\n  \"accepted\": 3\n}");
}

#[test]
fn the_page_of_limits_keeps_its_keys_their_order_and_its_nulls() {
    let limit = limits::Limit {
        name: "guest".into(),
        of: "plan".into(),
        count: 100,
        period_ms: 60_000,
        by: "consumer".into(),
        refused: 3,
    };
    let usage = limits::Usage {
        limit: "guest".into(),
        count: 100,
        period_ms: 60_000,
        remaining: 0,
        whole_in_ms: 59_500,
        refused: 3,
        ..limits::Usage::default()
    };
    let page = limits::Page {
        limits: vec![limit],
        usage: vec![
            limits::Usage { consumer: Some("visitor".into()), ..usage.clone() },
            limits::Usage { address: Some("192.0.2.7".into()), ..usage.clone() },
            limits::Usage { everyone: Some(true), ..usage },
        ],
        addresses: limits::Addresses { bytes: 4096 },
    };
    golden(&page, include_str!("tests/limits.json").trim_end());
    let reset = limits::Reset { consumer: Some("visitor".into()), address: None, reset: 2 };
    golden(&reset, "{\n  \"consumer\": \"visitor\",\n  \"reset\": 2\n}");
    let reset = limits::Reset { consumer: None, address: Some("192.0.2.7".into()), reset: 0 };
    golden(&reset, "{\n  \"address\": \"192.0.2.7\",\n  \"reset\": 0\n}");
}

#[test]
fn the_page_of_the_cache_keeps_its_keys_their_order_and_its_nulls() {
    let page = cache::Page {
        entries: 2,
        bytes: 2048,
        size: 67_108_864,
        hits: 6,
        misses: 5,
        stale: 4,
        revalidated: 3,
        stored: 7,
        coalesced: 1,
        bypassed: 8,
        cleared: 9,
        services: vec![cache::Service { service: "orders".into(), entries: 2, bytes: 2048 }],
    };
    golden(&page, include_str!("tests/cache.json").trim_end());
    let cleared = cache::Cleared { cleared: 1, service: None, path: Some("/orders".into()) };
    golden(&cleared, "{\n  \"cleared\": 1,\n  \"service\": null,\n  \"path\": \"/orders\"\n}");
}

#[test]
fn the_page_of_the_configuration_keeps_its_keys_their_order_and_its_nulls() {
    let route = config::Route {
        name: "orders".into(),
        hosts: texts(&["*.example.com"]),
        path: "/orders/*".into(),
        methods: texts(&["GET", "HEAD"]),
        conditions: 2,
        auth: Some(config::Demand {
            any: texts(&["key", "corp"]),
            scopes: texts(&["orders:read"]),
            claims: vec![config::Claim { claim: texts(&["org"]), is: vec!["acme".into()], has: None }],
            ..config::Demand::default()
        }),
        cached: false,
        limits: Some("orders".into()),
    };
    let page = config::Page {
        source: "lictor.toml".into(),
        loaded: "2026-01-02T03:04:05.678Z".into(),
        reloads: 1,
        failed_reloads: 2,
        errors: texts(&["lictor.toml:1: workers: is a whole number from 1 to 1024, not 0"]),
        needs_restart: texts(&["workers", "[pool]"]),
        warnings: Vec::new(),
        routes: vec![route.clone(), config::Route { auth: None, limits: None, ..route }],
        consul: Some(config::Consul {
            addresses: texts(&["unix:///run/consul.sock", "https://consul.example.com:8501"]),
            token: true,
            http_auth: false,
            tag: Some("gateway".into()),
            connections: 64,
            verify: true,
            datacenters: texts(&["dc1", "dc2"]),
            hold_ms: 600_000,
            canary: Some("consul".into()),
            snapshot: Some(config::Snapshot { file: "catalog.json".into(), max_age_ms: 3_600_000 }),
            ..config::Consul::default()
        }),
    };
    golden(&page, include_str!("tests/config.json").trim_end());
}

#[test]
fn the_list_of_pages_and_a_refusal_keep_their_keys() {
    golden(&Index { pages: texts(&["GET /admin/config"]) }, "{\n  \"pages\": [\n    \"GET /admin/config\"\n  ]\n}");
    let refusal = Refusal { error: Some("a path begins with /".into()), detail: None };
    golden(&refusal, "{\n  \"error\": \"a path begins with /\"\n}");
}

#[test]
fn fields_of_a_newer_gateway_are_ignored_and_those_that_an_older_one_lacks_have_defaults() {
    let text =
        r#"{ "entries": 1, "tiers": [{ "name": "disk" }], "services": [{ "service": "orders", "tier": "disk" }] }"#;
    let page: cache::Page = serde_json::from_str(text).expect("the page");
    let orders = cache::Service { service: "orders".into(), ..cache::Service::default() };
    assert_eq!(page, cache::Page { entries: 1, services: vec![orders], ..cache::Page::default() });
}

#[test]
fn the_page_of_issuers_keeps_its_keys_and_their_order() {
    let key = issuers::Key { kid: Some("k1".into()), kty: "RSA 2048".into(), alg: texts(&["RS256"]), usage: None };
    let set = issuers::KeySet {
        issuer: "https://corp.example".into(),
        source: "discovery".into(),
        keys: vec![key],
        age_ms: Some(5),
        fetches: 2,
        ..issuers::KeySet::default()
    };
    let corp = issuers::Issuer {
        name: "corp".into(),
        accepted: 3,
        refused: BTreeMap::from([("expired".into(), 1)]),
        key_sets: vec![set],
        introspection: None,
    };
    let page = issuers::Page { issuers: vec![corp], refused: BTreeMap::new(), revocations: 0 };
    let text = r#"{
  "issuers": [
    {
      "name": "corp",
      "accepted": 3,
      "refused": {
        "expired": 1
      },
      "key_sets": [
        {
          "issuer": "https://corp.example",
          "source": "discovery",
          "keys": [
            {
              "kid": "k1",
              "kty": "RSA 2048",
              "alg": [
                "RS256"
              ],
              "use": null
            }
          ],
          "left_out": [],
          "age_ms": 5,
          "changed": null,
          "next_refresh_ms": null,
          "error": null,
          "fetches": 2,
          "failures": 0
        }
      ]
    }
  ],
  "refused": {},
  "revocations": 0
}"#;
    golden(&page, text);
}

#[test]
fn the_pages_of_aggregates_keep_their_keys_their_order_and_their_nulls() {
    let call = compose::Call {
        name: "products".into(),
        service: "product_service".into(),
        method: "GET".into(),
        path: "/products/{item.id}".into(),
        needs: texts(&["order"]),
        each: Some(compose::Each { list: "order.items".into(), most: 32, at_once: 8 }),
        when: None,
        on_error: "404: null, else: fail".into(),
        cached: true,
        answered: 1,
        stored: 2,
        failed: 3,
        mean_ms: Some(1.5),
    };
    let orders = compose::Compose {
        name: "order_page".into(),
        deadline_ms: 2000,
        size: 4096,
        answers: compose::Answers { complete: 4, partial: 5, failed: 6 },
        of_late: Some(compose::OfLate {
            since: "2026-01-02T03:04:05.678Z".into(),
            count: 7,
            partial: 2,
            failed: 1,
            median_ms: 8.5,
            longest_ms: 9.25,
        }),
        routes: vec![compose::Route {
            name: "phone".into(),
            path: "/orders/{id}".into(),
            fields: true,
            fronts: vec![compose::Front {
                plan: Some("gold".into()),
                claims: vec![config::Claim { claim: texts(&["org"]), is: vec!["acme".into()], has: None }],
                shape: Some("order".into()),
                not_made: texts(&["products"]),
            }],
        }],
        rounds: vec![texts(&["order"]), texts(&["products"])],
        calls: vec![call],
    };
    let memory = compose::Memory { bound: 1, held: 2, waiting: 3, waited: 4, refused: 5 };
    let bare = compose::Compose { name: "bare".into(), ..compose::Compose::default() };
    let listeners = texts(&["127.0.0.1:5000"]);
    let page = compose::Page { listeners, memory, composes: vec![orders, bare.clone()] };
    golden(&page, include_str!("tests/compose.json").trim_end());
    let part = compose::Part {
        call: "order".into(),
        began_ms: 0.1,
        took_ms: 12.0,
        status: Some(503),
        reason: Some("status".into()),
        instance: Some("10.0.0.1:8080".into()),
        attempts: 1,
        bytes: 9,
        ..compose::Part::default()
    };
    let run = compose::Run { id: "ab".into(), outcome: "failed".into(), parts: vec![part], ..compose::Run::default() };
    let detail = compose::Detail { compose: bare, runs: vec![run] };
    golden(&detail, include_str!("tests/compose_one.json").trim_end());
}
