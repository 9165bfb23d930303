//! An agent over TLS, with a CA and certificates that Consul's own tool made.

use std::path::Path;

use integration::agent::{Agent, Setup, free_port};
use integration::eventually;
use serde_json::{Value, json};

use super::super::examining::Diagnosis;
use super::stand::{Folder, consul, gateway, mock, provider, says, until_answered_by, until_ready_is};

/// A CA with the certificates of a server and of a client.
fn certificates() -> Folder {
    let folder = Folder::new();
    consul(&folder.0, &["tls", "ca", "create"]);
    consul(&folder.0, &["tls", "cert", "create", "-server"]);
    consul(&folder.0, &["tls", "cert", "create", "-client"]);
    folder
}

/// An agent that speaks HTTPS on this address with those who show a certificate of the CA, and plain HTTP with the test.
async fn agent(folder: &Folder, host: &str) -> (Agent, String) {
    let port = free_port();
    let file = |name: &str| folder.file(name).display().to_string();
    // The keys as they stood before Consul 1.12, and still may (consul/agent-tls.hcl).
    let hcl = format!(
        "addresses {{ https = \"{host}\" }}\nca_file = \"{}\"\ncert_file = \"{}\"\nkey_file = \"{}\"\nverify_incoming = true\n",
        file("consul-agent-ca.pem"),
        file("dc1-server-consul-0.pem"),
        file("dc1-server-consul-0-key.pem"),
    );
    let setup = Setup { hcl, flags: vec![format!("-https-port={port}")], ..Setup::default() };
    (Agent::of(setup).await, format!("https://{host}:{port}"))
}

/// What `consul/README.md` says about the gateway's side.
fn shown(address: &str, folder: &Folder) -> String {
    format!("{}{}", trusting(address, &folder.file("consul-agent-ca.pem")), identity(folder))
}

fn trusting(address: &str, ca: &Path) -> String {
    format!("address = \"{address}\"\nca_file = \"{}\"\n", ca.display())
}

fn identity(folder: &Folder) -> String {
    let (cert, key) = (folder.file("dc1-client-consul-0.pem"), folder.file("dc1-client-consul-0-key.pem"));
    format!("client_cert = \"{}\"\nclient_key = \"{}\"\n", cert.display(), key.display())
}

#[tokio::test(flavor = "multi_thread")]
async fn services_of_an_agent_with_a_private_ca_are_served_to_who_shows_a_certificate() {
    let folder = certificates();
    let (agent, https) = agent(&folder, "127.0.0.1").await;
    let (one, two) = (mock().await, mock().await);
    agent.register("sealed", "sealed-1", one.address.port(), json!({})).await;
    let world = gateway(&shown(&https, &folder)).await;
    world.until("/api/sealed/users", 200).await;
    agent.register("sealed", "sealed-1", two.address.port(), json!({})).await;
    until_answered_by(&world, "sealed", &two).await;
    let diagnosis = Diagnosis::of(&shown(&https, &folder)).await;
    assert_eq!([diagnosis.level("reachable"), diagnosis.level("served")], ["ok", "ok"], "{}", diagnosis.text);
}

/// With such a `[consul]` nothing is served, and admin and the doctor both say why.
async fn is_refused(consul: &str, why: &[&str]) {
    let world = gateway(consul).await;
    says(&world, &format!("the reason is one of {why:?}"), |consul| {
        let reason = consul["error"].as_str().unwrap_or_default();
        why.iter().any(|why| reason.contains(why))
    })
    .await;
    let answer = world.client.get("/api/sealed/users").await;
    assert_eq!((answer.status, answer.reason().as_str()), (503, "no_catalog"));
    let diagnosis = Diagnosis::of(consul).await;
    assert_eq!(diagnosis.level("reachable"), "fail", "{}", diagnosis.text);
    assert!(why.iter().any(|why| diagnosis.text.contains(why)), "{}", diagnosis.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_of_another_ca_is_not_believed_and_without_a_certificate_nothing_is_served() {
    let (folder, other) = (certificates(), certificates());
    let (agent, https) = agent(&folder, "127.0.0.1").await;
    agent.register("sealed", "sealed-1", mock().await.address.port(), json!({})).await;
    let wrong = format!("{}{}", trusting(&https, &other.file("consul-agent-ca.pem")), identity(&folder));
    is_refused(&wrong, &["certificate"]).await;
    is_refused(&trusting(&https, &folder.file("consul-agent-ca.pem")), &["certificate"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_of_another_name_is_taken_where_the_name_is_configured_or_nothing_is_verified() {
    let folder = certificates();
    // The certificate is for server.dc1.consul, localhost and 127.0.0.1.
    let (agent, https) = agent(&folder, "127.0.0.2").await;
    let one = mock().await;
    agent.register("sealed", "sealed-1", one.address.port(), json!({})).await;
    let shown = shown(&https, &folder);
    is_refused(&shown, &["not valid for"]).await;
    let named = format!("{shown}tls_server_name = \"server.dc1.consul\"\n");
    let world = gateway(&named).await;
    until_answered_by(&world, "sealed", &one).await;
    until_ready_is(&world, "ready").await;
    let diagnosis = Diagnosis::of(&named).await;
    assert_eq!([diagnosis.level("reachable"), diagnosis.level("served")], ["ok", "ok"], "{}", diagnosis.text);
    let blind = format!("address = \"{https}\"\nverify = false\n{}", identity(&folder));
    let world = gateway(&blind).await;
    until_answered_by(&world, "sealed", &one).await;
    let diagnosis = Diagnosis::of(&blind).await;
    assert_eq!(diagnosis.level("served"), "ok", "{}", diagnosis.text);
    assert!(diagnosis.text.contains("verify"), "nobody warns: {}", diagnosis.text);
}

/// How many connections lead to a port of this host now (`/proc/net/tcp`: state 01 is ESTABLISHED, the remote address comes third).
fn connections_to(port: u16) -> usize {
    let table = std::fs::read_to_string("/proc/net/tcp").expect("Linux");
    let remote = format!(":{port:04X}");
    let leads = |line: &&str| {
        let fields: Vec<_> = line.split_whitespace().collect();
        fields.len() > 3 && fields[2].ends_with(&remote) && fields[3] == "01"
    };
    table.lines().filter(leads).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn over_tls_few_connections_carry_a_watch_for_each_of_many_services() {
    const COUNT: usize = 150;
    let folder = certificates();
    let (agent, https) = agent(&folder, "127.0.0.1").await;
    let (one, two) = (mock().await, mock().await);
    for number in 0..COUNT {
        agent.register(&format!("s{number}"), &format!("s{number}-1"), one.address.port(), json!({})).await;
    }
    let world = gateway(&format!("{}connections = 16\n", shown(&https, &folder))).await;
    eventually("each has a watch of its own", || async {
        let consul = provider(&world).await;
        consul["watched"] == COUNT && consul["plan"]["name"] == "watches"
    })
    .await;
    let port = https.rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port");
    let open = connections_to(port);
    assert!((1..=3).contains(&open), "{open} connections for {COUNT} watches");
    for name in ["s0", "s77", "s149"] {
        until_answered_by(&world, name, &one).await;
        agent.register(name, &format!("{name}-1"), two.address.port(), json!({})).await;
        until_answered_by(&world, name, &two).await;
    }
    assert!(connections_to(port) <= 3, "{} connections", connections_to(port));
    let notes: Value = provider(&world).await;
    assert!(!notes.to_string().contains("consul.connections"), "{notes}");
}
