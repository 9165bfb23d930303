//! An issuer on loopback that misbehaves on command.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// How it answers a request.
#[derive(Clone, Debug)]
pub(super) enum Manner {
    /// With these bytes, as they are.
    Bytes(Vec<u8>),
    /// It reads the request, and says nothing.
    Hangs,
    /// It closes the connection.
    Dies,
}

/// A server on loopback.
pub(super) struct Server {
    /// Its origin.
    pub(super) origin: String,
    state: Arc<Mutex<State>>,
}

struct State {
    answer: Box<dyn FnMut(&str) -> Manner + Send>,
    /// The requests, each with its head and its body.
    heard: Vec<String>,
}

/// An answer with a status and some header lines.
pub(super) fn answer(status: &str, lines: &str, body: &[u8]) -> Manner {
    let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n{lines}\r\n", body.len());
    Manner::Bytes([head.as_bytes(), body].concat())
}

/// An answer with status 200.
pub(super) fn ok(body: &str) -> Manner {
    answer("200 OK", "Content-Type: application/json\r\n", body.as_bytes())
}

impl Server {
    /// Answers requests by their path.
    pub(super) async fn start(answer: impl FnMut(&str) -> Manner + Send + 'static) -> Server {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let origin = format!("http://{}", listener.local_addr().expect("an address"));
        let state = Arc::new(Mutex::new(State { answer: Box::new(answer), heard: Vec::new() }));
        let of_server = state.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, of_server.clone()));
            }
        });
        Server { origin, state }
    }

    /// From now on, it answers in another way.
    pub(super) fn becomes(&self, answer: impl FnMut(&str) -> Manner + Send + 'static) {
        self.state.lock().answer = Box::new(answer);
    }

    /// The requests so far.
    pub(super) fn heard(&self) -> Vec<String> {
        self.state.lock().heard.clone()
    }
}

async fn serve(mut stream: TcpStream, state: Arc<Mutex<State>>) {
    let mut request = String::new();
    loop {
        let mut bytes = [0; 8192];
        let read = stream.read(&mut bytes).await.unwrap_or(0);
        request += &String::from_utf8_lossy(&bytes[..read]);
        let Some((head, body)) = request.split_once("\r\n\r\n") else {
            if read == 0 {
                return;
            }
            continue;
        };
        let length = head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
        if body.len() >= length.unwrap_or(0) || read == 0 {
            break;
        }
    }
    let path = request.split(' ').nth(1).unwrap_or_default().to_owned();
    let manner = {
        let mut state = state.lock();
        state.heard.push(request);
        (state.answer)(&path)
    };
    match manner {
        Manner::Bytes(bytes) => drop(stream.write_all(&bytes).await),
        Manner::Hangs => drop(stream.read(&mut [0; 1]).await),
        Manner::Dies => {}
    }
}
