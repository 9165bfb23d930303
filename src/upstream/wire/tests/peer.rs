//! The other end: what an instance reads of a request, strictly; and bodies that do what a test says.

use std::collections::VecDeque;

use tokio::io::AsyncRead;

use super::*;

/// What a body does next.
pub(super) enum Step {
    Data(&'static str),
    Trailers(&'static [(&'static str, &'static str)]),
    /// Nothing, until the test says so.
    Wait,
    Fail,
}

struct Script {
    steps: VecDeque<Step>,
    /// How much is to come, where it says that.
    left: Option<u64>,
    waker: Option<Waker>,
}

/// The test's hand on a body.
pub(super) struct Director(Rc<RefCell<Script>>);

struct Scripted(Rc<RefCell<Script>>);

/// A body that takes these steps; with a length that is said beforehand, or in chunks.
pub(super) fn scripted(length: Option<u64>, steps: impl IntoIterator<Item = Step>) -> (Body, Director) {
    let script = Script { steps: steps.into_iter().collect(), left: length, waker: None };
    let script = Rc::new(RefCell::new(script));
    (Body::Followed(Box::pin(Scripted(script.clone()))), Director(script))
}

impl Director {
    /// What it waited for has come.
    pub(super) fn go_on(&self) {
        let waker = {
            let mut script = self.0.borrow_mut();
            assert!(matches!(script.steps.pop_front(), Some(Step::Wait)), "it does not wait");
            script.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Whether the body was let go by who had it.
    pub(super) fn is_dropped(&self) -> bool {
        Rc::strong_count(&self.0) == 1
    }

    pub(super) fn is_over(&self) -> bool {
        self.0.borrow().steps.is_empty()
    }
}

impl http_body::Body for Scripted {
    type Data = Bytes;
    type Error = crate::io::body::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, crate::io::body::Error>>> {
        let mut script = self.0.borrow_mut();
        if matches!(script.steps.front(), Some(Step::Wait)) {
            script.waker = Some(cx.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(script.steps.pop_front().map(|step| match step {
            Step::Data(data) => {
                script.left = script.left.map(|left| left.saturating_sub(data.len() as u64));
                Ok(http_body::Frame::data(data.into()))
            }
            Step::Trailers(fields) => {
                let field = |&(name, value): &(&'static str, &'static str)| {
                    (http::HeaderName::from_static(name), http::HeaderValue::from_static(value))
                };
                Ok(http_body::Frame::trailers(fields.iter().map(field).collect()))
            }
            Step::Wait | Step::Fail => Err(crate::io::body::Error::Idle),
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.0.borrow().steps.is_empty()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.0.borrow().left.map_or_else(http_body::SizeHint::default, http_body::SizeHint::with_exact)
    }
}

/// What lies in the pipe now.
pub(super) fn taken(server: &mut DuplexStream) -> Vec<u8> {
    let mut room = vec![0; PIPE];
    let mut buffer = ReadBuf::new(&mut room);
    let _ = Pin::new(server).poll_read(&mut Context::from_waker(Waker::noop()), &mut buffer);
    buffer.filled().to_vec()
}

/// A request, as a server reads it that forgives nothing.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Received {
    pub(super) line: String,
    pub(super) fields: Vec<(String, String)>,
    pub(super) body: String,
    pub(super) trailers: Vec<(String, String)>,
}

/// One whole request, and not a byte more.
#[track_caller]
pub(super) fn strict(bytes: &[u8]) -> Received {
    let mut text = std::str::from_utf8(bytes).expect("text");
    let line = line(&mut text).to_owned();
    let fields = section(&mut text);
    let said = |name: &str| fields.iter().filter(|field| field.0 == name).map(|field| &*field.1).collect::<Vec<_>>();
    let (mut body, mut trailers) = (String::new(), Vec::new());
    match (&said("content-length")[..], &said("transfer-encoding")[..]) {
        ([], []) => {}
        ([length], []) => body.push_str(piece(&mut text, length.parse().expect("a length"))),
        ([], ["chunked"]) => loop {
            let size = usize::from_str_radix(self::line(&mut text), 16).expect("a size");
            if size == 0 {
                trailers = section(&mut text);
                break;
            }
            body.push_str(piece(&mut text, size));
            assert_eq!(self::line(&mut text), "");
        },
        framed => panic!("framed as {framed:?}"),
    }
    assert_eq!(text, "", "behind the request");
    Received { line, fields, body, trailers }
}

#[track_caller]
fn piece<'a>(text: &mut &'a str, length: usize) -> &'a str {
    let (piece, rest) = text.split_at_checked(length).expect("a whole piece");
    *text = rest;
    piece
}

#[track_caller]
fn line<'a>(text: &mut &'a str) -> &'a str {
    let (line, rest) = text.split_once("\r\n").expect("a whole line");
    assert!(!line.contains(['\r', '\n']));
    *text = rest;
    line
}

#[track_caller]
fn section(text: &mut &str) -> Vec<(String, String)> {
    let mut fields = Vec::new();
    loop {
        match line(text) {
            "" => return fields,
            line => {
                let (name, value) = line.split_once(": ").expect("a field");
                fields.push((name.to_owned(), value.to_owned()));
            }
        }
    }
}
