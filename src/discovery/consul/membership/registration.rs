//! What a gateway registers, and whether an agent has it so.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Value, json};

use super::place::Place;
use crate::discovery::consul::client::{Client, Failure, Patience};

/// How often the agent asks whether the gateway is ready, how long that may take, and after how long without success the agent takes the
/// registration out: a gateway that is only late registers again.
const CHECK: (&str, &str, &str) = ("5s", "2s", "5m");

/// A registration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) id: Arc<str>,
    pub(super) service: String,
    pub(super) place: Place,
    /// The name of its configuration; `None` while the fleet's secret cannot be used.
    pub(super) configuration: Option<String>,
}

/// A registration as an agent has it: `/v1/agent/service/ID`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Found {
    service: Option<String>,
    address: Option<String>,
    port: Option<i64>,
    meta: Option<BTreeMap<String, String>>,
}

impl Wanted {
    /// What is said besides. Nothing in it changes with each snapshot: every change is one of Consul's catalog.
    fn meta(&self) -> BTreeMap<String, String> {
        let version = ("lictor-version".to_owned(), env!("CARGO_PKG_VERSION").to_owned());
        let peer = (super::PEER.to_owned(), self.place.peer.clone());
        let configuration = self.configuration.clone().map(|name| ("lictor-configuration".to_owned(), name));
        [version, peer].into_iter().chain(configuration).collect()
    }

    /// As it is sent. A check that is new to an agent fails until it was asked first, unless it begins as one that passes.
    fn body(&self, passing: bool) -> Value {
        let (interval, timeout, gone) = CHECK;
        let Wanted { id, service, place, .. } = self;
        json!({
            "ID": &**id,
            "Name": service,
            "Address": place.host.as_deref().unwrap_or_default(),
            "Port": place.port,
            "Meta": self.meta(),
            "Check": {
                "CheckID": format!("{id}-ready"),
                "Name": "ready",
                "Status": if passing { "passing" } else { "" },
                "HTTP": place.check,
                "Interval": interval,
                "Timeout": timeout,
                "DeregisterCriticalServiceAfter": gone,
            },
        })
    }

    fn is(&self, found: &Found) -> bool {
        found.service.as_deref() == Some(&*self.service)
            && found.address.as_deref().unwrap_or_default() == self.place.host.as_deref().unwrap_or_default()
            && found.port == Some(i64::from(self.place.port))
            && found.meta.as_ref() == Some(&self.meta())
    }

    /// Whether the agent has the registration as it is.
    pub(super) async fn is_known(&self, client: &Arc<Client>, patience: Patience) -> Result<bool, Failure> {
        let mut lane = client.lane().await;
        match lane.get(&format!("/v1/agent/service/{}", self.id), &[], patience).await {
            Ok(answer) => {
                let odd = |why: serde_json::Error| Failure::not_understood(format!("/v1/agent/service: {why}"));
                Ok(self.is(&serde_json::from_slice(&answer.body).map_err(odd)?))
            }
            Err(failure) if failure.status == Some(404) => Ok(false),
            Err(failure) => Err(failure),
        }
    }

    /// Registers; `passing` where this gateway is known to pass elsewhere. The check has its own id, and so replaces the one that was there; others,
    /// as that by which an operator sets maintenance, stay.
    pub(super) async fn register(
        &self,
        client: &Arc<Client>,
        patience: Patience,
        passing: bool,
    ) -> Result<(), Failure> {
        let body = serde_json::to_vec(&self.body(passing)).expect("its keys are texts");
        client.lane().await.put("/v1/agent/service/register", &[], body, patience).await.map(drop)
    }

    /// Takes the registration out.
    pub(super) async fn deregister(&self, client: &Arc<Client>, patience: Patience) -> Result<(), Failure> {
        let path = format!("/v1/agent/service/deregister/{}", self.id);
        match client.lane().await.put(&path, &[], Vec::new(), patience).await {
            Ok(_) => Ok(()),
            // There is nothing to take out.
            Err(failure) if failure.status == Some(404) => Ok(()),
            Err(failure) => Err(failure),
        }
    }
}
