//! What a TCP balancer says before a connection's first request: for whom it connects (PROXY protocol, versions 1 and 2). It is demanded
//! where the configuration says so and unknown elsewhere, never guessed: else any client could say that it is another. The crate
//! reads addresses; here it is decided where a header ends, so that none is waited for, or kept in memory, without end.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;

use ipnet::IpNet;
use proxy_header::{ParseConfig, Protocol, ProxyHeader};

use super::activity::{ClientIo, Control};
use super::connection;
use super::deadlines::Listed;
use super::phase::{Order, Phase};
use crate::io::{Client, Io};
use crate::plane::balancers::Reason;
use crate::plane::{Handler, Pulse};

/// What a header of version 2 begins with.
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// The part of such a header whose length is fixed: signature, command, family, and the length of the rest.
const FIXED: usize = 16;

/// The longest header of version 2. The protocol asks of nobody to send more, and of receivers to be content with one segment of TCP.
const LONGEST: usize = 536;

/// What a header of version 1 begins with, one of a connection for nobody in particular, and the longest such line.
const LINE: &[u8] = b"PROXY ";
const UNKNOWN: &[u8] = b"PROXY UNKNOWN";
const LONGEST_LINE: usize = 107;

/// Whether an address is in one of these networks.
pub(super) fn is_from(networks: &[IpNet], address: SocketAddr) -> bool {
    let ip = address.ip().to_canonical();
    networks.iter().any(|network| network.contains(&ip))
}

/// Serves a connection of a balancer, once it said for whom it connects.
pub(super) async fn serve<H: Handler>(
    io: Io,
    client: Client,
    handler: Rc<H>,
    listed: Listed,
    pulse: Arc<Pulse>,
    guards: impl Sized + 'static,
) {
    let mut io = ClientIo::new(io, &listed.control);
    listed.control.enter(Phase::Preamble);
    match announced(&mut io, &listed.control).await {
        Ok(address) => {
            listed.control.enter(Phase::New);
            let client = client.announced(address, &listed.limits().trusted);
            connection::serve_from(io, client, handler, listed, pulse, guards).await;
        }
        Err(Some(reason)) => pulse.unannounced.add(reason, client.address),
        Err(None) => {}
    }
}

/// For whom a balancer says that it connects; nobody, where it asks for itself or does not know. What came behind the header is read
/// next. An error without a reason is nobody's fault: the balancer only looked whether somebody listens, or the gateway needs the
/// place.
async fn announced(io: &mut ClientIo, control: &Control) -> Result<Option<SocketAddr>, Option<Reason>> {
    loop {
        let bytes = io.source.bytes();
        if let Some((length, address)) = parse(bytes).map_err(Some)? {
            io.source.skip(length);
            return Ok(address);
        }
        let broken_off = (!bytes.is_empty()).then_some(Reason::Incomplete);
        poll_fn(|cx| match control.take_order(cx) {
            Order::Continue | Order::Release => io.poll_piece(cx).map_err(|_| broken_off),
            Order::Finish => Poll::Ready(Err(None)),
            Order::Cut => Poll::Ready(Err(Some(Reason::Incomplete))),
        })
        .await?;
    }
}

/// A header's length, and whom it names; `None` while it is not whole.
type Parsed = Result<Option<(usize, Option<SocketAddr>)>, Reason>;

/// Reads the header that these bytes begin with.
fn parse(bytes: &[u8]) -> Parsed {
    if begins(bytes, SIGNATURE) {
        return parse_binary(bytes);
    }
    if !begins(bytes, LINE) {
        return Err(Reason::Missing);
    }
    let most = &bytes[..bytes.len().min(LONGEST_LINE)];
    match most.iter().position(|byte| *byte == b'\n') {
        Some(end) => parse_line(&bytes[..=end]).map(Some),
        None if bytes.len() >= LONGEST_LINE => Err(Reason::Invalid),
        None => Ok(None),
    }
}

/// Whether bytes begin with others, as far as they have come.
fn begins(bytes: &[u8], with: &[u8]) -> bool {
    let common = bytes.len().min(with.len());
    bytes[..common] == with[..common]
}

/// Version 2, whose length stands in its fixed part. A connection of the balancer's own (LOCAL) names nobody, whatever follows, and so
/// does one that has no IP address. What follows the addresses (TLVs) is skipped.
fn parse_binary(bytes: &[u8]) -> Parsed {
    let Some(fixed) = bytes.get(..FIXED) else { return Ok(None) };
    let length = FIXED + usize::from(u16::from_be_bytes([fixed[14], fixed[15]]));
    if length > LONGEST {
        return Err(Reason::Invalid);
    }
    let Some(header) = bytes.get(..length) else { return Ok(None) };
    match header[12] {
        0x20 => Ok(Some((length, None))),
        _ => decode(header).map(Some),
    }
}

/// Version 1: a line.
fn parse_line(line: &[u8]) -> Result<(usize, Option<SocketAddr>), Reason> {
    let ends = line.ends_with(b"\r\n");
    match line.strip_prefix(UNKNOWN) {
        Some([b' ' | b'\r', ..]) if ends => Ok((line.len(), None)),
        None if ends => decode(line),
        _ => Err(Reason::Invalid),
    }
}

/// Has the crate read a header that is whole.
fn decode(header: &[u8]) -> Result<(usize, Option<SocketAddr>), Reason> {
    let config = ParseConfig { include_tlvs: false, ..ParseConfig::default() };
    let (read, length) = ProxyHeader::parse(header, config).or(Err(Reason::Invalid))?;
    let address = match read.proxied_address() {
        // What came as a datagram is no connection.
        Some(proxied) if proxied.protocol != Protocol::Stream => return Err(Reason::Invalid),
        proxied => proxied.map(|proxied| proxied.source),
    };
    if length == header.len() { Ok((length, address)) } else { Err(Reason::Invalid) }
}

#[cfg(test)]
mod tests;
