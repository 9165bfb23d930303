//! Three services in a thread of this process. `GET /BYTES/MILLISECONDS` is answered with a JSON document of so many bytes after so long.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use integration::measure::system::Outcome;
use serde_json::{Map, Value};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

/// Their names, which are those of the parts.
pub(super) const NAMES: [&str; 3] = ["order", "user", "product"];

/// Where they listen, in the order of their names.
pub(super) struct Services(pub(super) [SocketAddr; 3]);

/// What a service is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Part {
    pub(super) bytes: usize,
    /// Milliseconds.
    pub(super) delay: u32,
}

impl Part {
    /// The path that asks for it.
    pub(super) fn path(self) -> String {
        format!("/{}/{}", self.bytes, self.delay)
    }

    fn parse(path: &str) -> Option<Part> {
        let (bytes, delay) = path.strip_prefix('/')?.split_once('/')?;
        Some(Part { bytes: bytes.parse().ok()?, delay: delay.parse().ok()? })
    }
}

impl Services {
    /// Starts them. Their thread runs where this one may, for as long as this process does.
    pub(super) fn start() -> Outcome<Services> {
        let failed = |error: std::io::Error| format!("the services: {error}");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
        let listeners = runtime.block_on(async { [listen(), listen(), listen()] });
        let [first, second, third] = listeners;
        let listeners = [first.map_err(failed)?, second.map_err(failed)?, third.map_err(failed)?];
        let mut addresses = Vec::new();
        for (listener, name) in listeners.into_iter().zip(NAMES) {
            addresses.push(listener.local_addr().map_err(failed)?);
            runtime.spawn(accept(listener, name));
        }
        std::thread::spawn(move || runtime.block_on(std::future::pending::<()>()));
        let addresses = addresses.try_into().map_err(|_| "as many services as names")?;
        Ok(Services(addresses))
    }
}

/// Listens with a queue for all connections of the step `memory` at once.
fn listen() -> std::io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::from(([127, 0, 0, 1], 0)))?;
    socket.listen(4096)
}

/// What a service answers with, made when it is asked for the first time.
struct Answers {
    name: &'static str,
    made: Mutex<HashMap<Part, Arc<[u8]>>>,
}

impl Answers {
    fn of(&self, part: Part) -> Arc<[u8]> {
        let mut made = self.made.lock().expect("no one panics while holding this");
        made.entry(part).or_insert_with(|| answer(self.name, part)).clone()
    }
}

async fn accept(listener: TcpListener, name: &'static str) {
    let answers = Arc::new(Answers { name, made: Mutex::default() });
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(serve(stream, answers.clone()));
    }
}

async fn serve(mut stream: TcpStream, answers: Arc<Answers>) {
    let _ = stream.set_nodelay(true);
    let mut buffer = Vec::with_capacity(4096);
    loop {
        match stream.read_buf(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(_) if buffer.ends_with(b"\r\n\r\n") => {}
            Ok(_) => continue,
        }
        let Some(part) = asked(&buffer) else { return };
        buffer.clear();
        let answer = answers.of(part);
        if part.delay > 0 {
            tokio::time::sleep(Duration::from_millis(u64::from(part.delay))).await; // the part is slow
        }
        if stream.write_all(&answer).await.is_err() {
            return;
        }
    }
}

/// What a request without a body asks for.
fn asked(head: &[u8]) -> Option<Part> {
    let line = std::str::from_utf8(head).ok()?.lines().next()?;
    Part::parse(line.split(' ').nth(1)?)
}

fn answer(name: &str, part: Part) -> Arc<[u8]> {
    let body = document(name, part.bytes);
    let fields = format!("Content-Type: application/json\r\nContent-Length: {}", body.len());
    format!("HTTP/1.1 200 OK\r\n{fields}\r\n\r\n{body}").into_bytes().into()
}

/// A document of so many bytes, 200 at least. Its numbers are those that all peers pass on as they are.
fn document(name: &str, bytes: usize) -> String {
    let mut text = format!(r#"{{"service":"{name}","id":9007199254740991,"total":1234.5,"open":true,"lines":["#);
    let (between, end) = (r#"],"note":""#, r#""}"#);
    let mut lines = 0;
    loop {
        let comma = if lines > 0 { "," } else { "" };
        let line = format!(
            r#"{comma}{{"product":{lines},"name":"Product {lines}","price":{lines}.25,"sizes":["S","M"],"left":null}}"#
        );
        if text.len() + line.len() + between.len() + end.len() > bytes {
            break;
        }
        text += &line;
        lines += 1;
    }
    text += between;
    let missing = bytes.saturating_sub(text.len() + end.len());
    text += &"a".repeat(missing);
    text + end
}

/// What an aggregate of these parts is: an object with a member for each service.
pub(super) fn aggregate(bytes: usize) -> Value {
    let member = |name: &str| (name.to_owned(), serde_json::from_str(&document(name, bytes)).unwrap_or_default());
    Value::Object(Map::from_iter(NAMES.map(member)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_is_json_of_the_size_that_is_asked_for() {
        for bytes in [200, 2048, 102_400] {
            let text = document("order", bytes);
            assert_eq!(text.len(), bytes);
            let value: Value = serde_json::from_str(&text).expect("JSON");
            assert_eq!(value["service"], "order");
        }
    }

    #[test]
    fn the_path_of_a_part_asks_for_it() {
        let part = Part { bytes: 2048, delay: 20 };
        let head = format!("GET {} HTTP/1.1\r\nHost: a\r\n\r\n", part.path());
        assert_eq!(asked(head.as_bytes()), Some(part));
        assert_eq!(asked(b"GET /page HTTP/1.1\r\n\r\n"), None);
    }
}
