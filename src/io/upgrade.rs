//! A connection that stops speaking HTTP after a 101 (RFC 9110 section 7.8), and then is a plain stream of bytes.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use http::Extensions;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::Io;

/// The bytes of an upgraded connection.
#[derive(Debug)]
pub enum Stream {
    /// A client's.
    Client(TokioIo<Upgraded>),
    /// An instance's, with the bytes that were already read after the 101.
    Instance(Io, Bytes),
}

/// A connection that becomes a [`Stream`] when its 101 is through.
pub struct Upgrade(Side);

enum Side {
    Client(OnUpgrade),
    Instance(Box<(Io, Bytes)>),
}

impl fmt::Debug for Upgrade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Upgrade")
    }
}

impl Upgrade {
    /// Takes the upgrade out of a client's request, where its connection can be upgraded.
    pub fn take(extensions: &mut Extensions) -> Option<Upgrade> {
        extensions.remove().map(|client| Upgrade(Side::Client(client)))
    }

    /// An instance's connection after its 101, with the bytes that were already read since.
    pub fn of(io: Io, read: Bytes) -> Upgrade {
        Upgrade(Side::Instance(Box::new((io, read))))
    }

    /// Waits until the 101 is through.
    ///
    /// # Errors
    /// When the connection breaks before.
    pub async fn done(self) -> io::Result<Stream> {
        match self.0 {
            Side::Client(client) => client.await.map(|io| Stream::Client(TokioIo::new(io))).map_err(io::Error::other),
            Side::Instance(instance) => Ok(Stream::Instance(instance.0, instance.1)),
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Client(io) => Pin::new(io).poll_read(cx, buf),
            Stream::Instance(io, read) if read.is_empty() => Pin::new(io).poll_read(cx, buf),
            Stream::Instance(_, read) => {
                let count = read.len().min(buf.remaining());
                buf.put_slice(&read[..count]);
                read.advance(count);
                Poll::Ready(Ok(()))
            }
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Client(io) => Pin::new(io).poll_write(cx, buf),
            Stream::Instance(io, _) => Pin::new(io).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Client(io) => Pin::new(io).poll_flush(cx),
            Stream::Instance(io, _) => Pin::new(io).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Client(io) => Pin::new(io).poll_shutdown(cx),
            Stream::Instance(io, _) => Pin::new(io).poll_shutdown(cx),
        }
    }
}
