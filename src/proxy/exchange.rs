//! What is known of one request while it is answered: for headers, pages and the access line.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use http::{Method, StatusCode, Uri};
use tokio::time::Instant;

use super::trace::TraceId;
use crate::catalog::ServiceName;

/// One request and what became of it.
#[derive(Clone, Debug)]
pub(super) struct Exchange {
    pub(super) id: TraceId,
    pub(super) began: Instant,
    pub(super) client: IpAddr,
    pub(super) method: Method,
    pub(super) target: Uri,
    pub(super) route: Option<Arc<str>>,
    pub(super) service: Option<ServiceName>,
    pub(super) instance: Option<SocketAddr>,
    pub(super) consumer: Option<Arc<str>>,
    pub(super) attempts: u32,
    pub(super) status: StatusCode,
    pub(super) bytes: u64,
    pub(super) reason: &'static str,
    pub(super) blame: Option<&'static str>,
}

impl Exchange {
    /// Why it ended as it did, unless that is known already.
    pub(super) fn reason(&mut self, reason: &'static str) {
        if self.reason.is_empty() {
            self.reason = reason;
        }
    }
}
