//! The gateway's HTTP/1 client beside hyper's: both send the same request to the same instance over a pipe, without the rest of the
//! gateway, in one thread.

#[expect(dead_code, reason = "here nothing goes through the whole gateway")]
#[path = "../src/bin/instructions/rig.rs"]
mod rig;

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use criterion::Criterion;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, header};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use lictor::io::body::Body;
use lictor::upstream::Upstreams;
use lictor::upstream::instance::Settings;
use lictor::upstream::wire::{Head, Memory};
use lictor::worker::WorkerId;

/// The fields that the gateway adds to a client's.
const FIELDS: [(&str, &str); 7] = [
    ("x-forwarded-for", "127.0.0.1"),
    ("x-forwarded-proto", "http"),
    ("x-forwarded-host", "127.0.0.1:8101"),
    ("x-forwarded-prefix", "/api/user_service"),
    ("x-request-id", "0af7651916cd43dd8448eb211c80319c"),
    ("via", "1.1 lictor"),
    ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
];

const HOST: &str = "127.0.0.1:8101";

const CONFIGURATION: &str = include_str!("../measure/bare.toml");

fn main() {
    let mut criterion = Criterion::default().measurement_time(Duration::from_secs(5)).configure_from_args();
    let mut group = criterion.benchmark_group("client");
    group.bench_function("ours", |bencher| bencher.iter_custom(|requests| timed(ours(requests))));
    group.bench_function("hyper's", |bencher| bencher.iter_custom(|requests| timed(hypers(requests))));
    group.finish();
    criterion.final_summary();
}

/// How long it takes to send requests, one after the other on one connection.
fn timed(requests: impl Future<Output = Result<(), Box<dyn Error>>>) -> Duration {
    let runtime = tokio::runtime::LocalRuntime::new().expect("a runtime");
    let began = Instant::now();
    runtime.block_on(requests).expect("each request is answered");
    began.elapsed()
}

async fn ours(requests: u64) -> Result<(), Box<dyn Error>> {
    let resources = rig::parts(&Arc::new(rig::config(CONFIGURATION)?), Arc::default());
    let (connector, snapshot) = (resources.connector, resources.current.load());
    let upstreams = Upstreams::new(WorkerId(0), Settings { connector, idle: 1, idle_age: Duration::from_secs(60) });
    upstreams.follow(&snapshot.services);
    let service = upstreams.named("user_service").ok_or("the configuration has no user_service")?;
    let pick = service.pick(&[]).map_err(|why| format!("{why:?}"))?;
    let lease = pick.local.connect(Duration::from_secs(1)).await.map_err(|why| format!("{why:?}"))?;
    let (fields, memory) = (fields(), Memory::default());
    for _ in 0..requests {
        let head = Head {
            method: &Method::GET,
            target: "/users",
            authority: Some(HOST.as_bytes()),
            fields: &fields,
            trailers: false,
            websocket: false,
        };
        let answer = lease.connection.send(&head, Body::Empty, &memory).await.map_err(|why| format!("{why:?}"))?;
        let (head, body) = answer.into_parts();
        whole(body.collect().await?.to_bytes())?;
        memory.keep(head.headers);
    }
    Ok(())
}

async fn hypers(requests: u64) -> Result<(), Box<dyn Error>> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(rig::connect())).await?;
    tokio::task::spawn_local(connection);
    let fields = fields();
    for _ in 0..requests {
        let mut request = Request::get("/users").body(Empty::<Bytes>::new())?;
        request.headers_mut().insert(header::HOST, HeaderValue::from_static(HOST));
        request.headers_mut().extend(fields.iter().map(|(name, value)| (name.clone(), value.clone())));
        sender.ready().await?;
        let answer = sender.send_request(request).await?;
        whole(answer.into_body().collect().await?.to_bytes())?;
    }
    Ok(())
}

fn fields() -> HeaderMap {
    let field = |(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value));
    FIELDS.into_iter().map(field).collect()
}

fn whole(body: Bytes) -> Result<(), String> {
    if body.len() == 512 { Ok(()) } else { Err(format!("{} bytes came instead of 512", body.len())) }
}
