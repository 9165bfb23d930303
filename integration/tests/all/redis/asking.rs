//! What the tests of Redis ask, and by whom.

use std::time::{Duration, Instant};

use integration::eventually;
use integration::world;
use lictor::shared::{self, Away, Call, Servers, Shared, Value};
use lictor::supervisor::Supervisor;
use lictor::worker::WorkerId;

/// What a gateway of two workers shares by this `[redis]`. The deadline is long enough for a machine that is busy with other tests.
pub(super) fn servers(section: &str) -> Servers {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let more = if section.contains("deadline") { "" } else { "deadline = \"100ms\"\n" };
    let config =
        world::config(&format!("[redis]\n{section}\n{more}[[service]]\nname = \"s\"\ninstances = [\"127.0.0.1:9\"]\n"));
    shared::start(config.redis.as_ref(), 2, &Supervisor::default())
}

pub(super) fn address(port: u16) -> String {
    format!("address = \"redis://127.0.0.1:{port}\"")
}

pub(super) fn of(servers: &Servers) -> &Shared {
    servers.limits().expect("[redis] is written").of(WorkerId(0))
}

pub(super) fn set<'c>(value: &str) -> Call<'c> {
    Call::new("SET").arg("lictor:k").arg(value)
}

pub(super) fn get<'c>() -> Call<'c> {
    Call::new("GET").arg("lictor:k")
}

pub(super) fn text(text: &str) -> Result<Value, Away> {
    Ok(Value::BulkString(text.as_bytes().to_vec()))
}

/// Until a worker's calls are answered.
pub(super) async fn up(shared: &Shared) {
    eventually("it answers", || async { shared.call(&Call::new("PING")).await.is_ok() }).await;
}

/// That a call has no answer in time, and that it pauses then. Where this machine is so busy that the gateway blames itself, it asks again.
pub(super) async fn pauses_after(shared: &Shared, call: &Call<'_>) {
    eventually("it pauses", || async {
        assert_eq!(shared.call(call).await, Err(Away::Late));
        shared.is_paused()
    })
    .await;
}

/// That a hundred calls fail at once: together they take less than one deadline.
pub(super) async fn fails_at_once(shared: &Shared) {
    let begun = Instant::now();
    for _ in 0..100 {
        assert_eq!(shared.call(&get()).await, Err(Away::Paused));
    }
    assert!(begun.elapsed() < Duration::from_millis(100), "{:?}", begun.elapsed());
}
