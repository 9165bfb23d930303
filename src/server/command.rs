//! What a worker of the server is sent: a connection to serve, or how to end.

use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, mpsc};

use super::Limits;
use crate::io::Client;
use crate::plane::Placed;

/// A connection on its way from the worker that accepted it to the worker that serves it.
#[derive(Debug)]
pub(super) struct Arrival {
    pub(super) stream: TcpStream,
    pub(super) client: Client,
    pub(super) limits: Arc<Limits>,
    /// Counts the connection at its worker.
    pub(super) placed: Placed,
    /// Counts it against its listener's limit.
    pub(super) slot: OwnedSemaphorePermit,
}

/// A message to a worker.
#[derive(Debug)]
pub(super) enum Command {
    /// Serve this connection.
    Arrival(Box<Arrival>),
    /// A new connection of a listener with these limits finds no room: end one that is idle, or pass this on to so many workers.
    MakeRoom(Arc<Limits>, usize),
    /// In this time there is a `Stop`: until then, have connections move.
    Announce(Duration),
    /// Accept no more. The sender is dropped when that is done.
    Stop(mpsc::Sender<()>),
    /// Close idle connections, let requests in flight end, then end.
    Drain,
    /// End now, whatever is in flight.
    End,
}
