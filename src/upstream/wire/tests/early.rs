//! Answers that come before the upload that they answer is done.

use http::{Method, StatusCode};

use super::peer::{Step, scripted, strict, taken};
use super::*;
use Step::{Data, Fail, Wait};

const REFUSED: &[u8] = b"HTTP/1.1 413 Content Too Large\r\ncontent-length: 2\r\n\r\nno";

/// A connection with an upload on its way that waits for its second piece.
struct Uploading {
    hand: Hand,
    connection: Connection,
    server: DuplexStream,
    request: Vec<u8>,
}

impl Uploading {
    /// The upload's answer.
    #[track_caller]
    fn answered(body: Body, pipe: usize, answer: &[u8]) -> (Uploading, Response<Body>) {
        let (client, mut server) = tokio::io::duplex(pipe);
        let (hand, connection, memory) = (Hand::default(), Connection::new(Io::Memory(client)), Memory::default());
        let head = head(&Method::POST, "/", &[]);
        let response = {
            let mut send = pin!(connection.send(&head, body, &memory));
            assert!(hand.run(send.as_mut()).is_none());
            let written = Pin::new(&mut server).poll_write(&mut Context::from_waker(Waker::noop()), answer);
            assert!(matches!(written, Poll::Ready(Ok(count)) if count == answer.len()));
            assert!(hand.was_woken(), "an answer came, and nobody was woken");
            hand.run(send).expect("an early answer").expect("an answer")
        };
        (Uploading { hand, connection, server, request: Vec::new() }, response)
    }

    /// The upload goes on, read by the instance as it comes; what `ready` says in the end.
    fn settle(&mut self) -> Option<bool> {
        let mut ready = pin!(self.connection.ready());
        loop {
            if let Some(ready) = self.hand.run(ready.as_mut()) {
                self.request.extend(taken(&mut self.server));
                return Some(ready);
            }
            let piece = taken(&mut self.server);
            if piece.is_empty() {
                return None;
            }
            self.request.extend(piece);
        }
    }
}

fn text(hand: &Hand, body: Body) -> (End, String) {
    let (mut body, mut reading) = (body, Reading::default());
    let end = hand.until_stalled(|cx| reading.poll(|| http_body::Body::poll_frame(Pin::new(&mut body), cx)));
    (end.unwrap_or(End::Waits), String::from_utf8(reading.body).expect("text"))
}

#[test]
fn an_early_refusal_is_delivered_and_the_connection_is_ready_once_the_upload_is_done() {
    for length in [None, Some(8)] {
        for pipe in [PIPE, 64] {
            let (body, director) = scripted(length, [Data("hello"), Wait, Data("you")]);
            let (mut uploading, response) = Uploading::answered(body, pipe, REFUSED);
            assert_eq!(response.status(), StatusCode::PAYLOAD_TOO_LARGE);
            assert_eq!(text(&uploading.hand, response.into_body()), (End::Complete, "no".to_owned()));
            assert!(!uploading.connection.is_ready(), "the upload is not done");
            assert!(!uploading.connection.is_closed(), "but it may be");
            assert_eq!(uploading.settle(), None);
            director.go_on();
            assert_eq!(uploading.settle(), Some(true));
            assert!(uploading.connection.is_ready() && director.is_dropped());
            assert_eq!(strict(&uploading.request).body, "helloyou");
        }
    }
}

#[test]
fn an_upload_goes_on_while_its_answer_is_read() {
    let (body, director) = scripted(None, [Data("hello"), Wait, Data("you")]);
    let begin = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nHELLO\r\n";
    let (mut uploading, response) = Uploading::answered(body, PIPE, begin);
    let mut body = response.into_body();
    let mut reading = Reading::default();
    let hand = Hand::default();
    let mut poll = |cx: &mut Context<'_>| reading.poll(|| http_body::Body::poll_frame(Pin::new(&mut body), cx));
    assert!(hand.until_stalled(&mut poll).is_none());
    director.go_on();
    assert!(hand.was_woken(), "who reads the answer writes the upload");
    assert!(hand.until_stalled(&mut poll).is_none());
    assert_eq!(strict(&taken(&mut uploading.server)).body, "helloyou");
    assert!(director.is_dropped() && !uploading.connection.is_ready());
    let mut feed = Feed::new(uploading.server, &[b"3\r\nYOU\r\n0\r\n\r\n"], false);
    assert_eq!(feed.drive(&hand, poll), Some(End::Complete));
    assert_eq!(reading.body, b"HELLOYOU");
    assert!(uploading.connection.is_ready());
}

#[test]
fn an_upload_goes_on_although_nobody_reads_its_answer_and_its_failure_is_seen_by_who_reads_on() {
    for (last, whole) in [(Data("you"), true), (Fail, false)] {
        let (body, director) = scripted(None, [Data("hello"), Wait, last]);
        let begin = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nHELLO\r\n";
        let (mut uploading, response) = Uploading::answered(body, PIPE, begin);
        let (hand, reader) = (Hand::default(), Hand::default());
        let mut rest = uploading.connection.rest();
        assert!(hand.run(Pin::new(rest.as_mut().expect("the upload is not done"))).is_none());
        director.go_on();
        assert!(hand.was_woken(), "who sends waits for the upload");
        assert!(hand.run(Pin::new(rest.as_mut().expect("as before"))).is_some());
        drop(rest);
        let (mut body, mut reading) = (response.into_body(), Reading::default());
        let end = reader.until_stalled(|cx| reading.poll(|| http_body::Body::poll_frame(Pin::new(&mut body), cx)));
        assert_eq!(end.is_none(), whole, "{end:?}");
        if whole {
            assert_eq!(strict(&taken(&mut uploading.server)).body, "helloyou");
            assert!(uploading.connection.rest().is_none(), "nothing is left to send");
        }
    }
}

#[test]
fn an_upload_that_no_longer_fits_and_an_answer_wake_the_same_reader() {
    // The pipe is full of the upload when the answer's end comes; then there is room, and the upload goes on.
    let (body, _director) = scripted(Some(100), [Data("x"), Data(&ONE_HUNDRED[1..])]);
    let (mut uploading, response) = Uploading::answered(body, 60, b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nfi");
    let mut body = response.into_body();
    let mut reading = Reading::default();
    let hand = Hand::default();
    let mut poll = |cx: &mut Context<'_>| reading.poll(|| http_body::Body::poll_frame(Pin::new(&mut body), cx));
    assert!(hand.until_stalled(&mut poll).is_none());
    let mut request = taken(&mut uploading.server);
    assert!(hand.was_woken(), "there is room for the upload");
    assert!(hand.until_stalled(&mut poll).is_none());
    let mut feed = Feed::new(uploading.server, &[b"ne"], false);
    assert_eq!(feed.drive(&hand, poll), Some(End::Complete));
    assert!(!uploading.connection.is_ready(), "the upload is not done");
    request.extend(taken(&mut feed.server));
    assert!(hand.run(pin!(uploading.connection.ready())).is_some_and(|ready| ready));
    request.extend(taken(&mut feed.server));
    assert_eq!(strict(&request).body, ONE_HUNDRED);
}

const ONE_HUNDRED: &str =
    "xyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyz";

#[test]
fn who_refuses_an_upload_and_closes_is_heard_and_never_asked_again() {
    for length in [None, Some(8)] {
        let (client, mut server) = tokio::io::duplex(PIPE);
        let (hand, connection, memory) = (Hand::default(), Connection::new(Io::Memory(client)), Memory::default());
        let (body, director) = scripted(length, [Data("hello"), Wait, Data("you")]);
        let head = head(&Method::POST, "/", &[]);
        let response = {
            let mut send = pin!(connection.send(&head, body, &memory));
            assert!(hand.run(send.as_mut()).is_none());
            assert!(!taken(&mut server).is_empty());
            // The upload's next piece meets a closed connection, and the answer lies there.
            director.go_on();
            assert!(Pin::new(&mut server).poll_write(&mut Context::from_waker(Waker::noop()), REFUSED).is_ready());
            drop(server);
            hand.run(send).expect("an end").expect("an answer")
        };
        assert_eq!(text(&hand, response.into_body()), (End::Complete, "no".to_owned()));
        assert!(!connection.is_ready() && connection.is_closed() && !at_once(connection.ready()));
        assert!(director.is_dropped());
    }
}

#[test]
fn a_connection_that_closes_without_an_answer_to_an_upload_is_reset() {
    let (client, mut server) = tokio::io::duplex(PIPE);
    let (hand, connection, memory) = (Hand::default(), Connection::new(Io::Memory(client)), Memory::default());
    let (body, director) = scripted(None, [Data("hello"), Wait, Data("you")]);
    let head = head(&Method::POST, "/", &[]);
    let mut send = pin!(connection.send(&head, body, &memory));
    assert!(hand.run(send.as_mut()).is_none());
    assert!(!taken(&mut server).is_empty());
    drop(server);
    director.go_on();
    assert!(matches!(hand.run(send), Some(Err(SendError::Reset(_)))));
}

#[test]
fn an_upload_that_fails_after_its_early_answer_ends_the_connection() {
    for (length, steps) in [
        (None, vec![Data("hello"), Wait, Fail]),
        (Some(8), vec![Data("hello"), Wait, Fail]),
        (Some(8), vec![Data("hello"), Wait]),
    ] {
        let (body, director) = scripted(length, steps);
        let (mut uploading, response) = Uploading::answered(body, PIPE, REFUSED);
        assert_eq!(text(&uploading.hand, response.into_body()).0, End::Complete);
        director.go_on();
        assert_eq!(uploading.settle(), Some(false));
        assert!(!uploading.connection.is_ready(), "a request that was cut is on it");
        assert!(uploading.connection.is_closed() && director.is_dropped());
    }
}

#[test]
fn an_upload_that_fails_while_its_answer_is_read_fails_the_answer() {
    let (body, director) = scripted(None, [Data("hello"), Wait, Fail]);
    let (uploading, response) = Uploading::answered(body, PIPE, b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nfi");
    director.go_on();
    assert_eq!(text(&uploading.hand, response.into_body()).0, End::Broken);
    assert!(!uploading.connection.is_ready() && uploading.connection.is_closed());
}

#[test]
fn an_instance_that_closes_after_its_early_answer_is_not_waited_for() {
    let (body, _director) = scripted(None, [Data("hello"), Wait]);
    let (uploading, response) = Uploading::answered(body, PIPE, REFUSED);
    assert_eq!(text(&uploading.hand, response.into_body()).0, End::Complete);
    drop(uploading.server);
    assert!(!at_once(uploading.connection.ready()));
    assert!(uploading.connection.is_closed() && !uploading.connection.is_ready());
}
