//! What the pages are made of.

use std::sync::Arc;

use tokio::sync::watch;

use crate::catalog::DiscoveryStatus;
use crate::catalog::notice::Notices;
use crate::config::watch::Status;
use crate::filter::cache::Cache;
use crate::fleet::Fleet;
use crate::issuers::Issuers;
use crate::plane::Pulse;
use crate::plane::room::Gauge;
use crate::shared::Servers;
use crate::snapshot::Current;
use crate::telemetry::access::AccessLog;
use crate::telemetry::metrics::Recorder;

/// What admin reads.
#[derive(Clone, Debug)]
pub struct Sources {
    /// Where snapshots are published.
    pub current: Current,
    /// Stored answers.
    pub cache: Arc<Cache>,
    /// How discovery fares.
    pub discovery: watch::Receiver<Arc<DiscoveryStatus>>,
    /// Where discovery is told what an operator decides.
    pub notices: Notices,
    /// How issuers fare, and where tokens are revoked.
    pub issuers: Issuers,
    /// The fleet, where this gateway is one of it.
    pub fleet: Option<Fleet>,
    /// What gateways share.
    pub shared: Servers,
    /// The workers' signs of life.
    pub pulse: Arc<Pulse>,
    /// How the configuration fares.
    pub config: watch::Receiver<Status>,
    /// Requests that no route claims.
    pub unrouted: Arc<Recorder>,
    /// How full the memory for aggregates is.
    pub room: Arc<Gauge>,
    /// Where access lines go, if any are wanted.
    pub access: Option<AccessLog>,
}
