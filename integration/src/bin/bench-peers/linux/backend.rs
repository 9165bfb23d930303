//! The backend behind every proxy, `bench-peers --backend`: two listening addresses, one thread, and as little work as possible.
//!
//! It answers `/bytes/N` with N bytes and everything else with 512 bytes of JSON. Bodies of requests are read and thrown away.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};

use integration::measure::poll::Poll;
use integration::measure::system::Outcome;
use rustix::event::epoll::EventFlags;

/// A piece of a large body: the most that one connection sends before the next one has its turn.
static ZEROS: [u8; 256 * 1024] = [0; 256 * 1024];

/// A connection that is served.
struct Served {
    socket: TcpStream,
    /// The part that has arrived of an incomplete head.
    head: Vec<u8>,
    /// Bytes of the request's body that are still to be thrown away.
    to_skip: u64,
    /// Bytes of a large response that are still to be sent.
    to_send: u64,
    /// The part of a small response that the socket has not taken yet.
    unsent: Vec<u8>,
}

/// Serves for ever. Prints its two ports first.
pub(crate) fn serve() -> Outcome<()> {
    let failed = |error: std::io::Error| format!("the backend: {error}");
    let mut poll = Poll::new()?;
    let mut listeners = Vec::new();
    for number in 0..2 {
        let listener = listen().map_err(failed)?;
        poll.add(&listener, number, EventFlags::IN)?;
        println!("{}", listener.local_addr().map_err(failed)?.port());
        listeners.push(listener);
    }
    let small = small_response();
    let mut clients: Vec<Option<Served>> = vec![None, None];
    let mut free = Vec::new();
    let mut buffer = vec![0; ZEROS.len()];
    let mut ready = Vec::new();
    loop {
        poll.wait(&mut ready)?;
        for number in &ready {
            if let Some(listener) = listeners.get(*number) {
                while let Ok((socket, _)) = listener.accept() {
                    let number = free.pop().unwrap_or(clients.len());
                    socket.set_nonblocking(true).and_then(|()| socket.set_nodelay(true)).map_err(failed)?;
                    poll.add(&socket, number, EventFlags::IN)?;
                    let served = Served { socket, head: Vec::new(), to_skip: 0, to_send: 0, unsent: Vec::new() };
                    if number == clients.len() { clients.push(Some(served)) } else { clients[number] = Some(served) }
                }
                continue;
            }
            let Some(Some(client)) = clients.get_mut(*number) else { continue };
            let waited = client.waits();
            if client.turn(&mut buffer, &small).is_err() {
                clients[*number] = None;
                free.push(*number);
            } else if client.waits() != waited {
                let flags = if client.waits() { EventFlags::OUT } else { EventFlags::IN };
                poll.change(&client.socket, *number, flags)?;
            }
        }
    }
}

/// Listens with a long queue, for 10,000 clients that come at once, and without blocking.
fn listen() -> std::io::Result<TcpListener> {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
    socket.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into())?;
    socket.listen(4096)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// A response with 512 bytes of JSON. Of the fields about caching it has only a validator, without which HAProxy does not
/// store it.
fn small_response() -> Vec<u8> {
    let frame = r#"[{"id":1,"name":""}]"#;
    let body = format!(r#"[{{"id":1,"name":"{}"}}]"#, "a".repeat(512 - frame.len()));
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nETag: \"1\"\r\nContent-Length: 512\r\n\r\n";
    format!("{head}{body}").into_bytes()
}

impl Served {
    /// Whether the client must read before anything else can happen.
    fn waits(&self) -> bool {
        self.to_send > 0 || !self.unsent.is_empty()
    }

    /// Reads or writes once. An error ends the connection.
    fn turn(&mut self, buffer: &mut [u8], small: &[u8]) -> std::io::Result<()> {
        if self.waits() {
            return self.push();
        }
        let length = match self.socket.read(buffer) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(length) => length,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        };
        let mut rest = &buffer[..length];
        while !rest.is_empty() {
            if self.to_skip > 0 {
                let here = self.to_skip.min(rest.len() as u64);
                self.to_skip -= here;
                rest = &rest[here as usize..];
                if self.to_skip == 0 {
                    self.answer(small)?;
                }
                continue;
            }
            rest = self.head(rest, small)?;
        }
        Ok(())
    }

    /// Takes a head, or a part of one, and answers a request without a body. Returns the bytes after it.
    fn head<'a>(&mut self, bytes: &'a [u8], small: &[u8]) -> std::io::Result<&'a [u8]> {
        let before = self.head.len();
        // In the usual case a head arrives in one piece.
        if before > 0 {
            self.head.extend_from_slice(bytes);
        }
        let all = if before > 0 { &self.head[..] } else { bytes };
        let Some(end) = all.windows(4).position(|four| four == b"\r\n\r\n") else {
            if before == 0 {
                self.head.extend_from_slice(bytes);
            }
            return if self.head.len() > 64 * 1024 { Err(ErrorKind::InvalidData.into()) } else { Ok(&[]) };
        };
        let (length, large) = lengths(&all[..end + 4]).ok_or(ErrorKind::InvalidData)?;
        self.head.clear();
        self.to_skip = length;
        if let Some(large) = large {
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {large}\r\n\r\n");
            self.to_send = large;
            self.answer(head.as_bytes())?;
        } else if length == 0 {
            self.answer(small)?;
        }
        Ok(&bytes[end + 4 - before..])
    }

    fn answer(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        let sent = if self.unsent.is_empty() { taken(self.socket.write(bytes))? } else { 0 };
        self.unsent.extend_from_slice(&bytes[sent..]);
        Ok(())
    }

    fn push(&mut self) -> std::io::Result<()> {
        if !self.unsent.is_empty() {
            let sent = taken(self.socket.write(&self.unsent))?;
            self.unsent.drain(..sent);
            return Ok(());
        }
        let here = self.to_send.min(ZEROS.len() as u64) as usize;
        self.to_send -= taken(self.socket.write(&ZEROS[..here]))? as u64;
        Ok(())
    }
}

/// How much the socket took: nothing when its buffer is full.
fn taken(result: std::io::Result<usize>) -> std::io::Result<usize> {
    match result {
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(0),
        other => other,
    }
}

/// Returns the length of a request's body, and of its response if that is a large one; none for a head that it does not
/// understand. Bodies must have a `Content-Length`.
fn lengths(head: &[u8]) -> Option<(u64, Option<u64>)> {
    let mut fields = [httparse::EMPTY_HEADER; 64];
    let mut request = httparse::Request::new(&mut fields);
    request.parse(head).ok()?;
    let mut length = 0;
    for field in request.headers.iter() {
        if field.name.eq_ignore_ascii_case("content-length") {
            length = std::str::from_utf8(field.value).ok()?.trim().parse().ok()?;
        } else if field.name.eq_ignore_ascii_case("transfer-encoding") {
            return None;
        }
    }
    let large = request.path?.strip_prefix("/bytes/").and_then(|text| text.parse().ok());
    Some((length, large))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_small_answer_is_as_long_as_it_says() {
        let text = String::from_utf8(small_response()).expect("text");
        let (head, body) = text.split_once("\r\n\r\n").expect("a head");
        assert!(head.ends_with("Content-Length: 512"));
        assert_eq!(body.len(), 512);
        assert!(serde_json::from_str::<serde_json::Value>(body).is_ok());
    }

    #[test]
    fn a_request_says_what_it_sends_and_what_it_wants() {
        assert_eq!(lengths(b"GET /users HTTP/1.1\r\nHost: a\r\n\r\n"), Some((0, None)));
        assert_eq!(lengths(b"GET /bytes/77 HTTP/1.1\r\nHost: a\r\n\r\n"), Some((0, Some(77))));
        assert_eq!(lengths(b"POST /sink HTTP/1.1\r\ncontent-length: 9\r\n\r\n"), Some((9, None)));
        assert_eq!(lengths(b"POST /sink HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"), None);
    }
}
