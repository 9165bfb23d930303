//! One worker: a thread with a runtime of its own that serves the connections placed on it.

use std::io;
use std::net::TcpStream;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;

use tokio::runtime::LocalRuntime;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::MissedTickBehavior;

use super::Limits;
use super::connection;
use super::watch::{Connections, TICK};
use crate::io::{Client, Io};
use crate::plane::{Handler, Placed, Pulse, Wake, WorkerId};

/// A connection on its way from the acceptor to its worker.
#[derive(Debug)]
pub(super) struct Arrival {
    pub(super) stream: TcpStream,
    pub(super) client: Client,
    pub(super) limits: Arc<Limits>,
    pub(super) placed: Placed,
    pub(super) slot: OwnedSemaphorePermit,
}

/// What a worker is told.
#[derive(Debug)]
pub(super) enum Command {
    /// Serve this.
    Arrival(Arrival),
    /// Close what is idle, let the rest end, then end.
    Drain,
    /// End now.
    End,
}

/// Starts a worker's thread.
pub(super) fn start<H, F>(
    id: WorkerId,
    pulse: Arc<Pulse>,
    wake: Wake,
    make: F,
) -> io::Result<(mpsc::Sender<Command>, JoinHandle<()>)>
where
    H: Handler,
    F: FnOnce(WorkerId) -> H + Send + 'static,
{
    let (sender, commands) = mpsc::channel(1024);
    let name = format!("lictor-worker-{}", id.0);
    let thread = std::thread::Builder::new().name(name).spawn(move || match LocalRuntime::new() {
        Ok(runtime) => runtime.block_on(Box::pin(run(id, commands, pulse, wake, make))),
        Err(error) => tracing::error!(worker = id.0, "cannot start a runtime: {error}"),
    })?;
    Ok((sender, thread))
}

async fn run<H: Handler>(
    id: WorkerId,
    mut commands: mpsc::Receiver<Command>,
    pulse: Arc<Pulse>,
    wake: Wake,
    make: impl FnOnce(WorkerId) -> H,
) {
    let handler = Rc::new(make(id));
    let connections = Rc::new(Connections::default());
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut draining = false;
    loop {
        tokio::select! {
            command = commands.recv() => match command {
                Some(Command::Arrival(arrival)) => serve(arrival, &handler, &connections, &pulse),
                Some(Command::Drain) => {
                    draining = true;
                    connections.drain();
                }
                Some(Command::End) | None => break,
            },
            () = wake.woken(id) => handler.woken(),
            _ = tick.tick() => {
                pulse.beat(id);
                connections.sweep();
                handler.tick();
            }
        }
        if draining && connections.is_empty() {
            break;
        }
    }
    handler.tick();
}

fn serve<H: Handler>(arrival: Arrival, handler: &Rc<H>, connections: &Rc<Connections>, pulse: &Arc<Pulse>) {
    let Arrival { stream, client, limits, placed, slot } = arrival;
    let stream = match tokio::net::TcpStream::from_std(stream) {
        Ok(stream) => stream,
        Err(error) => return tracing::warn!("cannot watch a connection: {error}"),
    };
    let control = connections.open(limits);
    let served =
        connection::serve(Io::Tcp(stream), client, handler.clone(), control, connections.clone(), pulse.clone());
    tokio::task::spawn_local(async move {
        served.await;
        drop((placed, slot));
    });
}
