//! PROXY headers on a pipe: what is one, how long is waited for it, and that not a byte behind it is lost.

use std::time::Duration;

use http::request::Parts;
use http::{HeaderValue, Response};
use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::time::Instant;

use super::super::Limits;
use super::super::deadlines::{Connections, TICK};
use super::*;
use crate::io::Door;
use crate::io::body::Body;
use crate::plane::MaybeFuture;

/// Version 2: command and version, family and protocol, and what follows.
fn binary(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let length = u16::try_from(rest.len()).expect("it is short").to_be_bytes();
    [SIGNATURE, &[command, family], &length, rest].concat()
}

/// Addresses of version 2: 203.0.113.7:50000 to 10.0.0.1:443, and then this.
fn from_four(more: &[u8]) -> Vec<u8> {
    [&[203, 0, 113, 7, 10, 0, 0, 1, 0xC3, 0x50, 1, 0xBB], more].concat()
}

fn source() -> SocketAddr {
    ([203, 0, 113, 7], 50_000).into()
}

/// Headers that are valid, and whom they name.
fn valid() -> Vec<(Vec<u8>, Option<SocketAddr>)> {
    let six = [&[0x20, 1, 0x0d, 0xb8], &[0; 11][..], &[1], &[0x20; 16], &[0xC3, 0x50, 1, 0xBB]].concat();
    let address = Some("[2001:db8::1]:50000".parse().expect("an address"));
    // A TLV of a certificate's name, which would be worth something if anything were believed of it.
    let tlv = [&[0x22, 0, 5][..], b"admin"].concat();
    vec![
        (b"PROXY TCP4 203.0.113.7 10.0.0.1 50000 443\r\n".to_vec(), Some(source())),
        (b"PROXY TCP6 2001:db8::1 2001:db8::2 50000 443\r\n".to_vec(), address),
        (b"PROXY UNKNOWN\r\n".to_vec(), None),
        (b"PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n".to_vec(), None),
        (binary(0x21, 0x11, &from_four(&[])), Some(source())),
        (binary(0x21, 0x11, &from_four(&tlv)), Some(source())),
        (binary(0x21, 0x11, &from_four(&[0xff; LONGEST - FIXED - 12])), Some(source())),
        (binary(0x21, 0x21, &six), address),
        (binary(0x21, 0x00, &[]), None),
        (binary(0x21, 0x31, &[b'/'; 216]), None),
        // The balancer's own connections, whatever else their headers say.
        (binary(0x20, 0x00, &[]), None),
        (binary(0x20, 0x11, &from_four(&[])), None),
        (binary(0x20, 0x11, &[]), None),
        (binary(0x20, 0x77, &[1, 2, 3]), None),
    ]
}

#[test]
fn a_header_of_either_version_names_its_source_and_one_of_the_balancer_itself_names_nobody() {
    for (header, address) in valid() {
        for cut in 0..header.len() {
            assert_eq!(parse(&header[..cut]), Ok(None), "{cut} bytes of {}", header.escape_ascii());
        }
        for behind in [&b""[..], b"GET / HTTP/1.1\r\n", &header] {
            let whole = [&header, behind].concat();
            assert_eq!(parse(&whole), Ok(Some((header.len(), address))), "{}", header.escape_ascii());
        }
    }
}

#[test]
fn what_is_no_header_is_seen_at_its_first_wrong_byte_and_what_is_wrong_in_one_when_it_is_whole() {
    for (bytes, reason) in [
        (b"GET / HTTP/1.1\r\n\r\n".to_vec(), Reason::Missing),
        (b"P".iter().chain(b"UT").copied().collect(), Reason::Missing),
        (b"PROXYTCP4 203.0.113.7 10.0.0.1 50000 443\r\n".to_vec(), Reason::Missing),
        (b"proxy TCP4 203.0.113.7 10.0.0.1 50000 443\r\n".to_vec(), Reason::Missing),
        (b"\r\n\r\nGET".to_vec(), Reason::Missing),
        (b"\x16\x03\x01".to_vec(), Reason::Missing),
        (b"PROXY \r\n".to_vec(), Reason::Invalid),
        (b"PROXY TCP4\r\n".to_vec(), Reason::Invalid),
        (b"PROXY TCP4 203.0.113.7 10.0.0.1 50000 443\n".to_vec(), Reason::Invalid),
        (b"PROXY TCP4 203.0.113.7 10.0.0.1 50000 443 \r\n".to_vec(), Reason::Invalid),
        (b"PROXY TCP4 203.0.113.7 10.0.0.1 50000\r\n".to_vec(), Reason::Invalid),
        (b"PROXY TCP4 203.0.113.7 10.0.0.1 50000 65536\r\n".to_vec(), Reason::Invalid),
        (b"PROXY TCP4  203.0.113.7 10.0.0.1 50000 443\r\n".to_vec(), Reason::Invalid),
        (b"PROXY TCP4 2001:db8::1 2001:db8::2 50000 443\r\n".to_vec(), Reason::Invalid),
        (b"PROXY UDP4 203.0.113.7 10.0.0.1 50000 443\r\n".to_vec(), Reason::Invalid),
        (b"PROXY UNKNOWNS\r\n".to_vec(), Reason::Invalid),
        (b"PROXY UNKNOWN\n".to_vec(), Reason::Invalid),
        ([&b"PROXY UNKNOWN "[..], &[b'x'; 93]].concat(), Reason::Invalid),
        ([&b"PROXY UNKNOWN "[..], &[b'x'; 93], b"\r\n"].concat(), Reason::Invalid),
        (binary(0x11, 0x11, &from_four(&[])), Reason::Invalid),
        (binary(0x22, 0x11, &from_four(&[])), Reason::Invalid),
        (binary(0x21, 0x12, &from_four(&[])), Reason::Invalid),
        (binary(0x21, 0x77, &from_four(&[])), Reason::Invalid),
        (binary(0x21, 0x11, &[1, 2, 3]), Reason::Invalid),
        (binary(0x21, 0x31, b"/short"), Reason::Invalid),
        // Too long, which its fixed part says already.
        (binary(0x21, 0x11, &from_four(&[0; LONGEST - FIXED - 11]))[..FIXED].to_vec(), Reason::Invalid),
        (binary(0x20, 0x00, &[0; 65_535])[..FIXED].to_vec(), Reason::Invalid),
    ] {
        assert_eq!(parse(&bytes), Err(reason), "{}", bytes.escape_ascii());
    }
}

proptest! {
    #[test]
    fn whatever_comes_is_read_without_a_panic_and_as_one_piece_or_many(
        begin in prop_oneof![Just(&b""[..]), Just(LINE), Just(UNKNOWN), Just(&b"PROXY TCP4 1.2.3.4 "[..]), Just(SIGNATURE)],
        rest in prop::collection::vec(any::<u8>(), 0..700),
    ) {
        let bytes = [begin, &rest].concat();
        let pieces = (0..=bytes.len()).map(|end| parse(&bytes[..end])).find(|parsed| *parsed != Ok(None));
        let whole = parse(&bytes);
        prop_assert_eq!(pieces.unwrap_or(Ok(None)), whole);
        if let Ok(Some((length, _))) = whole {
            prop_assert!(length <= bytes.len().min(LONGEST));
        }
        prop_assert!(whole != Ok(None) || bytes.len() < LONGEST, "nothing is waited for without end");
    }
}

/// Answers with who asked, and whether it is believed on others.
struct Who;

impl Handler for Who {
    type Sent = Response<Body>;

    fn call(&self, head: Parts, _: Body, client: &Rc<Client>) -> MaybeFuture<Response<Body>> {
        let mut response = Response::new(Body::Empty);
        let trusted = client.trusted.is_some();
        let who = format!("{} {} {} {trusted}", head.uri, client.address, client.forwarded_for.to_str().unwrap_or("?"));
        response.headers_mut().insert("who", HeaderValue::from_str(&who).expect("it is text"));
        MaybeFuture::Ready(response)
    }

    fn woken(&self) {}

    fn tick(&self) {}

    fn panicked(&self) -> Response<Body> {
        Response::new(Body::Empty)
    }
}

struct Rig {
    connections: Rc<Connections>,
    pulse: Arc<Pulse>,
    limits: Arc<Limits>,
}

impl Rig {
    fn new() -> Rig {
        let networks: Arc<[IpNet]> = ["10.0.0.0/8", "203.0.113.0/24"].map(|text| text.parse().expect("one")).into();
        let limits = Limits {
            connections: 9,
            head: Duration::from_secs(10),
            keep_alive: Duration::from_secs(75),
            write: Duration::from_secs(60),
            door: Door::Public,
            trusted: networks.clone(),
            balancers: Some(networks),
        };
        let connections = Rc::new(Connections::default());
        let ticking = connections.clone();
        tokio::task::spawn_local(async move {
            loop {
                tokio::time::sleep(TICK).await; // the worker's own tick
                ticking.sweep();
            }
        });
        Rig { connections, pulse: Pulse::new(1), limits: Arc::new(limits) }
    }

    /// The balancer's end of a new connection.
    fn open(&self) -> DuplexStream {
        let (ours, theirs) = tokio::io::duplex(4096);
        let client = Client::new(([10, 0, 0, 2], 999).into(), ([10, 0, 0, 1], 80).into(), Door::Public, &[].into());
        let listed = Listed::new(self.limits.clone(), &self.connections);
        tokio::task::spawn_local(serve(Io::Memory(theirs), client, Rc::new(Who), listed, self.pulse.clone(), ()));
        ours
    }

    /// How many connections were closed, by reason.
    fn refused(&self) -> [u64; 4] {
        Reason::ALL.map(|reason| self.pulse.unannounced.count(reason))
    }
}

fn paused(test: impl Future<Output = ()>) {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_all().start_paused(true).build_local(tokio::runtime::LocalOptions::default());
    runtime.expect("a runtime").block_on(test);
}

async fn write(stream: &mut DuplexStream, bytes: &[u8]) {
    stream.write_all(bytes).await.expect("it is read");
}

/// What so many answers say of who asked.
async fn who(stream: &mut DuplexStream, count: usize) -> Vec<String> {
    let mut got = String::new();
    while got.matches("\r\n\r\n").count() < count {
        got.push(char::from(stream.read_u8().await.unwrap_or_else(|_| panic!("it closed after {got:?}"))));
    }
    got.lines().filter_map(|line| line.strip_prefix("who: ")).map(str::to_owned).collect()
}

/// How long it takes until the connection closes, and that nothing was said before.
async fn closes(stream: &mut DuplexStream) -> Duration {
    let began = Instant::now();
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes).await;
    assert_eq!(bytes, b"");
    began.elapsed()
}

const TWO: &[u8] = b"GET /one HTTP/1.1\r\nHost: x\r\n\r\nGET /two HTTP/1.1\r\nHost: x\r\n\r\n";

#[test]
fn requests_behind_a_header_are_answered_in_one_piece_or_byte_by_byte_and_are_of_whom_it_names() {
    paused(async {
        let rig = Rig::new();
        for (header, address) in valid() {
            // One in a network that is trusted, one in none, and nobody, for whom the balancer's network does not count.
            let (address, trusted) = match address {
                Some(address) => (address, address.is_ipv4()),
                None => (([10, 0, 0, 2], 999).into(), false),
            };
            let said = ["/one", "/two"].map(|path| format!("{path} {address} {} {trusted}", address.ip()));
            let all = [&header, TWO].concat();
            let mut client = rig.open();
            write(&mut client, &all).await;
            assert_eq!(who(&mut client, 2).await, said, "{}", header.escape_ascii());
            let mut client = rig.open();
            for byte in &all {
                write(&mut client, &[*byte]).await;
                tokio::task::yield_now().await;
            }
            assert_eq!(who(&mut client, 2).await, said, "{}", header.escape_ascii());
            // It goes on as any other does.
            write(&mut client, TWO).await;
            assert_eq!(who(&mut client, 2).await, said);
        }
        assert_eq!(rig.refused(), [0; 4]);
    });
}

#[test]
fn a_connection_without_a_whole_header_after_a_second_is_closed_however_busy_it_is() {
    paused(async {
        let rig = Rig::new();
        let (silent, mut slow) = (&mut rig.open(), rig.open());
        assert!((1000..=1200).contains(&closes(silent).await.as_millis()));
        let header = b"PROXY TCP4 203.0.113.7 10.0.0.1 50000 443\r\n";
        let began = Instant::now();
        let mut sent = 0;
        for byte in header {
            if slow.write_u8(*byte).await.is_err() {
                break;
            }
            sent += 1;
            tokio::time::sleep(TICK).await; // a byte at a time
        }
        assert!(sent < 15 && began.elapsed() < Duration::from_millis(1400), "{sent} in {:?}", began.elapsed());
        assert_eq!(rig.refused(), [0, 0, 0, 2]);
        assert_eq!(rig.connections.count(), 0);
    });
}

#[test]
fn a_connection_that_begins_otherwise_is_closed_without_an_answer_and_counted_by_reason() {
    paused(async {
        let rig = Rig::new();
        for bytes in [&b"GET / HTTP/1.1\r\n\r\n"[..], b"PROXY UDP4 x\r\n", &binary(0x41, 0x11, &from_four(&[]))] {
            let mut client = rig.open();
            write(&mut client, bytes).await;
            assert_eq!(closes(&mut client).await, Duration::ZERO);
        }
        let mut breaks_off = rig.open();
        write(&mut breaks_off, b"PROXY TC").await;
        drop(breaks_off);
        // A balancer looks whether somebody listens, and says nothing.
        drop(rig.open());
        while rig.connections.count() > 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(rig.refused(), [0, 1, 2, 1]);
        assert_eq!(rig.pulse.unparsed.load(std::sync::atomic::Ordering::Relaxed), 0);
    });
}

#[test]
fn while_it_waits_for_a_header_a_connection_makes_room_and_ends_with_the_gateway_and_is_nobodys_fault() {
    paused(async {
        let rig = Rig::new();
        let mut waiting = rig.open();
        tokio::time::sleep(TICK * 3).await; // it has just come
        assert!(!rig.connections.make_room(&rig.limits));
        tokio::time::sleep(TICK * 4).await; // it is here for a while
        assert!(rig.connections.make_room(&rig.limits));
        assert!(closes(&mut waiting).await < TICK);
        let (mut late, mut prompt) = (rig.open(), rig.open());
        tokio::task::yield_now().await;
        rig.connections.drain();
        write(&mut prompt, &[b"PROXY UNKNOWN\r\n", TWO].concat()).await;
        assert_eq!(who(&mut prompt, 1).await, ["/one 10.0.0.2:999 10.0.0.2 false"]);
        assert!(closes(&mut late).await < TICK * 5);
        assert_eq!(rig.refused(), [0; 4]);
    });
}
