//! What happens on rarer occasions where a client's bytes flow: a body's tiny chunks are joined, a head without end is refused, and a
//! client is seen to leave behind bytes that are not read.

use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};

use super::phase::Activity;
use super::source::Source;
use crate::io::Io;

/// The answer to a head that is too large (RFC 6585 section 5).
const TOO_LARGE: &[u8] =
    b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";

/// Answers a head that is too large and fails, which ends the connection. There is no answer where one before it is still on its way:
/// it would end up in the middle of that.
pub(super) fn refuse(io: &mut Io, activity: &Activity, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
    if !activity.blocked.load(Ordering::Relaxed) {
        // It fits into the socket's buffer, or the client does not listen anyway.
        let _ = Pin::new(io).poll_write(cx, TOO_LARGE);
    }
    Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, "the head is too large")))
}

/// Reads for hyper while no head is received: a body, whose chunks may have to be joined.
pub(super) fn poll_body(
    io: &mut Io,
    source: &mut Source,
    activity: &Activity,
    cx: &mut Context<'_>,
    buf: &mut ReadBuf<'_>,
) -> Poll<io::Result<()>> {
    let (body, data) = (activity.body.load(Ordering::Relaxed), activity.data.load(Ordering::Relaxed));
    if activity.tiny.swap(false, Ordering::Relaxed) {
        source.join(body, data);
    }
    if let Some(joiner) = source.joiner(body) {
        return joiner.poll_read(io, data, cx, buf);
    }
    poll_memory(io, source, cx, buf)
}

/// Reads for hyper where bytes may be in memory: these first.
pub(super) fn poll_memory(
    io: &mut Io,
    source: &mut Source,
    cx: &mut Context<'_>,
    buf: &mut ReadBuf<'_>,
) -> Poll<io::Result<()>> {
    if source.take(buf) { Poll::Ready(Ok(())) } else { Pin::new(io).poll_read(cx, buf) }
}

/// Fails when the client has left, although there are bytes of it that are not read. The runtime knows that without a system call.
pub(super) fn look(io: &Io) -> Poll<io::Result<()>> {
    let Io::Tcp(socket) = io else { return Poll::Pending };
    match pin!(socket.ready(Interest::READABLE)).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(Ok(ready)) if ready.is_read_closed() => Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
        Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
        Poll::Ready(Ok(_)) | Poll::Pending => Poll::Pending,
    }
}
