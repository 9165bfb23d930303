//! What a request costs the gateway: with an API key, with one token, with many in turn, and with tokens that it has never seen.

use std::collections::VecDeque;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use integration::client::KEY;
use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey};
use mock_services::Issuer;
use mock_services::issuer::Wanted;
use rustix::time::{ClockId, clock_gettime};
use serde_json::json;

use super::backend;
use super::connection::{Connection, bearer};
use super::gateway::Gateway;
use super::{Options, Outcome};

/// The configurations that are compared.
const FULL: &str = include_str!("../../../../measure/full.toml");
const JWT: &str = include_str!("../../../../measure/jwt.toml");

/// Requests before anything is counted.
const WARM: usize = 2_000;

/// The keys of an issuer, in a file that goes with it.
struct KeyFile(PathBuf);

impl KeyFile {
    fn write(issuer: &Issuer) -> Outcome<KeyFile> {
        let path = std::env::temp_dir().join(format!("tokens-{}.jwks", std::process::id()));
        std::fs::write(&path, issuer.keys().to_string()).map_err(|error| error.to_string())?;
        Ok(KeyFile(path))
    }
}

impl Drop for KeyFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// A gateway, and what requests to it have to say who sends them, in turn.
struct Side {
    gateway: Gateway,
    fields: Arc<Vec<String>>,
}

/// Prints a line for each of the three, beside the key.
pub(super) async fn measure(options: &Options, program: &Path) -> Outcome<()> {
    let issuer = Issuer::start(0).await.map_err(|error| error.to_string())?;
    let keys = KeyFile::write(&issuer)?;
    let token =
        || issuer.token(&Wanted::with(json!({ "iss": "https://issuer.example.com", "exp": 4_102_444_800_u64 })));
    let instances = backend::start().await?;
    let placed = |text: &str, own: &str| {
        let text = text.replace(own, "LISTENER").replace("integration/measure/jwt.jwks", &keys.0.display().to_string());
        text.replace("127.0.0.1:9101", &instances[0]).replace("127.0.0.1:9102", &instances[1])
    };
    let key = format!("X-API-Key: {KEY}");
    let with_key = Side {
        gateway: Gateway::start(program, &placed(FULL, "127.0.0.1:8102"), &key).await?,
        fields: Arc::new(vec![key]),
    };
    let first = bearer(&token());
    let gateway = Gateway::start(program, &placed(JWT, "127.0.0.1:8105"), &first).await?;
    let mut with_token = Side { gateway, fields: Arc::new(vec![first]) };
    compare("one token", options, &with_key, &with_token).await?;
    with_token.fields = Arc::new((0..options.tokens).map(|_| bearer(&token())).collect());
    compare(&format!("{} tokens in turn", options.tokens), options, &with_key, &with_token).await?;
    unseen(options, &with_key, &mut with_token, &token).await?;
    println!("one signature of RS256, verified by itself: {:.2} us", signature(&issuer, &token())?);
    Ok(())
}

/// Windows in the order key, token, token, key, and the ratio of each pair.
async fn compare(what: &str, options: &Options, key: &Side, token: &Side) -> Outcome<()> {
    for side in [key, token] {
        window(side, options.connections, WARM.max(side.fields.len())).await?;
    }
    let (mut ratios, mut costs) = (Vec::new(), [Vec::new(), Vec::new()]);
    for pair in 0..options.pairs {
        let mut cost = [0.0; 2];
        for which in if pair % 2 == 0 { [0, 1] } else { [1, 0] } {
            cost[which] = window([key, token][which], options.connections, options.requests).await?;
            costs[which].push(cost[which]);
        }
        ratios.push(cost[1] / cost[0]);
    }
    let [key, token] = costs.map(median);
    let all: Vec<_> = ratios.iter().map(|ratio| format!("{ratio:.3}")).collect();
    let all = all.join(" ");
    println!("{what}: {token:.2} us a request, with the key {key:.2}; median of ratios {:.3} of {all}", median(ratios));
    Ok(())
}

/// Tokens that the gateway has never seen, each sent once.
async fn unseen(options: &Options, key: &Side, side: &mut Side, token: &impl Fn() -> String) -> Outcome<()> {
    let (mut costs, mut keys) = (Vec::new(), Vec::new());
    let count = (options.requests / 10).max(options.connections);
    for _ in 0..options.pairs {
        side.fields = Arc::new((0..count).map(|_| bearer(&token())).collect());
        keys.push(window(key, options.connections, count).await?);
        costs.push(window(side, options.connections, count).await?);
    }
    let (key, cost) = (median(keys), median(costs));
    println!("tokens never seen before: {cost:.2} us a request, with the key {key:.2}: {:.2} more", cost - key);
    Ok(())
}

/// Sends so many requests, each when the one before it on its connection is answered. The gateway's CPU time for one, in microseconds.
async fn window(side: &Side, connections: usize, requests: usize) -> Outcome<f64> {
    let next = Arc::new(AtomicUsize::new(0));
    let mut clients = VecDeque::new();
    for _ in 0..connections {
        let opened = Connection::open(side.gateway.address, Ipv4Addr::LOCALHOST.into()).await;
        clients.push_back(opened.map_err(|error| error.to_string())?);
    }
    let before = side.gateway.cpu()?;
    let tasks = clients.into_iter().map(|client| drive(client, side.fields.clone(), next.clone(), requests));
    let tasks: Vec<_> = tasks.map(tokio::spawn).collect();
    for task in tasks {
        task.await.map_err(|error| error.to_string())??;
    }
    Ok((side.gateway.cpu()? - before).as_secs_f64() * 1e6 / requests as f64)
}

/// One connection's part: the next request of all, until there is none.
async fn drive(mut client: Connection, fields: Arc<Vec<String>>, next: Arc<AtomicUsize>, most: usize) -> Outcome<()> {
    loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        if number >= most {
            return Ok(());
        }
        match client.ask(&fields[number % fields.len()]).await {
            Ok(200) => {}
            other => return Err(format!("a good request was answered by {other:?}")),
        }
    }
}

/// What it costs to verify a signature and nothing else, in microseconds of CPU time.
fn signature(issuer: &Issuer, token: &str) -> Outcome<f64> {
    const TIMES: u32 = 2_000;
    let keys: JwkSet = serde_json::from_value(issuer.keys()).map_err(|error| error.to_string())?;
    let header = jsonwebtoken::decode_header(token).map_err(|error| error.to_string())?;
    let jwk = keys.find(header.kid.as_deref().unwrap_or_default()).ok_or("the issuer does not show its key")?;
    let key = DecodingKey::from_jwk(jwk).map_err(|error| error.to_string())?;
    let (message, signature) = token.rsplit_once('.').ok_or("no JWT")?;
    let begun = clock_gettime(ClockId::ThreadCPUTime);
    for _ in 0..TIMES {
        let held = jsonwebtoken::crypto::verify(signature, message.as_bytes(), &key, Algorithm::RS256);
        if !held.is_ok_and(|held| held) {
            return Err("the issuer's own signature is wrong".into());
        }
    }
    let ended = clock_gettime(ClockId::ThreadCPUTime);
    let nanoseconds = (ended.tv_sec - begun.tv_sec) * 1_000_000_000 + (ended.tv_nsec - begun.tv_nsec);
    Ok(nanoseconds as f64 / 1000.0 / f64::from(TIMES))
}

fn median(mut of: Vec<f64>) -> f64 {
    of.sort_by(f64::total_cmp);
    of[of.len() / 2]
}
