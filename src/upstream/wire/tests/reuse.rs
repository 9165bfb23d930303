//! One request after another on a connection, and what comes while none is on its way.

use http::Method;

use super::*;

const HELLO: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello";

/// A connection, and the instance's end of it.
fn connected() -> (Connection, DuplexStream) {
    let (client, server) = tokio::io::duplex(PIPE);
    (Connection::new(Io::Memory(client)), server)
}

/// The instance says this, and perhaps more later.
fn say(server: &mut DuplexStream, bytes: &[u8]) {
    let written = Pin::new(server).poll_write(&mut Context::from_waker(Waker::noop()), bytes);
    assert!(matches!(written, Poll::Ready(Ok(count)) if count == bytes.len()));
}

/// A GET, whose answer comes in pieces; only its head must have come.
#[track_caller]
fn get(connection: &Connection, server: &mut DuplexStream, pieces: &[&[u8]]) -> Response<Body> {
    let (hand, head, memory) = (Hand::default(), head(&Method::GET, "/", &[]), Memory::default());
    let mut send = pin!(connection.send(&head, Body::Empty, &memory));
    assert!(hand.run(send.as_mut()).is_none(), "answered before anything came");
    let mut answer = None;
    for piece in pieces {
        say(server, piece);
        if answer.is_none() {
            answer = hand.run(send.as_mut());
        }
    }
    answer.expect("a whole head").expect("an answer")
}

fn frame(body: &mut Body) -> Option<Option<Bytes>> {
    let hand = Hand::default();
    let frame = hand.until_stalled(|cx| http_body::Body::poll_frame(Pin::new(&mut *body), cx));
    frame.map(|frame| frame.and_then(|frame| frame.expect("no failure").into_data().ok()))
}

fn read(mut body: Body) -> Vec<u8> {
    std::iter::from_fn(|| frame(&mut body).flatten()).flatten().collect()
}

#[test]
fn a_body_that_is_read_after_its_end_never_sees_another_answer() {
    let (connection, mut server) = connected();
    for framed in [
        &b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\none\r\n0\r\n\r\n"[..],
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\none\r\n0\r\nx: y\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\none",
    ] {
        let (begin, rest) = framed.split_at(framed.windows(3).position(|three| three == b"one").expect("its body"));
        let mut first = get(&connection, &mut server, &[begin, rest]).into_body();
        assert!(matches!(first, Body::Upstream(..)), "a body that is read from the connection");
        while frame(&mut first).flatten().is_some() {}
        assert!(http_body::Body::is_end_stream(&first) && connection.is_ready());

        let mut second =
            get(&connection, &mut server, &[b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nsec"]).into_body();
        let of_first = (http_body::Body::is_end_stream(&first), http_body::Body::size_hint(&first).exact());
        assert_eq!((frame(&mut first), of_first), (Some(None), (true, Some(0))));
        assert_eq!(http_body::Body::size_hint(&second).exact(), Some(6));
        assert_eq!(frame(&mut second), Some(Some("sec".into())));
        assert_eq!(frame(&mut first), Some(None));
        say(&mut server, b"ond");
        assert_eq!((frame(&mut first), frame(&mut second)), (Some(None), Some(Some("ond".into()))));
        assert!(connection.is_ready());
    }
}

#[test]
fn a_hundred_requests_share_a_connection() {
    let (connection, mut server) = connected();
    let chunks = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    for n in 0..100 {
        let bytes = if n % 2 == 0 { HELLO } else { &chunks[..] };
        let (one, two) = bytes.split_at(bytes.len() - n % 5);
        assert_eq!(read(get(&connection, &mut server, &[one, two]).into_body()), b"hello");
        assert!(connection.is_ready() && !connection.is_closed() && at_once(connection.ready()));
    }
}

#[test]
fn a_body_that_is_dropped_before_its_end_ends_the_connection() {
    let (connection, mut server) = connected();
    drop(get(&connection, &mut server, &[b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nsec"]));
    assert!(!connection.is_ready() && connection.is_closed() && !at_once(connection.ready()));
}

#[test]
fn a_request_that_is_given_up_before_its_answer_ends_the_connection() {
    let (connection, mut server) = connected();
    let (head, memory) = (head(&Method::GET, "/", &[]), Memory::default());
    assert!(Hand::default().run(pin!(connection.send(&head, Body::Empty, &memory))).is_none());
    say(&mut server, HELLO);
    assert!(!connection.is_ready() && connection.is_closed() && !at_once(connection.ready()));
}

#[test]
fn bytes_that_nobody_asked_for_end_an_idle_connection_for_good() {
    for unasked in [&b"\n"[..], b"\r\n", b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"] {
        for used in [false, true] {
            let (connection, mut server) = connected();
            if used {
                assert_eq!(read(get(&connection, &mut server, &[HELLO]).into_body()), b"hello");
            }
            assert!(connection.is_ready() && !connection.is_closed());
            say(&mut server, unasked);
            // However often somebody asks: each question reads some of it.
            for _ in 0..3 {
                assert!(!connection.is_ready() && connection.is_closed() && !at_once(connection.ready()));
            }
        }
    }
}

#[test]
fn bytes_that_nobody_asked_for_are_seen_by_whoever_asks_first() {
    for first in [Connection::is_closed, |connection: &Connection| !at_once(connection.ready())] {
        let (connection, mut server) = connected();
        say(&mut server, b"\n");
        assert!(first(&connection));
        assert!(!connection.is_ready() && connection.is_closed());
    }
}

#[test]
fn a_connection_that_the_instance_closed_is_not_ready() {
    let (connection, server) = connected();
    drop(server);
    assert!(!connection.is_ready() && connection.is_closed() && !at_once(connection.ready()));
}

/// A task that did much in one go is told by the runtime that nothing is there to read, so that others get their turn.
#[tokio::test]
async fn a_task_that_has_had_its_turn_is_not_told_that_a_connection_is_silent() {
    let (connection, mut server) = connected();
    say(&mut server, HELLO);
    while tokio::task::coop::has_budget_remaining() {
        tokio::task::coop::consume_budget().await;
    }
    assert!(!connection.is_ready());
}

#[test]
fn all_that_follows_a_101_goes_to_who_takes_the_connection_over() {
    for length in [0, 5, 5_000, READ.0, 100_000] {
        for cut in [false, true] {
            let (connection, mut server) = connected();
            let head = &b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\n\r\n"[..];
            let rest = "z".repeat(length);
            let whole = [head, rest.as_bytes()].concat();
            let pieces = if cut { vec![head, rest.as_bytes()] } else { vec![&whole[..]] };
            let answer = get(&connection, &mut server, &pieces);
            assert!(!connection.is_ready() && http_body::Body::is_end_stream(answer.body()));
            let mut stream = at_once(connection.upgrade().expect("a connection").done()).expect("bytes");
            drop(server);
            let mut read = Vec::new();
            at_once(stream.read_to_end(&mut read)).expect("all of it");
            assert_eq!(read.len(), length);
            assert!(connection.upgrade().is_none() && !connection.is_ready() && connection.is_closed());
        }
    }
}

#[test]
fn small_chunks_of_an_answer_that_are_here_are_one_piece_and_what_is_wrong_after_them_comes_later() {
    let (connection, mut server) = connected();
    let chunks = "1\r\nx\r\n".repeat(400);
    let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    let answer = format!("{head}{chunks}800\r\n{}\r\n801\r\n{}\r\nodd\r\n", "y".repeat(2048), "z".repeat(2049));
    let mut body = get(&connection, &mut server, &[answer.as_bytes()]).into_body();
    let lengths: Vec<_> = (0..2).map(|_| frame(&mut body).flatten().map_or(0, |data| data.len())).collect();
    assert_eq!(lengths, [400 + 2048, 2049]);
    let hand = Hand::default();
    let failed = hand.until_stalled(|cx| http_body::Body::poll_frame(Pin::new(&mut body), cx));
    assert!(matches!(failed, Some(Some(Err(Error::Broken(_))))), "{failed:?}");
}
