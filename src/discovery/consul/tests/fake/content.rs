//! What the fake answers at each path.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::{Inner, instance};

pub(super) fn body(path: &str, inner: &Inner) -> Value {
    if let Some(said) = inner.said.get(path) {
        return said.clone();
    }
    if path == "/v1/agent/self" {
        return json!({"Config": {"NodeName": "mine", "Datacenter": "dc1", "Version": "1.8.7"}});
    }
    if path == "/v1/acl/token/self" {
        return json!({"SecretID": "hush", "Policies": [{"Name": "lictor"}], "ExpirationTime": "2027-01-01T00:00:00Z"});
    }
    if path == "/v1/catalog/datacenters" {
        return json!(["dc1"]);
    }
    if path == "/v1/health/service/consul" {
        return json!([instance("consul", "10.0.0.99", "passing")]);
    }
    if path == "/v1/status/leader" {
        return if inner.leader == Some(false) { "".into() } else { "10.0.0.99:8300".into() };
    }
    if let Some(name) = path.strip_prefix("/v1/health/service/") {
        return inner.services.get(name).cloned().unwrap_or_default().into();
    }
    if let Some(state) = path.strip_prefix("/v1/health/state/") {
        let entries = inner.services.iter().flat_map(|(name, entries)| entries.iter().map(move |entry| (name, entry)));
        let checks = entries.flat_map(|(name, entry)| {
            let checks = entry["Checks"].as_array().into_iter().flatten();
            checks.map(move |check| (name, &entry["Node"]["Node"], check))
        });
        let wanted = checks.filter(|(_, _, check)| check["Status"] == state);
        let about = |(name, node, check): (&String, &Value, &Value)| {
            let service = if check["ServiceID"] == "" { "" } else { name.as_str() };
            json!({"Node": node, "CheckID": check["CheckID"], "ServiceName": service})
        };
        return wanted.map(about).collect();
    }
    let entries = || inner.services.iter().flat_map(|(name, entries)| entries.iter().map(move |entry| (name, entry)));
    if path == "/v1/catalog/nodes" {
        let nodes: BTreeSet<&str> = entries().filter_map(|(_, entry)| entry["Node"]["Node"].as_str()).collect();
        return nodes.into_iter().map(|node| json!({"Node": node})).collect();
    }
    if let Some(node) = path.strip_prefix("/v1/catalog/node/") {
        let here = entries().filter(|(_, entry)| entry["Node"]["Node"] == node);
        let services: serde_json::Map<_, _> = here
            .map(|(name, entry)| {
                let mut service = entry["Service"].clone();
                service["Service"] = name.as_str().into();
                (service["ID"].as_str().unwrap_or_default().to_owned() + name, service)
            })
            .collect();
        return json!({"Node": {"Node": node}, "Services": services});
    }
    let mut names = BTreeMap::new();
    if !inner.blind {
        names.insert("consul".to_owned(), Vec::new());
    }
    for (name, entries) in &inner.services {
        let tags = entries.iter().filter_map(|entry| entry["Service"]["Tags"].as_array());
        names.insert(name.clone(), tags.flatten().cloned().collect());
    }
    json!(names)
}
