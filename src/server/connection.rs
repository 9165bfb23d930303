//! One client connection: hyper's HTTP/1.1 under our deadlines, each request handed to the handler.

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

use super::watch::{Connections, Control, Order, Watched};
use crate::body::{self, Body};
use crate::io::{Client, Io};
use crate::plane::{Answer, Handler, Pulse};

/// The most that hyper buffers of a body, each way: what a long one moves at once. In smaller pieces it costs more CPU
/// (`cargo bench-peers --scenario bodies`). A head has less room: see [`super::watch`].
const BUFFER: usize = 384 * 1024;

/// Serves a connection to its end, and holds `held` until then. What is large is boxed here and now: a task's future is moved several
/// times before it runs.
pub(super) fn serve<H: Handler>(
    io: Io,
    client: Client,
    handler: Rc<H>,
    control: Rc<Control>,
    connections: Rc<Connections>,
    pulse: Arc<Pulse>,
    held: impl Sized + 'static,
) -> impl Future<Output = ()> + 'static {
    let guard = Open { control: control.clone(), connections };
    let io = TokioIo::new(Watched::new(io, &control));
    let desk =
        Desk(Rc::new(Place { handler, client: Rc::new(client), control: control.clone(), pulse: pulse.clone() }));
    let connection = http1::Builder::new()
        // hyper would read in the middle of a request, to see whether its client left: that costs a buffer. See `Watched`.
        .half_close(true)
        .header_read_timeout(None)
        .max_buf_size(BUFFER)
        .serve_connection(io, desk)
        .with_upgrades();
    let mut connection = Box::pin(connection);
    async move {
        let ended = poll_fn(|cx| {
            match control.turn(cx) {
                Order::Go => {}
                Order::Finish => connection.as_mut().graceful_shutdown(),
                Order::Cut => return Poll::Ready(Ok(())),
            }
            connection.as_mut().poll(cx)
        })
        .await;
        drop(connection);
        if let Err(error) = ended
            && (error.is_parse() || error.is_incomplete_message() || control.is_refused())
        {
            pulse.unparsed.fetch_add(1, Ordering::Relaxed);
            tracing::debug!("a request could not be read: {error}");
        }
        // An upgraded connection stays the worker's, and is waited for at the end.
        control.closed().await;
        drop((guard, held));
    }
}

/// Takes the connection out of its worker's list, however it ends.
struct Open {
    control: Rc<Control>,
    connections: Rc<Connections>,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.connections.closed(&self.control);
    }
}

/// Where hyper brings the requests of a connection.
struct Desk<H>(Rc<Place<H>>);

/// What all requests of a connection share.
struct Place<H> {
    handler: Rc<H>,
    client: Rc<Client>,
    control: Rc<Control>,
    pulse: Arc<Pulse>,
}

impl<H: Handler> Place<H> {
    /// A panic's message is logged by the panic hook; here it becomes an answer.
    fn panicked(&self) -> Response<Body> {
        self.pulse.panics.fetch_add(1, Ordering::Relaxed);
        self.handler.panicked()
    }

    fn last(&self, mut response: Response<Body>) -> Response<Outgoing> {
        // A 101 says what the connection becomes (RFC 9110 section 7.8).
        let upgraded = response.status() == StatusCode::SWITCHING_PROTOCOLS;
        if upgraded {
            response.headers_mut().insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        }
        if upgraded || self.control.draining() {
            let option = HeaderValue::from_static(if upgraded { "upgrade" } else { "close" });
            response.headers_mut().insert(header::CONNECTION, option);
        }
        let control = self.control.clone();
        response.map(|body| Outgoing { body, control })
    }
}

impl<H: Handler> Service<Request<Incoming>> for Desk<H> {
    type Response = Response<Outgoing>;
    type Error = Infallible;
    type Future = Answering<H>;

    fn call(&self, request: Request<Incoming>) -> Answering<H> {
        let place = &self.0;
        let number = place.control.begin();
        let request = request.map(|body| Arriving::follow(body, number, &place.control));
        let called = catch_unwind(AssertUnwindSafe(|| place.handler.call(request, &place.client)));
        match called {
            Ok(Answer::Now(response)) => Answering::Done(Some(place.last(response.into()))),
            Ok(Answer::Later(answer)) => Answering::Under(answer, place.clone()),
            Err(_) => Answering::Done(Some(place.last(place.panicked()))),
        }
    }
}

/// A request being answered. What takes longer is boxed: an idle connection does not carry its size.
enum Answering<H: Handler> {
    Done(Option<Response<Outgoing>>),
    Under(Pin<Box<dyn Future<Output = H::Sent>>>, Rc<Place<H>>),
}

impl<H: Handler> Future for Answering<H> {
    type Output = Result<Response<Outgoing>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.get_mut() {
            Answering::Done(response) => Poll::Ready(Ok(response.take().expect("polled once, as every future"))),
            Answering::Under(answer, place) => match catch_unwind(AssertUnwindSafe(|| answer.as_mut().poll(cx))) {
                Ok(Poll::Pending) => Poll::Pending,
                Ok(Poll::Ready(response)) => Poll::Ready(Ok(place.last(response.into()))),
                Err(_) => Poll::Ready(Ok(place.last(place.panicked()))),
            },
        }
    }
}

/// A request's body on its way in; when it is complete, nothing more is to come of the client but its next request, or its end.
struct Arriving {
    body: Incoming,
    request: u32,
    control: Rc<Control>,
}

impl Arriving {
    fn follow(body: Incoming, request: u32, control: &Rc<Control>) -> Body {
        if http_body::Body::is_end_stream(&body) {
            control.received(request);
            return Body::Empty;
        }
        Body::Followed(Box::pin(Arriving { body, request, control: control.clone() }))
    }
}

impl http_body::Body for Arriving {
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

impl Drop for Arriving {
    fn drop(&mut self) {
        self.control.unread(self.request);
    }
}

/// An answer's body on its way out; when hyper lets go of it, the connection is idle.
struct Outgoing {
    body: Body,
    control: Rc<Control>,
}

impl http_body::Body for Outgoing {
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

impl Drop for Outgoing {
    fn drop(&mut self) {
        self.control.answered();
    }
}

#[cfg(test)]
mod tests;
