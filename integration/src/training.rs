//! The traffic by which `cargo pgo` shows the compiler what the gateway does most.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use http::Method;
use mock_services::{Kind, Mock};

use crate::agent::free_port;
use crate::client::{Client, KEY};
use crate::process::Process;
use crate::{eventually, world};

/// The configurations that are trained, each in a process of its own: without any filter, with all but the cache, and with the
/// cache. For each its top-level keys, and its sections.
const CONFIGURATIONS: [(&str, &str); 3] = [
    ("", "[api]\nauth = false\n[log]\naccess = true\n"),
    ("limits = [\"1000000000/s\"]\n", ""),
    ("limits = [\"1000000000/s\"]\n", "[api]\ncache = { ttl = \"10m\" }\n"),
];

/// How many clients send requests at once.
const CLIENTS: usize = 16;

/// Trains a program with each configuration, whose file is written to `folder`; each client sends so many requests. The program
/// ends after each configuration by itself, so that it can write its profile.
///
/// # Errors
/// What went wrong.
pub async fn train(program: &Path, folder: &Path, requests: usize) -> Result<(), String> {
    for configuration in CONFIGURATIONS {
        train_with(program, folder, configuration, requests).await?;
    }
    Ok(())
}

async fn train_with(
    program: &Path,
    folder: &Path,
    (keys, sections): (&str, &str),
    requests: usize,
) -> Result<(), String> {
    // Two instances, and a gateway that knows them.
    let mocks = [start().await?, start().await?];
    let port = free_port();
    let service = world::service("user_service", &mocks.each_ref());
    let text = world::text(&format!("{sections}[[listener]]\naddress = \"127.0.0.1:{port}\"\n{service}"));
    let file = folder.join("training.toml");
    std::fs::write(&file, format!("workers = 1\n{keys}{text}"))
        .map_err(|error| format!("{}: {error}", file.display()))?;
    let mut command = Command::new(program);
    command
        .args(["run", "--config"])
        .arg(&file)
        .env_remove("CONSUL_HTTP_ADDR")
        .env("RUST_LOG", "warn")
        .stdout(Stdio::null());
    let mut gateway = Process::start("lictor", &mut command).map_err(|error| error.to_string())?;
    // All clients at once.
    let client = Client::new(([127, 0, 0, 1], port).into());
    eventually("the gateway is ready", || async { client.get("/ready").await.status == 200 }).await;
    let clients = (0..CLIENTS).map(|_| tokio::spawn(send(client.clone(), requests)));
    for client in clients.collect::<Vec<_>>() {
        client.await.map_err(|error| error.to_string())??;
    }
    // The profile is written when the program ends by itself.
    let ended = tokio::task::block_in_place(|| gateway.end(Duration::from_secs(20)));
    match ended.and_then(|status| status.code()) {
        Some(0) => Ok(()),
        _ => Err("the gateway did not end by itself".into()),
    }
}

/// Starts an instance.
async fn start() -> Result<Mock, String> {
    Mock::start(Kind::User, 0).await.map_err(|error| format!("a mock cannot be started: {error}"))
}

/// Sends requests: most of them for small responses over connections that stay open, and a few of each other kind.
async fn send(client: Client, requests: usize) -> Result<(), String> {
    let (small, large) = ("x".repeat(2000), "x".repeat(500_000));
    let key = ("x-api-key", KEY);
    for number in 0..requests {
        let answer = match number % 50 {
            10 | 20 | 30 | 40 => client.post("/api/user_service/echo/body", &small).await,
            15 | 35 => client.ask(Method::GET, "/api/user_service/users", &[key, ("connection", "close")], "").await,
            25 => client.post("/api/user_service/echo/body", &large).await,
            45 => client.get("/api/user_service/users/99").await,
            _ => client.get("/api/user_service/users").await,
        };
        if answer.status != if number % 50 == 45 { 404 } else { 200 } {
            return Err(format!("an answer is {}: {}", answer.status, answer.body));
        }
    }
    Ok(())
}
