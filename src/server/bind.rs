//! Taking an address: exclusively, or inherited from whoever started us; and saying who has it when we cannot.

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener};

use listenfd::ListenFd;
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};

use super::Limits;

/// Connections that may wait to be accepted; the kernel caps it at `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

/// A socket that listens, not yet served.
#[derive(Debug)]
pub struct Bound {
    pub(super) socket: TcpListener,
    pub(super) limits: Limits,
    /// Where it really listens: port 0 is resolved.
    pub address: SocketAddr,
}

/// An address that we could not have.
#[derive(Debug)]
pub struct Error {
    address: SocketAddr,
    key: &'static str,
    holder: Option<String>,
    source: io::Error,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Error { address, key, holder, source } = self;
        write!(f, "cannot listen on {address} ({key}): ")?;
        match (source.kind(), holder) {
            (io::ErrorKind::AddrInUse, Some(holder)) => write!(f, "{holder} has it. ")?,
            (io::ErrorKind::AddrInUse, None) => write!(f, "another process has it. ")?,
            _ => return write!(f, "{source}"),
        }
        let flag = if *key == "[admin] address" { "--admin-port" } else { "--port" };
        write!(f, "End it, or choose another address with {key} in the configuration or with {flag}")
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

/// Listens on every address, taking over inherited sockets (`LISTEN_FDS`) that already listen there. An optional
/// address that the machine does not have is left out.
///
/// # Errors
/// The first address that could not be had, with its configuration key.
pub fn bind(wanted: Vec<(SocketAddr, bool, &'static str, Limits)>) -> Result<Vec<Bound>, Error> {
    let mut inherited = inherited();
    let mut bound = Vec::new();
    for (address, optional, key, limits) in wanted {
        let ours = inherited.iter().position(|socket| socket.local_addr().is_ok_and(|a| a == address));
        let socket = match ours {
            Some(index) => Ok(inherited.swap_remove(index)),
            None => listen(address),
        };
        let missing = |e: &io::Error| matches!(e.kind(), io::ErrorKind::AddrNotAvailable | io::ErrorKind::Unsupported);
        match socket.and_then(|socket| Ok((socket.local_addr()?, socket))) {
            Ok((address, socket)) => bound.push(Bound { socket, limits, address }),
            Err(source) if optional && (missing(&source) || source.raw_os_error() == Some(97)) => {
                tracing::debug!(%address, "this machine has no such address: {source}");
            }
            Err(source) => return Err(Error { address, key, holder: holder(address.port()), source }),
        }
    }
    for socket in inherited {
        tracing::warn!(socket = ?socket.local_addr().ok(), "an inherited socket is on no configured address: closed");
    }
    Ok(bound)
}

fn inherited() -> Vec<TcpListener> {
    let mut fds = ListenFd::from_env();
    let sockets = (0..fds.len()).filter_map(|i| fds.take_tcp_listener(i).ok().flatten());
    sockets
        .filter(|socket| socket.set_nonblocking(true).and_then(|()| hand_down(&SockRef::from(socket))).is_ok())
        .collect()
}

/// Accepted sockets inherit both (Linux), which saves two system calls a connection.
fn hand_down(socket: &Socket) -> io::Result<()> {
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(std::time::Duration::from_secs(60)))
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    // Only frees addresses in TIME_WAIT: a live listener still makes this fail, which is what we want.
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    hand_down(&socket)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Who listens on a port, as far as /proc tells: "nginx (pid 4711)".
fn holder(port: u16) -> Option<String> {
    let inode = ["/proc/net/tcp", "/proc/net/tcp6"].iter().find_map(|table| listening_inode(table, port))?;
    let wanted = format!("socket:[{inode}]");
    for process in std::fs::read_dir("/proc").ok()?.flatten() {
        let Ok(pid) = process.file_name().to_string_lossy().parse::<u32>() else { continue };
        let Ok(fds) = std::fs::read_dir(process.path().join("fd")) else { continue };
        if fds.flatten().any(|fd| std::fs::read_link(fd.path()).is_ok_and(|to| to.to_string_lossy() == wanted)) {
            let name = std::fs::read_to_string(process.path().join("comm")).unwrap_or_default();
            return Some(format!("{} (pid {pid})", name.trim()));
        }
    }
    None
}

/// The inode of the socket in state LISTEN (0A) on this port, from one of /proc's tables.
fn listening_inode(table: &str, port: u16) -> Option<String> {
    let text = std::fs::read_to_string(table).ok()?;
    let line = text.lines().skip(1).find(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let local = fields.next().unwrap_or_default();
        local.ends_with(&format!(":{port:04X}")) && fields.nth(1) == Some("0A")
    })?;
    line.split_whitespace().nth(9).map(str::to_owned)
}
