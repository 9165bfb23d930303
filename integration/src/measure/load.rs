//! The generator's connections, and the closed loop: each connection sends its next request when the response to its last
//! one is complete.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};

use hdrhistogram::Histogram;
use rustix::event::epoll::EventFlags;

use super::poll::Poll;
use super::response::{Reader, Response};
use super::system::{Outcome, go_on, now, thread_cpu};

/// The requests of a generator, and where they go.
#[derive(Clone)]
pub struct Work {
    /// Where requests go.
    pub address: SocketAddr,
    /// Whole requests, sent in turn.
    pub requests: Vec<Vec<u8>>,
    /// Each request has a new connection.
    pub fresh: bool,
}

/// What a generator counted in a window of time. Times are in nanoseconds.
pub struct Tally {
    /// Answers with 200.
    pub answers: u64,
    /// Connections that broke, and answers other than 200.
    pub errors: u64,
    /// From sending a request, or from when it was due in an open loop, to the last byte of its answer.
    pub latency: Histogram<u64>,
    /// How late requests were sent, in an open loop.
    pub lateness: Histogram<u64>,
    /// How many requests found no free connection when they were due, in an open loop.
    pub waited: u64,
    /// How long the window was.
    pub seconds: f64,
    /// CPU time of the generator.
    pub generator: u64,
}

impl Tally {
    /// Nothing counted yet.
    pub fn new() -> Outcome<Tally> {
        // From a nanosecond to a minute, with three significant digits.
        let empty = || Histogram::new_with_bounds(1, 60_000_000_000, 3).map_err(|error| error.to_string());
        let (latency, lateness) = (empty()?, empty()?);
        Ok(Tally { answers: 0, errors: 0, latency, lateness, waited: 0, seconds: 0.0, generator: 0 })
    }
}

/// One connection.
struct Client {
    socket: Option<TcpStream>,
    reader: Reader,
    /// When its request was due; in a closed loop, when it was sent.
    due: u64,
    /// The connection is not established yet; its request is sent when it is.
    connecting: bool,
}

/// What happened to a connection.
pub enum Event {
    /// It got a response with 200 to the request that was due at this time.
    Answered(u64),
    /// It broke, or got another response to the request that was due at this time.
    Failed(u64),
}

/// All connections of a generator.
pub struct Load {
    work: Work,
    next: usize,
    clients: Vec<Client>,
    /// What waits for them; a connection's number there is its number here.
    pub poll: Poll,
    buffer: Vec<u8>,
}

impl Load {
    /// Opens the connections, unless each request has a new one.
    pub fn new(work: Work, connections: usize) -> Outcome<Load> {
        let idle = |_| Client { socket: None, reader: Reader::default(), due: 0, connecting: false };
        let clients = (0..connections).map(idle).collect();
        let mut load = Load { work, next: 0, clients, poll: Poll::new()?, buffer: vec![0; 256 * 1024] };
        for number in 0..connections {
            if !load.work.fresh {
                let socket = TcpStream::connect(load.work.address).map_err(|error| format!("connecting: {error}"))?;
                socket.set_nodelay(true).and_then(|()| socket.set_nonblocking(true)).map_err(|e| e.to_string())?;
                load.poll.add(&socket, number, EventFlags::IN)?;
                load.clients[number].socket = Some(socket);
            }
        }
        Ok(load)
    }

    /// Sends the next request on a connection that has none.
    pub fn send(&mut self, number: usize, due: u64) -> Outcome<()> {
        let client = &mut self.clients[number];
        client.due = due;
        if client.socket.is_none() {
            let socket = begin_to_connect(self.work.address).map_err(|error| format!("connecting: {error}"))?;
            self.poll.add(&socket, number, EventFlags::OUT)?;
            client.socket = Some(socket);
            client.connecting = true;
            return Ok(());
        }
        self.write(number);
        Ok(())
    }

    fn write(&mut self, number: usize) {
        let request = &self.work.requests[self.next % self.work.requests.len()];
        self.next += 1;
        if let Some(mut socket) = self.clients[number].socket.as_ref()
            // The socket's buffer is empty and has room for a hundred bytes, so a connection that takes less has broken. The
            // next read reports it.
            && !matches!(socket.write(request), Ok(length) if length == request.len())
        {
            let _ = socket.shutdown(std::net::Shutdown::Both);
        }
    }

    /// Reads from a connection for which epoll reported an event.
    pub fn read(&mut self, number: usize) -> Outcome<Option<Event>> {
        let client = &mut self.clients[number];
        let Some(mut socket) = client.socket.as_ref() else { return Ok(None) };
        if client.connecting {
            client.connecting = false;
            self.poll.change(socket, number, EventFlags::IN)?;
            self.write(number);
            return Ok(None);
        }
        let length = match socket.read(&mut self.buffer) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
            Ok(length) if length > 0 => length,
            _ => {
                let (response, due) = (client.reader.end(), client.due);
                self.close(number);
                return Ok(Some(response.map_or(Event::Failed(due), |response| self.event(number, response))));
            }
        };
        match client.reader.take(&self.buffer[..length]) {
            Ok((taken, Some(response))) if taken == length => {
                if self.work.fresh || response.closes {
                    self.close(number);
                }
                Ok(Some(self.event(number, response)))
            }
            Ok((_, None)) => Ok(None),
            // It is not HTTP, or more than one response.
            _ => {
                let due = client.due;
                self.close(number);
                Ok(Some(Event::Failed(due)))
            }
        }
    }

    fn event(&self, number: usize, response: Response) -> Event {
        let due = self.clients[number].due;
        if response.status == 200 { Event::Answered(due) } else { Event::Failed(due) }
    }

    fn close(&mut self, number: usize) {
        let client = &mut self.clients[number];
        client.socket = None;
        client.reader = Reader::default();
    }

    /// Sends the first request on each connection.
    pub fn begin(&mut self) -> Outcome<()> {
        (0..self.clients.len()).try_for_each(|number| self.send(number, now()))
    }

    /// Runs the closed loop, which must have begun, for some seconds. All responses that arrive are counted; latency counts
    /// for requests that were sent in this time.
    pub fn window(&mut self, seconds: f64) -> Outcome<Tally> {
        let mut tally = Tally::new()?;
        let mut ready = Vec::with_capacity(256);
        let (start, spent) = (now(), thread_cpu());
        let end = start + (seconds * 1e9) as u64;
        loop {
            self.poll.wait(&mut ready)?;
            for number in &ready {
                match self.read(*number)? {
                    None => continue,
                    Some(Event::Answered(sent)) => {
                        tally.answers += 1;
                        if sent >= start {
                            tally.latency.saturating_record(now() - sent);
                        }
                    }
                    Some(Event::Failed(_)) => {
                        tally.errors += 1;
                        if tally.errors > 1000 {
                            return Err("more than 1,000 requests failed".into());
                        }
                    }
                }
                self.send(*number, now())?;
            }
            if now() >= end {
                break;
            }
            go_on()?;
        }
        tally.seconds = (now() - start) as f64 / 1e9;
        tally.generator = thread_cpu() - spent;
        Ok(tally)
    }
}

/// Begins to connect, without waiting for the connection.
fn begin_to_connect(address: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?;
    match socket.connect(&address.into()) {
        Err(error) if error.raw_os_error() != Some(rustix::io::Errno::INPROGRESS.raw_os_error()) => Err(error),
        _ => Ok(socket.into()),
    }
}
