//! Answers in the shapes of Consul 1.8.7, key for key: a test compares them with those of a real agent.

use std::net::SocketAddr;

use serde_json::{Value, json};

use super::model::{Age, Node, Stored};

pub(super) fn node(node: &Node, datacenter: &str) -> Value {
    let mut value = place(node, datacenter);
    value["Meta"] = json!({ "consul-network-segment": "" });
    aged(value, node.age)
}

/// What says of a node where it is.
fn place(node: &Node, datacenter: &str) -> Value {
    let address = &node.address;
    json!({
        "ID": node.id, "Node": node.name, "Address": address, "Datacenter": datacenter,
        "TaggedAddresses": { "lan": address, "lan_ipv4": address, "wan": address, "wan_ipv4": address },
    })
}

fn aged(mut value: Value, age: Age) -> Value {
    value["CreateIndex"] = age.created.into();
    value["ModifyIndex"] = age.modified.into();
    value
}

fn tagged_addresses(stored: &Stored) -> Value {
    let of = |(address, port): &(String, u16)| json!({ "Address": address, "Port": port });
    let lan = of(&stored.instance.address);
    let wan = stored.instance.wan.as_ref().map(of);
    let mut all = json!({ "lan_ipv4": lan, "wan_ipv4": wan.as_ref().unwrap_or(&lan) });
    if let Some(wan) = wan {
        all["wan"] = wan;
    }
    all
}

/// A service as health answers and a node's have it.
pub(super) fn service(stored: &Stored) -> Value {
    let instance = &stored.instance;
    let mut value = json!({
        "ID": instance.id, "Service": instance.name, "Tags": instance.tags, "Address": instance.address.0,
    });
    if !instance.address.0.is_empty() {
        value["TaggedAddresses"] = tagged_addresses(stored);
    }
    value["Meta"] = if instance.meta.is_empty() { Value::Null } else { json!(instance.meta) };
    value["Port"] = instance.address.1.into();
    value["Weights"] = json!({ "Passing": 1, "Warning": 1 });
    value["EnableTagOverride"] = false.into();
    value["Proxy"] = json!({ "MeshGateway": {}, "Expose": {} });
    value["Connect"] = json!({});
    aged(value, stored.age)
}

/// A service as `/v1/catalog/service/X` has it.
pub(super) fn listed(stored: &Stored, node: &Node, datacenter: &str) -> Value {
    let instance = &stored.instance;
    let mut value = place(node, datacenter);
    value["NodeMeta"] = json!({ "consul-network-segment": "" });
    value["ServiceKind"] = "".into();
    value["ServiceID"] = instance.id.clone().into();
    value["ServiceName"] = instance.name.clone().into();
    value["ServiceTags"] = json!(instance.tags);
    value["ServiceAddress"] = instance.address.0.clone().into();
    if !instance.address.0.is_empty() {
        value["ServiceTaggedAddresses"] = tagged_addresses(stored);
    }
    value["ServiceWeights"] = json!({ "Passing": 1, "Warning": 1 });
    value["ServiceMeta"] = json!(instance.meta);
    value["ServicePort"] = instance.address.1.into();
    value["ServiceEnableTagOverride"] = false.into();
    value["ServiceProxy"] = json!({ "MeshGateway": {}, "Expose": {} });
    value["ServiceConnect"] = json!({});
    aged(value, stored.age)
}

/// `serfHealth` of a node.
pub(super) fn serf(node: &Node) -> Value {
    let (status, age) = &node.serf;
    let output = if status == "passing" { "Agent alive and reachable" } else { "Agent not live or unreachable" };
    let value = json!({
        "Node": node.name, "CheckID": "serfHealth", "Name": "Serf Health Status", "Status": status, "Notes": "",
        "Output": output, "ServiceID": "", "ServiceName": "", "ServiceTags": [], "Type": "", "Definition": {},
    });
    aged(value, *age)
}

/// The check of a service, if it has one.
pub(super) fn check(stored: &Stored) -> Option<Value> {
    let instance = &stored.instance;
    let value = json!({
        "Node": instance.node, "CheckID": format!("service:{}", instance.id),
        "Name": format!("Service '{}' check", instance.name), "Status": instance.check.as_ref()?, "Notes": "",
        "Output": "", "ServiceID": instance.id, "ServiceName": instance.name, "ServiceTags": instance.tags,
        "Type": "ttl", "Definition": {},
    });
    Some(aged(value, stored.check))
}

/// An entry of `/v1/health/service/X`.
pub(super) fn entry(stored: &Stored, at: &Node, datacenter: &str) -> Value {
    let checks: Vec<_> = [Some(serf(at)), check(stored)].into_iter().flatten().collect();
    json!({ "Node": node(at, datacenter), "Service": service(stored), "Checks": checks })
}

/// `/v1/agent/self`, as far as gateways read it.
pub(super) fn itself(node: &Node, datacenter: &str, version: &str, http: SocketAddr) -> Value {
    let address = &node.address;
    json!({
        "Config": {
            "Datacenter": datacenter, "NodeName": node.name, "NodeID": node.id, "Revision": "", "Server": true,
            "Version": version,
        },
        "DebugConfig": {
            "AdvertiseAddrLAN": address, "AdvertiseAddrWAN": address, "BindAddr": address, "ClientAddrs": [address],
            "GRPCAddrs": [], "GRPCPort": -1, "HTTPAddrs": [format!("tcp://{http}")], "HTTPPort": http.port(),
            "HTTPMaxConnsPerClient": 200, "HTTPSAddrs": [], "HTTPSPort": -1,
            "TaggedAddresses": { "lan": address, "lan_ipv4": address, "wan": address, "wan_ipv4": address },
        },
        "Member": { "Name": node.name, "Addr": address, "Port": 8301, "Tags": { "build": version, "dc": datacenter, "role": "consul" }, "Status": 1 },
        "Stats": { "agent": {}, "consul": {} },
        "Meta": { "consul-network-segment": "" },
    })
}
