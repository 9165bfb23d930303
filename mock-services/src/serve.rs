//! Serves an instance: the shop or the issuer, an echo, health, and commands.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::behaviour::Behaviour;
use crate::reply::{Body, json_reply, name_instance};
use crate::shared::{Seen, Shared, Trade};
use crate::shop::Shop;
use crate::stream;

/// The size of the pieces of a slow body, in bytes.
const PIECE: usize = 16;

/// Accepts connections until it is dropped, which closes them, too.
pub(crate) async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => drop(connections.spawn(connection(stream, shared.clone()))),
                // As a rule there is no file descriptor left: after a pause some connections may have ended.
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Serves one connection.
async fn connection(stream: TcpStream, shared: Arc<Shared>) {
    let _ = stream.set_nodelay(true);
    shared.connections.fetch_add(1, Ordering::Relaxed);
    let _open = Open(shared.clone());
    if shared.behaviour().garbage && !is_command(&stream).await {
        return garbage(stream).await;
    }
    // A second handle of the socket, for a reset at the end.
    let resetting = socket2::SockRef::from(&stream).try_clone().ok();
    let service = service_fn(|request| answer(request, shared.clone()));
    let builder = hyper::server::conn::http1::Builder::new();
    let served = builder.serve_connection(TokioIo::new(stream), service).with_upgrades().await;
    if served.is_err_and(|error| error.is_user())
        && let Some(socket) = resetting
    {
        // Closing a socket that lingers for no time sends a reset instead of an orderly end.
        let _ = socket.set_linger(Some(Duration::ZERO));
    }
}

/// Counts a connection as open until it is dropped.
struct Open(Arc<Shared>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Whether a connection begins with a command, which is understood even while the mock answers with garbage: otherwise nothing
/// could heal it.
async fn is_command(stream: &TcpStream) -> bool {
    let mut start = [0; 64];
    stream.peek(&mut start).await.is_ok_and(|length| start[..length].windows(7).any(|part| part == b" /_mock"))
}

async fn garbage(mut stream: TcpStream) {
    let _ = stream.read(&mut [0; 4096]).await;
    let _ = stream.write_all(b"220 this is not HTTP\r\n\r\n").await;
    let _ = stream.shutdown().await;
}

/// The error by which hyper gives up the connection without a response.
#[derive(Debug)]
struct Reset;

impl std::fmt::Display for Reset {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("told to reset")
    }
}

impl std::error::Error for Reset {}

/// Answers one request as the instance behaves now.
async fn answer(request: Request<Incoming>, shared: Arc<Shared>) -> Result<Response<Body>, Reset> {
    let path = request.uri().path().to_owned();
    let behaviour = shared.behaviour().towards(&path);
    if path == "/health" {
        let status = if behaviour.sick { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
        return Ok(json_reply(&shared, status, &json!({ "healthy": !behaviour.sick })));
    }
    if path == "/_mock/behaviour" {
        return Ok(command(request, &shared).await);
    }
    if path.starts_with("/_mock/") {
        return Ok(issuing(request, &shared, true).await);
    }
    shared.hits.fetch_add(1, Ordering::Relaxed);
    shared.remember(seen(&request));
    if behaviour.hang {
        std::future::pending::<()>().await;
    }
    if behaviour.delay_ms > 0 {
        // A command asked for this delay.
        tokio::time::sleep(Duration::from_millis(behaviour.delay_ms)).await;
    }
    if behaviour.reset {
        return Err(Reset);
    }
    if behaviour.cut_body {
        return Ok(cut_off());
    }
    if fastrand::u8(0..100) < behaviour.error_percent {
        return Ok(failing(&shared, &behaviour));
    }
    let response = match path.as_str() {
        "/echo/body" => echo_body(request, &shared),
        "/ws" => stream::websocket(request, &shared),
        "/events" => stream::events(&shared),
        _ if path.starts_with("/echo") => echo(request, &shared).await,
        _ => match &shared.trade {
            Trade::Shop(shop) => shopping(request, &path, shop, &shared).await,
            Trade::Issuer(_) => issuing(request, &shared, false).await,
        },
    };
    Ok(if behaviour.body_ms > 0 { slowly(response, Duration::from_millis(behaviour.body_ms)) } else { response })
}

fn seen(request: &Request<Incoming>) -> Seen {
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    Seen {
        line: format!("{} {}", request.method(), request.uri()),
        headers: request.headers().iter().map(|(name, value)| (name.to_string(), text(value))).collect(),
    }
}

/// The response to a request that should fail.
fn failing(shared: &Shared, behaviour: &Behaviour) -> Response<Body> {
    let status = StatusCode::from_u16(behaviour.error_status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = json_reply(shared, status, &json!({ "error": "told to fail" }));
    if behaviour.retry_after_s > 0 {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(behaviour.retry_after_s));
    }
    response
}

/// Changes how the instance behaves, or shows it.
async fn command(request: Request<Incoming>, shared: &Shared) -> Response<Body> {
    let change = request.method() == Method::POST;
    let Ok(body) = request.into_body().collect().await else {
        return json_reply(shared, StatusCode::BAD_REQUEST, &json!({ "error": "the body broke off" }));
    };
    let mut behaviour = shared.behaviour.lock().expect("no one panics while holding this");
    if change {
        match serde_json::from_slice(&body.to_bytes()) {
            Ok(wanted) => *behaviour = wanted,
            Err(error) => {
                return json_reply(shared, StatusCode::BAD_REQUEST, &json!({ "error": error.to_string() }));
            }
        }
    }
    json_reply(shared, StatusCode::OK, &json!(*behaviour))
}

/// Passes a request to the shop.
async fn shopping(request: Request<Incoming>, path: &str, shop: &Shop, shared: &Shared) -> Response<Body> {
    let method = request.method().clone();
    let Ok(body) = request.into_body().collect().await else {
        return json_reply(shared, StatusCode::BAD_REQUEST, &json!({ "error": "the body broke off" }));
    };
    match shop.answer(&method, path, &body.to_bytes()) {
        Some(answer) => {
            let mut response = json_reply(shared, answer.status, &answer.body);
            if let Some(allow) = answer.allow {
                response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allow));
            }
            if let Some(location) = answer.location.and_then(|location| HeaderValue::from_str(&location).ok()) {
                response.headers_mut().insert(header::LOCATION, location);
            }
            response
        }
        None => nothing(shared, path),
    }
}

/// Passes a request, or a command, to the issuer.
async fn issuing(request: Request<Incoming>, shared: &Arc<Shared>, command: bool) -> Response<Body> {
    let (head, body) = request.into_parts();
    let Ok(body) = body.collect().await else {
        return json_reply(shared, StatusCode::BAD_REQUEST, &json!({ "error": "the body broke off" }));
    };
    let (path, handle) = (head.uri.path().to_owned(), shared.clone());
    // Keys for RSA take a tenth of a second to make.
    let answered = tokio::task::spawn_blocking(move || {
        let Trade::Issuer(issuer) = &handle.trade else { return None };
        let body = body.to_bytes();
        if command { issuer.command(&head, &body) } else { issuer.answer(&head, &body) }
    });
    match answered.await {
        Ok(Some(answer)) => {
            let mut response = json_reply(shared, answer.status, &answer.body);
            response.headers_mut().extend(answer.header);
            response
        }
        Ok(None) => nothing(shared, &path),
        Err(error) => json_reply(shared, StatusCode::INTERNAL_SERVER_ERROR, &json!({ "error": error.to_string() })),
    }
}

fn nothing(shared: &Shared, path: &str) -> Response<Body> {
    json_reply(shared, StatusCode::NOT_FOUND, &json!({ "error": format!("nothing is at {path}") }))
}

/// Answers with what the instance saw of the request, as JSON.
async fn echo(request: Request<Incoming>, shared: &Shared) -> Response<Body> {
    let Seen { line, headers } = seen(&request);
    let body = request.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let text = String::from_utf8_lossy(&body).into_owned();
    json_reply(
        shared,
        StatusCode::OK,
        &json!({ "instance": shared.name(), "line": line, "headers": headers, "body": text }),
    )
}

/// Sends the request's body back as it arrives, with its trailers.
fn echo_body(request: Request<Incoming>, shared: &Shared) -> Response<Body> {
    let trailer = request.headers().get(header::TRAILER).cloned();
    let mut response = Response::new(request.into_body().boxed());
    name_instance(response.headers_mut(), shared);
    if let Some(trailer) = trailer {
        response.headers_mut().insert(header::TRAILER, trailer);
    }
    response
}

/// The same response with its body in small pieces.
fn slowly(response: Response<Body>, pause: Duration) -> Response<Body> {
    let (head, mut body) = response.into_parts();
    let (mut sender, slow) = http_body_util::channel::Channel::<Bytes, hyper::Error>::new(1);
    tokio::spawn(async move {
        while let Some(Ok(frame)) = body.frame().await {
            let Ok(mut data) = frame.into_data() else { continue };
            while !data.is_empty() {
                // A command asked for this delay.
                tokio::time::sleep(pause).await;
                if sender.send_data(data.split_to(PIECE.min(data.len()))).await.is_err() {
                    return;
                }
            }
        }
    });
    Response::from_parts(head, slow.boxed())
}

/// A response whose head promises more than its body has.
fn cut_off() -> Response<Body> {
    let (mut sender, body) = http_body_util::channel::Channel::<Bytes, hyper::Error>::new(1);
    tokio::spawn(async move {
        let _ = sender.send_data(Bytes::from_static(b"[1, 2")).await;
        // hyper drops what it has not flushed when a body ends too early. The pause lets it send the beginning.
        tokio::time::sleep(Duration::from_millis(20)).await;
    });
    let mut response = Response::new(body.boxed());
    response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from_static("1000"));
    response
}

#[cfg(test)]
mod tests;
