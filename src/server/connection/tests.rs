//! Connections on a pipe, with time that stands still: deadlines, drain, panics.

mod bodies;
mod chunks;
mod closing;
mod idle;
mod moving;

use std::cell::Cell;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::time::Instant;

use super::super::Limits;
use super::super::deadlines::{Connections, TICK};
use super::*;
use crate::io::Door;

/// Answers by the path: `/now`, `/later` after 4 s, `/never`, `/panic`, `/big`, `/early` before its body, `/early-first` before
/// half of it, `/first` after half of it, `/sum`, `/sum-never`.
struct Paths;

impl Handler for Paths {
    type Sent = Response<Body>;

    fn call(&self, head: http::request::Parts, body: Body, _: &Rc<Client>) -> MaybeFuture<Response<Body>> {
        MaybeFuture::Pending(Box::pin(by_path(Request::from_parts(head, body))))
    }

    fn woken(&self) {}

    fn tick(&self) {}

    fn panicked(&self) -> Response<Body> {
        let mut page = Response::new(Body::Empty);
        *page.status_mut() = hyper::StatusCode::INTERNAL_SERVER_ERROR;
        page
    }
}

async fn by_path(request: Request<Body>) -> Response<Body> {
    match request.uri().path() {
        "/later" => tokio::time::sleep(Duration::from_secs(4)).await, // the slow answer itself
        "/never" => never().await,
        "/sum-never" => {
            sum(request.into_body()).await;
            never().await
        }
        "/early" => drop(tokio::task::spawn_local(async { ARRIVED.set(count(request.into_body()).await) })),
        "/early-first" => drop(tokio::task::spawn_local(first(request.into_body()))),
        "/first" => first(request.into_body()).await,
        "/sum" => return sum(request.into_body()).await,
        "/echo" => return echo(request.into_body()).await,
        "/pieces" => return Response::new(Body::Followed(Box::pin(Pieces(3000)))),
        "/broken" => return Response::new(Body::Followed(Box::pin(Pieces(-1)))),
        "/panic" => panic!("on purpose"),
        "/big" => return Response::new(Body::from(Bytes::from(vec![b'x'; 1 << 20]))),
        _ => {}
    }
    Response::new(Body::from(Bytes::from_static(b"hi")))
}

thread_local! {
    /// Requests that wait, and those that were given up.
    static WAITING: Cell<u32> = const { Cell::new(0) };
    static GIVEN_UP: Cell<u32> = const { Cell::new(0) };
    /// How much of a body was read that nobody reads to its end.
    static FIRST: Cell<usize> = const { Cell::new(0) };
    /// How long a body was that came after its answer.
    static ARRIVED: Cell<usize> = const { Cell::new(0) };
}

async fn never() {
    struct Waiting;
    impl Drop for Waiting {
        fn drop(&mut self) {
            WAITING.set(WAITING.get() - 1);
            GIVEN_UP.set(GIVEN_UP.get() + 1);
        }
    }
    WAITING.set(WAITING.get() + 1);
    let _waiting = Waiting;
    std::future::pending().await
}

async fn until(condition: impl Fn() -> bool) {
    for _ in 0..10_000 {
        if condition() {
            return;
        }
        tokio::task::yield_now().await;
    }
    panic!("it does not come true");
}

/// How many bytes the body has.
async fn sum(body: Body) -> Response<Body> {
    Response::new(Body::from(Bytes::from(count(body).await.to_string())))
}

/// The body itself, and how many pieces it came in. One that breaks off is `broken`.
async fn echo(mut body: Body) -> Response<Body> {
    let (mut whole, mut pieces) = (Vec::new(), 0);
    while let Some(frame) = http_body_util::BodyExt::frame(&mut body).await {
        match frame {
            Ok(frame) => whole.extend_from_slice(frame.data_ref().map_or(&[], |data| data)),
            Err(_) => return Response::new(Body::from(Bytes::from_static(b"broken"))),
        }
        pieces += 1;
    }
    let mut response = Response::new(Body::from(Bytes::from(whole)));
    response.headers_mut().insert("pieces", HeaderValue::from(pieces));
    response
}

/// A body of so many pieces of one byte, all of them ready; one of less than none breaks off after its first.
struct Pieces(i32);

impl http_body::Body for Pieces {
    type Data = Bytes;
    type Error = body::Error;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, body::Error>>> {
        self.0 -= 1;
        match self.0 {
            -1 => Poll::Ready(None),
            ..=-3 => Poll::Ready(Some(Err(body::Error::Idle))),
            _ => Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"x"))))),
        }
    }
}

/// Reads a quarter of a million bytes, and no more.
async fn first(mut body: Body) {
    while FIRST.get() < 250_000 {
        let frame = http_body_util::BodyExt::frame(&mut body).await.expect("there is more").expect("it comes");
        FIRST.set(FIRST.get() + frame.data_ref().map_or(0, Bytes::len));
    }
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}

/// As the proxy reads it: to the byte that is its last. (Where the answer came before, hyper says that there is none only when it
/// reads on.)
async fn count(mut body: Body) -> usize {
    let mut length = 0;
    while !http_body::Body::is_end_stream(&body) {
        let frame = http_body_util::BodyExt::frame(&mut body).await.expect("there is more").expect("it comes");
        length += frame.data_ref().map_or(0, Bytes::len);
    }
    length
}

struct Rig {
    connections: Rc<Connections>,
    pulse: Arc<Pulse>,
    limits: Arc<Limits>,
}

impl Rig {
    fn new() -> Rig {
        let limits = Limits {
            trusted: [].into(),
            balancers: None,
            connections: 9,
            head: Duration::from_secs(10),
            keep_alive: Duration::from_secs(75),
            write: Duration::from_secs(60),
            door: Door::Public,
        };
        let connections = Rc::new(Connections::default());
        let ticking = connections.clone();
        tokio::task::spawn_local(async move {
            loop {
                tokio::time::sleep(TICK).await; // the worker's own tick
                ticking.sweep();
            }
        });
        Rig { connections, pulse: Pulse::new(1), limits: Arc::new(limits) }
    }

    /// The client's end of a new connection.
    fn open(&self) -> DuplexStream {
        self.open_with(4096)
    }

    fn open_with(&self, room: usize) -> DuplexStream {
        let (ours, theirs) = tokio::io::duplex(room);
        let address = SocketAddr::from(([192, 0, 2, 1], 1));
        let client = Client::new(address, address, Door::Public, &[].into());
        let listed = Listed::new(self.limits.clone(), &self.connections);
        tokio::task::spawn_local(serve(Io::Memory(theirs), client, Rc::new(Paths), listed, self.pulse.clone(), ()));
        ours
    }
}

fn paused(test: impl Future<Output = ()>) {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_all().start_paused(true).build_local(tokio::runtime::LocalOptions::default());
    runtime.expect("a runtime").block_on(test);
}

async fn write(stream: &mut DuplexStream, text: &str) {
    stream.write_all(text.as_bytes()).await.expect("it is read");
}

async fn ask(stream: &mut DuplexStream, path: &str) {
    write(stream, &format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n")).await;
}

/// What comes until a short answer is complete.
async fn answer(stream: &mut DuplexStream) -> String {
    let mut got = String::new();
    while !got.ends_with("\r\n\r\nhi") {
        let byte = stream.read_u8().await.unwrap_or_else(|_| panic!("it closed after {got:?}"));
        got.push(char::from(byte));
    }
    got
}

/// What comes until it closes, and after how many seconds.
async fn rest(stream: &mut DuplexStream) -> (String, u64) {
    let (began, mut bytes) = (Instant::now(), Vec::new());
    // A reset ends it as well.
    let _ = stream.read_to_end(&mut bytes).await;
    (String::from_utf8_lossy(&bytes).into_owned(), began.elapsed().as_secs())
}

#[test]
fn a_silent_connection_and_a_slow_head_are_cut_after_the_heads_deadline() {
    paused(async {
        let rig = Rig::new();
        assert_eq!(rest(&mut rig.open()).await, (String::new(), 10));
        let mut slow = rig.open();
        write(&mut slow, "GET / HTTP/1.1\r\nHost: x\r\nX: ").await;
        let (mut reading, mut writing) = tokio::io::split(slow);
        let began = Instant::now();
        let trickle = async {
            loop {
                tokio::time::sleep(Duration::from_secs(1)).await; // one byte a second
                if writing.write_u8(b'x').await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
        };
        let mut bytes = Vec::new();
        tokio::select! {
            _ = reading.read_to_end(&mut bytes) => {}
            () = trickle => {}
        }
        assert_eq!((began.elapsed().as_secs(), bytes.len()), (10, 0));
        assert!(rig.connections.is_empty());
    });
}

#[test]
fn between_requests_a_connection_may_lie_idle_for_the_keep_alive_and_no_longer() {
    paused(async {
        let rig = Rig::new();
        let mut client = rig.open();
        for _ in 0..3 {
            ask(&mut client, "/now").await;
            answer(&mut client).await;
            tokio::time::sleep(Duration::from_secs(70)).await; // within the keep-alive
        }
        assert_eq!(rest(&mut client).await, (String::new(), 5));
    });
}

#[test]
fn a_client_that_takes_no_byte_of_its_answer_is_cut_and_one_whose_answer_is_slow_is_not() {
    paused(async {
        let rig = Rig::new();
        let (mut stuck, mut patient) = (rig.open(), rig.open());
        ask(&mut patient, "/never").await;
        ask(&mut stuck, "/big").await;
        tokio::time::sleep(Duration::from_secs(59)).await; // just within the write deadline
        assert!(!rig.connections.is_empty());
        tokio::time::sleep(Duration::from_secs(2)).await; // just beyond it
        assert!(rest(&mut stuck).await.0.len() < 1 << 20);
        assert!(!rig.connections.is_empty(), "who waits for the handler stays");
    });
}

#[test]
fn a_drain_closes_what_is_idle_at_once_and_what_is_busy_after_its_answer() {
    paused(async {
        let rig = Rig::new();
        let (mut idle, mut busy) = (rig.open(), rig.open());
        ask(&mut idle, "/now").await;
        answer(&mut idle).await;
        ask(&mut busy, "/later").await;
        tokio::time::sleep(Duration::from_secs(1)).await; // until it is busy
        let mut new = rig.open();
        rig.connections.drain();
        assert_eq!(rest(&mut idle).await, (String::new(), 0));
        ask(&mut new, "/now").await;
        assert!(answer(&mut new).await.starts_with("HTTP/1.1 200"), "what was accepted before the end is served");
        assert_eq!(rest(&mut new).await, (String::new(), 0));
        let (last, waited) = rest(&mut busy).await;
        assert!(last.ends_with("hi") && last.to_ascii_lowercase().contains("connection: close"), "{last}");
        assert_eq!(waited, 3);
        assert!(rig.connections.is_empty());
    });
}

#[test]
fn a_panic_in_a_request_is_a_500_and_the_connection_goes_on() {
    paused(async {
        let rig = Rig::new();
        let mut client = rig.open();
        ask(&mut client, "/panic").await;
        ask(&mut client, "/now").await;
        let both = answer(&mut client).await;
        assert!(both.starts_with("HTTP/1.1 500") && both.contains("HTTP/1.1 200"), "{both}");
        assert_eq!(rig.pulse.panics.load(Ordering::Relaxed), 1);
    });
}

/// Sends a head for as long as it is taken: how many bytes were, and what came back.
async fn endless_head(mut client: DuplexStream) -> (usize, String) {
    write(&mut client, "GET /now HTTP/1.1\r\nHost: x\r\nX: ").await;
    let (mut receive, mut send) = tokio::io::split(client);
    let pour = async {
        let mut sent = 0;
        while send.write_all(&[b'x'; 1024]).await.is_ok() {
            sent += 1024;
        }
        sent
    };
    let mut told = String::new();
    // A reset ends it as well.
    let (sent, _) = tokio::join!(pour, receive.read_to_string(&mut told));
    (sent, told)
}

#[test]
fn a_head_without_end_is_a_431_and_only_a_little_of_what_follows_is_thrown_away() {
    paused(async {
        let rig = Rig::new();
        let mut client = rig.open();
        ask(&mut client, "/now").await;
        answer(&mut client).await;
        let (sent, told) = endless_head(client).await;
        assert!((1 << 20..(1 << 20) + (192 << 10)).contains(&sent), "{sent} bytes were taken");
        assert!(told.starts_with("HTTP/1.1 431 ") && told.ends_with("\r\n\r\n"), "{told}");
        assert_eq!(rig.pulse.unparsed.load(Ordering::Relaxed), 1);
    });
}

#[test]
fn a_client_that_leaves_before_its_answer_ends_its_request() {
    paused(async {
        let upload = "POST /sum-never HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello".to_owned();
        for request in ["GET /never HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(), upload] {
            let rig = Rig::new();
            let mut client = rig.open();
            write(&mut client, &request).await;
            until(|| GIVEN_UP.get() == 0 && WAITING.get() == 1).await;
            drop(client);
            until(|| GIVEN_UP.replace(0) == 1 && rig.connections.is_empty()).await;
            assert_eq!(rig.pulse.unparsed.load(Ordering::Relaxed), 0);
        }
    });
}

#[test]
fn what_a_client_sends_before_its_answer_is_its_next_request() {
    paused(async {
        let rig = Rig::new();
        let mut client = rig.open();
        ask(&mut client, "/later").await;
        for byte in b"GET /now HTTP/1.1\r\nHost: x\r\n\r\n" {
            client.write_all(&[*byte]).await.expect("there is room");
            tokio::task::yield_now().await;
        }
        assert!(answer(&mut client).await.starts_with("HTTP/1.1 200"));
        assert!(answer(&mut client).await.starts_with("HTTP/1.1 200"));
        assert_eq!(rig.pulse.unparsed.load(Ordering::Relaxed), 0);
    });
}
