//! Where connections to instances come from.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpSocket;

use crate::io::Io;

/// How connections are made: sockets, or pipes inside this process.
#[derive(Clone)]
pub enum Connector {
    /// TCP with the options that an upstream connection wants.
    Tcp,
    /// Whatever is handed out: for tests, and for measuring without sockets.
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

impl Connector {
    /// Connects.
    ///
    /// # Errors
    /// When nobody answers, or not in time.
    pub(in crate::upstream) async fn open(&self, address: SocketAddr, deadline: Duration) -> Result<Io, ConnectError> {
        let io = match self {
            Connector::Tcp => match tokio::time::timeout(deadline, tcp(address)).await {
                Ok(connected) => connected.map_err(ConnectError::Refused)?,
                Err(_) => return Err(ConnectError::Timeout),
            },
            Connector::Memory(make) => match make(address) {
                // As a packet that nobody answers.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    tokio::time::sleep(deadline).await;
                    return Err(ConnectError::Timeout);
                }
                made => made.map_err(ConnectError::Refused)?,
            },
        };
        Ok(io)
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
