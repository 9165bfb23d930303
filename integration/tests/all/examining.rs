//! `lictor doctor`, with a real agent and without one.

use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use integration::agent::{Agent, free_port};
use integration::process::built;
use mock_services::{Kind, Mock};
use serde_json::{Value, json};

/// What the doctor says of a configuration: whether it succeeds, its text, and its JSON.
pub(crate) struct Diagnosis {
    well: bool,
    pub(crate) text: String,
    json: Value,
}

impl Diagnosis {
    /// Runs the doctor with this `[consul]`.
    pub(crate) async fn of(consul: &str) -> Diagnosis {
        let text = format!("[consul]\n{consul}\n[api]\nauth = false\n");
        let run = move || {
            static COUNT: AtomicU32 = AtomicU32::new(0);
            let number = COUNT.fetch_add(1, Ordering::Relaxed);
            let file = PathBuf::from(format!("lictor-doctor-{}-{number}.toml", std::process::id()));
            let file = std::env::temp_dir().join(file);
            std::fs::write(&file, text).expect("a file");
            let program = built(&["lictor"]).expect("it builds").remove(0);
            let ask = |more: &[&str]| {
                let mut command = Command::new(&program);
                command.env_clear().arg("doctor").arg("--config").arg(&file).args(more);
                command.output().expect("it runs")
            };
            let (plain, json) = (ask(&[]), ask(&["--json"]));
            std::fs::remove_file(&file).expect("it is there");
            assert_eq!(plain.status, json.status);
            let (text, json) = (String::from_utf8(plain.stdout), serde_json::from_slice(&json.stdout));
            Diagnosis { well: plain.status.success(), text: text.expect("text"), json: json.expect("JSON") }
        };
        tokio::task::spawn_blocking(run).await.expect("no panic")
    }

    /// The level of what was found of one thing.
    pub(crate) fn level(&self, what: &str) -> &str {
        let subjects = self.json["subjects"].as_array().expect("subjects").iter();
        let mut findings = subjects.flat_map(|subject| subject["findings"].as_array().expect("findings"));
        let finding = findings.find(|finding| finding["what"] == what);
        finding.and_then(|finding| finding["level"].as_str()).unwrap_or("none")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_healthy_agent_has_no_failure_and_its_services_are_listed_with_what_is_not_served_and_why() {
    let agent = Agent::start(false).await;
    let mock = Mock::start(Kind::User, 0).await.expect("a mock");
    agent.register("examined", "examined-1", mock.address.port(), json!({})).await;
    agent.register("elsewhere", "elsewhere-1", 80, json!({ "Tags": ["urlprefix-/"] })).await;
    agent.register("odd", "odd-1", 80, json!({ "Address": "169.254.169.254" })).await;
    let diagnosis = Diagnosis::of(&format!("address = \"{}\"\ndatacenters = [\"dc1\"]", agent.address)).await;
    let text = &diagnosis.text;
    assert!(diagnosis.well, "{text}");
    let all = ["reachable", "leader", "clock", "token", "sees services", "sees nodes", "reads agent", "version"];
    for what in all.into_iter().chain(["datacenter", "connections", "plan", "snapshot", "served"]) {
        assert_eq!(diagnosis.level(what), "ok", "{what}: {text}");
    }
    let parts = ["examined: 1 of 1 instances", "tags for Fabio", "link-local", "of the 200", "each of 2 services"];
    assert!(parts.iter().all(|part| text.contains(part)), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_agent_before_a_live_one_is_a_failure_and_the_live_one_is_examined_all_the_same() {
    let agent = Agent::shared().await;
    agent.register("spare", "spare-1", 80, json!({})).await;
    let dead = format!("http://127.0.0.1:{}", free_port());
    let diagnosis = Diagnosis::of(&format!("addresses = [\"{dead}\", \"{}\"]", agent.address)).await;
    assert!(
        !diagnosis.well && diagnosis.text.contains(&format!("agent {dead}\n  fail  reachable")),
        "{}",
        diagnosis.text
    );
    assert_eq!((diagnosis.level("plan"), diagnosis.level("served")), ("ok", "ok"), "{}", diagnosis.text);
    let alone = Diagnosis::of(&format!("address = \"{dead}\"")).await;
    assert!(!alone.well && alone.text.contains("is the agent running"), "{}", alone.text);
    assert_eq!(alone.level("unread"), "fail", "{}", alone.text);
}
