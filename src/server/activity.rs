//! What a client connection is doing: its phase, and its bytes as they flow. All of it is noted without looking at a clock;
//! [`super::deadlines`] reads the notes at each tick of the worker, and sends back an order.

use std::cell::{Cell, RefCell};
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;

use super::Limits;
use crate::io::Io;

/// The longest head, in bytes, that is read at all: a longer one is answered here, without a page of the gateway's. The limits of
/// `[request]` are lower, so that ordinary excess is explained.
const HEAD: usize = 64 * 1024;

/// The value of [`Activity::head`] while no head is being received.
const NO_HEAD: usize = usize::MAX;

/// The answer to a longer head (RFC 6585 section 5).
const TOO_LARGE: &[u8] =
    b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";

/// Up to so many bytes in several buffers are copied into one and written from there: the kernel takes longer over a vector of two.
const SHORT: usize = 1024;

/// Where a connection stands. In each phase but `Tunnel`, it is cut when the client takes no byte of what is ready for it for as
/// long as the write deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Accepted, no byte yet. Its first byte leads to `Head`, the head's deadline ends it.
    New,
    /// A head is being received. A complete one leads to `Busy`, the head's deadline ends it.
    Head,
    /// A request is with the handler, or its answer is on its way. The answer's end leads to `Idle`, or to `Rest`.
    Busy,
    /// The answer is sent, but the handler still reads the request's body, which may take its time. The body's end leads to
    /// `Idle`, and so does its reader when it gives up.
    Rest,
    /// Between requests. A byte leads to `Head`, the keep-alive deadline ends it.
    Idle,
    /// It speaks HTTP no more: the tunnel that has its bytes now has deadlines of its own. This is the last phase.
    Tunnel,
}

/// What of the last request's body has not come yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Remainder {
    /// Nothing: all of it is here.
    #[default]
    Nothing,
    /// Something, which the handler reads.
    Read,
    /// Something, which the handler does not read. hyper may read and discard it.
    Discarded,
}

/// What the connection's task is to do when it is polled next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Order {
    /// Go on.
    #[default]
    Continue,
    /// Close when the request in flight, if any, is answered.
    Finish,
    /// Close now.
    Cut,
}

/// One connection: written by its own task, read by the worker's tick.
#[derive(Debug)]
pub(super) struct Control {
    activity: Arc<Activity>,
    pub(super) limits: Arc<Limits>,
    pub(super) phase: Cell<Phase>,
    /// The number of the last request. Its body may be read after its answer and after the next request's head, so notes on a body
    /// say which request's it is.
    request: Cell<u32>,
    remainder: Cell<Remainder>,
    /// Ticks since the phase began or, while the client is slow to take bytes, since it last took one.
    pub(super) age: Cell<u32>,
    /// The counts of reads and writes when the age began.
    pub(super) mark: Cell<(u32, u32)>,
    order: Cell<Order>,
    /// The answer's body broke off: the connection ends when the client has taken what came before.
    pub(super) failing: Cell<bool>,
    waker: RefCell<Option<Waker>>,
    /// Shared by all connections of the worker.
    draining: Rc<Cell<bool>>,
    /// Where the connection stands in its worker's list.
    pub(super) index: usize,
}

/// What happens to the connection's bytes, noted where they flow. Atomic because hyper's upgrades ask for `Send`; only the
/// connection's own worker uses it.
#[derive(Debug, Default)]
struct Activity {
    /// Reads that brought something, an end or an error.
    read: AtomicU32,
    /// Writes that were not blocked.
    wrote: AtomicU32,
    /// The client takes no more bytes for now, although some are ready for it.
    blocked: AtomicBool,
    /// How many bytes of a head have come, or [`NO_HEAD`].
    head: AtomicUsize,
    /// A request is complete and its answer is not: hyper does not read then, so that it does not see the client leave.
    unwatched: AtomicBool,
    /// The connection speaks HTTP no more.
    tunnel: AtomicBool,
    /// Told when the connection's bytes are dropped.
    closed: Notify,
}

impl Activity {
    fn is_head_too_large(&self) -> bool {
        (HEAD..NO_HEAD).contains(&self.head.load(Ordering::Relaxed))
    }
}

impl Control {
    pub(super) fn new(limits: Arc<Limits>, draining: Rc<Cell<bool>>, index: usize) -> Control {
        Control {
            activity: Arc::default(),
            limits,
            phase: Cell::new(Phase::New),
            request: Cell::default(),
            remainder: Cell::default(),
            age: Cell::new(0),
            mark: Cell::default(),
            order: Cell::default(),
            failing: Cell::default(),
            waker: RefCell::default(),
            draining,
            index,
        }
    }

    /// Takes the order that waits, and remembers whom to wake for the next one.
    pub(super) fn take_order(&self, cx: &Context<'_>) -> Order {
        let mut waker = self.waker.borrow_mut();
        if !waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
        self.order.take()
    }

    /// Leaves an order for the connection's task, and wakes it.
    pub(super) fn give_order(&self, order: Order) {
        self.order.set(order);
        self.wake();
    }

    /// Has the connection's task polled.
    pub(super) fn wake(&self) {
        self.waker.borrow().iter().for_each(Waker::wake_by_ref);
    }

    /// A request begins: its head is complete. Returns the request's number, for [`Control::received`] and
    /// [`Control::discarded`].
    pub(super) fn begin(&self) -> u32 {
        self.enter(Phase::Busy);
        self.activity.head.store(NO_HEAD, Ordering::Relaxed);
        self.activity.unwatched.store(false, Ordering::Relaxed);
        self.remainder.set(Remainder::Read);
        self.request.set(self.request.get().wrapping_add(1));
        self.request.get()
    }

    /// A request's body is here to its last byte.
    pub(super) fn received(&self, request: u32) {
        if self.is_read(request) {
            self.remainder.set(Remainder::Nothing);
            match self.phase.get() {
                Phase::Busy => self.activity.unwatched.store(true, Ordering::Relaxed),
                Phase::Rest => self.idle(),
                // hyper reads already for what comes next.
                Phase::New | Phase::Head | Phase::Idle | Phase::Tunnel => {}
            }
        }
    }

    /// The handler reads a request's body no further, although there is more. hyper may: what comes then is no head.
    pub(super) fn discarded(&self, request: u32) {
        if self.is_read(request) {
            self.remainder.set(Remainder::Discarded);
            if self.phase.get() == Phase::Rest {
                self.idle();
            }
        }
    }

    fn is_read(&self, request: u32) -> bool {
        self.request.get() == request && self.remainder.get() == Remainder::Read
    }

    /// The answer is over: its body is with hyper to its last byte, or was given up.
    pub(super) fn answered(&self) {
        self.activity.unwatched.store(false, Ordering::Relaxed);
        match self.remainder.get() {
            Remainder::Read => self.enter(Phase::Rest),
            Remainder::Nothing | Remainder::Discarded => self.idle(),
        }
    }

    fn idle(&self) {
        self.enter(Phase::Idle);
        // A head is counted from here on, unless what comes next may still be this request's body.
        if self.remainder.get() == Remainder::Nothing {
            self.activity.head.store(0, Ordering::Relaxed);
        }
    }

    /// Whether no further request may follow the one in flight.
    pub(super) fn draining(&self) -> bool {
        self.draining.get()
    }

    pub(super) fn is_head_too_large(&self) -> bool {
        self.activity.is_head_too_large()
    }

    /// hyper is done with the connection. Returns when its bytes are dropped: at once, unless a tunnel has them.
    pub(super) async fn closed(&self) {
        self.phase.set(Phase::Tunnel);
        self.activity.tunnel.store(true, Ordering::Relaxed);
        self.activity.head.store(NO_HEAD, Ordering::Relaxed);
        if Arc::strong_count(&self.activity) > 1 {
            self.activity.closed.notified().await;
        }
    }

    pub(super) fn enter(&self, phase: Phase) {
        self.phase.set(phase);
        self.restart();
    }

    /// The age counts from now.
    pub(super) fn restart(&self) {
        self.age.set(0);
        self.mark.set(self.counts());
    }

    /// How many reads and writes there were so far.
    pub(super) fn counts(&self) -> (u32, u32) {
        (self.activity.read.load(Ordering::Relaxed), self.activity.wrote.load(Ordering::Relaxed))
    }

    /// Whether the client takes no more bytes for now, although some are ready for it.
    pub(super) fn blocked(&self) -> bool {
        self.activity.blocked.load(Ordering::Relaxed)
    }
}

/// A client's `Io` as hyper uses it: notes the activity, answers a head that is too large, and sees a client leave while hyper does
/// not read.
#[derive(Debug)]
pub(super) struct ClientIo {
    io: Io,
    /// The first byte of the next request, which was read to see whether the client is still there.
    ahead: Option<u8>,
    activity: Arc<Activity>,
}

impl ClientIo {
    pub(super) fn new(io: Io, control: &Control) -> ClientIo {
        ClientIo { io, ahead: None, activity: control.activity.clone() }
    }

    /// Answers a head that is too large and fails, which ends the connection. There is no answer where one before it is still on
    /// its way: it would end up in the middle of that.
    fn refuse(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.activity.blocked.load(Ordering::Relaxed) {
            // It fits into the socket's buffer, or the client does not listen anyway.
            let _ = Pin::new(&mut self.io).poll_write(cx, TOO_LARGE);
        }
        Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, "the head is too large")))
    }

    /// Fails when the client has left. This costs a system call only where the runtime says that something came.
    fn check_client(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
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

    fn note_write(&self, result: &Poll<io::Result<usize>>) {
        if result.is_ready() {
            increment(&self.activity.wrote);
        }
        self.activity.blocked.store(result.is_pending(), Ordering::Relaxed);
    }
}

/// A load and a store, which cost less than an atomic addition: only one thread writes.
fn increment(count: &AtomicU32) {
    count.store(count.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
}

impl Drop for ClientIo {
    fn drop(&mut self) {
        self.activity.closed.notify_one();
    }
}

impl AsyncRead for ClientIo {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let head = this.activity.head.load(Ordering::Relaxed);
        if this.activity.is_head_too_large() {
            return this.refuse(cx);
        }
        let before = buf.filled().len();
        if let Some(byte) = this.ahead.take() {
            buf.put_slice(&[byte]);
        }
        let mut result = Pin::new(&mut this.io).poll_read(cx, buf);
        if buf.filled().len() > before {
            // The byte ahead is there, even where no other follows it yet.
            result = Poll::Ready(Ok(()));
        }
        if result.is_ready() {
            increment(&this.activity.read);
            if head != NO_HEAD {
                this.activity.head.store(head + buf.filled().len() - before, Ordering::Relaxed);
            }
        }
        result
    }
}

impl AsyncWrite for ClientIo {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let result = Pin::new(&mut this.io).poll_write(cx, buf);
        this.note_write(&result);
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
        this.note_write(&result);
        result
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    /// hyper flushes each time it is polled, also while a request waits for its answer: so the client is checked here.
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.activity.unwatched.load(Ordering::Relaxed) && this.ahead.is_none() {
            this.check_client(cx)?;
        }
        Pin::new(&mut this.io).poll_flush(cx)
    }

    /// hyper drops a connection right after shutting it down, and dropping closes it: that saves a system call. (TLS will need its
    /// `close_notify` here.)
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        match this.activity.tunnel.load(Ordering::Relaxed) {
            true => Pin::new(&mut this.io).poll_shutdown(cx),
            false => Poll::Ready(Ok(())),
        }
    }
}
