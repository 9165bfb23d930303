//! Takes the addresses to listen on: each exclusively, or as a socket inherited from the process that started this one. Where an
//! address is taken already, the error says by whom.

use std::fmt;
use std::io;
use std::net::{Ipv6Addr, SocketAddr, TcpListener};

use listenfd::ListenFd;
use rustix::io::Errno;
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};

use super::Limits;

/// How many connections may wait to be accepted; the kernel takes `net.core.somaxconn` where that is less.
const BACKLOG: i32 = 4096;

/// An address to listen on.
#[derive(Debug)]
pub struct Address {
    /// Where to listen; port 0 lets the system choose one.
    pub address: SocketAddr,
    /// It is left out, without an error, where the machine does not have it.
    pub optional: bool,
    /// The configuration's key that names it, for error messages.
    pub key: &'static str,
    /// What holds for its connections.
    pub limits: Limits,
}

/// A socket that listens, but is not served yet.
#[derive(Debug)]
pub struct Bound {
    pub(super) socket: TcpListener,
    pub(super) limits: Limits,
    /// Where it really listens: never on port 0.
    pub address: SocketAddr,
}

/// An address could not be taken.
#[derive(Debug)]
pub struct Error {
    address: SocketAddr,
    key: &'static str,
    /// The process that listens there, where the system says so: "nginx (pid 4711)".
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

/// Listens on every address. Where an inherited socket (systemd's `LISTEN_FDS`) already listens there, it is taken over.
///
/// # Errors
/// The first address that could not be taken.
pub fn bind(addresses: Vec<Address>) -> Result<Vec<Bound>, Error> {
    let mut inherited = inherited();
    let mut bound = Vec::new();
    for Address { address, optional, key, limits } in addresses {
        let ours = inherited.iter().position(|socket| socket.local_addr().is_ok_and(|a| a == address));
        let socket = match ours {
            Some(index) => Ok(inherited.swap_remove(index)),
            None => listen(address),
        };
        match socket.and_then(|socket| Ok((socket.local_addr()?, socket))) {
            Ok((address, socket)) => {
                if address.ip() == Ipv6Addr::UNSPECIFIED {
                    say_ipv4(address, &socket);
                }
                bound.push(Bound { socket, limits, address });
            }
            Err(source) if optional && is_missing(&source) => {
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

/// Says whether a listener of all IPv6 addresses takes IPv4, too. Ours never do, whatever the system's default is (`net.ipv6.bindv6only`);
/// an inherited one is as its owner made it.
fn say_ipv4(address: SocketAddr, socket: &TcpListener) {
    match SockRef::from(socket).only_v6() {
        Ok(false) => tracing::info!(%address, "this inherited socket takes IPv6 and IPv4"),
        _ => tracing::info!(%address, "this listener takes IPv6 only: IPv4 needs a [[listener]] of its own"),
    }
}

/// Whether the machine has no such address, or none of its family: IPv6 may be switched off.
fn is_missing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::AddrNotAvailable | io::ErrorKind::Unsupported)
        || Errno::from_io_error(error) == Some(Errno::AFNOSUPPORT)
}

/// The listening sockets that the process which started this one left open for it.
fn inherited() -> Vec<TcpListener> {
    let mut fds = ListenFd::from_env();
    let sockets = (0..fds.len()).filter_map(|i| fds.take_tcp_listener(i).ok().flatten());
    sockets
        .filter(|socket| socket.set_nonblocking(true).and_then(|()| set_options(&SockRef::from(socket))).is_ok())
        .collect()
}

/// Sets what accepted sockets inherit from their listener (on Linux), which saves two system calls a connection.
fn set_options(socket: &Socket) -> io::Result<()> {
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(std::time::Duration::from_secs(60)))
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    // This allows an address whose old connections are in TIME_WAIT. Where another process still listens, it fails all the same.
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    set_options(&socket)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Which process listens on a port, as far as `/proc` says so: "nginx (pid 4711)".
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

/// The inode of the socket that listens on this port, from `/proc/net/tcp` or `tcp6`: the line whose state is LISTEN (`0A`).
fn listening_inode(table: &str, port: u16) -> Option<String> {
    let text = std::fs::read_to_string(table).ok()?;
    let line = text.lines().skip(1).find(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let local = fields.next().unwrap_or_default();
        local.ends_with(&format!(":{port:04X}")) && fields.nth(1) == Some("0A")
    })?;
    line.split_whitespace().nth(9).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_of_all_ipv6_addresses_takes_no_ipv4() {
        let Ok(socket) = listen((Ipv6Addr::UNSPECIFIED, 0).into()) else {
            eprintln!("this machine has no IPv6: nothing to see");
            return;
        };
        assert!(SockRef::from(&socket).only_v6().expect("the system says it"));
        let port = socket.local_addr().expect("it listens").port();
        assert!(listen((std::net::Ipv4Addr::UNSPECIFIED, port).into()).is_ok(), "the port is free for IPv4");
    }
}
