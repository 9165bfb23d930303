//! What is written of a request.

use http::Method;

use super::peer::{Received, Step, scripted, strict, taken};
use super::*;
use Step::{Data, Fail, Trailers, Wait};

type Pairs = &'static [(&'static str, &'static str)];
type Steps = fn() -> Vec<Step>;

const FINE: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";

/// What arrives of a request; it is answered when all of it was written, and the connection is ready then.
#[track_caller]
fn written(head: &Head<'_, &[(&str, &str)]>, body: Body) -> Received {
    let (client, mut server) = tokio::io::duplex(PIPE);
    let (hand, connection, memory) = (Hand::default(), Connection::new(Io::Memory(client)), Memory::default());
    let mut send = pin!(connection.send(head, body, &memory));
    assert!(hand.run(send.as_mut()).is_none(), "it waits for the answer");
    let request = taken(&mut server);
    let mut feed = Feed::new(server, &[FINE], false);
    feed.drive(&hand, |cx| send.as_mut().poll(cx)).expect("an end").expect("an answer");
    assert!(connection.is_ready(), "all was written");
    strict(&request)
}

fn pairs(fields: &[(&str, &str)]) -> Vec<(String, String)> {
    fields.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect()
}

#[track_caller]
fn assert_received(received: &Received, line: &str, fields: &[(&str, &str)], body: &str, trailers: &[(&str, &str)]) {
    let expected =
        Received { line: line.to_owned(), fields: pairs(fields), body: body.to_owned(), trailers: pairs(trailers) };
    assert_eq!(*received, expected);
}

#[test]
fn a_request_without_a_body_says_nothing_of_one_unless_the_client_did() {
    let received = written(&super::head(&Method::GET, "/a?b=c", &[("host", "x"), ("a", "b"), ("a", "")]), Body::Empty);
    assert_received(&received, "GET /a?b=c HTTP/1.1", &[("host", "x"), ("a", "b"), ("a", "")], "", &[]);
    let received =
        written(&super::head(&Method::POST, "/a?b=c", &[("content-length", "0"), ("host", "x")]), Body::Empty);
    assert_received(&received, "POST /a?b=c HTTP/1.1", &[("host", "x"), ("content-length", "0")], "", &[]);
    assert_received(
        &written(&super::head(&Method::POST, "/a?b=c", &[]), Body::Empty),
        "POST /a?b=c HTTP/1.1",
        &[],
        "",
        &[],
    );
}

#[test]
fn how_a_body_is_framed_is_the_connections_to_say() {
    let odd = [("content-length", "17"), ("transfer-encoding", "gzip"), ("x", "y")];
    let received = written(&super::head(&Method::PUT, "/a?b=c", &odd), Body::from(Bytes::from("hello")));
    assert_received(&received, "PUT /a?b=c HTTP/1.1", &[("x", "y"), ("content-length", "5")], "hello", &[]);
    let (body, _) = scripted(None, [Data("hello")]);
    let received = written(&super::head(&Method::PUT, "/a?b=c", &odd), body);
    assert_received(&received, "PUT /a?b=c HTTP/1.1", &[("x", "y"), ("transfer-encoding", "chunked")], "hello", &[]);
}

#[test]
fn a_body_of_known_length_arrives_in_as_many_pieces_as_it_has() {
    let (body, _) = scripted(Some(9), [Data("one"), Data(""), Data("two"), Data("end")]);
    assert_received(
        &written(&super::head(&Method::POST, "/a?b=c", &[]), body),
        "POST /a?b=c HTTP/1.1",
        &[("content-length", "9")],
        "onetwoend",
        &[],
    );
    let (body, _) = scripted(Some(0), []);
    assert_received(
        &written(&super::head(&Method::POST, "/a?b=c", &[]), body),
        "POST /a?b=c HTTP/1.1",
        &[("content-length", "0")],
        "",
        &[],
    );
    // It cannot have trailers, whatever the body has.
    let (body, _) = scripted(Some(3), [Data("one"), Trailers(&[("x", "y")])]);
    let received = written(&super::head(&Method::POST, "/a?b=c", &[("trailer", "x")]), body);
    assert_received(&received, "POST /a?b=c HTTP/1.1", &[("trailer", "x"), ("content-length", "3")], "one", &[]);
}

#[test]
fn a_get_may_have_a_body() {
    let received = written(&super::head(&Method::GET, "/a?b=c", &[]), Body::from(Bytes::from("hello")));
    assert_received(&received, "GET /a?b=c HTTP/1.1", &[("content-length", "5")], "hello", &[]);
    let (body, _) = scripted(None, [Data("hello")]);
    let received = written(&super::head(&Method::GET, "/a?b=c", &[]), body);
    assert_received(&received, "GET /a?b=c HTTP/1.1", &[("transfer-encoding", "chunked")], "hello", &[]);
}

#[test]
fn chunks_end_with_the_trailers_that_were_announced() {
    let sent = &[("x-sum", "1"), ("x-other", "2"), ("content-length", "9"), ("x-sum", "3")];
    let cases: &[(Pairs, Pairs)] = &[
        (&[], &[]),
        (&[("trailer", "x-sum")], &[("x-sum", "1"), ("x-sum", "3")]),
        (&[("trailer", "X-Other, content-length"), ("trailer", "x-none")], &[("x-other", "2")]),
    ];
    for (announced, arrived) in cases {
        for steps in [vec![Data("hello"), Data(""), Data("you"), Trailers(sent)], vec![Trailers(sent)]] {
            let text = if steps.len() > 1 { "helloyou" } else { "" };
            let (body, _) = scripted(None, steps);
            let fields = [*announced, &[("transfer-encoding", "chunked")][..]].concat();
            assert_received(
                &written(&super::head(&Method::POST, "/a?b=c", announced), body),
                "POST /a?b=c HTTP/1.1",
                &fields,
                text,
                arrived,
            );
        }
    }
}

#[test]
fn the_first_piece_goes_out_with_the_head() {
    // It is asked for before the head is written: a pipe with no room for the head has taken nothing then.
    let (client, mut server) = tokio::io::duplex(1);
    let (hand, connection, memory) = (Hand::default(), Connection::new(Io::Memory(client)), Memory::default());
    let (body, director) = scripted(Some(6), [Data("one"), Wait, Data("two")]);
    let head = super::head(&Method::POST, "/a?b=c", &[]);
    let mut send = pin!(connection.send(&head, body, &memory));
    assert!(hand.run(send.as_mut()).is_none());
    assert_eq!(taken(&mut server), b"P");
    director.go_on();
    // A piece that is slow to come holds nothing up.
    let (body, _director) = scripted(None, [Wait, Data("one")]);
    let (client, mut server) = tokio::io::duplex(PIPE);
    let (connection, memory) = (Connection::new(Io::Memory(client)), Memory::default());
    assert!(hand.run(pin!(connection.send(&head, body, &memory))).is_none());
    assert_eq!(taken(&mut server), b"POST /a?b=c HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n");
}

#[test]
fn an_upload_goes_through_a_pipe_of_any_size() {
    for size in 1..80 {
        for length in [None, Some(24)] {
            let (client, mut server) = tokio::io::duplex(size);
            let (hand, connection, memory) = (Hand::default(), Connection::new(Io::Memory(client)), Memory::default());
            let (body, director) = scripted(length, [Data("hello, "), Wait, Data("wonderful "), Data("world!\n")]);
            let head = super::head(&Method::POST, "/a?b=c", &[("x", "y")]);
            let mut send = pin!(connection.send(&head, body, &memory));
            let mut request = Vec::new();
            assert!(hand.run(send.as_mut()).is_none());
            loop {
                let piece = taken(&mut server);
                if piece.is_empty() && director.is_over() {
                    break;
                }
                if piece.is_empty() {
                    director.go_on();
                }
                let woken = hand.was_woken();
                request.extend(piece);
                assert!(hand.run(send.as_mut()).is_none());
                assert!(woken || taken(&mut server).is_empty(), "it had more to write, and nobody was woken");
            }
            assert_eq!(strict(&request).body, "hello, wonderful world!\n");
            assert!(!connection.is_ready(), "its answer is owed");
        }
    }
}

#[test]
fn a_body_that_fails_or_is_not_as_long_as_it_said_is_the_clients_doing() {
    let cases = [
        (None, vec![Data("hel"), Fail]),
        (Some(5), vec![Data("hel"), Fail]),
        (Some(5), vec![Fail]),
        (Some(5), vec![Data("hel")]),
        (Some(5), vec![Data("hel"), Data("loo")]),
        (Some(5), vec![Data("helloo")]),
        (Some(0), vec![Data("h")]),
    ];
    for (length, steps) in cases {
        let (client, mut server) = tokio::io::duplex(PIPE);
        let (connection, memory) = (Connection::new(Io::Memory(client)), Memory::default());
        let (body, director) = scripted(length, steps);
        let sent = at_once(connection.send(&super::head(&Method::POST, "/a?b=c", &[]), body, &memory));
        assert!(matches!(sent, Err(SendError::Body)), "{sent:?}");
        assert!(director.is_dropped() && !connection.is_ready() && connection.is_closed());
        // Never more than was said, and never an end that is none.
        let bytes = String::from_utf8(taken(&mut server)).expect("text");
        assert!(!bytes.contains("loo") && !bytes.ends_with("0\r\n\r\n"), "{bytes}");
    }
}

/// All that comes of a body.
fn all(mut body: Body) -> (Option<u64>, Vec<String>) {
    let hint = http_body::Body::size_hint(&body).exact();
    let frame = |_: usize| {
        let next = Hand::default().until_stalled(|cx| http_body::Body::poll_frame(Pin::new(&mut body), cx));
        Some(match next? {
            None => return None,
            Some(Err(_)) => "failed".to_owned(),
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => String::from_utf8_lossy(&data).into_owned(),
                Err(frame) => format!("{:?}", frame.into_trailers().expect("trailers")),
            },
        })
    };
    let mut pieces: Vec<String> = Vec::new();
    for piece in (0..).map_while(frame).filter(|piece| !piece.is_empty()) {
        match pieces.last_mut() {
            // Pieces of data that were at hand together may come as one.
            Some(last) if !last.starts_with('{') && !piece.starts_with('{') && piece != "failed" => {
                last.push_str(&piece)
            }
            _ => pieces.push(piece),
        }
    }
    (hint, pieces)
}

#[test]
fn a_request_of_which_nothing_was_written_gives_its_body_back_whole() {
    let bodies: [(Option<u64>, Steps); 10] = [
        (Some(5), || vec![Data("hello")]),
        (Some(8), || vec![Data("hello"), Data("you")]),
        (Some(8), || vec![Data("hello"), Wait, Data("you")]),
        (Some(8), || vec![Wait, Data("hello"), Data("you")]),
        (Some(0), Vec::new),
        (None, || vec![Data("hello")]),
        (None, || vec![Data("hello"), Wait, Data("you"), Trailers(&[("x", "y")])]),
        (None, || vec![Data("hello"), Fail]),
        (None, || vec![Trailers(&[("x", "y")])]),
        (None, || vec![Data(""), Trailers(&[("x", "y")])]),
    ];
    for (length, steps) in bodies {
        let (client, server) = tokio::io::duplex(PIPE);
        drop(server);
        let (connection, memory) = (Connection::new(Io::Memory(client)), Memory::default());
        let (body, _director) = scripted(length, steps());
        let sent = at_once(connection.send(&super::head(&Method::POST, "/a?b=c", &[("trailer", "x")]), body, &memory));
        let Err(SendError::Unwritten(again)) = sent else { panic!("{sent:?}") };
        assert_eq!(all(again), all(scripted(length, steps()).0));
        assert!(!connection.is_ready() && connection.is_closed());
    }
}

#[test]
fn a_body_at_hand_comes_back_too_and_goes_on_to_the_next_connection() {
    for text in ["", "hello"] {
        let (client, server) = tokio::io::duplex(PIPE);
        drop(server);
        let (connection, memory) = (Connection::new(Io::Memory(client)), Memory::default());
        let head = super::head(&Method::POST, "/a?b=c", &[]);
        let sent = at_once(connection.send(&head, Body::from(Bytes::from(text)), &memory));
        let Err(SendError::Unwritten(again)) = sent else { panic!("{sent:?}") };
        assert_eq!(written(&head, again).body, text);
    }
    // Chunks of nothing: that there is a body is still said.
    let (client, server) = tokio::io::duplex(PIPE);
    drop(server);
    let (connection, memory) = (Connection::new(Io::Memory(client)), Memory::default());
    let head = super::head(&Method::POST, "/a?b=c", &[]);
    let sent = at_once(connection.send(&head, scripted(None, []).0, &memory));
    let Err(SendError::Unwritten(again)) = sent else { panic!("{sent:?}") };
    assert_eq!(written(&head, again).fields.len(), 1);
}

#[test]
fn what_belongs_to_the_connection_is_written_by_it() {
    let plain = super::head(&Method::GET, "/", &[("a", "b")]);
    let head = Head { authority: Some(b"shop.example"), ..plain };
    let trailers = written(&Head { trailers: true, ..head }, Body::Empty);
    let te = [("host", "shop.example"), ("a", "b"), ("te", "trailers"), ("connection", "te")];
    assert_received(&trailers, "GET / HTTP/1.1", &te, "", &[]);
    let upgrade = written(&Head { websocket: true, ..head }, Body::Empty);
    let upgraded = [("host", "shop.example"), ("a", "b"), ("connection", "upgrade"), ("upgrade", "websocket")];
    assert_received(&upgrade, "GET / HTTP/1.1", &upgraded, "", &[]);
}

#[test]
fn small_pieces_of_a_body_that_are_here_go_out_as_one_chunk() {
    let (client, mut server) = tokio::io::duplex(PIPE);
    let (hand, connection, memory) = (Hand::default(), Connection::new(Io::Memory(client)), Memory::default());
    let steps = (0..5000).map(|_| Data("x")).chain([Wait, Data("yz")]);
    let (body, director) = scripted(None, steps.collect::<Vec<_>>());
    let head = super::head(&Method::POST, "/", &[]);
    let mut send = pin!(connection.send(&head, body, &memory));
    assert!(hand.run(send.as_mut()).is_none());
    let request = taken(&mut server);
    let chunk = format!("1388\r\n{}\r\n", "x".repeat(5000));
    assert!(request.ends_with(chunk.as_bytes()), "{}", String::from_utf8_lossy(&request[..200]));
    director.go_on();
    assert!(hand.run(send.as_mut()).is_none());
    assert_eq!(taken(&mut server), b"2\r\nyz\r\n0\r\n\r\n");
}
