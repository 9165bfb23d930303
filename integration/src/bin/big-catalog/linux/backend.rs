//! Instances that answer: each says its port.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Starts so many on the current runtime; where they listen.
pub(super) async fn start(count: usize) -> Result<Vec<u16>, String> {
    let mut ports = Vec::new();
    for _ in 0..count {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let listener = TcpListener::bind(any).await.map_err(|error| error.to_string())?;
        let port = listener.local_addr().map_err(|error| error.to_string())?.port();
        ports.push(port);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, port));
            }
        });
    }
    Ok(ports)
}

async fn serve(mut stream: TcpStream, port: u16) {
    let _ = stream.set_nodelay(true);
    let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n{port:05}");
    let mut buffer = Vec::new();
    loop {
        match stream.read_buf(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(_) if buffer.ends_with(b"\r\n\r\n") => buffer.clear(),
            Ok(_) => continue,
        }
        if stream.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}
