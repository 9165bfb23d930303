//! What a mock that misbehaves on command sends over its connections.

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::{Kind, Mock};

/// Sends one request, which has `Connection: close`, and reads until the connection ends.
async fn ask(mock: &Mock, request: &str) -> (String, std::io::Result<()>) {
    let mut stream = TcpStream::connect(mock.address).await.unwrap();
    stream.write_all(request.replace('\n', "\r\n").as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let end = stream.read_to_end(&mut answer).await.map(|_| ());
    (String::from_utf8_lossy(&answer).into_owned(), end)
}

const USERS: &str = "GET /users HTTP/1.1\nHost: x\nConnection: close\n\n";
const HEALTH: &str = "GET /health HTTP/1.1\nHost: x\nConnection: close\n\n";

async fn mock() -> Mock {
    Mock::start(Kind::User, 0).await.unwrap()
}

#[tokio::test]
async fn a_well_behaved_instance_answers_and_says_who_it_is() {
    let mock = Mock::named(Some("ada".into()), Kind::User, 0).await.unwrap();
    let (answer, end) = ask(&mock, USERS).await;
    assert!(end.is_ok() && answer.starts_with("HTTP/1.1 200 ") && answer.contains("x-instance: ada"), "{answer}");
    assert_eq!((mock.hits(), mock.seen()[0].line.as_str()), (1, "GET /users"));
}

#[tokio::test]
async fn a_reset_is_a_reset_and_no_orderly_end() {
    let mock = mock().await;
    mock.behave(|behaviour| behaviour.reset = true);
    let (answer, end) = ask(&mock, USERS).await;
    assert_eq!((answer.as_str(), end.unwrap_err().kind()), ("", ErrorKind::ConnectionReset));
}

#[tokio::test]
async fn a_hanging_instance_takes_requests_and_never_answers_but_stays_healthy() {
    let mock = mock().await;
    mock.behave(|behaviour| behaviour.hang = true);
    assert!(timeout(Duration::from_millis(100), ask(&mock, USERS)).await.is_err());
    assert_eq!(mock.hits(), 1);
    assert!(ask(&mock, HEALTH).await.0.starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn a_sick_instance_fails_only_its_check() {
    let mock = mock().await;
    mock.behave(|behaviour| behaviour.sick = true);
    assert!(ask(&mock, HEALTH).await.0.starts_with("HTTP/1.1 503 "));
    assert!(ask(&mock, USERS).await.0.starts_with("HTTP/1.1 200 "));
    assert_eq!(mock.hits(), 1);
}

#[tokio::test]
async fn bodies_break_off_come_slowly_or_are_not_http() {
    let mock = mock().await;
    mock.behave(|behaviour| behaviour.cut_body = true);
    let (answer, _) = ask(&mock, USERS).await;
    assert!(answer.contains("content-length: 1000") && answer.ends_with("[1, 2"), "{answer}");

    mock.behave(|behaviour| (behaviour.cut_body, behaviour.body_ms) = (false, 5));
    let began = Instant::now();
    let (answer, end) = ask(&mock, USERS).await;
    assert!(
        end.is_ok() && answer.contains("[{\"id\":1,\"name\":\r\n") && answer.ends_with("\r\n0\r\n\r\n"),
        "{answer}"
    );
    assert!(began.elapsed() >= Duration::from_millis(25), "{:?}", began.elapsed());

    mock.behave(|behaviour| behaviour.garbage = true);
    assert!(ask(&mock, USERS).await.0.starts_with("220 "));
    let heal = "POST /_mock/behaviour HTTP/1.1\nHost: x\nConnection: close\nContent-Length: 2\n\n{}";
    assert!(ask(&mock, heal).await.0.starts_with("HTTP/1.1 200 "));
    assert!(ask(&mock, USERS).await.0.starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn a_command_over_http_changes_and_heals_it_and_mistakes_are_refused() {
    let mock = mock().await;
    let command = |body: &str| {
        let head = "POST /_mock/behaviour HTTP/1.1\nHost: x\nConnection: close";
        format!("{head}\nContent-Length: {}\n\n{body}", body.len())
    };
    let fail = command("{\"error_percent\":100,\"error_status\":503,\"retry_after_s\":7}");
    assert!(ask(&mock, &fail).await.0.starts_with("HTTP/1.1 200 "));
    let (answer, _) = ask(&mock, USERS).await;
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("retry-after: 7"), "{answer}");
    let (answer, _) = ask(&mock, &command("{\"errors\":1}")).await;
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("unknown field"), "{answer}");
    assert!(ask(&mock, &command("{}")).await.0.starts_with("HTTP/1.1 200 "));
    assert!(ask(&mock, USERS).await.0.starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn the_echo_gives_a_body_back_with_its_trailers() {
    let head = "POST /echo/body HTTP/1.1\nHost: x\nConnection: close\nTE: trailers\nTrailer: x-sum\n";
    let request = format!("{head}Transfer-Encoding: chunked\n\n3\nabc\n0\nx-sum: 6\n\n");
    let (answer, end) = ask(&mock().await, &request).await;
    assert!(end.is_ok() && answer.contains("3\r\nabc\r\n0\r\nx-sum: 6"), "{answer}");
}

#[tokio::test]
async fn a_dropped_instance_is_gone_as_if_killed() {
    let mock = mock().await;
    let (address, mut stream) = (mock.address, TcpStream::connect(mock.address).await.unwrap());
    drop(mock);
    // The task that accepts owns both: when it ends, its listener closes, and its connections are aborted.
    assert!(matches!(stream.read(&mut [0; 1]).await, Ok(0) | Err(_)));
    assert_eq!(TcpStream::connect(address).await.unwrap_err().kind(), ErrorKind::ConnectionRefused);
}
