//! The command `mock-services`: one instance of one service, from its registration to its orderly end.

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use mock_services::register::Registration;
use mock_services::{Kind, Mock};
use tokio::signal::unix::{SignalKind, signal};

/// How long the instance still serves after its deregistration, because clients learn of that later.
const LINGER: Duration = Duration::from_secs(2);

/// One instance of a small shop's service. It can be told to misbehave:
/// `curl -d '{"delay_ms":500}' http://127.0.0.1:PORT/_mock/behaviour`
/// (delay_ms, error_percent, error_status, retry_after_s, hang, reset, cut_body, body_ms, garbage, sick; `{}` heals).
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// user_service, product_service or order_service.
    #[arg(long, value_parser = |text: &str| Kind::of(text).ok_or("there are user_service, product_service and order_service"))]
    service: Kind,
    /// The port on 127.0.0.1; 0 lets the system choose.
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// The agent to register with; "none" registers nowhere.
    #[arg(long, env = "CONSUL_HTTP_ADDR", default_value = "http://127.0.0.1:8500")]
    consul: String,
    /// Its id in the agent's books, and what its answers carry in `X-Instance`; else its service and port.
    #[arg(long)]
    id: Option<String>,
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
    let mock = Mock::named(arguments.id, arguments.service, arguments.port).await;
    let mock =
        mock.map_err(|error| std::io::Error::new(error.kind(), format!("127.0.0.1:{}: {error}", arguments.port)))?;
    println!("{} on http://{}", arguments.service.service(), mock.address);
    let agent = match arguments.consul.as_str() {
        address if address.contains("://") => address.to_owned(),
        address => format!("http://{address}"),
    };
    let ended = async {
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
        }
    };
    if arguments.consul == "none" {
        ended.await;
        return Ok(());
    }
    // Registered, it serves until a signal comes; then it deregisters, and serves a little longer.
    tokio::pin!(ended);
    let service = arguments.service.service();
    let registration = Registration::make(&agent, service, mock.name(), mock.address, ended.as_mut()).await;
    let Some(registration) = registration else { return Ok(()) };
    ended.await;
    registration.remove().await;
    tokio::time::sleep(LINGER).await;
    Ok(())
}
