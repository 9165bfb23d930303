//! How a connection ends whose client may still be sending (RFC 9112 section 9.6). To close it at once would reset it, and the client
//! could lose the last answer, which says why: so the sending side is closed first, and what still comes is thrown away.
//!
//! Where a request was refused and little is left of its body, that is thrown away as well, but the connection goes on after it.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::activity::{ClientIo, Control, increment};
use super::deadlines::Connections;
use super::phase::{Activity, NO_HEAD, Order, Phase, Remainder};

/// So much of a refused request's body is read, to keep the connection: it costs less than a new one.
pub(super) const SHORT: u64 = 64 * 1024;

/// How much a client may still send after the last answer, in bytes: where its request has a body, and where it could not be read.
const MOST: (usize, usize) = (64 << 20, 1 << 20);

/// How many reads follow each other, before other connections get their turn.
const READS: usize = 16;

/// Whether a client may still be sending although hyper is done. `refused` says that its last request could not be read.
pub(super) fn is_sending(control: &Control, refused: bool) -> bool {
    let Activity { ended, unread, .. } = &*control.activity;
    let owes = refused || control.remainder.get() == Remainder::Discarded;
    !ended.load(Ordering::Relaxed) && (owes || unread.load(Ordering::Relaxed))
}

/// hyper is done with a connection. Returns when its bytes are dropped: at once, unless a tunnel has them.
pub(super) async fn closed(control: &Control) {
    control.phase.set(Phase::Tunnel);
    control.activity.tunnel.store(true, Ordering::Relaxed);
    control.activity.head.store(NO_HEAD, Ordering::Relaxed);
    if Arc::strong_count(&control.activity) > 1 {
        control.activity.closed.notified().await;
    }
}

/// Waits for a client's next request while the connection has no buffers. `None` when it ended, or is to end.
pub(super) async fn asleep(mut io: ClientIo, control: &Control) -> Option<ClientIo> {
    let awake = poll_fn(|cx| match control.take_order(cx) {
        Order::Continue | Order::Release if io.source.is_socket() => io.poll_piece(cx).map(|read| read.is_ok()),
        Order::Continue | Order::Release => Poll::Ready(true),
        Order::Finish | Order::Cut => Poll::Ready(false),
    });
    awake.await.then(|| {
        io.activity.grown.store(false, Ordering::Relaxed);
        io
    })
}

/// Closes a connection in stages: returns when its client has ended, or when it was patient for long enough. Where as many as may do
/// so are closing already, it returns at once.
pub(super) async fn linger(mut io: ClientIo, control: &Control, connections: &Connections, refused: bool) {
    let Some(_lingering) = connections.linger(control) else { return };
    if poll_fn(|cx| Pin::new(&mut io.io).poll_shutdown(cx)).await.is_err() {
        return;
    }
    let mut left = if refused { MOST.1 } else { MOST.0 };
    poll_fn(|cx| match control.take_order(cx) {
        Order::Cut => Poll::Ready(()),
        Order::Continue | Order::Release | Order::Finish => {
            connections.with_scratch(|room| discard(&mut io, room, &mut left, cx))
        }
    })
    .await;
}

/// Throws away what has come. Ready when nothing more is to be waited for.
fn discard(io: &mut ClientIo, room: &mut [u8], left: &mut usize, cx: &mut Context<'_>) -> Poll<()> {
    for _ in 0..READS {
        let mut room = ReadBuf::new(room);
        let read = std::task::ready!(Pin::new(&mut io.io).poll_read(cx, &mut room));
        increment(&io.activity.read, 1);
        let count = room.filled().len();
        if read.is_err() || count == 0 || count > *left {
            return Poll::Ready(());
        }
        *left -= count;
    }
    cx.waker().wake_by_ref();
    Poll::Pending
}
