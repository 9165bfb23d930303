//! A Redis behind TLS, passwords, sentinels or in a cluster, by real servers.

use std::path::{Path, PathBuf};
use std::process::Command;

use integration::agent::free_port;
use integration::eventually;
use integration::process::{not_run, said};
use integration::redis::Redis;
use lictor::shared::{Away, Call, Script, Standing, Value};

use super::asking::{fails_at_once, get, of, servers, set, text, up};

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
    let address = format!("address = \"rediss://127.0.0.1:{port}\"");
    let with = |more: &str| servers(&format!("{address}\n{more}"));
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

#[tokio::test]
async fn keys_of_a_cluster_are_found_on_their_nodes_and_scripts_run_there() {
    let mut nodes = Vec::new();
    for _ in 0..3 {
        let Some(node) = Redis::start(&["--cluster-enabled yes --cluster-node-timeout 2000"]).await else { return };
        nodes.push(node);
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
    let servers = servers(&format!("cluster = [\"redis://127.0.0.1:{}\"]", nodes[0].port));
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
    // A node that hangs is as a server that hangs: nobody waits twice.
    nodes[2].signal(rustix::process::Signal::STOP);
    let lost = Call::new("SET").arg("lictor:{foo}").arg("x");
    assert_eq!(shared.call(&lost).await, Err(Away::Late));
    fails_at_once(shared).await;
    nodes[2].signal(rustix::process::Signal::CONT);
    up(shared).await;
}
