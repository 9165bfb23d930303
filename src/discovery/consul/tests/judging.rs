//! The judgement, by table and by property.

use proptest::prelude::*;
use serde_json::json;

use crate::catalog::{Health, Service, ServiceName};
use crate::config::Expose;
use crate::discovery::consul::judge::{self, Loopback, Rules};
use crate::discovery::consul::model;

fn rules() -> Rules {
    Rules {
        expose: Expose::Tagged("gateway".into()),
        own: vec!["10.9.9.9:5000".parse().expect("an address")],
        loopback: Loopback::OfNode("here".into()),
    }
}

fn judged(entries: &serde_json::Value, rules: &Rules) -> Result<Service, String> {
    let (good, bad) = model::entries(entries.to_string().as_bytes()).expect("JSON");
    judge::service(&ServiceName::new("x").expect("a name"), &good, &bad, rules)
}

fn entry(service: serde_json::Value, checks: serde_json::Value) -> serde_json::Value {
    let mut whole = json!({ "ID": "x-1", "Address": "10.0.0.1", "Port": 80, "Tags": ["gateway"] });
    for (key, value) in service.as_object().into_iter().flatten() {
        whole[key] = value.clone();
    }
    json!({ "Node": { "Node": "here", "Address": "10.0.0.2", "Datacenter": "dc1" }, "Service": whole, "Checks": checks })
}

#[test]
fn the_worst_check_decides_and_what_is_unknown_is_critical() {
    let check =
        |id: &str, status: &str| model::Check { id: id.into(), status: status.into(), service_id: String::new() };
    for (checks, wanted) in [
        (vec![], Health::Passing),
        (vec![check("a", "passing")], Health::Passing),
        (vec![check("a", "passing"), check("b", "warning")], Health::Warning),
        (vec![check("a", "warning"), check("serfHealth", "critical")], Health::Critical),
        (vec![check("a", "critical"), check("_service_maintenance:x", "critical")], Health::Maintenance),
        (vec![check("_node_maintenance", "critical")], Health::Maintenance),
        (vec![check("a", "sideways")], Health::Critical),
    ] {
        assert_eq!(judge::health(&checks), wanted);
    }
}

#[test]
fn weights_follow_the_health_and_a_warning_weight_of_zero_takes_it_out() {
    let weigh = |weights: serde_json::Value, status: &str| {
        let checks = json!([{ "CheckID": "a", "Status": status }]);
        let service = judged(&json!([entry(json!({ "Weights": weights }), checks)]), &rules()).expect("exposed");
        (service.endpoints[0].weight, service.endpoints[0].available())
    };
    assert_eq!(weigh(json!({ "Passing": 5, "Warning": 2 }), "passing"), (5, true));
    assert_eq!(weigh(json!({ "Passing": 5, "Warning": 2 }), "warning"), (2, true));
    assert_eq!(weigh(json!({ "Passing": 5, "Warning": 0 }), "warning"), (0, false));
    assert_eq!(weigh(json!(null), "passing"), (1, true));
    assert_eq!(weigh(json!({ "Passing": -3 }), "passing"), (0, false));
    assert_eq!(weigh(json!({ "Passing": 5 }), "critical"), (5, false));
}

#[test]
fn addresses_that_may_never_be_asked_are_listed_with_the_reason() {
    let place = |service: serde_json::Value| {
        let service = judged(&json!([entry(service, json!([]))]), &rules()).expect("exposed");
        match service.endpoints.first() {
            Some(endpoint) => Ok(endpoint.key.address.to_string()),
            None => Err(service.unroutable[0].reason.clone()),
        }
    };
    assert_eq!(place(json!({})), Ok("10.0.0.1:80".into()));
    assert_eq!(place(json!({ "Address": "" })), Ok("10.0.0.2:80".into()));
    assert_eq!(place(json!({ "Address": "::ffff:10.0.0.3" })), Ok("10.0.0.3:80".into()));
    assert_eq!(place(json!({ "Address": "2001:db8::1" })), Ok("[2001:db8::1]:80".into()));
    assert_eq!(place(json!({ "Address": "127.0.0.1" })), Ok("127.0.0.1:80".into()));
    for (service, part) in [
        (json!({ "Port": 0 }), "no port"),
        (json!({ "Port": 70_000 }), "no port"),
        (json!({ "Address": "169.254.169.254" }), "link-local"),
        (json!({ "Address": "::ffff:169.254.169.254" }), "link-local"),
        (json!({ "Address": "fe80::1" }), "link-local"),
        (json!({ "Address": "fd00:ec2::254" }), "metadata"),
        (json!({ "Address": "0.0.0.0" }), "unspecified"),
        (json!({ "Address": "host.example" }), "not an IP address"),
        (json!({ "Address": "10.9.9.9", "Port": 5000 }), "this gateway itself"),
    ] {
        let reason = place(service.clone()).expect_err("refused");
        assert!(reason.contains(part), "{service}: {reason}");
    }
}

#[test]
fn loopback_is_believed_only_of_the_agents_own_node() {
    let at = |node: &str, loopback: Loopback| {
        let mut entry = entry(json!({ "Address": "127.0.0.1" }), json!([]));
        entry["Node"]["Node"] = json!(node);
        judged(&json!([entry]), &Rules { loopback, ..rules() }).expect("exposed").endpoints.len()
    };
    assert_eq!(at("here", Loopback::OfNode("here".into())), 1);
    assert_eq!(at("there", Loopback::OfNode("here".into())), 0);
    assert_eq!(at("here", Loopback::Refused("far")), 0);
    assert_eq!(at("there", Loopback::Allowed), 1);
}

#[test]
fn exposure_is_judged_per_instance_and_sidecars_never_are() {
    let plain = entry(json!({}), json!([]));
    let untagged = entry(json!({ "ID": "x-2", "Port": 81, "Tags": null }), json!([]));
    let sidecar = entry(json!({ "ID": "x-3", "Port": 82, "Kind": "connect-proxy" }), json!([]));
    let service = judged(&json!([plain, untagged, sidecar]), &rules()).expect("exposed");
    assert_eq!(service.endpoints.len(), 1);
    assert!(judged(&json!([sidecar]), &rules()).expect_err("hidden").contains("connect-proxy"));
    assert!(judged(&json!([untagged]), &rules()).expect_err("hidden").contains("no tag `gateway`"));
    assert_eq!(judged(&json!([]), &rules()).expect("known, if empty").endpoints.len(), 0);
}

#[test]
fn names_say_why_they_are_hidden() {
    let tags = |tags: &[&str]| tags.iter().map(|tag| (*tag).to_owned()).collect::<Vec<_>>();
    let tagged = Expose::Tagged("gateway".into());
    assert_eq!(judge::exposed("x", &tags(&["gateway"]), &tagged), Ok(()));
    assert!(judge::exposed("x", &tags(&["urlprefix-/x"]), &tagged).expect_err("hidden").contains("Fabio"));
    assert!(judge::exposed("x", &tags(&["traefik.enable=true"]), &tagged).expect_err("hidden").contains("Traefik"));
    for name in ["consul", "nomad", "nomad-client", "vault"] {
        assert!(judge::exposed(name, &[], &Expose::All).is_err(), "{name}");
    }
    assert_eq!(judge::exposed("x", &[], &Expose::All), Ok(()));
}

#[test]
fn one_bad_entry_costs_none_of_the_others() {
    let bad = json!({ "Service": { "Port": "eighty" } });
    let service = judged(&json!([bad, entry(json!({}), json!(null))]), &rules()).expect("exposed");
    assert_eq!((service.endpoints.len(), service.unroutable.len()), (1, 1));
}

#[test]
fn two_registrations_on_one_address_are_one_instance_with_the_best_of_both() {
    let sick = entry(
        json!({ "ID": "a", "Weights": { "Passing": 9, "Warning": 9 } }),
        json!([{ "CheckID": "c", "Status": "critical" }]),
    );
    let well = entry(json!({ "ID": "b", "Weights": { "Passing": 2, "Warning": 1 } }), json!([]));
    let service = judged(&json!([sick, well]), &rules()).expect("exposed");
    let endpoint = &service.endpoints[0];
    assert_eq!((service.endpoints.len(), endpoint.registrations.len()), (1, 2));
    assert_eq!((endpoint.health, endpoint.weight), (Health::Passing, 2));
    assert_eq!(judge::shared(&service).count(), 1);
}

proptest! {
    #[test]
    fn no_answer_makes_the_parser_panic(text in "\\PC{0,200}") {
        let _ = model::entries(text.as_bytes());
        let _ = serde_json::from_str::<model::Names>(&text);
    }

    #[test]
    fn no_shape_of_an_entry_makes_the_judgement_panic(port in any::<i64>(), address in "[0-9a-f.:]{0,20}", weight in any::<i64>(), kind in "[a-z]{0,3}") {
        let service = json!({ "Port": port, "Address": address, "Weights": { "Passing": weight, "Warning": weight }, "Kind": kind });
        let _ = judged(&json!([entry(service, json!([{}, { "Status": null }]))]), &rules());
    }
}
