//! What flows over a connection - bytes, and the bodies of messages -, and who is at its other end.

pub mod upgrade;

use std::cell::RefCell;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::HeaderValue;
use ipnet::IpNet;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
use tokio::net::TcpStream;

/// A stream of bytes. It is `Send`, because hyper's upgrades ask for that.
#[derive(Debug)]
pub enum Io {
    /// A socket.
    Tcp(TcpStream),
    /// A pipe inside this process, for tests without sockets.
    Memory(DuplexStream),
}

/// Which kind of listener a client came through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// A public listener.
    Public,
    /// The admin listener.
    Admin,
}

/// The last valid key that came on a connection, with its digest, so that the same key is not digested again for each request.
/// Whether it is still valid is checked each time.
#[derive(Clone, Default)]
pub struct Learnt(RefCell<Option<Known>>);

/// A key, and its digest.
type Known = (Box<[u8]>, [u8; 32]);

impl Learnt {
    /// The digest of this key, if it was the last one. `same` must compare in constant time, so that its duration does not show
    /// how much of a guessed key is right.
    pub fn digest(&self, key: &[u8], same: impl Fn(&[u8], &[u8]) -> bool) -> Option<[u8; 32]> {
        self.0.borrow().as_ref().filter(|(known, _)| same(known, key)).map(|(_, digest)| *digest)
    }

    /// Remembers a key, and forgets the one before.
    pub fn learn(&self, key: &[u8], digest: [u8; 32]) {
        *self.0.borrow_mut() = Some((key.into(), digest));
    }
}

impl std::fmt::Debug for Learnt {
    /// Without the key: what is printed may be logged.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Learnt")
    }
}

/// The client at the other end of a connection. It is made once, when the connection is accepted.
#[derive(Clone, Debug)]
pub struct Client {
    /// Its address.
    pub address: SocketAddr,
    /// The address of the listener that accepted it.
    pub local: SocketAddr,
    /// Which kind of listener that is.
    pub door: Door,
    /// Its IP as it stands in `X-Forwarded-For`, shared by all its requests.
    pub forwarded_for: HeaderValue,
    /// The last valid key that it sent.
    pub learnt: Learnt,
    /// The last valid token that it sent.
    pub learnt_token: Learnt,
    /// Set where the client is a trusted proxy, whose `X-Forwarded-For` is believed: the networks of all trusted proxies.
    pub trusted: Option<Arc<[IpNet]>>,
    /// A TCP balancer is at the other end, and said for whom it connected: see [`Client::announced`].
    pub balanced: bool,
}

impl Client {
    /// A client that just connected; `trusted` are its listener's networks of trusted proxies.
    pub fn new(address: SocketAddr, local: SocketAddr, door: Door, trusted: &Arc<[IpNet]>) -> Client {
        let ip = address.ip().to_canonical();
        let trusted = trusted.iter().any(|network| network.contains(&ip)).then(|| trusted.clone());
        let forwarded_for = text(ip);
        Client {
            address,
            local,
            door,
            forwarded_for,
            learnt: Learnt::default(),
            learnt_token: Learnt::default(),
            trusted,
            balanced: false,
        }
    }

    /// The client for whom this one, a TCP balancer, says that it connected. Whether that is a trusted proxy is judged by its own
    /// address. Where the balancer names nobody, its own address stays, and no header is believed: it passes on bytes, and cannot
    /// vouch for what they say.
    pub fn announced(self, by_balancer: Option<SocketAddr>, trusted: &Arc<[IpNet]>) -> Client {
        let client = match by_balancer {
            Some(address) => Client::new(address, self.local, self.door, trusted),
            None => Client { trusted: None, ..self },
        };
        Client { balanced: true, ..client }
    }

    /// Its IP. An IPv4-mapped IPv6 address is returned as the IPv4 address.
    pub fn ip(&self) -> IpAddr {
        self.address.ip().to_canonical()
    }
}

/// An IP as text. IPv4 goes without `std::fmt`, which costs more: this runs for each new connection.
fn text(ip: IpAddr) -> HeaderValue {
    let written = match ip {
        IpAddr::V4(ip) => {
            let (mut text, mut end) = ([b'.'; 16], 0);
            for octet in ip.octets() {
                let mut digits = itoa::Buffer::new();
                let digits = digits.format(octet).as_bytes();
                text[end..end + digits.len()].copy_from_slice(digits);
                end += digits.len() + 1;
            }
            HeaderValue::from_bytes(&text[..end - 1])
        }
        IpAddr::V6(ip) => HeaderValue::from_str(&ip.to_string()),
    };
    written.expect("an IP address is a header value")
}

impl AsyncRead for Io {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Io::Tcp(io) => Pin::new(io).poll_read(cx, buf),
            Io::Memory(io) => Pin::new(io).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Io {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Io::Tcp(io) => Pin::new(io).poll_write(cx, buf),
            Io::Memory(io) => Pin::new(io).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Io::Tcp(io) => Pin::new(io).poll_write_vectored(cx, bufs),
            Io::Memory(io) => Pin::new(io).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Io::Tcp(io) => io.is_write_vectored(),
            Io::Memory(io) => io.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Io::Tcp(io) => Pin::new(io).poll_flush(cx),
            Io::Memory(io) => Pin::new(io).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Io::Tcp(io) => Pin::new(io).poll_shutdown(cx),
            Io::Memory(io) => Pin::new(io).poll_shutdown(cx),
        }
    }
}

/// The body of a message, as a stream. Rooms other than those that speak HTTP themselves know no other type of body.
pub mod body {
    use std::fmt;
    use std::io;
    use std::pin::Pin;
    use std::rc::Rc;
    use std::task::{Context, Poll};

    use bytes::Bytes;
    use http_body::{Frame, SizeHint};

    /// The body of a request or an answer.
    #[derive(Default)]
    pub enum Body {
        /// No body.
        #[default]
        Empty,
        /// A whole body in memory.
        Bytes(Bytes),
        /// The body of an answer, read from a connection to an instance. The number says which message of that connection it belongs
        /// to.
        Upstream(Rc<dyn Source>, u64),
        /// A body with something that happens as it flows or when it ends: bytes are counted, a verdict is given, a connection
        /// returns to its pool. Also a client's body.
        Followed(Pin<Box<dyn http_body::Body<Data = Bytes, Error = Error>>>),
    }

    /// A connection whose bodies are read by whoever holds them, without a task in between. Each body has its message's number: one
    /// that is read after its end is empty, although the connection may carry the next message by then.
    pub trait Source {
        /// The next piece of a message.
        fn poll_frame(&self, message: u64, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>>;
        /// Whether nothing more will come of a message.
        fn is_end_stream(&self, message: u64) -> bool;
        /// How many bytes will come of a message, where its head said so.
        fn size_hint(&self, message: u64) -> SizeHint;
    }

    /// Why a body ended before it was complete.
    #[derive(Debug)]
    pub enum Error {
        /// The connection that it came from failed, or its framing was invalid.
        Broken(io::Error),
        /// This is an answer's body, and its request's body broke off.
        Request,
        /// No byte came for the idle deadline.
        Idle,
        /// The request's total deadline passed.
        Deadline,
        /// The instance that it came from is out of its service for too long.
        Departed,
        /// It became larger than the configured limit.
        TooLarge,
    }

    impl fmt::Display for Error {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(match self {
                Error::Broken(_) => "the body broke off",
                Error::Request => "the request's body broke off",
                Error::Idle => "no byte of the body came before the idle deadline",
                Error::Deadline => "the body was not complete before the total deadline",
                Error::Departed => "the instance was taken out of its service while it streamed",
                Error::TooLarge => "the body is larger than the limit",
            })
        }
    }

    impl std::error::Error for Error {
        fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
            match self {
                Error::Broken(error) => Some(error),
                _ => None,
            }
        }
    }

    impl fmt::Debug for Body {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(match self {
                Body::Empty => "Empty",
                Body::Bytes(_) => "Bytes",
                Body::Upstream(..) => "Upstream",
                Body::Followed(_) => "Followed",
            })
        }
    }

    impl From<Bytes> for Body {
        fn from(bytes: Bytes) -> Body {
            if bytes.is_empty() { Body::Empty } else { Body::Bytes(bytes) }
        }
    }

    impl http_body::Body for Body {
        type Data = Bytes;
        type Error = Error;

        fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
            match self.get_mut() {
                Body::Empty => Poll::Ready(None),
                this @ Body::Bytes(_) => match std::mem::take(this) {
                    Body::Bytes(bytes) => Poll::Ready(Some(Ok(Frame::data(bytes)))),
                    _ => Poll::Ready(None),
                },
                Body::Upstream(body, message) => body.poll_frame(*message, cx),
                Body::Followed(body) => body.as_mut().poll_frame(cx),
            }
        }

        fn is_end_stream(&self) -> bool {
            match self {
                Body::Empty => true,
                Body::Bytes(bytes) => bytes.is_empty(),
                Body::Upstream(body, message) => body.is_end_stream(*message),
                Body::Followed(body) => body.is_end_stream(),
            }
        }

        fn size_hint(&self) -> SizeHint {
            match self {
                Body::Empty => SizeHint::with_exact(0),
                Body::Bytes(bytes) => SizeHint::with_exact(bytes.len() as u64),
                Body::Upstream(body, message) => body.size_hint(*message),
                Body::Followed(body) => body.size_hint(),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn an_address_is_written_as_its_digits() {
        for ip in [[0, 0, 0, 0], [127, 0, 0, 1], [10, 20, 30, 4], [255, 255, 255, 255]].map(Ipv4Addr::from) {
            assert_eq!(text(ip.into()), ip.to_string());
        }
        assert_eq!(text([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1].into()), "2001:db8::1");
    }
}
