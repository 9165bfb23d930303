//! Calls to other gateways: within a second, with a bound on the answer, no redirects and no proxy, to the fleet's networks only.

use std::error::Error;
use std::net::SocketAddr;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use ipnet::IpNet;

use super::Member;
use super::seal::{Call, Key, nonce, seconds};
use crate::config::fleet::{FIELD, Fleet};

/// How long a call may take, from its connection to the end of the answer.
const DEADLINE: Duration = Duration::from_secs(1);

/// The most bytes of an answer.
const LARGEST: usize = 2 << 20;

/// The way to all other gateways.
#[derive(Debug, Default)]
pub(super) struct Peers(OnceLock<Result<reqwest::Client, String>>);

impl Peers {
    /// Asks a gateway, and believes only an answer that it has proven.
    pub(super) async fn ask(&self, config: &Fleet, member: &Member, path: &str) -> Result<Vec<u8>, String> {
        match tokio::time::timeout(DEADLINE, self.asked(config, member, path)).await {
            Ok(answer) => answer,
            Err(_) => Err(format!("no answer within {DEADLINE:?}")),
        }
    }

    async fn asked(&self, config: &Fleet, member: &Member, path: &str) -> Result<Vec<u8>, String> {
        let peer = member.peer.as_deref().ok_or("its registration does not say where gateways reach it")?;
        let address = locate(peer, &config.admin_networks)?;
        let key = Key::read(&config.secret)?;
        let nonce = nonce();
        let time = seconds(SystemTime::now());
        let field = key.field(&Call { method: "GET", target: path, body: b"", to: &member.id, time, nonce: &nonce });
        let http = self.0.get_or_init(|| client().map_err(|error| in_words(&error))).as_ref().map_err(Clone::clone)?;
        let request = http.get(format!("http://{address}{path}")).header(FIELD, field);
        let mut answer = request.send().await.map_err(|error| in_words(&error.without_url()))?;
        let status = answer.status();
        if status != reqwest::StatusCode::OK {
            let remedy = "its log says why if it is one of this fleet: another secret, clock or admin_networks";
            return Err(format!("it answers {status}; {remedy}"));
        }
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(|error| in_words(&error.without_url()))? {
            if body.len() + chunk.len() > LARGEST {
                return Err(format!("its answer is larger than {} MiB", LARGEST >> 20));
            }
            body.extend_from_slice(&chunk);
        }
        let stranger = "its answer does not prove that it has the fleet's secret: it is no gateway of this fleet";
        key.open((&member.id, &nonce), body).ok_or_else(|| stranger.to_owned())
    }
}

/// Where a gateway is, if that is in one of the networks: nobody may have a gateway call another place by registering it, or look up names.
fn locate(peer: &str, networks: &[IpNet]) -> Result<SocketAddr, String> {
    let found: SocketAddr = peer.parse().map_err(|_| {
        format!("{peer} is no IP address with a port: names are not looked up; [fleet] address sets it")
    })?;
    let address = SocketAddr::new(found.ip().to_canonical(), found.port());
    let near = networks.iter().any(|network| network.contains(&address.ip()));
    near.then_some(address).ok_or_else(|| format!("{peer} is in none of [fleet] admin_networks: it is not asked"))
}

fn client() -> reqwest::Result<reqwest::Client> {
    reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .referer(false)
        // A small answer that unpacks to a large one would be taken before it is proven.
        .no_gzip()
        .pool_max_idle_per_host(0)
        .user_agent(concat!("lictor/", env!("CARGO_PKG_VERSION")))
        .tls_certs_only([])
        .build()
}

/// An error with its causes: reqwest's own text leaves out that a connection was refused.
fn in_words(error: &reqwest::Error) -> String {
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let more = inner.to_string();
        if !words.contains(&more) {
            words = format!("{words}: {more}");
        }
        cause = inner.source();
    }
    words
}
