//! Registers an instance in Consul and deregisters it: <https://developer.hashicorp.com/consul/api-docs/agent/service>.

use std::net::SocketAddr;
use std::pin::Pin;
use std::time::Duration;

use serde_json::json;

/// The registration of an instance at an agent.
#[derive(Clone, Debug)]
pub struct Registration {
    agent: String,
    id: String,
    client: reqwest::Client,
}

impl Registration {
    /// Registers an instance with the tag `gateway` and an HTTP check every second, and tries again until the agent accepts it.
    /// Returns `None` when `ended` completes before. That is checked between two tries only: a registration that is dropped half
    /// way might succeed at the agent, and nobody would remove it.
    pub async fn make(
        agent: &str,
        service: &str,
        id: &str,
        address: SocketAddr,
        mut ended: Pin<&mut impl Future<Output = ()>>,
    ) -> Option<Registration> {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(5)).build();
        let client = client.expect("a client that depends on no setting of the machine");
        let body = json!({
            "Name": service,
            "ID": id,
            "Address": address.ip().to_string(),
            "Port": address.port(),
            "Tags": ["gateway"],
            "Meta": { "version": env!("CARGO_PKG_VERSION") },
            "Check": {
                "HTTP": format!("http://{address}/health"),
                "Interval": "1s",
                "Timeout": "1s",
                "Status": "passing",
                "DeregisterCriticalServiceAfter": "1m"
            }
        });
        let registration = Registration { agent: agent.trim_end_matches('/').to_owned(), id: id.to_owned(), client };
        let url = format!("{}/v1/agent/service/register?replace-existing-checks=true", registration.agent);
        loop {
            match registration.client.put(&url).json(&body).send().await {
                Ok(answer) if answer.status().is_success() => return Some(registration),
                Ok(answer) => eprintln!("the agent refuses the registration: {}", answer.status()),
                Err(error) => eprintln!("the agent is not there yet: {error}"),
            }
            tokio::select! {
                () = tokio::time::sleep(Duration::from_millis(500)) => {}
                () = &mut ended => return None,
            }
        }
    }

    /// Deregisters the instance. When that fails, Consul removes it after its check has failed for a minute.
    pub async fn remove(&self) {
        let url = format!("{}/v1/agent/service/deregister/{}", self.agent, self.id);
        if let Err(error) = self.client.put(url).send().await {
            eprintln!("cannot deregister: {error}");
        }
    }
}
