//! A connection to the gateway on which one request follows the other.

use std::net::{IpAddr, SocketAddr};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

/// What a request has to say who sends it: a whole field.
pub(super) fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}")
}

/// The connection, and what it has read.
pub(super) struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    /// Connects, from an address of this machine.
    pub(super) async fn open(to: SocketAddr, from: IpAddr) -> std::io::Result<Connection> {
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::new(from, 0))?;
        let stream = socket.connect(to).await?;
        stream.set_nodelay(true)?;
        Ok(Connection { stream, buffer: Vec::with_capacity(8192) })
    }

    /// Asks once, and returns the answer's status. Answers have a length.
    pub(super) async fn ask(&mut self, field: &str) -> std::io::Result<u16> {
        let request = format!("GET /api/user_service/users HTTP/1.1\r\nHost: tokens\r\n{field}\r\n\r\n");
        self.stream.write_all(request.as_bytes()).await?;
        self.buffer.clear();
        loop {
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            if let Some(status) = complete(&self.buffer)? {
                return Ok(status);
            }
        }
    }
}

/// The status of an answer that has arrived to its end.
fn complete(bytes: &[u8]) -> std::io::Result<Option<u16>> {
    let mut fields = [httparse::EMPTY_HEADER; 64];
    let mut head = httparse::Response::new(&mut fields);
    let httparse::Status::Complete(length) = head.parse(bytes).map_err(std::io::Error::other)? else {
        return Ok(None);
    };
    let field = head.headers.iter().find(|field| field.name.eq_ignore_ascii_case("content-length"));
    let body = field.and_then(|field| std::str::from_utf8(field.value).ok()?.parse::<usize>().ok());
    let body = body.ok_or_else(|| std::io::Error::other("an answer without a length"))?;
    Ok((bytes.len() >= length + body).then_some(head.code.unwrap_or(0)))
}
