//! One worker: a thread with a runtime of its own that serves the connections placed on it.

use std::io;
use std::net::TcpStream;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;

use tokio::runtime::LocalRuntime;
use tokio::sync::{OwnedSemaphorePermit, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use super::Limits;
use super::accept::{Acceptor, Listening};
use super::connection;
use super::watch::{Connections, TICK};
use crate::io::{Client, Io};
use crate::plane::{Handler, Placed, Pulse, Wake};
use crate::worker::WorkerId;

/// A connection on its way from whoever accepted it to its worker.
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
    Arrival(Box<Arrival>),
    /// Accept no more; what is given is dropped when that is done.
    Stop(mpsc::Sender<()>),
    /// Close what is idle, let the rest end, then end.
    Drain,
    /// End now.
    End,
}

/// A worker's place among all.
#[derive(Debug)]
pub(super) struct Post {
    pub(super) id: WorkerId,
    pub(super) pulse: Arc<Pulse>,
    pub(super) wake: Wake,
    pub(super) doors: Arc<[Arc<Listening>]>,
    /// All workers, itself among them: weak, so that a worker ends when nobody commands it any more.
    pub(super) workers: Arc<[mpsc::WeakSender<Command>]>,
}

/// Starts a worker's thread.
pub(super) fn start<H, F>(post: Post, commands: mpsc::Receiver<Command>, make: F) -> io::Result<JoinHandle<()>>
where
    H: Handler,
    F: FnOnce(WorkerId) -> H + Send + 'static,
{
    let id = post.id;
    let name = format!("lictor-worker-{}", id.0);
    std::thread::Builder::new().name(name).spawn(move || match LocalRuntime::new() {
        Ok(runtime) => runtime.block_on(Box::pin(run(post, commands, make))),
        Err(error) => tracing::error!(worker = id.0, "cannot start a runtime: {error}"),
    })
}

async fn run<H: Handler>(post: Post, mut commands: mpsc::Receiver<Command>, make: impl FnOnce(WorkerId) -> H) {
    let Post { id, pulse, wake, doors, workers } = post;
    let handler = Rc::new(make(id));
    let connections = Rc::new(Connections::default());
    let serve = {
        let (handler, connections, pulse) = (handler.clone(), connections.clone(), pulse.clone());
        Rc::new(move |arrival| serve(arrival, &handler, &connections, &pulse))
    };
    let (stop, stopping) = watch::channel(false);
    let reserve = Rc::default();
    let mut accepting = JoinSet::new();
    for door in doors.iter() {
        if let Some(acceptor) = Acceptor::new(id, &pulse, &workers, &reserve, &serve) {
            accepting.spawn_local(acceptor.run(door.clone(), stopping.clone()));
        }
    }
    // The listeners close with the last who watches them.
    drop((doors, stopping));
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut draining = false;
    let mut stopped = None;
    loop {
        tokio::select! {
            command = commands.recv() => match command {
                Some(Command::Arrival(arrival)) => serve(*arrival),
                Some(Command::Stop(done)) => {
                    let _ = stop.send(true);
                    stopped = Some(done);
                }
                Some(Command::Drain) => {
                    draining = true;
                    connections.drain();
                }
                Some(Command::End) | None => break,
            },
            () = wake.woken(id) => handler.woken(),
            ended = accepting.join_next(), if stopped.is_some() => {
                if ended.is_none() {
                    stopped = None;
                }
            }
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
    let (handler, connections, pulse) = (handler.clone(), connections.clone(), pulse.clone());
    let held = (placed, slot);
    tokio::task::spawn_local(connection::serve(Io::Tcp(stream), client, handler, control, connections, pulse, held));
}
