//! The fake agent as a program, so that other gateways can be run against it: `fake-agent [AGENT-PORT] [COMMAND-PORT]`. It prints both
//! addresses, and ends with the process that started it: when its standard input ends.

use std::io::Read;
use std::net::SocketAddr;
use std::sync::Arc;

use integration::fake_agent::FakeAgent;

#[tokio::main]
#[expect(clippy::print_stdout, reason = "a program for scripts, which read where it listens")]
async fn main() {
    let mut ports = std::env::args().skip(1).map(|port| port.parse::<u16>().expect("a port"));
    let mut address = || SocketAddr::from(([127, 0, 0, 1], ports.next().unwrap_or(0)));
    let (agent, commands) = (address(), address());
    let agent = FakeAgent::start_on(agent).await;
    let listens = agent.address;
    let commands = FakeAgent::serve_commands(Arc::new(agent), commands).await;
    println!("{listens} {commands}");
    let _ = tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new())).await;
}
