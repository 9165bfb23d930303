//! The command `mock-services`: one instance of one service, from its registration to its orderly end; or an issuer of tokens.

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use mock_services::register::Registration;
use mock_services::{Issuer, Kind, Mock};
use tokio::signal::unix::{SignalKind, signal};

/// How long the instance still serves after its deregistration, because clients learn of that later.
const LINGER: Duration = Duration::from_secs(2);

/// One instance of a small shop's service, or an issuer of tokens. It can be told to misbehave:
/// `curl -d '{"delay_ms":500}' http://127.0.0.1:PORT/_mock/behaviour`
/// (path, delay_ms, error_percent, error_status, retry_after_s, hang, reset, cut_body, body_ms, garbage, sick; `{}` heals).
///
/// An issuer changes its keys by `curl -X POST http://127.0.0.1:PORT/_mock/rotate`, signs whatever is sent to `/_mock/token`, and says what
/// is sent to `/_mock/settings`; see `mock_services::issuer`.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// user_service, product_service, order_service or issuer.
    #[arg(long, value_parser = Service::of)]
    service: Service,
    /// The port on 127.0.0.1; 0 lets the system choose.
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// The agent to register with; "none" registers nowhere. An issuer never registers.
    #[arg(long, env = "CONSUL_HTTP_ADDR", default_value = "http://127.0.0.1:8500")]
    consul: String,
    /// Its id in the agent's books, and what its answers carry in `X-Instance`; else its service and port.
    #[arg(long)]
    id: Option<String>,
}

/// What can be run.
#[derive(Clone, Copy)]
enum Service {
    Shop(Kind),
    Issuer,
}

impl Service {
    fn of(text: &str) -> Result<Service, &'static str> {
        match Kind::of(text) {
            Some(kind) => Ok(Service::Shop(kind)),
            None if text == "issuer" => Ok(Service::Issuer),
            None => Err("there are user_service, product_service, order_service and issuer"),
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run(Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> std::io::Result<()> {
    let mut term = signal(SignalKind::terminate())?;
    let mut int = signal(SignalKind::interrupt())?;
    let ended = async {
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
        }
    };
    let port = arguments.port;
    let taken = |error: std::io::Error| std::io::Error::new(error.kind(), format!("127.0.0.1:{port}: {error}"));
    let kind = match arguments.service {
        Service::Shop(kind) => kind,
        Service::Issuer => {
            let issuer = Issuer::start(port).await.map_err(taken)?;
            println!("issuer on {}", issuer.url());
            ended.await;
            return Ok(());
        }
    };
    let mock = Mock::named(arguments.id, kind, port).await.map_err(taken)?;
    println!("{} on http://{}", kind.service(), mock.address);
    let agent = match arguments.consul.as_str() {
        address if address.contains("://") => address.to_owned(),
        address => format!("http://{address}"),
    };
    if arguments.consul == "none" {
        ended.await;
        return Ok(());
    }
    // Registered, it serves until a signal comes; then it deregisters, and serves a little longer.
    tokio::pin!(ended);
    let registration = Registration::make(&agent, kind.service(), mock.name(), mock.address, ended.as_mut()).await;
    let Some(registration) = registration else { return Ok(()) };
    ended.await;
    registration.remove().await;
    tokio::time::sleep(LINGER).await;
    Ok(())
}
