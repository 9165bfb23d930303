//! The codec against hyper's, against itself cut at every byte, and against what an instance may do to it.
//!
//! Nothing here needs a runtime: futures are polled by hand until nobody wakes them any more, so that "it waits" is a condition
//! and not a time, and a lost wake-up is a test that fails.

mod corpus;
mod cuts;
mod differential;
mod early;
mod mutations;
mod peer;
mod requests;
mod reuse;

use std::fmt::Write as _;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use bytes::Bytes;
use http::{HeaderMap, Method, Response};
use hyper::ext::ReasonPhrase;
use tokio::io::{AsyncWrite, DuplexStream};

use super::*;

impl Fields for &[(&str, &str)] {
    fn each(&self, mut field: impl FnMut(&str, &[u8])) {
        self.iter().for_each(|(name, value)| field(name, value.as_bytes()));
    }
}

/// A head with these fields.
fn head<'a>(
    method: &'a Method,
    target: &'a str,
    fields: &'a [(&'a str, &'a str)],
) -> Head<'a, &'a [(&'a str, &'a str)]> {
    Head { method, target, authority: None, fields, trailers: false, websocket: false }
}

/// More than any message here has.
const PIPE: usize = 1 << 20;

/// Who is woken: it notes that it was.
#[derive(Default)]
struct Alarm(AtomicBool);

impl Wake for Alarm {
    fn wake(self: Arc<Alarm>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// What polls a future by hand.
#[derive(Default)]
struct Hand {
    alarm: Arc<Alarm>,
}

impl Hand {
    /// Polls once, and then as often as somebody woke; `None` when it waits for what only the other end can do.
    fn until_stalled<T>(&self, mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>) -> Option<T> {
        let waker = Waker::from(self.alarm.clone());
        let mut cx = Context::from_waker(&waker);
        loop {
            self.alarm.0.store(false, Ordering::Relaxed);
            match poll(&mut cx) {
                Poll::Ready(done) => return Some(done),
                Poll::Pending if self.was_woken() => {}
                Poll::Pending => return None,
            }
        }
    }

    /// The same for a whole future.
    fn run<F: Future>(&self, mut future: Pin<&mut F>) -> Option<F::Output> {
        self.until_stalled(|cx| future.as_mut().poll(cx))
    }

    fn was_woken(&self) -> bool {
        self.alarm.0.load(Ordering::Relaxed)
    }
}

/// What a future that has nothing to wait for brings.
#[track_caller]
fn at_once<T>(future: impl Future<Output = T>) -> T {
    Hand::default().run(pin!(future)).expect("it waits, although there is nothing to wait for")
}

/// The instance's side of a pipe, and what it is going to say.
struct Feed<'a> {
    server: DuplexStream,
    pieces: std::slice::Iter<'a, &'a [u8]>,
    /// It closes after the last piece.
    closes: bool,
}

impl<'a> Feed<'a> {
    fn new(server: DuplexStream, pieces: &'a [&'a [u8]], closes: bool) -> Feed<'a> {
        Feed { server, pieces: pieces.iter(), closes }
    }

    /// Says the next piece; false when nothing more will happen.
    fn next(&mut self) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        if let Some(piece) = self.pieces.find(|piece| !piece.is_empty()) {
            let written = Pin::new(&mut self.server).poll_write(&mut cx, piece);
            assert!(matches!(written, Poll::Ready(Ok(count)) if count == piece.len()), "the pipe is too small");
            return true;
        }
        let closed = std::mem::take(&mut self.closes);
        if closed {
            assert!(Pin::new(&mut self.server).poll_shutdown(&mut cx).is_ready());
        }
        closed
    }

    /// Polls, and says another piece whenever everything before it was taken; `None` when it waits for more than comes.
    fn drive<T>(&mut self, hand: &Hand, mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>) -> Option<T> {
        let mut done = hand.until_stalled(&mut poll);
        while done.is_none() && self.next() {
            assert!(hand.was_woken(), "something came, and nobody was woken");
            done = hand.until_stalled(&mut poll);
        }
        done
    }
}

/// What came of an answer, as both codecs tell it.
#[derive(Clone, Debug, PartialEq)]
struct Outcome {
    head: Told,
    body: Vec<u8>,
    trailers: Option<HeaderMap>,
    end: End,
    /// The connection may carry another request.
    reusable: bool,
}

/// What came of its head.
#[derive(Clone, Debug, PartialEq)]
enum Told {
    Head(Box<(http::StatusCode, http::Version, Option<Vec<u8>>, HeaderMap)>),
    Failed,
    Waits,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    Complete,
    Broken,
    Waits,
}

impl Outcome {
    /// No head came.
    fn without(head: Told) -> Outcome {
        let end = if head == Told::Waits { End::Waits } else { End::Broken };
        Outcome { head, body: Vec::new(), trailers: None, end, reusable: false }
    }

    /// In a line that a test can spell out: the fields sorted by name, those of one name in their order.
    fn tell(&self) -> String {
        let mut line = String::new();
        match &self.head {
            Told::Failed => return "refused".to_owned(),
            Told::Waits => return "waits for the head".to_owned(),
            Told::Head(head) => {
                let (status, version, reason, headers) = &**head;
                let _ = write!(line, "{version:?} {}", status.as_u16());
                if let Some(reason) = reason {
                    let _ = write!(line, " \"{}\"", reason.escape_ascii());
                }
                fields(&mut line, headers);
            }
        }
        let _ = match &self.body[..] {
            body if body.len() > 100 => write!(line, " | {} bytes", body.len()),
            body => write!(line, " | {}", body.escape_ascii()),
        };
        if let Some(trailers) = &self.trailers {
            line.push_str(" | trailers");
            fields(&mut line, trailers);
        }
        let end = match self.end {
            End::Complete => "",
            End::Broken => " | broken",
            End::Waits => " | waits",
        };
        line.push_str(end);
        line.push_str(if self.reusable { " | reusable" } else { " | spent" });
        line
    }
}

fn fields(line: &mut String, headers: &HeaderMap) {
    let mut names: Vec<_> = headers.keys().collect();
    names.sort_by_key(|name| name.as_str());
    for name in names {
        for value in headers.get_all(name) {
            let _ = match value.as_bytes() {
                value if value.len() > 100 => write!(line, " [{name}: {} bytes]", value.len()),
                value => write!(line, " [{name}: {}]", value.escape_ascii()),
            };
        }
    }
}

fn head_of<B>(response: &Response<B>) -> Told {
    let reason = response.extensions().get::<ReasonPhrase>().map(|reason| reason.as_bytes().to_vec());
    Told::Head(Box::new((response.status(), response.version(), reason, response.headers().clone())))
}

/// What is read of a body, piece by piece.
#[derive(Default)]
struct Reading {
    body: Vec<u8>,
    trailers: Option<HeaderMap>,
}

impl Reading {
    /// Reads until the end; `poll` gives the next frame.
    fn poll<E>(&mut self, mut next: impl FnMut() -> Poll<Option<Result<http_body::Frame<Bytes>, E>>>) -> Poll<End> {
        loop {
            match std::task::ready!(next()) {
                None => return Poll::Ready(End::Complete),
                Some(Err(_)) => return Poll::Ready(End::Broken),
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.body.extend_from_slice(&data),
                    Err(frame) => self.trailers = frame.into_trailers().ok(),
                },
            }
        }
    }
}

/// What our codec makes of an answer that comes in these pieces, each when all before it was taken.
fn ours(method: &Method, pieces: &[&[u8]], closes: bool) -> Outcome {
    let (client, server) = tokio::io::duplex(PIPE);
    let (hand, mut feed) = (Hand::default(), Feed::new(server, pieces, closes));
    let connection = Connection::new(Io::Memory(client));
    let (head, memory) = (head(method, "/", &[]), Memory::default());
    let mut send = pin!(connection.send(&head, Body::Empty, &memory));
    let response = match feed.drive(&hand, |cx| send.as_mut().poll(cx)) {
        Some(Ok(response)) => response,
        Some(Err(SendError::Unwritten(_) | SendError::Body)) => panic!("the request failed, not its answer"),
        Some(Err(_)) => return Outcome::without(Told::Failed),
        None => return Outcome::without(Told::Waits),
    };
    let head = head_of(&response);
    let (mut reading, mut body) = (Reading::default(), response.into_body());
    let poll = |cx: &mut Context<'_>| reading.poll(|| http_body::Body::poll_frame(Pin::new(&mut body), cx));
    let end = feed.drive(&hand, poll).unwrap_or(End::Waits);
    assert_eq!(http_body::Body::is_end_stream(&body), end != End::Waits, "a body knows whether it is at its end");
    while feed.next() {}
    let reusable = connection.is_ready();
    assert!(!reusable || !connection.is_closed(), "what may carry a request is not closed");
    Outcome { head, body: reading.body, trailers: reading.trailers, end, reusable }
}
