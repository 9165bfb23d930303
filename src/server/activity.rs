//! What a client connection is doing: its phase, and its bytes as they flow. All of it is noted without looking at a clock;
//! [`super::deadlines`] reads the notes at each tick of the worker, and sends back an order.

use std::cell::{Cell, RefCell};
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::Limits;
use super::ahead;
use super::ending::Ending;
use super::phase::{Activity, NO_HEAD, Order, Phase, Remainder};
use super::source::Source;
use crate::io::Io;

/// The longest head, in bytes, that is read at all: a longer one is answered here, without a page of the gateway's. The limits of
/// `[request]` are lower, so that ordinary excess is explained.
const HEAD: usize = 64 * 1024;

/// A read of so many bytes fills the buffer that hyper begins with, and hyper makes its buffer larger.
const GROWS: usize = 8 * 1024;

/// Up to so many bytes in several buffers are copied into one and written from there: the kernel takes longer over a vector of two.
const SHORT: usize = 1024;

/// How much is read ahead of a client's turn at most, in bytes, and how much of it at once.
const AHEAD: usize = 8 * 1024;
const PIECE: usize = 1024;

/// One connection: written by its own task, read by the worker's tick.
#[derive(Debug)]
pub(super) struct Control {
    pub(super) activity: Arc<Activity>,
    pub(super) limits: Arc<Limits>,
    pub(super) phase: Cell<Phase>,
    /// The number of the last request. Its body may be read after its answer and after the next request's head, so notes on a body
    /// say which request's it is.
    request: Cell<u32>,
    pub(super) remainder: Cell<Remainder>,
    /// Ticks since the phase began or, while the client is slow to take bytes, since it last took one.
    pub(super) age: Cell<u32>,
    /// The counts of reads and writes when the age began.
    pub(super) mark: Cell<(u32, u32)>,
    order: Cell<Order>,
    waker: RefCell<Option<Waker>>,
    /// Shared by all connections of the worker.
    ending: Rc<Ending>,
    /// When this one's turn to move is, while the end is announced.
    turn: u32,
    /// Where the connection stands in its worker's list.
    pub(super) index: usize,
}

impl Control {
    pub(super) fn new(limits: Arc<Limits>, ending: Rc<Ending>, index: usize) -> Control {
        Control {
            activity: Arc::default(),
            limits,
            phase: Cell::new(Phase::New),
            request: Cell::default(),
            remainder: Cell::default(),
            age: Cell::new(0),
            mark: Cell::default(),
            order: Cell::default(),
            waker: RefCell::default(),
            turn: ending.turn(),
            ending,
            index,
        }
    }

    /// Takes the order that waits, and remembers whom to wake for the next one.
    pub(super) fn take_order(&self, cx: &Context<'_>) -> Order {
        let mut waker = self.waker.borrow_mut();
        if !waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
        self.order.replace(Order::Continue)
    }

    /// Leaves an order for the connection's task, and wakes it.
    pub(super) fn give_order(&self, order: Order) {
        self.order.set(self.order.get().max(order));
        self.wake();
    }

    /// Has the connection's task be polled.
    pub(super) fn wake(&self) {
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
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

    /// The request that began has a body.
    pub(super) fn begin_body(&self) {
        increment(&self.activity.body, 1);
        self.activity.tiny.store(false, Ordering::Relaxed);
    }

    /// hyper found so many bytes of data in a chunk.
    pub(super) fn found(&self, data: usize) {
        increment(&self.activity.data, data as u32);
    }

    /// Many tiny chunks came: from here on they are joined.
    pub(super) fn join_chunks(&self) {
        self.activity.tiny.store(true, Ordering::Relaxed);
    }

    /// Has the connection look whether its client left, where it cannot learn of that by itself.
    pub(super) fn look(&self) {
        if self.activity.full.load(Ordering::Relaxed) && self.activity.unwatched.load(Ordering::Relaxed) {
            self.wake();
        }
    }

    /// A request's body is here to its last byte.
    pub(super) fn received(&self, request: u32) {
        if self.is_read(request) {
            self.remainder.set(Remainder::Nothing);
            match self.phase.get() {
                Phase::Busy => self.activity.unwatched.store(true, Ordering::Relaxed),
                Phase::Rest => self.idle(),
                // hyper reads already for what comes next.
                Phase::Preamble | Phase::New | Phase::Head | Phase::Idle | Phase::Lingering | Phase::Tunnel => {}
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

    /// The handler reads a request's body no further, and what is left of it is short: it is read and thrown away.
    /// Returns false where it is complete.
    pub(super) fn skipped(&self, request: u32) -> bool {
        if !self.is_read(request) {
            return false;
        }
        self.remainder.set(Remainder::Skipped);
        if self.phase.get() == Phase::Rest {
            self.restart();
        }
        self.wake();
        true
    }

    /// A request's body was not asked for, and its client waits to be asked.
    pub(super) fn unsent(&self, request: u32) {
        if self.is_read(request) {
            self.remainder.set(Remainder::Unsent);
            if self.phase.get() == Phase::Rest {
                self.enter(Phase::Idle);
            }
        }
    }

    fn is_read(&self, request: u32) -> bool {
        self.request.get() == request && matches!(self.remainder.get(), Remainder::Read | Remainder::Skipped)
    }

    /// Whether what is left of a body is read only to be thrown away.
    pub(super) fn skips(&self) -> bool {
        matches!(self.remainder.get(), Remainder::Skipped)
    }

    /// The answer is over: its body is with hyper to its last byte, or was given up.
    pub(super) fn answered(&self) {
        self.activity.unwatched.store(false, Ordering::Relaxed);
        match self.remainder.get() {
            Remainder::Read | Remainder::Skipped => self.enter(Phase::Rest),
            Remainder::Nothing | Remainder::Unsent | Remainder::Discarded => self.idle(),
        }
    }

    fn idle(&self) {
        self.enter(Phase::Idle);
        // A head is counted from here on, unless what comes next may still be this request's body.
        if matches!(self.remainder.get(), Remainder::Nothing) {
            self.activity.head.store(0, Ordering::Relaxed);
            if self.activity.grown.load(Ordering::Relaxed) {
                self.give_order(Order::Release);
            }
        }
    }

    /// Whether hyper does nothing with the connection but wait for a head.
    pub(super) fn is_quiet(&self) -> bool {
        matches!((self.phase.get(), self.remainder.get()), (Phase::Idle, Remainder::Nothing)) && !self.blocked()
    }

    /// Whether the worker's connections are to end.
    pub(super) fn draining(&self) -> bool {
        self.ending.is_draining()
    }

    /// Whether no further request may follow the one in flight, or is to follow it elsewhere.
    pub(super) fn is_last(&self) -> bool {
        self.turn < self.ending.come.get() || matches!(self.remainder.get(), Remainder::Unsent | Remainder::Discarded)
    }

    pub(super) fn is_head_too_large(&self) -> bool {
        (HEAD..NO_HEAD).contains(&self.activity.head.load(Ordering::Relaxed))
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
    pub(super) io: Io,
    pub(super) source: Source,
    pub(super) activity: Arc<Activity>,
}

impl ClientIo {
    pub(super) fn new(io: Io, control: &Control) -> ClientIo {
        ClientIo { io, source: Source::Socket, activity: control.activity.clone() }
    }

    /// Reads what the client sends ahead of its turn, until nothing more is there, and so sees it leave. This costs a system call only
    /// where the runtime says that something came.
    fn poll_ahead(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while matches!(self.source, Source::Socket) || self.source.bytes().len() < AHEAD {
            std::task::ready!(self.poll_piece(cx))?;
        }
        self.activity.full.store(true, Ordering::Relaxed);
        ahead::look(&self.io)
    }

    /// Reads a piece into memory. Fails when the client has left.
    pub(super) fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut room = [const { MaybeUninit::uninit() }; PIECE];
        let mut piece = ReadBuf::uninit(&mut room);
        let read = std::task::ready!(Pin::new(&mut self.io).poll_read(cx, &mut piece));
        self.source.push(piece.filled());
        if read.is_ok() && !piece.filled().is_empty() {
            return Poll::Ready(Ok(()));
        }
        self.activity.ended.store(true, Ordering::Relaxed);
        Poll::Ready(read.and(Err(io::ErrorKind::UnexpectedEof.into())))
    }

    fn note_read(&self, count: usize) {
        increment(&self.activity.read, 1);
        // Both are rare, and one comparison finds out that it is neither.
        if count.wrapping_sub(1) >= GROWS - 1 {
            let what = if count == 0 { &self.activity.ended } else { &self.activity.grown };
            what.store(true, Ordering::Relaxed);
        }
    }

    fn note_write(&self, result: &Poll<io::Result<usize>>) {
        if result.is_ready() {
            increment(&self.activity.wrote, 1);
        }
        self.activity.blocked.store(result.is_pending(), Ordering::Relaxed);
    }
}

/// A load and a store, which cost less than an atomic addition: only one thread writes.
pub(super) fn increment(count: &AtomicU32, by: u32) {
    count.store(count.load(Ordering::Relaxed).wrapping_add(by), Ordering::Relaxed);
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
        let before = buf.filled().len();
        let result = match head {
            NO_HEAD => ahead::poll_body(&mut this.io, &mut this.source, &this.activity, cx, buf),
            HEAD.. => return ahead::refuse(&mut this.io, &this.activity, cx),
            _ if matches!(this.source, Source::Socket) => Pin::new(&mut this.io).poll_read(cx, buf),
            _ => ahead::poll_memory(&mut this.io, &mut this.source, cx, buf),
        };
        if result.is_ready() {
            let count = buf.filled().len() - before;
            this.note_read(count);
            if head != NO_HEAD {
                this.activity.head.store(head + count, Ordering::Relaxed);
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

    /// hyper flushes each time it is polled, when all that it has is written, also while a request waits for its answer: so the client
    /// is checked here.
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.activity.unwatched.load(Ordering::Relaxed)
            && let Poll::Ready(Err(left)) = this.poll_ahead(cx)
        {
            return Poll::Ready(Err(left));
        }
        this.activity.unflushed.store(0, Ordering::Relaxed);
        Pin::new(&mut this.io).poll_flush(cx)
    }

    /// hyper drops a connection right after shutting it down, and dropping closes it: that saves a system call. Where the client may
    /// still send, [`super::closing`] shuts it down. (TLS will need its `close_notify` here.)
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        match this.activity.tunnel.load(Ordering::Relaxed) {
            true => Pin::new(&mut this.io).poll_shutdown(cx),
            false => {
                // No system call, unless something came.
                if !this.activity.ended.load(Ordering::Relaxed) {
                    let more = matches!(this.poll_piece(cx), Poll::Ready(Ok(())));
                    this.activity.unread.store(more, Ordering::Relaxed);
                }
                Poll::Ready(Ok(()))
            }
        }
    }
}
