//! One connection to an instance. Nobody else knows what speaks HTTP on it.
//!
//! It has no task of its own: whoever waits for an answer, or reads its body, reads and writes the socket (a task between them
//! would cost two wake-ups and two channels a request).

mod answer;
mod body;
mod message;

use std::cell::{RefCell, RefMut};
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::BytesMut;
use http::{HeaderMap, Response};
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncReadExt, ReadBuf};
use tokio::net::TcpSocket;
use tokio::time::{Instant, Sleep};

use crate::io::Io;
use crate::io::body::Body;
use crate::io::upgrade::Upgrade;
use answer::Expected;
use body::Framing;
use message::{Fault, Message};
pub use message::{Fields, Head};

/// The most that an answer's head may have.
const LARGEST: usize = 64 * 1024;

/// How much is read at once: of short answers, and of long ones when they fill what there is.
const READ: (usize, usize) = (8 * 1024, 256 * 1024);

/// How connections are made: sockets, or pipes inside this process.
#[derive(Clone)]
pub enum Connector {
    /// TCP with the options that an upstream connection wants.
    Tcp,
    /// Whatever is handed out: for tests, and for measuring without sockets.
    Memory(std::sync::Arc<dyn Fn(SocketAddr) -> io::Result<Io> + Send + Sync>),
}

impl std::fmt::Debug for Connector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Connector")
    }
}

/// Why there is no connection.
#[derive(Debug)]
pub enum ConnectError {
    /// Refused, unreachable, or any other answer than a connection.
    Refused(io::Error),
    /// No answer before the deadline.
    Timeout,
}

/// Why there is no answer.
#[derive(Debug)]
pub enum SendError {
    /// Not a byte of the request was written: here is its body again.
    Unwritten(Body),
    /// What came back is not HTTP, or more than our buffers hold.
    BadAnswer(&'static str),
    /// The request's own body failed: the client's doing.
    Body,
    /// The connection broke before the answer's head was complete.
    Reset(io::Error),
}

/// A header map's memory that waits for its next use: a worker passes it from the head of one message to that of another, so that
/// neither allocates. It holds one, since requests and answers alternate.
#[derive(Debug, Default)]
pub struct Memory(RefCell<HeaderMap>);

impl Memory {
    /// Memory for more fields than this is not kept.
    const MOST: usize = 64;

    /// Keeps the memory of a map that nobody needs any more.
    pub fn keep(&self, mut map: HeaderMap) {
        map.clear();
        if map.capacity() <= Memory::MOST {
            self.0.replace(map);
        }
    }

    /// An empty map, in the memory that was kept last.
    fn take(&self) -> HeaderMap {
        self.0.take()
    }
}

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

impl Connector {
    /// Connects.
    ///
    /// # Errors
    /// When nobody answers, or not in time.
    pub async fn connect(&self, address: SocketAddr, deadline: Duration) -> Result<Connection, ConnectError> {
        let io = match self {
            Connector::Tcp => match tokio::time::timeout(deadline, tcp(address)).await {
                Ok(connected) => connected.map_err(ConnectError::Refused)?,
                Err(_) => return Err(ConnectError::Timeout),
            },
            Connector::Memory(make) => match make(address) {
                // As a packet that nobody answers.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    tokio::time::sleep(deadline).await;
                    return Err(ConnectError::Timeout);
                }
                made => made.map_err(ConnectError::Refused)?,
            },
        };
        Ok(Connection::new(io))
    }
}

async fn tcp(address: SocketAddr) -> io::Result<Io> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_nodelay(true)?;
    let stream = socket.connect(address).await?;
    let options = SockRef::from(&stream);
    options.set_tcp_keepalive(
        &TcpKeepalive::new().with_time(Duration::from_secs(15)).with_interval(Duration::from_secs(5)),
    )?;
    // Written bytes that nobody acknowledges for this long mean a dead path, not a slow service.
    options.set_tcp_user_timeout(Some(Duration::from_secs(20)))?;
    Ok(Io::Tcp(stream))
}

impl Connection {
    fn state(&self) -> RefMut<'_, State> {
        self.wire.0.borrow_mut()
    }

    /// A connection that carried nothing yet.
    fn new(io: Io) -> Connection {
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

    /// The connection after a 101, when it no longer speaks HTTP.
    pub fn upgrade(&self) -> Option<Upgrade> {
        let mut state = self.state();
        let read = std::mem::take(&mut state.input).freeze();
        state.io.take().map(|io| Upgrade::of(io, read))
    }
}

/// Sends what is left of a request; dropped, it leaves that to who reads the answer.
#[derive(Debug)]
pub struct Rest(Weak<Wire>);

impl Future for Rest {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        match self.0.upgrade() {
            // How it ended is seen by who reads on.
            Some(wire) => wire.0.borrow_mut().poll_send(cx).map(drop),
            None => Poll::Ready(()),
        }
    }
}

impl Drop for Rest {
    fn drop(&mut self) {
        let reader = self.0.upgrade().and_then(|wire| wire.0.borrow_mut().driven.take());
        reader.into_iter().for_each(Waker::wake);
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
                Err(why) => return Poll::Ready(Err(SendError::BadAnswer(why))),
                Ok(Some(response)) => return Poll::Ready(Ok(self.answered(response, wire))),
                Ok(None) => {}
            }
            match std::task::ready!(self.fill(cx)) {
                Ok(0) => return Poll::Ready(Err(SendError::Reset(io::ErrorKind::UnexpectedEof.into()))),
                Ok(_) => {}
                Err(error) => return Poll::Ready(Err(SendError::Reset(error))),
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
            self.input.reserve(self.read);
        }
        let room = self.input.capacity() - self.input.len();
        let read = std::task::ready!(std::pin::pin!(io.read_buf(&mut self.input)).poll(cx));
        if matches!(read, Ok(count) if count == room) {
            self.read = (self.read * 2).min(READ.1);
        }
        Poll::Ready(read)
    }
}

#[cfg(test)]
mod tests;
