//! One worker: a thread with a runtime of its own, which serves the connections that were placed on it.

use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;

use tokio::runtime::LocalRuntime;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use super::accept::{Acceptor, Listener, ask_for_room};
use super::command::{Arrival, Command};
use super::connection;
use super::deadlines::{Connections, Listed, TICK};
use super::preamble;
use crate::io::Io;
use crate::plane::{Handler, Pulse, Wake};
use crate::supervisor;
use crate::worker::WorkerId;

/// What a worker needs from its start on.
#[derive(Debug)]
pub(super) struct Setup {
    pub(super) id: WorkerId,
    pub(super) pulse: Arc<Pulse>,
    pub(super) wake: Wake,
    pub(super) listeners: Arc<[Arc<Listener>]>,
    /// The queues of all workers, its own among them. They are weak, so that a worker ends when the server drops its queue.
    pub(super) workers: Arc<[mpsc::WeakSender<Command>]>,
}

/// Starts a worker's thread.
pub(super) fn start<H, F>(setup: Setup, commands: mpsc::Receiver<Command>, make: F) -> io::Result<JoinHandle<()>>
where
    H: Handler,
    F: FnOnce(WorkerId) -> H + Send + 'static,
{
    let id = setup.id;
    let name = format!("lictor-worker-{}", id.0);
    std::thread::Builder::new().name(name).spawn(move || match LocalRuntime::new() {
        Ok(runtime) => {
            runtime.block_on(Box::pin(run(setup, commands, make)));
            // To drop it would wait for as long as a name is looked up, or a file is read, that nobody needs any more.
            runtime.shutdown_background();
        }
        Err(error) => tracing::error!(worker = id.0, "cannot start a runtime: {error}"),
    })
}

async fn run<H: Handler>(setup: Setup, mut commands: mpsc::Receiver<Command>, make: impl FnOnce(WorkerId) -> H) {
    let Setup { id, pulse, wake, listeners, workers } = setup;
    let handler = Rc::new(make(id));
    let connections = Rc::new(Connections::of(pulse.workers()));
    let serve = {
        let (handler, connections, pulse) = (handler.clone(), connections.clone(), pulse.clone());
        Rc::new(move |arrival| guarded(&pulse, || serve(arrival, &handler, &connections, &pulse)))
    };

    // One task accepts on each listener, until `stop` says otherwise.
    let (stop, stopping) = watch::channel(false);
    let reserve = Rc::default();
    let mut accepting = JoinSet::new();
    for listener in listeners.iter() {
        if let Some(acceptor) = Acceptor::new(id, &pulse, &workers, &reserve, &serve) {
            accepting.spawn_local(acceptor.run(listener.clone(), stopping.clone()));
        }
    }
    // A listener's socket closes when the last worker's task for it ends: nothing else may keep it open.
    drop((listeners, stopping));

    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut draining = false;
    let mut stopped = None;
    loop {
        tokio::select! {
            command = commands.recv() => match command {
                Some(Command::Arrival(arrival)) => serve(*arrival),
                Some(Command::MakeRoom(limits, others)) => {
                    if !connections.make_room(&limits) {
                        ask_for_room(&workers, id.0 + 1, &limits, others);
                    }
                }
                Some(Command::Announce(time)) => connections.announce(time),
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
            () = wake.woken(id) => guarded(&pulse, || handler.woken()),
            // After `Stop`: when the last of the accepting tasks has ended, `done` is dropped, which the server waits for.
            ended = accepting.join_next(), if stopped.is_some() => {
                if ended.is_none() {
                    stopped = None;
                }
            }
            _ = tick.tick() => {
                pulse.beat(id);
                guarded(&pulse, || connections.sweep());
                guarded(&pulse, || handler.tick());
            }
        }
        if draining && connections.is_empty() {
            break;
        }
    }
    // What the last requests left in the handler's buffers goes out.
    guarded(&pulse, || handler.tick());
}

/// What a worker does besides its requests: a panic in it costs neither the worker nor its connections. The panic hook logs it.
fn guarded(pulse: &Pulse, work: impl FnOnce()) {
    if supervisor::caught(work).is_err() {
        pulse.panics.fetch_add(1, Ordering::Relaxed);
    }
}

fn serve<H: Handler>(arrival: Arrival, handler: &Rc<H>, connections: &Rc<Connections>, pulse: &Arc<Pulse>) {
    let Arrival { stream, client, limits, placed, slot } = arrival;
    let stream = match tokio::net::TcpStream::from_std(stream) {
        Ok(stream) => stream,
        Err(error) => return tracing::warn!("cannot watch a connection: {error}"),
    };
    let (io, handler, pulse, guards) = (Io::Tcp(stream), handler.clone(), pulse.clone(), (placed, slot));
    let listed = Listed::new(limits, connections);
    match listed.limits().balancers {
        None => tokio::task::spawn_local(connection::serve(io, client, handler, listed, pulse, guards)),
        Some(_) => tokio::task::spawn_local(preamble::serve(io, client, handler, listed, pulse, guards)),
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_of_what_a_worker_does_besides_its_requests_is_counted_and_ends_nothing() {
        let pulse = Pulse::new(1);
        guarded(&pulse, || panic!("on purpose"));
        let mut done = false;
        guarded(&pulse, || done = true);
        assert!(done && pulse.panics.load(Ordering::Relaxed) == 1);
    }
}
