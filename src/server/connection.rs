//! One client connection: hyper's HTTP/1.1 server under the gateway's deadlines. Each request is given to the handler.

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
use http::{HeaderValue, StatusCode, header};
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::Service;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;

use super::activity::{ClientIo, Control, Order};
use super::deadlines::Connections;
use crate::io::body::{self, Body};
use crate::io::{Client, Io};
use crate::plane::{Handler, MaybeFuture, Pulse};

/// How many bytes of a body hyper buffers at most, each way, and so moves at once. In smaller pieces a long body costs more CPU
/// time (`cargo bench-peers --scenario bodies`). A head gets less: see [`super::activity`].
const BUFFER: usize = 384 * 1024;

/// Serves a connection to its end, and keeps `guards` until then: they count the connection where its limits are. Large parts are
/// boxed at once, outside the future: a task's future is moved several times before it runs.
pub(super) fn serve<H: Handler>(
    io: Io,
    client: Client,
    handler: Rc<H>,
    control: Rc<Control>,
    connections: Rc<Connections>,
    pulse: Arc<Pulse>,
    guards: impl Sized + 'static,
) -> impl Future<Output = ()> + 'static {
    let listed = Listed { control: control.clone(), connections };
    let io = TokioIo::new(ClientIo::new(io, &control));
    let shared = Shared { handler, client: Rc::new(client), control: control.clone(), pulse: pulse.clone() };
    let connection = http1::Builder::new()
        // Otherwise hyper reads while a request is answered, to see whether its client left, for which it allocates a buffer.
        // `ClientIo` sees it without.
        .half_close(true)
        .header_read_timeout(None)
        .max_buf_size(BUFFER)
        .serve_connection(io, Requests(Rc::new(shared)))
        .with_upgrades();
    let mut connection = Box::pin(connection);
    async move {
        let ended = poll_fn(|cx| {
            match control.take_order(cx) {
                Order::Continue => {}
                Order::Finish => connection.as_mut().graceful_shutdown(),
                Order::Cut => return Poll::Ready(Ok(())),
            }
            connection.as_mut().poll(cx)
        })
        .await;
        drop(connection);
        if let Err(error) = ended
            && (error.is_parse() || error.is_incomplete_message() || control.is_head_too_large())
        {
            pulse.unparsed.fetch_add(1, Ordering::Relaxed);
            tracing::debug!("a request could not be read: {error}");
        }
        // A connection that became a tunnel goes on without hyper, and still counts as open.
        control.closed().await;
        drop((listed, guards));
    }
}

/// Removes the connection from its worker's list when it ends, in whatever way.
struct Listed {
    control: Rc<Control>,
    connections: Rc<Connections>,
}

impl Drop for Listed {
    fn drop(&mut self) {
        self.connections.closed(&self.control);
    }
}

/// What hyper calls with each request of a connection.
struct Requests<H>(Rc<Shared<H>>);

/// What all requests of a connection share.
struct Shared<H> {
    handler: Rc<H>,
    client: Rc<Client>,
    control: Rc<Control>,
    pulse: Arc<Pulse>,
}

impl<H: Handler> Shared<H> {
    /// The answer to a request whose handling panicked. The panic's message was logged by the panic hook.
    fn panicked(&self) -> Response<Body> {
        self.pulse.panics.fetch_add(1, Ordering::Relaxed);
        self.handler.panicked()
    }

    /// What every answer gets last: the `Connection` of this hop, and a body that says when it is over.
    fn finish(&self, mut response: Response<Body>) -> Response<ResponseBody> {
        // A 101 says what the connection becomes (RFC 9110 section 7.8), any other answer while draining that it ends.
        let upgraded = response.status() == StatusCode::SWITCHING_PROTOCOLS;
        if upgraded {
            response.headers_mut().insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        }
        if upgraded || self.control.draining() {
            let option = HeaderValue::from_static(if upgraded { "upgrade" } else { "close" });
            response.headers_mut().insert(header::CONNECTION, option);
        }
        let control = self.control.clone();
        response.map(|body| ResponseBody { body, control })
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
        let mut request = Some((head, RequestBody::wrap(body, number, &shared.control)));
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
struct RequestBody {
    body: Incoming,
    /// The request's number.
    request: u32,
    control: Rc<Control>,
}

impl RequestBody {
    /// A body as the handler gets it.
    fn wrap(body: Incoming, request: u32, control: &Rc<Control>) -> Body {
        if http_body::Body::is_end_stream(&body) {
            control.received(request);
            return Body::Empty;
        }
        Body::Followed(Box::pin(RequestBody { body, request, control: control.clone() }))
    }
}

impl http_body::Body for RequestBody {
    type Data = Bytes;
    type Error = body::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, body::Error>>> {
        let this = self.get_mut();
        let frame = ready!(Pin::new(&mut this.body).poll_frame(cx));
        if frame.is_none() || this.is_end_stream() {
            this.control.received(this.request);
        }
        Poll::Ready(frame.map(|frame| frame.map_err(|error| body::Error::Broken(io::Error::other(error)))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        // This changes nothing where the body is complete.
        self.control.discarded(self.request);
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
        let ResponseBody { body, control } = self.get_mut();
        let frame = ready!(Pin::new(&mut *body).poll_frame(cx));
        let Some(Err(error)) = frame else { return Poll::Ready(frame) };
        if control.failing.replace(true) {
            return Poll::Ready(Some(Err(error)));
        }
        // hyper gives up a connection whose body fails, with all that it has not written yet, the head among it: it learns of the
        // failure when nothing is left to be written.
        *body = Body::Followed(Box::pin(Failing { error: Some(error), control: control.clone() }));
        cx.waker().wake_by_ref();
        Poll::Pending
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

/// What is left of a body that broke off: its failure, once the client has taken all that came before. The worker's tick has the
/// connection look again.
struct Failing {
    error: Option<body::Error>,
    control: Rc<Control>,
}

impl http_body::Body for Failing {
    type Data = Bytes;
    type Error = body::Error;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, body::Error>>> {
        if self.control.blocked() { Poll::Pending } else { Poll::Ready(self.error.take().map(Err)) }
    }
}

#[cfg(test)]
mod tests;
