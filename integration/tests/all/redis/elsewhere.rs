//! A Redis behind TLS, passwords, sentinels or in a cluster, by real servers.

use std::path::{Path, PathBuf};
use std::process::Command;

use integration::agent::free_port;
use integration::eventually;
use integration::process::{not_run, said};
use integration::redis::Redis;
use lictor::shared::{Call, Outcome, Script, Servers, Standing, Value};

use super::asking::{address, fails_at_once, get, of, pauses_after, servers, set, text, up};

/// A folder that goes with its test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let folder = std::env::temp_dir().join(format!("lictor-redis-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        Folder(folder)
    }

    fn file(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// An authority, and a certificate of it for 127.0.0.1: `ca.pem`, `cert.pem`, `key.pem`. False where this machine has no OpenSSL.
fn certificates(folder: &Path) -> bool {
    std::fs::write(folder.join("ext"), "subjectAltName=IP:127.0.0.1\nbasicConstraints=CA:FALSE\n").expect("a file");
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";
    let steps = [
        format!("req -x509 {key} -keyout ca.key -out ca.pem -subj /CN=authority -days 2"),
        format!("req {key} -keyout key.pem -out request.pem -subj /CN=redis"),
        "x509 -req -in request.pem -CA ca.pem -CAkey ca.key -CAcreateserial -out cert.pem -days 2 -extfile ext"
            .to_owned(),
    ];
    for step in steps {
        if let Err(why) = said(Command::new("openssl").args(step.split(' ')).current_dir(folder)) {
            not_run(&format!("openssl: {why}"));
            return false;
        }
    }
    true
}

#[tokio::test]
async fn a_password_is_read_again_from_its_file_when_redis_no_longer_takes_it() {
    let Some(redis) = Redis::start(&[]).await else { return };
    let folder = Folder::new("password");
    let file = folder.file("password");
    std::fs::write(&file, "first\n").expect("a file");
    redis.ask(&["ACL", "SETUSER", "lictor", "on", ">first", "~*", "+@all"]).await;
    let (port, of_file) = (redis.port, format!("password = {{ file = \"{file}\" }}"));
    let servers = servers(&format!("address = \"127.0.0.1:{port}\"\nuser = \"lictor\"\n{of_file}"));
    let shared = of(&servers);
    up(shared).await;
    redis.ask(&["ACL", "SETUSER", "lictor", "<first", ">second"]).await;
    redis.ask(&["CLIENT", "KILL", "USER", "lictor"]).await;
    let status = servers.limits().expect("[redis]").status.clone();
    eventually("it is refused", || async {
        let _ = shared.call(&get()).await;
        status
            .borrow()
            .error
            .as_deref()
            .is_some_and(|error| error.contains("WRONGPASS") || error.contains("uthentication"))
    })
    .await;
    std::fs::write(&file, "second\n").expect("a file");
    up(shared).await;
}

#[tokio::test]
async fn a_private_authority_and_a_certificate_of_the_gateway_are_what_tls_needs() {
    let folder = Folder::new("tls");
    if !certificates(&folder.0) {
        return;
    }
    let [ca, cert, key] = ["ca.pem", "cert.pem", "key.pem"].map(|name| folder.file(name));
    let port = free_port();
    let flags = format!("--tls-port {port} --tls-ca-cert-file {ca} --tls-cert-file {cert} --tls-key-file {key}");
    let Some(_redis) = Redis::start(&[&flags]).await else { return };
    let at = format!("address = \"rediss://127.0.0.1:{port}\"");
    let with = |more: &str| servers(&format!("{at}\n{more}"));
    let trusted = with(&format!("ca_file = \"{ca}\"\nclient_cert = \"{cert}\"\nclient_key = \"{key}\""));
    up(of(&trusted)).await;
    assert_eq!(of(&trusted).call(&set("v")).await, Ok(Value::Okay));
    for (more, word) in [(format!("ca_file = \"{ca}\""), "ertificate"), (String::new(), "UnknownIssuer")] {
        let servers = with(&more);
        let status = servers.limits().expect("[redis]").status.clone();
        eventually("the reason is said", || async {
            let error = status.borrow().error.clone();
            error.is_some_and(|error| error.contains("no connection") && error.contains(word))
        })
        .await;
    }
}

#[tokio::test]
async fn a_certificate_of_another_name_is_not_taken() {
    let folder = Folder::new("name");
    if !certificates(&folder.0) {
        return;
    }
    let [ca, cert, key] = ["ca.pem", "cert.pem", "key.pem"].map(|name| folder.file(name));
    let port = free_port();
    let flags = format!("--tls-port {port} --tls-cert-file {cert} --tls-key-file {key} --tls-auth-clients no");
    let Some(_redis) = Redis::start(&[&format!("{flags} --tls-ca-cert-file {ca}")]).await else { return };
    let of_host = |host: &str| servers(&format!("address = \"rediss://{host}:{port}\"\nca_file = \"{ca}\""));
    up(of(&of_host("127.0.0.1"))).await;
    let servers = of_host("localhost");
    let status = servers.limits().expect("[redis]").status.clone();
    eventually("the reason is said", || async {
        let error = status.borrow().error.clone();
        error.is_some_and(|error| error.contains("NotValidForName") || error.contains("not valid for name"))
    })
    .await;
    assert!(of(&servers).call(&get()).await.is_err());
}

#[tokio::test]
async fn sentinels_say_where_the_master_is_also_after_it_died() {
    let Some(mut first) = Redis::start(&[]).await else { return };
    let replica_of = format!("--replicaof 127.0.0.1 {} --repl-diskless-sync-delay 0", first.port);
    let Some(second) = Redis::start(&[&replica_of]).await else { return };
    let Some(sentinel) = Redis::start(&["--sentinel"]).await else { return };
    let port = first.port.to_string();
    assert_eq!(sentinel.ask(&["SENTINEL", "MONITOR", "m", "127.0.0.1", &port, "1"]).await, "+OK");
    sentinel.ask(&["SENTINEL", "SET", "m", "down-after-milliseconds", "500", "failover-timeout", "3000"]).await;
    assert_eq!(sentinel.ask(&["ACL", "SETUSER", "lictor", "on", ">hush", "+@all", "allchannels"]).await, "+OK");
    let user = "sentinel_user = \"lictor\"\nsentinel_password = \"hush\"";
    let section = format!("sentinels = [\"redis://127.0.0.1:{}\"]\nmaster = \"m\"\n{user}", sentinel.port);
    let servers = servers(&section);
    let shared = of(&servers);
    up(shared).await;
    assert_eq!(shared.call(&set("v")).await, Ok(Value::Okay));
    eventually("the replica has it", || async { second.ask(&["GET", "lictor:k"]).await.ends_with('v') }).await;
    eventually("the sentinel knows the replica", || async {
        sentinel.ask(&["SENTINEL", "REPLICAS", "m"]).await.contains(&second.port.to_string())
    })
    .await;
    first.kill();
    eventually("the other one is written to", || async { shared.call(&set("w")).await.is_ok() }).await;
    assert_eq!(shared.call(&get()).await, text("w"));
    assert!(second.ask(&["ROLE"]).await.contains("master"));
}

/// Three masters that have all slots. `None` where no Redis can be had.
async fn cluster() -> Option<Vec<Redis>> {
    let mut nodes = Vec::new();
    for _ in 0..3 {
        nodes.push(Redis::start(&["--cluster-enabled yes --cluster-node-timeout 2000"]).await?);
    }
    for (node, slots) in nodes.iter().zip([["0", "5460"], ["5461", "10922"], ["10923", "16383"]]) {
        assert_eq!(node.ask(&["CLUSTER", "ADDSLOTSRANGE", slots[0], slots[1]]).await, "+OK");
        node.ask(&["CLUSTER", "MEET", "127.0.0.1", &nodes[0].port.to_string()]).await;
    }
    for node in &nodes {
        eventually("the cluster is complete", || async {
            let info = node.ask(&["CLUSTER", "INFO"]).await;
            info.contains("cluster_state:ok") && info.contains("cluster_known_nodes:3")
        })
        .await;
    }
    Some(nodes)
}

fn of_cluster(node: &Redis) -> Servers {
    servers(&format!("cluster = [\"redis://127.0.0.1:{}\"]", node.port))
}

#[tokio::test]
async fn keys_of_a_cluster_are_found_on_their_nodes_and_scripts_run_there() {
    let Some(nodes) = cluster().await else { return };
    let servers = of_cluster(&nodes[0]);
    let shared = of(&servers);
    up(shared).await;
    let script = Script::new("return redis.call('INCR', KEYS[1])");
    for number in 0..20 {
        let key = format!("lictor:{number}");
        assert_eq!(shared.call(&Call::new("SET").arg(&key).arg(number)).await, Ok(Value::Okay));
        assert_eq!(shared.call(&script.call(&[&key])).await, Ok(Value::Int(number + 1)));
    }
    for node in &nodes {
        assert_ne!(node.ask(&["DBSIZE"]).await, ":0", "each node has some");
    }
    let across = script.call(&["lictor:1", "lictor:2"]);
    assert_eq!(shared.call(&across).await.expect_err("keys of two nodes").code(), Some("CROSSSLOT"));
    assert_eq!(shared.standing(), Standing::Up);
    let status = servers.limits().expect("[redis]").status.clone();
    eventually("the nodes say what they are", || async { status.borrow().role.as_deref() == Some("master") }).await;
    assert_eq!(status.borrow().warning, None);
}

#[tokio::test]
async fn a_node_of_a_cluster_that_hangs_costs_the_deadline_once_although_the_others_answer() {
    let Some(nodes) = cluster().await else { return };
    let servers = of_cluster(&nodes[0]);
    let shared = of(&servers);
    up(shared).await;
    nodes[2].signal(rustix::process::Signal::STOP);
    let lost = Call::new("SET").arg("lictor:{foo}").arg("x");
    pauses_after(shared, &lost).await;
    let late = shared.figures().count(Outcome::Late);
    fails_at_once(shared).await;
    let until = || match shared.standing() {
        Standing::Paused { until, .. } => until,
        other => panic!("{other:?}"),
    };
    let first = until();
    eventually("the second pause", || async { until() > first }).await;
    fails_at_once(shared).await;
    assert_eq!(shared.figures().count(Outcome::Late), late, "nobody waits twice");
    nodes[2].signal(rustix::process::Signal::CONT);
    eventually("it is written to", || async { shared.call(&lost).await.is_ok() }).await;
}

#[tokio::test]
async fn a_cluster_that_is_incomplete_is_left_alone_for_what_it_says() {
    let Some(node) = Redis::start(&["--cluster-enabled yes"]).await else { return };
    assert_eq!(node.ask(&["CLUSTER", "ADDSLOTSRANGE", "0", "8191"]).await, "+OK");
    let servers = of_cluster(&node);
    let shared = of(&servers);
    up(shared).await;
    let read = Call::new("GET").arg("lictor:{bar}");
    assert_eq!(shared.call(&read).await.expect_err("a refusal").code(), Some("CLUSTERDOWN"));
    fails_at_once(shared).await;
    assert_eq!(node.ask(&["CLUSTER", "ADDSLOTSRANGE", "8192", "16383"]).await, "+OK");
    eventually("it is read", || async { shared.call(&read).await == Ok(Value::Nil) }).await;
    assert_eq!(shared.figures().count(Outcome::Late), 0);
}

#[tokio::test]
async fn the_address_of_a_node_of_a_cluster_is_warned_of() {
    let Some(node) = Redis::start(&["--cluster-enabled yes"]).await else { return };
    let servers = servers(&address(node.port));
    let mut status = servers.limits().expect("[redis]").status.clone();
    let found = status.wait_for(|status| status.up.is_some()).await.expect("it is looked at").clone();
    assert!(found.warning.as_deref().is_some_and(|warning| warning.contains("write cluster =")), "{found:?}");
}

#[tokio::test]
async fn a_file_that_hangs_is_given_up_and_redis_is_used_when_it_can_be_read() {
    let Some(redis) = Redis::start(&["--requirepass hush"]).await else { return };
    let folder = Folder::new("pipe");
    // Nobody writes into it: who opens it waits.
    let (pipe, file, plain) = (folder.file("pipe"), folder.file("password"), folder.file("plain"));
    assert!(Command::new("mkfifo").arg(&pipe).status().is_ok_and(|status| status.success()));
    std::os::unix::fs::symlink(&pipe, &file).expect("a link");
    let servers = servers(&format!("{}\npassword = {{ file = \"{file}\" }}", address(redis.port)));
    let shared = of(&servers);
    let status = servers.limits().expect("[redis]").status.clone();
    eventually("it is said", || async {
        let _ = shared.call(&get()).await;
        let said = status.borrow().error.clone();
        said.is_some_and(|error| error.contains("not connected within 1s"))
    })
    .await;
    std::fs::write(&plain, "hush\n").expect("a file");
    std::fs::rename(&plain, &file).expect("it takes the place of the link");
    // The thread that hangs ends: one, however often it was tried.
    std::fs::write(&pipe, "\n").expect("a pipe");
    up(shared).await;
}
