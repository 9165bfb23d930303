//! Where a client connection stands, as data: its phase, what of a request's body has not come yet, what its task is told to do, and
//! what was noted of its bytes.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize};

use tokio::sync::Notify;

/// The value of [`Activity::head`] while no head is being received.
pub(super) const NO_HEAD: usize = usize::MAX;

/// Where a connection stands. In each phase but `Tunnel` and `Lingering`, it is cut when the client takes no byte of what is ready
/// for it for as long as the write deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Accepted from a balancer, which is to say first for whom it connects. That leads to `New`; a deadline of its own ends it.
    Preamble,
    /// Accepted, no byte yet. Its first byte leads to `Head`, the head's deadline ends it.
    New,
    /// A head is being received. A complete one leads to `Busy`, the head's deadline ends it.
    Head,
    /// A request is with the handler, or its answer is on its way. The answer's end leads to `Idle`, or to `Rest`.
    Busy,
    /// The answer is sent, but the request's body is still read. Where the handler reads it, that may take its time; where it is read
    /// only to be thrown away, the deadlines of `Lingering` hold. The body's end leads to `Idle`, and so does its reader when it gives
    /// up.
    Rest,
    /// Between requests. A byte leads to `Head`, the keep-alive deadline ends it.
    Idle,
    /// The last answer is sent and the sending side is closed, but the client may still send: what it sends is thrown away. This is
    /// the last phase.
    Lingering,
    /// It speaks HTTP no more: the tunnel that has its bytes now has deadlines of its own. This is the last phase.
    Tunnel,
}

/// What of the last request's body has not come yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Remainder {
    /// Nothing: all of it is here.
    #[default]
    Nothing,
    /// Something, which the handler reads.
    Read,
    /// Something short, which the handler does not read. The connection reads it and throws it away, to be used again.
    Skipped,
    /// Something, which the client sends only when told to, and was not told.
    Unsent,
    /// Something, which nobody reads: no other request can follow it.
    Discarded,
}

/// What the connection's task is to do when it is polled next. Of two orders, the later variant holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Order {
    /// Go on.
    #[default]
    Continue,
    /// Give buffers back, if the connection is idle.
    Release,
    /// Close when the request in flight, if any, is answered.
    Finish,
    /// Close now.
    Cut,
}

/// What happens to the connection's bytes, noted where they flow. Atomic because hyper's upgrades ask for `Send`; only the
/// connection's own worker uses it.
#[derive(Debug, Default)]
pub(super) struct Activity {
    /// Reads that brought something, an end or an error.
    pub(super) read: AtomicU32,
    /// Writes that were not blocked.
    pub(super) wrote: AtomicU32,
    /// The client takes no more bytes for now, although some are ready for it.
    pub(super) blocked: AtomicBool,
    /// How many bytes of a body that comes piece by piece hyper has, and has not written.
    pub(super) unflushed: AtomicUsize,
    /// How many bytes of a head have come, or [`NO_HEAD`].
    pub(super) head: AtomicUsize,
    /// A request is complete and its answer is not: hyper does not read then, so that it does not see the client leave.
    pub(super) unwatched: AtomicBool,
    /// Everything that may be read ahead was read, so that only the tick can see the client leave.
    pub(super) full: AtomicBool,
    /// A read filled what hyper reads into at first: it takes larger buffers now, and keeps them.
    pub(super) grown: AtomicBool,
    /// The client's end was read, or an error.
    pub(super) ended: AtomicBool,
    /// When hyper was done, the client had sent more.
    pub(super) unread: AtomicBool,
    /// Counts the requests' bodies: chunks are joined in one of them.
    pub(super) body: AtomicU32,
    /// How many bytes of data hyper found in the bodies' chunks.
    pub(super) data: AtomicU32,
    /// The body's chunks are to be joined: many tiny ones came.
    pub(super) tiny: AtomicBool,
    /// The connection speaks HTTP no more.
    pub(super) tunnel: AtomicBool,
    /// Told when the connection's bytes are dropped.
    pub(super) closed: Notify,
}
