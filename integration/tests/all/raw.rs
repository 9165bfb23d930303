//! Sends the raw requests of a file of cases, and checks the responses, what the instance saw, and whether the connection closed.

use std::net::SocketAddr;
use std::time::Duration;

use integration::client::KEY;
use integration::world::{World, service};
use mock_services::{Kind, Mock, Seen};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

struct Case<'a> {
    name: &'a str,
    send: Vec<u8>,
    status: Vec<u16>,
    /// The response may be lost in the reset that follows it.
    losable: bool,
    upstream: &'a str,
    close: &'a str,
}

fn cases() -> Vec<Case<'static>> {
    let text = include_str!("raw_cases.txt");
    let blocks = text.split("\n## ").skip(1);
    blocks
        .map(|block| {
            let field = |name: &str| {
                let line = block.lines().find_map(|line| line.strip_prefix(&format!("{name}: ")));
                line.unwrap_or_else(|| panic!("no {name} in {block}"))
            };
            let losable = field("status").ends_with('?');
            let status = field("status")
                .trim_end_matches('?')
                .split(' ')
                .filter(|s| *s != "-")
                .map(|s| s.parse().expect("a status"))
                .collect();
            let name = block.lines().next().unwrap_or_default();
            Case {
                name,
                send: bytes(field("send")),
                status,
                losable,
                upstream: field("upstream"),
                close: field("close"),
            }
        })
        .collect()
}

/// The bytes that a case sends, with its escapes and repetitions replaced.
fn bytes(text: &str) -> Vec<u8> {
    let mut text = text.replace("{h}", "Host: a\\r\\n").replace("{k}", &format!("X-API-Key: {KEY}\\r\\n"));
    while let Some(start) = text.find("*").filter(|&at| at >= 2 && text.as_bytes()[at - 2] == b'{') {
        let end = start + text[start..].find('}').expect("a closed repetition");
        let many = text[start - 1..start].repeat(text[start + 1..end].parse().expect("a number"));
        text.replace_range(start - 2..=end, &many);
    }
    let mut out = Vec::new();
    let mut rest = text.as_bytes();
    while let [byte, after @ ..] = rest {
        rest = after;
        if *byte != b'\\' {
            out.push(*byte);
            continue;
        }
        match rest {
            [b'x', high, low, after @ ..] => {
                let hex = [*high, *low];
                out.push(u8::from_str_radix(std::str::from_utf8(&hex).expect("hex"), 16).expect("hex"));
                rest = after;
            }
            [letter, after @ ..] => {
                out.push(match letter {
                    b'r' => b'\r',
                    b'n' => b'\n',
                    b't' => b'\t',
                    b'0' => 0,
                    other => *other,
                });
                rest = after;
            }
            [] => {}
        }
    }
    out
}

/// A connection, and bytes of it that were read and not used yet.
struct Wire {
    stream: TcpStream,
    read: Vec<u8>,
}

impl Wire {
    async fn open(address: SocketAddr) -> Wire {
        Wire { stream: TcpStream::connect(address).await.expect("the gateway accepts"), read: Vec::new() }
    }

    /// Reads more bytes. Returns false at the end.
    async fn more(&mut self) -> bool {
        let mut buffer = vec![0; 65536];
        let read = tokio::time::timeout(Duration::from_secs(5), self.stream.read(&mut buffer)).await;
        let count = read.expect("something comes within 5 s").unwrap_or(0);
        self.read.extend_from_slice(&buffer[..count]);
        count > 0
    }

    /// Reads the next response. Returns its status; `None` at the end.
    async fn answer(&mut self, head_only: bool) -> Option<u16> {
        let end = loop {
            if let Some(at) = self.read.windows(4).position(|four| four == b"\r\n\r\n") {
                break at + 4;
            }
            if !self.more().await {
                return None;
            }
        };
        let head = String::from_utf8_lossy(&self.read[..end]).to_lowercase();
        self.read.drain(..end);
        let status: u16 = head.split(' ').nth(1)?.parse().ok()?;
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
        if status >= 200 && status != 204 && !head_only {
            let length = length.unwrap_or_else(|| panic!("an answer without a length: {head}"));
            while self.read.len() < length {
                assert!(self.more().await, "the body broke off");
            }
            self.read.drain(..length);
        }
        Some(status)
    }

    async fn closed(&mut self) -> bool {
        while self.more().await {}
        true
    }

    async fn serves(&mut self) -> bool {
        let _ = self.stream.write_all(b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n").await;
        self.answer(false).await == Some(200)
    }
}

fn check_upstream(name: &str, wanted: &str, seen: &[Seen]) {
    if wanted == "any" {
        return;
    }
    let mut parts = wanted.split(" | ");
    let line = parts.next().unwrap_or_default();
    if line == "-" {
        assert!(seen.is_empty(), "{name}: the instance saw {seen:?}");
        return;
    }
    assert_eq!(seen.len(), 1, "{name}: the instance saw {seen:?}");
    assert_eq!(seen[0].line, line, "{name}");
    for part in parts {
        let values =
            |key: &str| seen[0].headers.iter().filter(|(n, _)| n == key).map(|(_, v)| v.clone()).collect::<Vec<_>>();
        match part.split_once(": ") {
            Some((key, value)) => assert_eq!(values(key), [value], "{name}: {key}"),
            None => assert!(values(&part[1..]).is_empty(), "{name}: {part} came through"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_raw_request_of_the_file_gets_its_answer_and_nothing_else_reaches_the_instance() {
    let mock = Mock::start(Kind::User, 0).await.expect("a mock");
    let routes = "
[[route]]
path = { prefix = \"/p\" }
strip = \"/p\"
service = \"echo\"
cors = { origins = [\"https://a.example\"], methods = [\"PUT\"] }

[[route]]
path = { exact = \"/exact\" }
auth = false
respond = { body = \"here\" }
";
    let world = World::of(&(service("echo", &[&mock]) + routes)).await;
    let cases = cases();
    assert!(cases.len() >= 100, "{} cases", cases.len());
    let mut wrong = Vec::new();
    for case in cases {
        let before = mock.seen().len();
        let (name, address) = (case.name, world.address);
        // Each case runs on its own task, so that a wrong one does not hide the others.
        match tokio::spawn(play(case, address)).await {
            Err(_) => wrong.push(name),
            Ok(upstream) => {
                let seen = mock.seen();
                let check = std::panic::catch_unwind(|| check_upstream(name, upstream, &seen[before..]));
                wrong.extend(check.is_err().then_some(name));
            }
        }
    }
    assert!(wrong.is_empty(), "{} cases: {wrong:#?}", wrong.len());
}

/// Sends a case and checks the responses. Returns what the instance should have seen, for the caller to check.
async fn play(case: Case<'static>, address: SocketAddr) -> &'static str {
    let mut wire = Wire::open(address).await;
    let _ = wire.stream.write_all(&case.send).await;
    let head_only = case.send.starts_with(b"HEAD");
    let mut got = Vec::new();
    for _ in 0..case.status.len() {
        got.extend(wire.answer(head_only).await);
    }
    assert!(
        got == case.status || case.losable && got.is_empty(),
        "{}: {got:?} instead of {:?}",
        case.name,
        case.status
    );
    match case.close {
        "yes" => assert!(wire.closed().await, "{}: still open", case.name),
        "no" => assert!(wire.serves().await, "{}: closed", case.name),
        _ => {}
    }
    case.upstream
}
