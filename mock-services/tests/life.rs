//! The program from start to end: it registers itself, serves, and deregisters in order; an issuer registers nowhere.

#![expect(clippy::unwrap_used, reason = "a test and its helpers")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// Receives one request in place of an agent and answers it with `status`. Returns its first line and its body.
fn receive(agent: &TcpListener, status: &str) -> (String, Vec<u8>) {
    let (mut stream, _) = agent.accept().unwrap();
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let (mut first, mut length) = (String::new(), 0);
    reader.read_line(&mut first).unwrap();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        match line.trim().to_ascii_lowercase().split_once(':') {
            Some(("content-length", value)) => length = value.trim().parse().unwrap(),
            Some(_) => {}
            None => break,
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    write!(stream, "HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").unwrap();
    (first.trim().to_owned(), body)
}

fn healthy(address: &str) -> bool {
    let Ok(mut stream) = TcpStream::connect(address) else { return false };
    let mut answer = String::new();
    write!(stream, "GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    stream.read_to_string(&mut answer).is_ok_and(|_| answer.starts_with("HTTP/1.1 200 "))
}

/// A program that is killed at the end of the test, in whatever way that ends.
struct Ends(Child);

impl Drop for Ends {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn it_registers_itself_until_the_agent_takes_it_and_on_sigterm_deregisters_serves_on_and_exits_0() {
    let agent = TcpListener::bind("127.0.0.1:0").unwrap();
    // On Linux this timeout holds for accept, too: a request that never comes fails the test instead of hanging it.
    socket2::SockRef::from(&agent).set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let program = Command::new(env!("CARGO_BIN_EXE_mock-services"))
        .args(["--service", "order_service", "--id", "order-a", "--consul", &agent.local_addr().unwrap().to_string()])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let mut program = Ends(program.unwrap());
    // The first try is refused, so there is a second one.
    receive(&agent, "500 Not Ready");
    let (line, body) = receive(&agent, "200 OK");
    assert_eq!(line, "PUT /v1/agent/service/register?replace-existing-checks=true HTTP/1.1");
    let body: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(
        (&body["Name"], &body["ID"], &body["Tags"][0]),
        (&"order_service".into(), &"order-a".into(), &"gateway".into())
    );
    let address = format!("127.0.0.1:{}", body["Port"]);
    assert_eq!(body["Check"]["HTTP"], format!("http://{address}/health"));
    assert!(healthy(&address));

    kill_process(Pid::from_raw(program.0.id().try_into().unwrap()).unwrap(), Signal::TERM).unwrap();
    let (line, _) = receive(&agent, "200 OK");
    let deregistered = Instant::now();
    assert_eq!(line, "PUT /v1/agent/service/deregister/order-a HTTP/1.1");
    assert!(healthy(&address), "it ended at once, though others may not know yet");
    let status = program.0.wait().unwrap();
    assert!(status.success(), "{status}");
    assert!(deregistered.elapsed() >= Duration::from_millis(1900), "it served for {:?} only", deregistered.elapsed());
}

#[test]
fn an_issuer_says_where_it_is_asks_no_agent_and_on_sigterm_exits_0() {
    let agent = TcpListener::bind("127.0.0.1:0").unwrap();
    agent.set_nonblocking(true).unwrap();
    let program = Command::new(env!("CARGO_BIN_EXE_mock-services"))
        .args(["--service", "issuer", "--consul", &agent.local_addr().unwrap().to_string()])
        .stdout(Stdio::piped())
        .spawn();
    let mut program = Ends(program.unwrap());
    let mut line = String::new();
    BufReader::new(program.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let address = line.trim().strip_prefix("issuer on http://").unwrap();
    assert!(healthy(address));
    kill_process(Pid::from_raw(program.0.id().try_into().unwrap()).unwrap(), Signal::TERM).unwrap();
    assert!(program.0.wait().unwrap().success());
    assert_eq!(agent.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
}
