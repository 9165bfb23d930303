//! Where connections to instances come from.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use rustix::io::Errno;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpSocket;

use crate::io::Io;

/// After so much silence, and so often from then on, the kernel asks whether the peer is still there.
const KEEPALIVE: Duration = Duration::from_secs(60);

/// How many of these questions may go unanswered: the most that Linux allows.
const PROBES: u32 = 127;

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
    /// It is our own doing: descriptors, ports or memory are used up.
    Shortage(io::Error),
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
                Ok(connected) => connected.map_err(|error| whose(error, address))?,
                Err(_) => return Err(ConnectError::Timeout),
            },
            Connector::Memory(make) => match make(address) {
                // As a packet that nobody answers.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    tokio::time::sleep(deadline).await;
                    return Err(ConnectError::Timeout);
                }
                made => made.map_err(|error| whose(error, address))?,
            },
        };
        Ok(io)
    }
}

/// Whose doing it is that there is no connection.
fn whose(error: io::Error, address: SocketAddr) -> ConnectError {
    let shortage = match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM) => true,
        // No port is left - or this machine has no address from which that one can be reached, as a datagram would show, whose
        // ports are others.
        Some(Errno::ADDRNOTAVAIL) => {
            let any: SocketAddr =
                if address.is_ipv4() { (Ipv4Addr::UNSPECIFIED, 0).into() } else { (Ipv6Addr::UNSPECIFIED, 0).into() };
            UdpSocket::bind(any).and_then(|socket| socket.connect(address)).is_ok()
        }
        _ => false,
    };
    if shortage { ConnectError::Shortage(error) } else { ConnectError::Refused(error) }
}

async fn tcp(address: SocketAddr) -> io::Result<Io> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_nodelay(true)?;
    let stream = socket.connect(address).await?;
    let options = SockRef::from(&stream);
    // These keep the way open through what forgets quiet connections, and give up on a peer that does not answer at all after more
    // than two hours only: deadlines are the configuration's, not the kernel's. So there is no TCP_USER_TIMEOUT either.
    options
        .set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE).with_retries(PROBES))?;
    Ok(Io::Tcp(stream))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_kernel_has_no_deadline_of_its_own_for_a_peer_that_reads_nothing() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let Ok(Io::Tcp(stream)) = Connector::Tcp.open(address, Duration::from_secs(5)).await else {
            panic!("it is open");
        };
        let options = SockRef::from(&stream);
        assert_eq!(options.tcp_user_timeout().expect("an option"), None);
        let (every, times) = (options.tcp_keepalive_interval(), options.tcp_keepalive_retries());
        assert!(every.expect("an option") * times.expect("an option") > Duration::from_secs(7200));
    }

    #[test]
    fn what_we_lack_is_told_from_what_cannot_be_reached() {
        let address: SocketAddr = ([127, 0, 0, 1], 9).into();
        let whose = |errno: Errno, address| whose(io::Error::from_raw_os_error(errno.raw_os_error()), address);
        for errno in [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM, Errno::ADDRNOTAVAIL] {
            assert!(matches!(whose(errno, address), ConnectError::Shortage(_)), "{errno}");
        }
        for errno in [Errno::CONNREFUSED, Errno::HOSTUNREACH, Errno::NETUNREACH, Errno::CONNRESET] {
            assert!(matches!(whose(errno, address), ConnectError::Refused(_)), "{errno}");
        }
        // No address of this machine leads there: that no port was left is not why.
        let nowhere: SocketAddr = "[2001:db8::1]:80".parse().expect("an address");
        if UdpSocket::bind("[::]:0").and_then(|socket| socket.connect(nowhere)).is_err() {
            assert!(matches!(whose(Errno::ADDRNOTAVAIL, nowhere), ConnectError::Refused(_)));
        }
    }
}
