//! Responses that may last for hours: a WebSocket that echoes, and an event stream that counts.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

use crate::reply::{Body, json_reply, name_instance};
use crate::shared::Shared;

/// The time between two events.
const PACE: Duration = Duration::from_millis(200);

/// Answers with a WebSocket (RFC 6455) that sends its name and then echoes every message.
pub(crate) fn websocket(mut request: Request<Incoming>, shared: &Shared) -> Response<Body> {
    let Some(key) = request.headers().get(header::SEC_WEBSOCKET_KEY) else {
        return json_reply(shared, StatusCode::UPGRADE_REQUIRED, &json!({ "error": "this is a WebSocket" }));
    };
    let accept = derive_accept_key(key.as_bytes());
    let upgrade = hyper::upgrade::on(&mut request);
    let name = shared.name().to_owned();
    spawn(shared, async move {
        let Ok(upgraded) = upgrade.await else { return };
        let socket = WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, None).await;
        // The client may end it in any way it likes.
        let _ = echo(socket, name).await;
    });
    let mut response = Response::new(Empty::<Bytes>::new().map_err(|never| match never {}).boxed());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.extend(HeaderValue::from_str(&accept).map(|accept| (header::SEC_WEBSOCKET_ACCEPT, accept)));
    name_instance(headers, shared);
    response
}

type Socket = WebSocketStream<TokioIo<hyper::upgrade::Upgraded>>;

async fn echo(mut socket: Socket, name: String) -> Result<(), tokio_tungstenite::tungstenite::Error> {
    socket.send(Message::text(format!("{name} echoes"))).await?;
    while let Some(message) = socket.next().await {
        let message = message?;
        if message.is_text() || message.is_binary() {
            socket.send(message).await?;
        }
    }
    Ok(())
}

/// Answers with numbered server-sent events until the client leaves.
pub(crate) fn events(shared: &Shared) -> Response<Body> {
    let (mut sender, body) = http_body_util::channel::Channel::<Bytes, hyper::Error>::new(1);
    let name = shared.name().to_owned();
    spawn(shared, async move {
        for number in 1_u64.. {
            let event = format!("id: {number}\ndata: {name} {number}\n\n");
            if sender.send_data(Bytes::from(event)).await.is_err() {
                return;
            }
            // The stream sends an event at a fixed pace.
            tokio::time::sleep(PACE).await;
        }
    });
    let mut response = Response::new(BoxBody::new(body));
    name_instance(response.headers_mut(), shared);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    response
}

/// Runs a stream on a task that ends with the instance.
fn spawn(shared: &Shared, stream: impl Future<Output = ()> + Send + 'static) {
    let mut streams = shared.streams.lock().expect("no one panics while holding this");
    while streams.try_join_next().is_some() {}
    streams.spawn(stream);
}
