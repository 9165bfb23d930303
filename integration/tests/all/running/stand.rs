//! What the tests with real agents share: gateways that need not be ready, folders, conditions, and requests that go on meanwhile.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use integration::client::Client;
use integration::eventually;
use integration::world::{World, config};
use mock_services::{Kind, Mock};
use serde_json::{Value, json};

pub(super) async fn mock() -> Mock {
    Mock::start(Kind::User, 0).await.expect("a mock")
}

/// A folder of a test's own, which ends with it.
pub(super) struct Folder(pub(super) PathBuf);

impl Folder {
    pub(super) fn new() -> Folder {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("lictor-running-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a folder");
        Folder(path)
    }

    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Writes a file as one that is rotated must be written: whole, or not at all.
    pub(super) fn write(&self, name: &str, text: &str) -> PathBuf {
        let (new, file) = (self.file(&format!("{name}.new")), self.file(name));
        std::fs::write(&new, text).expect("it can be written");
        std::fs::rename(&new, &file).expect("it can be renamed");
        file
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A gateway with this `[consul]`, which need not be ready.
pub(super) async fn gateway(consul: &str) -> World {
    World::start(config(&format!("workers = 1\n[consul]\n{consul}\n"))).await
}

/// How Consul fares, as admin shows it.
pub(super) async fn provider(world: &World) -> Value {
    world.admin.get("/admin/services").await.json()["discovery"][0].clone()
}

/// Until admin says something of Consul.
pub(super) async fn says(world: &World, what: &str, holds: impl Fn(&Value) -> bool) {
    eventually(what, || async { holds(&provider(world).await) }).await;
}

/// Until `/ready` is `ready`, or `degraded`.
pub(super) async fn until_ready_is(world: &World, status: &str) {
    let is = || async {
        let ready = world.client.get("/ready").await;
        ready.status == 200 && ready.json()["status"] == status
    };
    let comes = eventually("/ready is as it must be", is);
    // A little less than the patience of `eventually`, which cannot tell what is the case instead.
    if tokio::time::timeout(std::time::Duration::from_secs(19), comes).await.is_err() {
        panic!("/ready is not {status}: {} {}", world.client.get("/ready").await.body, provider(world).await);
    }
}

/// Until a service is answered by this mock.
pub(super) async fn until_answered_by(world: &World, name: &str, mock: &Mock) {
    eventually(&format!("{name} is answered by {}", mock.name()), || async {
        let answer = world.client.get(&format!("/api/{name}/users")).await;
        answer.status == 200 && answer.instance() == mock.name()
    })
    .await;
}

/// An instance with a check that a test sets.
pub(super) fn checked(id: &str) -> Value {
    json!({ "Check": { "CheckID": format!("ttl-{id}"), "TTL": "10m", "Status": "passing" } })
}

/// Requests that go on beside a test, and what clients saw.
pub(super) struct Load {
    end: Arc<AtomicBool>,
    task: tokio::task::JoinHandle<Seen>,
}

/// What clients saw: how often they had each answer, by path, status and reason or instance.
#[derive(Debug, Default)]
pub(super) struct Seen(BTreeMap<(String, u16, String), u64>);

impl Load {
    /// Asks services in turn, without a pause.
    pub(super) fn on(world: &World, names: &[&str]) -> Load {
        Load::by(world.client.clone(), names)
    }

    fn by(client: Client, names: &[&str]) -> Load {
        let end = Arc::new(AtomicBool::new(false));
        let (ends, names) = (end.clone(), names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
        let task = tokio::spawn(async move {
            let mut seen = Seen::default();
            loop {
                for name in &names {
                    let answer = client.get(&format!("/api/{name}/users")).await;
                    let what = match answer.status {
                        200 => answer.instance().to_owned(),
                        0 => answer.body.clone(),
                        _ => answer.reason(),
                    };
                    *seen.0.entry((name.clone(), answer.status, what)).or_default() += 1;
                }
                if ends.load(Ordering::Relaxed) {
                    return seen;
                }
            }
        });
        Load { end, task }
    }

    /// Ends it after one more round.
    pub(super) async fn end(self) -> Seen {
        self.end.store(true, Ordering::Relaxed);
        self.task.await.expect("no panic")
    }
}

impl Seen {
    /// Every request was answered with 200, and there were some.
    pub(super) fn was_good(&self) {
        let bad = self.0.keys().any(|(_, status, _)| *status != 200);
        assert!(!bad && !self.0.is_empty(), "{self:?}");
    }
}

/// What Consul's own tool makes, in a folder.
pub(super) fn consul(folder: &Path, arguments: &[&str]) {
    let binary = integration::agent::obtain().expect("an agent");
    let run = std::process::Command::new(binary).args(arguments).current_dir(folder).output().expect("it runs");
    assert!(run.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&run.stderr));
}
