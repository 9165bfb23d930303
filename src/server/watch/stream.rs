//! A connection's bytes: counted as they flow, a head's length held, a client that leaves seen.

use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;

use super::Control;
use crate::io::Io;

/// What is this short is copied together and sent at once: the kernel takes longer over a vector of two.
const SHORT: usize = 1024;

/// A head that is longer gets no page of ours, and no more room. `[request]` is stricter, so that ordinary excess is explained.
const HEAD: usize = 64 * 1024;

/// What its client is told (RFC 6585 section 5), if it listens.
const TOO_LARGE: &[u8] =
    b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";

/// What a connection does, counted where bytes flow. Only the connection's worker writes it.
#[derive(Debug, Default)]
pub(super) struct Activity {
    pub(super) read: AtomicU32,
    pub(super) wrote: AtomicU32,
    pub(super) blocked: AtomicBool,
    /// Bytes of a head, as far as it has come; [`BUSY`] while a request is answered.
    pub(super) head: AtomicUsize,
    /// A request is complete and its answer is not: whatever comes of the client now, its end must not go unseen.
    pub(super) received: AtomicBool,
    /// It speaks HTTP no more.
    pub(super) tunnel: AtomicBool,
    /// The connection's bytes are with nobody any more.
    pub(super) closed: Notify,
}

/// No head is being received.
pub(super) const BUSY: usize = usize::MAX;

impl Activity {
    /// The head is too large.
    pub(super) fn is_refused(&self) -> bool {
        (HEAD..BUSY).contains(&self.head.load(Ordering::Relaxed))
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.activity.closed.notify_one();
    }
}

/// An `Io` that counts, and sees a client leave that waits for its answer.
#[derive(Debug)]
pub(in crate::server) struct Watched {
    io: Io,
    /// What was read to see that: the first byte of the next request.
    ahead: Option<u8>,
    activity: Arc<Activity>,
}

impl Watched {
    pub(in crate::server) fn new(io: Io, control: &Control) -> Watched {
        Watched { io, ahead: None, activity: control.activity.clone() }
    }

    /// The head is too large: says so, unless an answer before it is still on its way, and reads no more.
    fn refuse(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.activity.blocked.load(Ordering::Relaxed) {
            // The connection ends either way.
            let _ = Pin::new(&mut self.io).poll_write(cx, TOO_LARGE);
        }
        Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, "the head is too large")))
    }

    /// Whether the client is still there. No system call, unless something may have come.
    fn look(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let mut byte = [0];
        let mut buf = ReadBuf::new(&mut byte);
        match Pin::new(&mut self.io).poll_read(cx, &mut buf) {
            Poll::Pending => Ok(()),
            Poll::Ready(Ok(())) if buf.filled().is_empty() => Err(io::ErrorKind::UnexpectedEof.into()),
            Poll::Ready(Ok(())) => {
                self.ahead = Some(byte[0]);
                Ok(())
            }
            Poll::Ready(Err(error)) => Err(error),
        }
    }

    fn written(&self, result: &Poll<io::Result<usize>>) {
        match result {
            Poll::Ready(_) => bump(&self.activity.wrote),
            Poll::Pending => {}
        }
        self.activity.blocked.store(result.is_pending(), Ordering::Relaxed);
    }
}

/// One writer: a load and a store, no locked instruction.
fn bump(counter: &AtomicU32) {
    counter.store(counter.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
}

impl AsyncRead for Watched {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let head = this.activity.head.load(Ordering::Relaxed);
        if this.activity.is_refused() {
            return this.refuse(cx);
        }
        let before = buf.filled().len();
        if let Some(byte) = this.ahead.take() {
            buf.put_slice(&[byte]);
        }
        let mut result = Pin::new(&mut this.io).poll_read(cx, buf);
        if buf.filled().len() > before {
            // The first byte came, whatever became of others.
            result = Poll::Ready(Ok(()));
        }
        if result.is_ready() {
            bump(&this.activity.read);
            if head != BUSY {
                this.activity.head.store(head + buf.filled().len() - before, Ordering::Relaxed);
            }
        }
        result
    }
}

impl AsyncWrite for Watched {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let result = Pin::new(&mut this.io).poll_write(cx, buf);
        this.written(&result);
        result
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let io = Pin::new(&mut this.io);
        let result = if bufs.iter().map(|buf| buf.len()).sum::<usize>() > SHORT {
            io.poll_write_vectored(cx, bufs)
        } else {
            let mut room = [const { MaybeUninit::uninit() }; SHORT];
            let mut whole = ReadBuf::uninit(&mut room);
            bufs.iter().for_each(|buf| whole.put_slice(buf));
            io.poll_write(cx, whole.filled())
        };
        this.written(&result);
        result
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    /// hyper flushes at each turn: when a request waits for its answer, this is where its client is looked after.
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.activity.received.load(Ordering::Relaxed) && this.ahead.is_none() {
            this.look(cx)?;
        }
        Pin::new(&mut this.io).poll_flush(cx)
    }

    /// An HTTP connection that shuts down is dropped next, and closes by that: a system call less. (TLS will have to say goodbye.)
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        match this.activity.tunnel.load(Ordering::Relaxed) {
            true => Pin::new(&mut this.io).poll_shutdown(cx),
            false => Poll::Ready(Ok(())),
        }
    }
}
