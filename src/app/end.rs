//! The end of a gateway, in stages.

use std::time::Duration;

use crate::config;
use crate::fleet::Fleet;
use crate::server::Server;

/// How long Consul may take to learn that this gateway ends.
const LEAVE: Duration = Duration::from_secs(3);

/// Serves a while longer, so that everybody can learn of the end and kept connections can move, then lets requests in flight end.
pub(super) async fn drain(
    server: Server,
    fleet: Option<Fleet>,
    config::Shutdown { announce, deadline }: config::Shutdown,
) {
    tracing::info!("stopping: serving {announce:?} more while /ready says so, then draining");
    // Balancers that look into Consul learn of the end before a listener closes.
    if let Some(fleet) = fleet {
        fleet.leave(LEAVE).await;
    }
    server.announce(announce).await;
    tokio::time::sleep(announce).await;
    if !server.drain(deadline).await {
        tracing::warn!("requests were still in flight at the end of [shutdown] deadline: cut");
    }
}
