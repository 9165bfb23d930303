//! Follows the services of a datacenter: some by a blocking query of their own, the others by reads when something says that they are due.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;

use super::client::Failure;
use super::view::View;
use super::watch::Cursor;
use crate::catalog::ServiceName;
use crate::supervisor::{Backoff, outcome};

/// How many first reads are under way at once, however many a connection can carry.
const FIRST: usize = 64;

fn path(name: &ServiceName) -> String {
    format!("/v1/health/service/{name}")
}

/// Reads whatever is due, at most as many at once as there are connections for it. Never ends; dropped, it ends its reads.
pub(super) async fn read_what_is_due(view: Arc<View>) {
    let mut reads = JoinSet::new();
    loop {
        let most = match view.roster.is_filled() || view.dc > 0 {
            true => view.budget().spare,
            // The first datacenter's first reads have all connections but that of the catalog.
            false => (view.agent.client.lanes() - 1).min(FIRST),
        };
        let mut paused = None;
        while reads.len() < most && view.roster.is_due() {
            if view.roster.is_filled()
                && let Err(wait) = view.agent.allowance.pay()
            {
                paused = Some(Instant::now() + wait);
                break;
            }
            let Some((name, cursor, failures)) = view.roster.next() else { break };
            reads.spawn(read(view.clone(), name, cursor, failures));
        }
        let hour = || Instant::now() + Duration::from_secs(3600);
        // While all places are taken, the end of a read is waited for.
        let retry = || view.roster.next_retry().filter(|_| reads.len() < most);
        let until = paused.or_else(retry).unwrap_or_else(hour);
        tokio::select! {
            Some(_) = reads.join_next() => {}
            () = view.roster.due.notified(), if paused.is_none() => {}
            () = tokio::time::sleep_until(until) => {}
            () = view.agent.revived.notified() => view.roster.retry(),
        }
    }
}

/// One read. Where it panics, what is known of the service stays, and it is read again after a pause.
async fn read(view: Arc<View>, name: ServiceName, cursor: Cursor, failures: u32) {
    let mut watch = view.resume(path(&name), view.doubting(&name, cursor), failures);
    let result = outcome(async {
        let mut lane = view.agent.client.lane().await;
        view.read(&name, &mut watch, &mut lane, false).await
    });
    match result.await {
        Ok(Ok(read)) if read.changed && view.roster.is_filled() => view.roster.changed(&name, view.budget()),
        Ok(Ok(_)) => {}
        Ok(Err(pause)) => view.roster.failed(&name, watch.failures(), pause, view.budget()),
        Err(panic) => {
            tracing::error!(service = %name, "its read panicked: {panic}");
            view.state.service_failed(view.dc, &name, &Failure::panicked(), failures + 1);
            view.roster.failed(&name, failures + 1, view.agent.timings.backoff.1, view.budget());
        }
    }
}

/// Gives services a watch of their own when that is due. Never ends; dropped, it ends their watches.
pub(super) async fn watch_the_promoted(view: Arc<View>) {
    let mut watches = JoinSet::new();
    loop {
        for (name, cursor, failures) in view.roster.promotions() {
            let watch = watches.spawn(watch(view.clone(), name.clone(), cursor, failures));
            view.roster.watched(&name, watch);
        }
        tokio::select! {
            Some(_) = watches.join_next() => {}
            () = view.roster.promoted.notified() => {}
        }
    }
}

/// Follows a service by blocking queries. Never ends; dropped, it closes its connection. When it panics it is begun again: what is known of
/// its service stays, and all others are followed as before.
async fn watch(view: Arc<View>, name: ServiceName, mut cursor: Cursor, mut failures: u32) {
    let mut backoff = Backoff::default();
    while let Err(panic) = outcome(rounds(&view, &name, cursor, failures)).await {
        let pause = backoff.pause();
        tracing::error!(service = %name, "its watch is begun again in {pause:?}: it panicked: {panic}");
        (failures, cursor) = (failures + 1, Cursor::default());
        view.state.service_failed(view.dc, &name, &Failure::panicked(), failures);
        tokio::time::sleep(pause).await;
    }
}

async fn rounds(view: &View, name: &ServiceName, cursor: Cursor, failures: u32) {
    let mut watch = view.resume(path(name), view.doubting(name, cursor), failures);
    let mut lane = view.agent.client.lane().await;
    let mut hung = view.agent.hung.subscribe();
    loop {
        let read = tokio::select! {
            read = view.read(name, &mut watch, &mut lane, true) => read,
            Ok(()) = hung.changed() => {
                watch.fail();
                continue;
            }
        };
        match read {
            Ok(read) => tokio::time::sleep(read.pause).await,
            Err(pause) => tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = view.agent.revived.notified() => {}
            },
        }
    }
}
