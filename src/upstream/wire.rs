//! One connection to an instance. Nobody else knows what speaks HTTP on it.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use http::{Request, Response};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpSocket;

use crate::body::Body;
use crate::io::Io;

/// The most that hyper buffers of an answer's head, or of a body on its way.
const BUFFER: usize = 64 * 1024;

/// How connections are made: sockets, or pipes in tests.
#[derive(Clone)]
pub enum Connector {
    /// TCP with the options that an upstream connection wants.
    Tcp,
    /// Whatever a test hands out.
    #[cfg(test)]
    Memory(std::sync::Arc<dyn Fn(SocketAddr) -> io::Result<Io> + Send + Sync>),
}

impl std::fmt::Debug for Connector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Connector")
    }
}

/// Why there is no connection.
#[derive(Debug)]
pub enum ConnectError {
    /// Refused, unreachable, or any other answer than a connection.
    Refused(io::Error),
    /// No answer before the deadline.
    Timeout,
}

/// Why there is no answer.
#[derive(Debug)]
pub enum SendError {
    /// Not a byte of the request was written: here it is again.
    Unwritten(Box<Request<Body>>),
    /// What came back is not HTTP, or more than our buffers hold.
    BadAnswer(hyper::Error),
    /// The request's own body failed: the client's doing.
    Body(hyper::Error),
    /// The connection broke before the answer's head was complete.
    Reset(hyper::Error),
}

/// A connection that can send one request at a time.
#[derive(Debug)]
pub struct Connection {
    sender: http1::SendRequest<Body>,
}

impl Connector {
    /// Connects, and speaks HTTP/1.1 there.
    ///
    /// # Errors
    /// When nobody answers, or not in time.
    pub async fn connect(&self, address: SocketAddr, deadline: Duration) -> Result<Connection, ConnectError> {
        let io = match self {
            Connector::Tcp => match tokio::time::timeout(deadline, tcp(address)).await {
                Ok(connected) => connected.map_err(ConnectError::Refused)?,
                Err(_) => return Err(ConnectError::Timeout),
            },
            #[cfg(test)]
            Connector::Memory(make) => match make(address) {
                // As a packet that nobody answers.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    tokio::time::sleep(deadline).await;
                    return Err(ConnectError::Timeout);
                }
                made => made.map_err(ConnectError::Refused)?,
            },
        };
        let handshake = http1::Builder::new().max_buf_size(BUFFER).handshake(TokioIo::new(io)).await;
        let (sender, connection) = handshake.map_err(|e| ConnectError::Refused(io::Error::other(e)))?;
        tokio::task::spawn_local(async move {
            if let Err(error) = connection.with_upgrades().await {
                tracing::trace!(%address, "connection to an instance ended: {error}");
            }
        });
        Ok(Connection { sender })
    }
}

async fn tcp(address: SocketAddr) -> io::Result<Io> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_nodelay(true)?;
    let stream = socket.connect(address).await?;
    let options = SockRef::from(&stream);
    options.set_tcp_keepalive(
        &TcpKeepalive::new().with_time(Duration::from_secs(15)).with_interval(Duration::from_secs(5)),
    )?;
    // Written bytes that nobody acknowledges for this long mean a dead path, not a slow service.
    options.set_tcp_user_timeout(Some(Duration::from_secs(20)))?;
    Ok(Io::Tcp(stream))
}

impl Connection {
    /// Sends a request and waits for the answer's head. Dropping the future before that closes the connection.
    ///
    /// # Errors
    /// See [`SendError`]; the request comes back when nothing of it was written.
    pub async fn send(&mut self, request: Request<Body>) -> Result<Response<Body>, SendError> {
        match self.sender.try_send_request(request).await {
            Ok(response) => Ok(response.map(Body::from)),
            Err(mut error) => Err(match error.take_message() {
                Some(request) => SendError::Unwritten(Box::new(request)),
                None => refused(error.into_error()),
            }),
        }
    }

    /// Whether it can take a request now.
    pub fn is_ready(&self) -> bool {
        self.sender.is_ready()
    }

    /// Whether it never will again.
    pub fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    /// Until it can take a request; false when it never will.
    pub async fn ready(&mut self) -> bool {
        self.sender.ready().await.is_ok()
    }
}

fn refused(error: hyper::Error) -> SendError {
    if error.is_parse() {
        SendError::BadAnswer(error)
    } else if error.is_user() {
        SendError::Body(error)
    } else {
        SendError::Reset(error)
    }
}
