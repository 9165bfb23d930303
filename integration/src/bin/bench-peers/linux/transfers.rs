//! Large bodies, one at a time and many at once, and idle connections.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use integration::measure::poll::Poll;
use integration::measure::response::Reader;
use integration::measure::system::{Outcome, go_on, now};
use rustix::event::epoll::EventFlags;

/// One gibibyte.
pub(crate) const GIB: u64 = 1 << 30;

/// How long a transfer of 1 GiB may take before it counts as stuck, in nanoseconds.
const PATIENCE: u64 = 60_000_000_000;

static ZEROS: [u8; 256 * 1024] = [0; 256 * 1024];

fn connect(address: SocketAddr) -> Outcome<TcpStream> {
    let patience = Some(Duration::from_secs(5));
    let connect = || {
        let socket = TcpStream::connect(address)?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(patience)?;
        socket.set_write_timeout(patience)?;
        Ok(socket)
    };
    connect().map_err(|error: std::io::Error| format!("connecting to {address}: {error}"))
}

/// Sends one request and reads its response to the end. Returns how many bytes arrived.
pub(crate) fn exchange(socket: &mut TcpStream, request: &[u8]) -> Outcome<u64> {
    socket.write_all(request).map_err(|error| format!("sending: {error}"))?;
    receive(socket)
}

/// Reads one response to the end. Returns how many bytes arrived.
fn receive(socket: &mut TcpStream) -> Outcome<u64> {
    let (mut reader, mut buffer, mut came) = (Reader::default(), vec![0; ZEROS.len()], 0);
    let deadline = now() + PATIENCE;
    loop {
        go_on()?;
        if now() > deadline {
            return Err("a transfer takes more than a minute".into());
        }
        let length = socket.read(&mut buffer).map_err(|error| format!("receiving: {error}"))?;
        came += length as u64;
        let answer = if length == 0 { reader.end() } else { reader.take(&buffer[..length])?.1 };
        match answer {
            Some(answer) if answer.status == 200 => return Ok(came),
            Some(answer) => return Err(format!("the answer is {}", answer.status)),
            None if length == 0 => return Err("the connection ended in an answer".into()),
            None => {}
        }
    }
}

/// Whether this request is answered with 200.
pub(crate) fn answers(address: SocketAddr, request: &[u8]) -> bool {
    connect(address).and_then(|mut socket| exchange(&mut socket, request)).is_ok()
}

/// Sends a request that is answered with 1 GiB. Returns the seconds that it took.
pub(crate) fn down(address: SocketAddr, request: &[u8]) -> Outcome<f64> {
    let start = now();
    let came = exchange(&mut connect(address)?, request)?;
    if came < GIB { Err(format!("{came} bytes came of 1 GiB")) } else { Ok((now() - start) as f64 / 1e9) }
}

/// Sends this head and 1 GiB. Returns the seconds until it was answered.
pub(crate) fn up(address: SocketAddr, head: &[u8]) -> Outcome<f64> {
    let start = now();
    let mut socket = connect(address)?;
    socket.write_all(head).map_err(|error| format!("sending: {error}"))?;
    let mut sent = 0;
    while sent < GIB {
        go_on()?;
        let here = (GIB - sent).min(ZEROS.len() as u64) as usize;
        socket.write_all(&ZEROS[..here]).map_err(|error| format!("sending: {error}"))?;
        sent += here as u64;
        if now() - start > PATIENCE {
            return Err("a transfer takes more than a minute".into());
        }
    }
    receive(&mut socket)?;
    Ok((now() - start) as f64 / 1e9)
}

/// Runs `many` downloads at once for some seconds; every second one reads at most 1 MiB/s. `look` is called four times a
/// second. Returns how many bytes arrived in all.
pub(crate) fn crowd(
    address: SocketAddr,
    request: &[u8],
    many: usize,
    seconds: u64,
    mut look: impl FnMut(),
) -> Outcome<u64> {
    let mut poll = Poll::new()?;
    let mut sockets = Vec::new();
    for number in 0..many {
        let mut socket = connect(address)?;
        socket.write_all(request).map_err(|error| format!("sending: {error}"))?;
        socket.set_nonblocking(true).map_err(|error| error.to_string())?;
        if number % 2 == 0 {
            poll.add(&socket, number, EventFlags::IN)?;
        }
        sockets.push((socket, 0_u64));
    }
    let (start, mut buffer, mut ready) = (now(), vec![0; ZEROS.len()], Vec::new());
    let (mut turn, mut looks) = (0, 0);
    while now() - start < seconds * 1_000_000_000 {
        go_on()?;
        // The slow downloads have a turn each hundredth of a second.
        poll.wake_at(start + turn * 10_000_000)?;
        poll.wait(&mut ready)?;
        for number in &ready {
            read(&mut sockets[*number], &mut buffer)?;
        }
        let passed = now() - start;
        if passed >= turn * 10_000_000 {
            turn = passed / 10_000_000 + 1;
            let allowed = passed / 1_000_000 * (1 << 20) / 1000;
            for client in sockets.iter_mut().skip(1).step_by(2) {
                let here = allowed.saturating_sub(client.1).min(64 * 1024) as usize;
                if here > 0 {
                    read(client, &mut buffer[..here])?;
                }
            }
        }
        if passed >= looks * 250_000_000 {
            looks += 1;
            look();
        }
    }
    Ok(sockets.iter().map(|(_, came)| came).sum())
}

/// Reads once, and adds what arrived to the download's count.
fn read((socket, came): &mut (TcpStream, u64), buffer: &mut [u8]) -> Outcome<()> {
    match socket.read(buffer) {
        Ok(0) => Err("a download ended too soon".into()),
        Ok(length) => {
            *came += length as u64;
            Ok(())
        }
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(()),
        Err(error) => Err(format!("a download broke: {error}")),
    }
}

/// Opens connections until there are `many`, and sends one request on each.
pub(crate) fn open_until(many: usize, open: &mut Vec<TcpStream>, address: SocketAddr, request: &[u8]) -> Outcome<()> {
    while open.len() < many {
        let mut socket = connect(address)?;
        exchange(&mut socket, request)?;
        open.push(socket);
    }
    Ok(())
}
