//! Instances that answer with 512 bytes.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::Outcome;

/// Starts two on the current runtime; where they listen.
pub(super) async fn start() -> Outcome<[String; 2]> {
    Ok([one().await?, one().await?])
}

async fn one() -> Outcome<String> {
    let listener = TcpListener::bind("127.0.0.1:0").await.map_err(|error| error.to_string())?;
    let address = listener.local_addr().map_err(|error| error.to_string())?;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream));
        }
    });
    Ok(address.to_string())
}

async fn serve(mut stream: TcpStream) {
    let _ = stream.set_nodelay(true);
    let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: 512\r\n\r\n{}", "x".repeat(512));
    let mut buffer = Vec::with_capacity(4096);
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
