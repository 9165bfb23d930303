//! The files of `consul/` do what the README there says.

use std::process::Stdio;

use integration::agent::{command, free_ports, obtain};
use integration::eventually;
use integration::process::{Process, root};
use reqwest::Method;
use serde_json::{Value, json};

use super::examining::Diagnosis;

/// An agent with the documented ACL configuration, and its management token.
struct Guarded {
    base: String,
    http: reqwest::Client,
    management: String,
    _agent: Process,
}

impl Guarded {
    async fn start() -> Guarded {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let ports = free_ports();
        let mut agent = command(&obtain().expect("an agent"), ports);
        agent.arg("-dev").arg(format!("-config-file={}", root().join("consul/agent-acl.hcl").display()));
        agent.stdout(Stdio::null()).stderr(Stdio::null());
        let agent = Process::start("consul", &mut agent).expect("it starts");
        let http = reqwest::Client::builder().no_proxy().build().expect("a plain client");
        let base = format!("http://127.0.0.1:{}", ports[0]);
        let mut guarded = Guarded { base, http, management: String::new(), _agent: agent };
        let secret = std::cell::RefCell::new(Value::Null);
        eventually("the agent hands out its first token", || async {
            let token = guarded.ask(Method::PUT, "/v1/acl/bootstrap", "", Value::Null).await;
            *secret.borrow_mut() = token["SecretID"].clone();
            token["SecretID"].is_string()
        })
        .await;
        guarded.management = secret.into_inner().as_str().unwrap_or_default().to_owned();
        guarded
    }

    /// Sends a request. Returns the response as JSON, null when there is none.
    async fn ask(&self, method: Method, path: &str, token: &str, body: Value) -> Value {
        let request = self.http.request(method, format!("{}{path}", self.base)).header("x-consul-token", token);
        let request = if body.is_null() { request } else { request.json(&body) };
        match request.send().await {
            Ok(answer) => answer.json().await.unwrap_or_default(),
            Err(_) => Value::Null,
        }
    }

    /// Creates a token with these rules.
    async fn token(&self, name: &str, rules: &str) -> String {
        let policy = json!({ "Name": name, "Rules": rules });
        self.ask(Method::PUT, "/v1/acl/policy", &self.management, policy).await;
        let token = json!({ "Policies": [{ "Name": name }] });
        let token = self.ask(Method::PUT, "/v1/acl/token", &self.management, token).await;
        token["SecretID"].as_str().expect("a token").to_owned()
    }

    /// How many instances of the example service a token lets its owner see.
    async fn sees(&self, token: &str) -> usize {
        let answer = self.ask(Method::GET, "/v1/health/service/order_service", token, Value::Null).await;
        answer.as_array().map_or(0, Vec::len)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_documented_policy_shows_what_the_gateway_needs_and_without_node_prefix_nothing() {
    let agent = Guarded::start().await;
    let policy = std::fs::read_to_string(root().join("consul/policy.hcl")).expect("the policy");
    let service = std::fs::read_to_string(root().join("consul/service.json")).expect("the example");
    let readme = std::fs::read_to_string(root().join("consul/README.md")).expect("the README");
    assert!(readme.contains(&service), "the README shows another registration than service.json");
    assert!(readme.contains(&policy), "the README shows another policy than policy.hcl");

    let service: Value = serde_json::from_str(&service).expect("JSON");
    agent.ask(Method::PUT, "/v1/agent/service/register", &agent.management, service).await;
    eventually("the example is registered", || async { agent.sees(&agent.management).await == 1 }).await;

    let gateway = agent.token("lictor", &policy).await;
    assert_eq!(agent.sees(&gateway).await, 1);
    let itself = agent.ask(Method::GET, "/v1/agent/self", &gateway, Value::Null).await;
    assert!(itself["Config"]["NodeName"].is_string(), "the agent's own node is hidden: {itself}");
    assert_eq!(agent.sees(&agent.token("half", "service_prefix \"\" { policy = \"read\" }").await).await, 0);
    assert_eq!(agent.sees("").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_doctor_names_what_a_token_lacks_and_finds_nothing_wrong_with_the_documented_policy() {
    let agent = Guarded::start().await;
    let policy = std::fs::read_to_string(root().join("consul/policy.hcl")).expect("the policy");
    let service =
        json!({ "Name": "watched", "ID": "watched-1", "Address": "127.0.0.1", "Port": 80, "Tags": ["gateway"] });
    agent.ask(Method::PUT, "/v1/agent/service/register", &agent.management, service).await;
    let visible = "/v1/health/service/watched";
    eventually("it is in the catalog", || async {
        agent
            .ask(Method::GET, visible, &agent.management, Value::Null)
            .await
            .as_array()
            .is_some_and(|all| all.len() == 1)
    })
    .await;
    let examine = async |token: &str| {
        let token = if token.is_empty() { String::new() } else { format!("token = \"{token}\"\n") };
        let diagnosis = Diagnosis::of(&format!("address = \"{}\"\n{token}", agent.base)).await;
        assert!(
            token.is_empty() || !diagnosis.text.contains(token.split('"').nth(1).unwrap_or("?")),
            "a secret is shown"
        );
        diagnosis
    };
    let levels = |diagnosis: &Diagnosis| {
        ["token", "sees services", "sees nodes", "reads agent", "served"].map(|what| diagnosis.level(what).to_owned())
    };

    let gateway = examine(&agent.token("lictor", &policy).await).await;
    assert_eq!(levels(&gateway), ["ok", "ok", "ok", "ok", "ok"], "{}", gateway.text);
    let half = examine(&agent.token("half", "service_prefix \"\" { policy = \"read\" }").await).await;
    assert_eq!(levels(&half), ["ok", "ok", "fail", "warn", "warn"], "{}", half.text);
    assert!(half.text.contains("node_prefix \"\" { policy = \"read\" }"), "{}", half.text);
    let blind = examine(&agent.token("blind", "node_prefix \"\" { policy = \"read\" }").await).await;
    assert_eq!(levels(&blind)[..2], ["ok", "fail"], "{}", blind.text);
    let unknown = examine("11111111-2222-3333-4444-555555555555").await;
    assert_eq!(levels(&unknown)[..2], ["fail", "none"], "{}", unknown.text);
    let none = examine("").await;
    assert_eq!(levels(&none)[..2], ["warn", "fail"], "{}", none.text);
}
