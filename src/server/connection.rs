//! One client connection: hyper's HTTP/1.1 server under the gateway's deadlines. Each request is given to the handler.

use std::cell::RefCell;
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use http_body::{Body as _, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::Service;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;

use super::activity::{ClientIo, Control};
use super::chunks::TINY;
use super::closing;
use super::deadlines::Listed;
use super::gather;
use super::phase::Order;
use crate::io::body::{self, Body};
use crate::io::{Client, Io};
use crate::plane::{Handler, MaybeFuture, Pulse};

/// How many bytes of a body hyper buffers at most, each way, and so moves at once. In smaller pieces a long body costs more CPU
/// time (`cargo bench-peers --scenario bodies`). A head gets less: see [`super::activity`].
const BUFFER: usize = 384 * 1024;

/// After so many tiny chunks in a row, a body's chunks are joined.
const MANY: u8 = 32;

/// Serves a connection to its end, and keeps `guards` until then: they count the connection where its limits are. Large parts are
/// boxed at once, outside the future: a task's future is moved several times before it runs.
pub(super) fn serve<H: Handler>(
    io: Io,
    client: Client,
    handler: Rc<H>,
    listed: Listed,
    pulse: Arc<Pulse>,
    guards: impl Sized + 'static,
) -> impl Future<Output = ()> + 'static {
    let io = ClientIo::new(io, &listed.control);
    serve_from(io, client, handler, listed, pulse, guards)
}

/// Serves a connection of which something was read already.
pub(super) fn serve_from<H: Handler>(
    io: ClientIo,
    client: Client,
    handler: Rc<H>,
    listed: Listed,
    pulse: Arc<Pulse>,
    guards: impl Sized + 'static,
) -> impl Future<Output = ()> + 'static {
    let control = listed.control.clone();
    let (client, leftover) = (Rc::new(client), RefCell::default());
    let shared = Rc::new(Shared { handler, client, control: control.clone(), pulse: pulse.clone(), leftover });
    let mut connection = http(io, &shared);
    async move {
        let ended = loop {
            match poll_fn(|cx| turn(&mut connection, &control, &shared, cx)).await {
                Turn::Ended(ended) => break ended,
                Turn::Quiet => {
                    let Some(io) = into_io(connection) else { return };
                    // What hyper had read of the next head is read again, and counted.
                    control.activity.head.store(0, Ordering::Relaxed);
                    let Some(io) = closing::asleep(io, &control).await else { return };
                    connection = http(io, &shared);
                }
                Turn::Cut => return,
            }
        };
        let mut refused = false;
        if let Err(error) = ended
            && (error.is_parse() || error.is_incomplete_message() || control.is_head_too_large())
        {
            refused = !error.is_incomplete_message();
            pulse.unparsed.fetch_add(1, Ordering::Relaxed);
            tracing::debug!("a request could not be read: {error}");
        }
        // What hyper holds is given back before anything is waited for.
        if !closing::is_sending(&control, refused) {
            drop(connection);
        } else if let Some(io) = into_io(connection) {
            closing::linger(io, &control, &listed.connections, refused).await;
        }
        // A connection that became a tunnel goes on without hyper, and still counts as open.
        closing::closed(&control).await;
        drop((listed, guards));
    }
}

/// hyper's part of a connection.
type Http<H> = Pin<Box<http1::UpgradeableConnection<TokioIo<ClientIo>, Requests<H>>>>;

/// Has hyper speak HTTP on a connection.
fn http<H: Handler>(io: ClientIo, shared: &Rc<Shared<H>>) -> Http<H> {
    let connection = http1::Builder::new()
        // Otherwise hyper reads while a request is answered, to see whether its client left, for which it allocates a buffer.
        // `ClientIo` sees it without.
        .half_close(true)
        .header_read_timeout(None)
        .max_buf_size(BUFFER)
        .serve_connection(TokioIo::new(io), Requests(shared.clone()))
        .with_upgrades();
    Box::pin(connection)
}

/// Takes a connection back from hyper, if it is still there.
fn into_io<H: Handler>(connection: Http<H>) -> Option<ClientIo> {
    let parts = Pin::into_inner(connection).into_parts()?;
    let mut io = parts.io.into_inner();
    io.source.put_back(&parts.read_buf);
    Some(io)
}

/// What a poll of a connection leads to.
enum Turn {
    /// hyper is done.
    Ended(hyper::Result<()>),
    /// It is idle, and hyper's buffers can be given back.
    Quiet,
    /// It is to be closed at once.
    Cut,
}

fn turn<H: Handler>(
    connection: &mut Http<H>,
    control: &Control,
    shared: &Shared<H>,
    cx: &mut Context<'_>,
) -> Poll<Turn> {
    match control.take_order(cx) {
        Order::Continue => {}
        Order::Release if control.is_quiet() => return Poll::Ready(Turn::Quiet),
        Order::Release => {}
        Order::Finish => connection.as_mut().graceful_shutdown(),
        Order::Cut => return Poll::Ready(Turn::Cut),
    }
    let ended = connection.as_mut().poll(cx);
    if control.skips() {
        shared.skip(cx);
    }
    ended.map(Turn::Ended)
}

/// What hyper calls with each request of a connection.
struct Requests<H>(Rc<Shared<H>>);

/// What all requests of a connection share.
struct Shared<H> {
    handler: Rc<H>,
    client: Rc<Client>,
    control: Rc<Control>,
    pulse: Arc<Pulse>,
    /// What is left of a body that is read only to be thrown away, and its request's number.
    leftover: RefCell<Option<(Incoming, u32)>>,
}

impl<H: Handler> Shared<H> {
    /// The answer to a request whose handling panicked. The panic's message was logged by the panic hook.
    fn panicked(&self) -> Response<Body> {
        self.pulse.panics.fetch_add(1, Ordering::Relaxed);
        self.handler.panicked()
    }

    /// What every answer gets last: the `Connection` of this hop, and a body that says when it is over.
    fn finish(&self, mut response: Response<Body>) -> Response<ResponseBody> {
        // A 101 says what the connection becomes (RFC 9110 section 7.8), any other answer that the connection ends if it does.
        let upgraded = response.status() == StatusCode::SWITCHING_PROTOCOLS;
        if upgraded {
            response.headers_mut().insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        }
        if upgraded || self.control.is_last() {
            let option = HeaderValue::from_static(if upgraded { "upgrade" } else { "close" });
            response.headers_mut().insert(header::CONNECTION, option);
        }
        let control = self.control.clone();
        response.map(|body| match body {
            Body::Empty | Body::Bytes(_) => ResponseBody { body, control },
            Body::Upstream(..) | Body::Followed(_) => ResponseBody { body: gather::gathered(body, &control), control },
        })
    }

    /// Reads what has come of a body that is thrown away.
    fn skip(&self, cx: &mut Context<'_>) {
        let mut leftover = self.leftover.borrow_mut();
        let Some((body, request)) = &mut *leftover else { return };
        while !body.is_end_stream() {
            match Pin::new(&mut *body).poll_frame(cx) {
                Poll::Pending => return,
                Poll::Ready(Some(Ok(_))) => {}
                Poll::Ready(_) => break,
            }
        }
        self.control.received(*request);
        *leftover = None;
    }
}

impl<H: Handler> Service<Request<Incoming>> for Requests<H> {
    type Response = Response<ResponseBody>;
    type Error = Infallible;
    type Future = ResponseFuture<H>;

    fn call(&self, request: Request<Incoming>) -> ResponseFuture<H> {
        let shared = &self.0;
        let number = shared.control.begin();
        let (head, body) = request.into_parts();
        let body = RequestBody::wrap(body, number, &head.headers, shared);
        let mut request = Some((head, body));
        let mut answer = None;
        // A panic in a request must not end the worker, nor the connection. Request and answer go in and out by reference: what a
        // caught closure owns is copied twice.
        let called = catch_unwind(AssertUnwindSafe(|| {
            answer = request.take().map(|(head, body)| shared.handler.call(head, body, &shared.client));
        }));
        match answer.filter(|_| called.is_ok()) {
            Some(MaybeFuture::Ready(response)) => ResponseFuture::Ready(Some(shared.finish(response.into()))),
            Some(MaybeFuture::Pending(response)) => ResponseFuture::Pending(response, shared.clone()),
            // It panicked before it had an answer.
            None => ResponseFuture::Ready(Some(shared.finish(shared.panicked()))),
        }
    }
}

/// The answer to a request, when it is there. The handler's future is boxed: an idle connection does not carry its size.
enum ResponseFuture<H: Handler> {
    Ready(Option<Response<ResponseBody>>),
    Pending(Pin<Box<dyn Future<Output = H::Sent>>>, Rc<Shared<H>>),
}

impl<H: Handler> Future for ResponseFuture<H> {
    type Output = Result<Response<ResponseBody>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let (response, shared) = match self.get_mut() {
            ResponseFuture::Ready(response) => {
                return Poll::Ready(Ok(response.take().expect("a future is not polled after it was ready")));
            }
            ResponseFuture::Pending(response, shared) => (response, shared),
        };
        match catch_unwind(AssertUnwindSafe(|| response.as_mut().poll(cx))) {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(response)) => Poll::Ready(Ok(shared.finish(response.into()))),
            Err(_) => Poll::Ready(Ok(shared.finish(shared.panicked()))),
        }
    }
}

/// A request's body. It tells the connection's control when it is complete, or read no further.
struct RequestBody<H: Handler> {
    /// It is there until the request's body is dropped.
    body: Option<Incoming>,
    /// The request's number.
    request: u32,
    /// The client sends it only when told to, which happens when it is first asked for (RFC 9110 section 10.1.1).
    unsent: bool,
    /// It comes in chunks, and so many of the last ones were tiny.
    tiny: Option<u8>,
    shared: Rc<Shared<H>>,
}

impl<H: Handler> RequestBody<H> {
    /// A body as the handler gets it.
    fn wrap(body: Incoming, request: u32, headers: &HeaderMap, shared: &Rc<Shared<H>>) -> Body {
        if http_body::Body::is_end_stream(&body) {
            shared.control.received(request);
            return Body::Empty;
        }
        shared.control.begin_body();
        let unsent = headers.contains_key(header::EXPECT);
        let tiny = http_body::Body::size_hint(&body).exact().is_none().then_some(0);
        Body::Followed(Box::pin(RequestBody { body: Some(body), request, unsent, tiny, shared: shared.clone() }))
    }

    /// hyper found data.
    fn found(&mut self, data: &Bytes) {
        let control = &self.shared.control;
        control.found(data.len());
        let Some(tiny) = &mut self.tiny else { return };
        *tiny = if data.len() <= TINY { *tiny + 1 } else { 0 };
        if *tiny == MANY {
            *tiny = 0;
            control.join_chunks();
        }
    }
}

impl<H: Handler> http_body::Body for RequestBody<H> {
    type Data = Bytes;
    type Error = body::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, body::Error>>> {
        let this = self.get_mut();
        this.unsent = false;
        let Some(body) = &mut this.body else { return Poll::Ready(None) };
        let frame = ready!(Pin::new(body).poll_frame(cx));
        // Nothing comes after trailers, and their reader need not ask.
        let mut last = this.is_end_stream();
        match &frame {
            Some(Ok(frame)) => match frame.data_ref() {
                Some(data) => this.found(data),
                None => last = true,
            },
            Some(Err(_)) => {}
            None => last = true,
        }
        if last {
            this.shared.control.received(this.request);
        }
        Poll::Ready(frame.map(|frame| frame.map_err(|error| body::Error::Broken(io::Error::other(error)))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(http_body::Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map(http_body::Body::size_hint).unwrap_or_default()
    }
}

impl<H: Handler> Drop for RequestBody<H> {
    fn drop(&mut self) {
        let Some(body) = self.body.take() else { return };
        let (control, request) = (&self.shared.control, self.request);
        let left = http_body::Body::size_hint(&body).exact();
        // None of these changes anything where the body is complete.
        if self.unsent {
            control.unsent(request);
        } else if left.is_some_and(|left| left <= closing::SHORT) {
            if control.skipped(request) {
                *self.shared.leftover.borrow_mut() = Some((body, request));
            }
        } else {
            control.discarded(request);
        }
    }
}

/// An answer's body. hyper drops it when it has all of it, or gives up: then the answer is over.
struct ResponseBody {
    body: Body,
    control: Rc<Control>,
}

impl http_body::Body for ResponseBody {
    type Data = Bytes;
    type Error = body::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, body::Error>>> {
        Pin::new(&mut self.get_mut().body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for ResponseBody {
    fn drop(&mut self) {
        self.control.answered();
    }
}

#[cfg(test)]
mod tests;
