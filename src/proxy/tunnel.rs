//! Bytes both ways, after a 101: until both ends are done, or nothing came from either for the stream's idle deadline.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use super::call::{DEPARTED, Settlement};
use super::exchange::Exchange;
use crate::io::upgrade::{Stream, Upgrade};
use crate::upstream::instance::InFlight;
use crate::upstream::instance::Lease;

/// Bytes on their way at most, each direction.
const BUFFER: usize = 16 * 1024;

/// How long the handing-over may take on either side.
const HANDOVER: Duration = Duration::from_secs(10);

/// How long one direction may go on without a byte after the other has ended.
const HALF: Duration = Duration::from_secs(10);

/// How often a tunnel looks whether its instance is still there.
const LOOK: Duration = Duration::from_secs(5);

/// Everything that a tunnel keeps while it lasts.
pub(super) struct Tunnel {
    exchange: Box<Exchange>,
    client: Upgrade,
    instance: Upgrade,
    flight: InFlight,
    /// The connection belongs to the tunnel: it never returns to its pool.
    lease: Lease,
    idle: Duration,
}

impl Tunnel {
    /// Carries bytes both ways, on a task of its own, once the 101 is through. The 101 proves the instance.
    pub(super) fn begin(
        exchange: Box<Exchange>,
        client: Option<Upgrade>,
        settlement: Option<Settlement>,
        idle: Duration,
        answered: Instant,
    ) {
        let Some(Settlement { permit, flight, lease, .. }) = settlement else { return };
        permit.into_iter().for_each(|permit| permit.succeeded(answered));
        if let Some((client, instance)) = client.zip(lease.connection.upgrade()) {
            let tunnel = Tunnel { exchange, client, instance, flight, lease, idle };
            tokio::task::spawn_local(tunnel.run());
        }
    }

    /// Runs it, to whichever end.
    async fn run(self) {
        let Tunnel { mut exchange, client, instance, flight, lease, idle } = self;
        let both = async { tokio::try_join!(client.done(), instance.done()) };
        let Ok(Ok((client, instance))) = tokio::time::timeout(HANDOVER, both).await else {
            return exchange.facts.because("upgrade_failed", "client");
        };
        let traffic = Rc::new(Traffic { last: Cell::new(Instant::now()), half: Cell::new(false), down: Cell::new(0) });
        let mut client = Metered { io: client, traffic: traffic.clone(), down: false };
        let mut instance = Metered { io: instance, traffic: traffic.clone(), down: true };
        tokio::select! {
            ended = tokio::io::copy_bidirectional_with_sizes(&mut client, &mut instance, BUFFER, BUFFER) => {
                if ended.is_err() {
                    exchange.facts.because("tunnel_broken", "client");
                }
            }
            why = watch(&traffic, &flight, idle) => exchange.facts.because(why, "upstream"),
        }
        exchange.facts.bytes = traffic.down.get();
        drop((flight, lease));
    }
}

/// Until the tunnel has been silent, or its instance gone, for too long.
async fn watch(traffic: &Traffic, flight: &InFlight, idle: Duration) -> &'static str {
    let mut gone: Option<Instant> = None;
    loop {
        let limit = if traffic.half.get() { idle.min(HALF) } else { idle };
        let silent = traffic.last.get() + limit;
        // The pace of looking: nothing happens at these moments by itself.
        tokio::time::sleep_until(silent.min(Instant::now() + LOOK)).await;
        let now = Instant::now();
        if now >= traffic.last.get() + limit {
            return "idle_timeout";
        }
        gone = flight.instance().gone().then(|| gone.unwrap_or(now));
        if gone.is_some_and(|since| now - since >= DEPARTED) {
            return "instance_departed";
        }
    }
}

/// What both directions of a tunnel say of it.
struct Traffic {
    /// When a byte came last, from either end.
    last: Cell<Instant>,
    /// One end has finished.
    half: Cell<bool>,
    /// Bytes from the instance to the client.
    down: Cell<u64>,
}

/// One end of a tunnel, counted where it is read.
struct Metered {
    io: Stream,
    traffic: Rc<Traffic>,
    down: bool,
}

impl AsyncRead for Metered {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        let result = ready!(Pin::new(&mut this.io).poll_read(cx, buf));
        let read = (buf.filled().len() - before) as u64;
        this.traffic.last.set(Instant::now());
        if read == 0 {
            this.traffic.half.set(true);
        } else if this.down {
            this.traffic.down.set(this.traffic.down.get() + read);
        }
        Poll::Ready(result)
    }
}

impl AsyncWrite for Metered {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().io).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_shutdown(cx)
    }
}
