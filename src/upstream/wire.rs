//! One connection to an instance. Nobody else knows what speaks HTTP on it.
//!
//! It has no task of its own: whoever waits for an answer, or reads its body, reads and writes the socket (a task between them
//! would cost two wake-ups and two channels a request).

mod answer;
mod body;
mod connector;
mod error;
mod message;
mod rest;
mod upload;

use std::cell::{RefCell, RefMut};
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::{Bytes, BytesMut};
use http::Response;
use http_body::{Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncReadExt, ReadBuf};
use tokio::time::{Instant, Sleep};

use crate::io::Io;
use crate::io::body::{Body, Error, Source};
use crate::io::upgrade::Upgrade;
pub use answer::Memory;
use answer::{Expected, Malformed};
use body::{Framing, Taken};
pub use connector::{ConnectError, Connector};
pub use error::SendError;
use message::{Fault, Message};
pub use message::{Fields, Head};
pub use rest::Rest;

/// The most that an answer's head may have.
const LARGEST: usize = 64 * 1024;

/// Pieces of a body up to `SMALL` bytes are joined with others that are here, up to `JOINED`: each would cost a write, or a turn.
const SMALL: usize = 2 * 1024;
const JOINED: usize = 16 * 1024;

/// How much is read at once: of short answers, and of long ones when they fill what there is.
const READ: (usize, usize) = (8 * 1024, 32 * 1024);

/// A connection that carries one request at a time. Dropped before an answer's end, it is closed.
#[derive(Debug)]
pub struct Connection {
    wire: Rc<Wire>,
    timer: RefCell<Option<Pin<Box<Sleep>>>>,
}

/// What a connection and the body that is read from it share.
#[derive(Debug)]
struct Wire(RefCell<State>);

#[derive(Debug)]
struct State {
    /// None after an upgrade.
    io: Option<Io>,
    /// What was read and not understood yet.
    input: BytesMut,
    /// How much to read at once.
    read: usize,
    message: Message,
    phase: Phase,
    /// Counts the messages: a body belongs to one.
    number: u64,
    /// A request was written in part, and will not be written to its end.
    cut: bool,
    /// That was the request's own body's doing.
    lost: bool,
    /// Somebody else sends what is left of the request ([`Rest`]); who reads the answer meanwhile.
    driven: Option<Waker>,
}

/// Where the conversation stands.
#[derive(Debug)]
enum Phase {
    /// Nothing is owed by the instance.
    Idle,
    /// An answer's head.
    Head(Expected),
    /// The body of an answer; whether another request may follow.
    Body(Framing, bool),
    /// Nothing may follow.
    Over,
}

impl Connection {
    fn state(&self) -> RefMut<'_, State> {
        self.wire.0.borrow_mut()
    }

    /// A connection that carried nothing yet.
    pub(super) fn new(io: Io) -> Connection {
        let (input, message) = (BytesMut::new(), Message::default());
        let state = State {
            io: Some(io),
            input,
            read: READ.0,
            message,
            phase: Phase::Idle,
            number: 0,
            cut: false,
            lost: false,
            driven: None,
        };
        Connection { wire: Rc::new(Wire(RefCell::new(state))), timer: RefCell::default() }
    }

    /// Sends a request and waits for the answer's head, whose fields take their memory from `memory`. Dropping the future before
    /// that closes the connection.
    ///
    /// # Errors
    /// See [`SendError`]; the body comes back when nothing of the request was written.
    pub async fn send<F: Fields>(
        &self,
        head: &Head<'_, F>,
        body: Body,
        memory: &Memory,
    ) -> Result<Response<Body>, SendError> {
        self.state().begin(head, body);
        poll_fn(|cx| self.state().poll_answer(cx, memory, &self.wire)).await
    }

    /// Until a moment. One timer serves all requests of a connection: it is only put off, which costs no lock, and not made and
    /// taken away again by each.
    pub async fn until(&self, moment: Instant) {
        let mut fresh = true;
        poll_fn(|cx| {
            let mut timer = self.timer.borrow_mut();
            let timer = timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(moment)));
            if std::mem::take(&mut fresh) && timer.deadline() != moment {
                timer.as_mut().reset(moment);
            }
            timer.as_mut().poll(cx)
        })
        .await;
    }

    /// Whether its last request and the answer to it are complete, and another may follow.
    pub fn is_free(&self) -> bool {
        let state = self.state();
        matches!(state.phase, Phase::Idle) && !state.cut && state.message.is_sent()
    }

    /// Whether it can take a request now: it is free, and the instance did not close it meanwhile.
    pub fn is_ready(&self) -> bool {
        self.is_free() && self.state().silent()
    }

    /// Whether it never will again.
    pub fn is_closed(&self) -> bool {
        self.state().is_closed()
    }

    /// What is left of a request whose answer has begun, if anything is: it must be sent although nobody reads the answer, for its
    /// reader may wait for a client who wants to send first.
    pub fn rest(&self) -> Option<Rest> {
        let mut state = self.state();
        if state.message.is_sent() {
            return None;
        }
        state.driven = Some(Waker::noop().clone());
        Some(Rest(Rc::downgrade(&self.wire)))
    }

    /// Until what is left of the request was sent; false when nothing can be sent after it.
    pub async fn ready(&self) -> bool {
        let sent = poll_fn(|cx| {
            let mut state = self.state();
            if state.is_closed() {
                return Poll::Ready(false);
            }
            state.poll_send(cx).map(|sent| sent.is_ok())
        });
        sent.await && self.is_ready()
    }

    /// Bytes that were written so far.
    pub fn written(&self) -> u64 {
        self.state().message.written()
    }

    /// Whether something of a request is here that the instance does not take.
    pub fn is_blocked(&self) -> bool {
        self.state().message.is_blocked()
    }

    /// The connection after a 101, when it no longer speaks HTTP.
    pub fn upgrade(&self) -> Option<Upgrade> {
        let mut state = self.state();
        let read = std::mem::take(&mut state.input).freeze();
        state.io.take().map(|io| Upgrade::of(io, read))
    }
}

impl State {
    fn begin<F: Fields>(&mut self, head: &Head<'_, F>, body: Body) {
        self.number += 1;
        self.phase = Phase::Head(Expected::to(head.method));
        self.message.begin(head, body);
    }

    fn is_closed(&mut self) -> bool {
        !matches!(self.phase, Phase::Idle) || self.cut || !self.silent()
    }

    /// Writes what there is of the request.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        let Some(io) = &mut self.io else { return Poll::Ready(Ok(())) };
        let sent = self.message.poll(io, cx);
        self.cut |= matches!(sent, Poll::Ready(Err(_)));
        self.lost |= matches!(sent, Poll::Ready(Err(Fault::Body)));
        sent
    }

    fn poll_answer(
        &mut self,
        cx: &mut Context<'_>,
        memory: &Memory,
        wire: &Rc<Wire>,
    ) -> Poll<Result<Response<Body>, SendError>> {
        match self.poll_send(cx) {
            Poll::Ready(Err(Fault::Unwritten(body))) => return Poll::Ready(Err(SendError::Unwritten(body))),
            Poll::Ready(Err(Fault::Body)) => return Poll::Ready(Err(SendError::Body)),
            // Who refuses an upload may have said why before it closed.
            Poll::Ready(Err(Fault::Io) | Ok(())) | Poll::Pending => {}
        }
        loop {
            let Phase::Head(expected) = &mut self.phase else {
                return Poll::Ready(Err(SendError::Reset(io::ErrorKind::NotConnected.into())));
            };
            match expected.read(&mut self.input, memory) {
                Err(Malformed::NotHttp(why)) => return Poll::Ready(Err(SendError::NotHttp(why))),
                Err(Malformed::Form(why)) => return Poll::Ready(Err(SendError::BadAnswer(why))),
                Ok(Some(response)) => return Poll::Ready(Ok(self.answered(response, wire))),
                Ok(None) => {}
            }
            let cut_off = if expected.heard() { SendError::CutOff } else { SendError::Reset };
            match std::task::ready!(self.fill(cx)) {
                Ok(0) => return Poll::Ready(Err(cut_off(io::ErrorKind::UnexpectedEof.into()))),
                Ok(_) => {}
                Err(error) => return Poll::Ready(Err(cut_off(error))),
            }
        }
    }

    /// A head is complete: what of the body has come already is taken along.
    fn answered(&mut self, answer: answer::Answer, wire: &Rc<Wire>) -> Response<Body> {
        let answer::Answer { response, framing, keep_alive } = answer;
        let body = match framing {
            Framing::None => {
                self.end(keep_alive);
                Body::Empty
            }
            Framing::Length(length) if length <= self.input.len() as u64 => {
                let whole = self.input.split_to(length as usize).freeze();
                self.end(keep_alive);
                Body::from(whole)
            }
            framing => {
                self.phase = Phase::Body(framing, keep_alive);
                Body::Upstream(wire.clone(), self.number)
            }
        };
        response.map(|()| body)
    }

    /// An answer is complete.
    fn end(&mut self, keep_alive: bool) {
        // What nobody asked for must not be taken for the answer to the next request.
        self.phase = if keep_alive && !self.cut && self.input.is_empty() { Phase::Idle } else { Phase::Over };
        // What follows a 101 is not ours to drop.
        if self.read > READ.0 && self.input.is_empty() {
            (self.input, self.read) = (BytesMut::new(), READ.0);
        }
    }

    /// Whether nothing comes from the instance, not even its end: otherwise, nothing may follow. No system call, unless something
    /// may have come.
    fn silent(&mut self) -> bool {
        let mut byte = [0];
        let mut cx = Context::from_waker(Waker::noop());
        let Some(io) = &mut self.io else { return false };
        // Outside the task's budget: a task that has used it up would be told that nothing is there.
        let read = poll_fn(|cx| Pin::new(&mut *io).poll_read(cx, &mut ReadBuf::new(&mut byte)));
        let silent = std::pin::pin!(tokio::task::unconstrained(read)).poll(&mut cx).is_pending();
        if !silent {
            // The byte is gone: who asks again must not find silence.
            self.phase = Phase::Over;
        }
        silent
    }

    /// Reads once.
    fn fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let Some(io) = &mut self.io else { return Poll::Ready(Ok(0)) };
        // Gives back what nobody looks at any more, before it takes new memory.
        if self.input.capacity() - self.input.len() < self.read / 2 {
            // To reserve room in large memory that is empty would double it.
            if self.read > READ.0 && self.input.is_empty() {
                self.input = BytesMut::new();
            }
            self.input.reserve(self.read);
        }
        let room = self.input.capacity() - self.input.len();
        let read = std::task::ready!(std::pin::pin!(io.read_buf(&mut self.input)).poll(cx));
        if matches!(read, Ok(count) if count == room) {
            self.read = (self.read * 2).min(READ.1);
        }
        Poll::Ready(read)
    }

    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        // An upload may go on beside its answer; why it failed is known by who follows it.
        let sent = match &mut self.driven {
            Some(reader) => {
                reader.clone_from(cx.waker());
                Poll::Pending
            }
            None => self.poll_send(cx).map(drop),
        };
        if sent.is_ready() && self.lost {
            self.phase = Phase::Over;
            return Poll::Ready(Some(Err(Error::Request)));
        }
        loop {
            let Phase::Body(framing, keep_alive) = &mut self.phase else { return Poll::Ready(None) };
            let keep_alive = *keep_alive;
            match framing.take(&mut self.input) {
                Ok(Taken::Frame(frame)) => {
                    if framing.is_over() {
                        self.end(keep_alive);
                    }
                    return Poll::Ready(Some(Ok(frame)));
                }
                Ok(Taken::End) => {
                    self.end(keep_alive);
                    return Poll::Ready(None);
                }
                Ok(Taken::More) => {}
                Err(why) => {
                    self.phase = Phase::Over;
                    return Poll::Ready(Some(Err(Error::Broken(io::Error::new(io::ErrorKind::InvalidData, why)))));
                }
            }
            match std::task::ready!(self.fill(cx)) {
                Ok(1..) => {}
                ended => return Poll::Ready(self.broken(ended)),
            }
        }
    }

    /// The instance closed while a body was read: for some bodies that is their end.
    fn broken(&mut self, ended: io::Result<usize>) -> Option<Result<Frame<Bytes>, Error>> {
        let phase = std::mem::replace(&mut self.phase, Phase::Over);
        match (phase, ended) {
            (Phase::Body(Framing::Close, _), Ok(_)) => None,
            (_, Ok(_)) => Some(Err(Error::Broken(io::ErrorKind::UnexpectedEof.into()))),
            (_, Err(error)) => Some(Err(Error::Broken(error))),
        }
    }
}

impl Source for Wire {
    fn poll_frame(&self, message: u64, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        match self.of(message) {
            Some(mut state) => state.poll_body(cx),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self, message: u64) -> bool {
        self.of(message).is_none()
    }

    fn size_hint(&self, message: u64) -> SizeHint {
        match self.of(message).as_deref() {
            Some(State { phase: Phase::Body(Framing::Length(left), _), .. }) => SizeHint::with_exact(*left),
            Some(_) => SizeHint::default(),
            None => SizeHint::with_exact(0),
        }
    }
}

impl Wire {
    /// The connection, while it carries the body of this message.
    fn of(&self, message: u64) -> Option<RefMut<'_, State>> {
        let state = self.0.borrow_mut();
        (state.number == message && matches!(state.phase, Phase::Body(..))).then_some(state)
    }
}

#[cfg(test)]
mod tests;
