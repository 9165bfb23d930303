//! The `mock-services` command: one instance of one service, from registration to orderly end.

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use mock_services::register::Registration;
use mock_services::{Kind, Mock};
use tokio::signal::unix::{SignalKind, signal};

/// How long it still serves after it deregistered: whoever learns late may still ask.
const LINGER: Duration = Duration::from_secs(2);

/// One instance of a small shop's service. It can be told to misbehave:
/// `curl -d '{"delay_ms":500}' http://127.0.0.1:PORT/_mock/behaviour`
/// (delay_ms, error_percent, error_status, retry_after_s, hang, reset, cut_body, garbage, sick; `{}` heals).
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
    let mock = Mock::start(arguments.service, arguments.port).await?;
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
    tokio::pin!(ended);
    let registration = tokio::select! {
        registration = Registration::make(&agent, arguments.service.service(), mock.address) => registration,
        () = &mut ended => return Ok(()),
    };
    ended.await;
    registration.remove().await;
    tokio::time::sleep(LINGER).await;
    Ok(())
}
