//! The `lictor` command: arguments and exit code.

#![warn(clippy::print_stderr, clippy::print_stdout, reason = "they panic when nobody reads")]

#[cfg(all(feature = "jemalloc", not(target_env = "msvc")))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

use std::io::{IsTerminal, Read, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use lictor::config::watch::Source;
use lictor::config::{self, Config, Environment, Overrides};
use lictor::pages::doctor::Level;
use lictor::{telemetry, terminal};

/// An API gateway that reads Consul's catalog as it changes and routes to whatever is healthy now.
#[derive(Parser)]
#[command(version, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the gateway until SIGTERM or Ctrl-C.
    Run {
        /// The configuration; else $LICTOR_CONFIG, else defaults against the local agent, on loopback.
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        /// The port of the public listeners, whatever the configuration says.
        #[arg(long)]
        port: Option<u16>,
        /// The port of the admin listener, whatever the configuration says.
        #[arg(long)]
        admin_port: Option<u16>,
    },
    /// Check a configuration: exit code 0, or 1 with every mistake.
    Check {
        /// The configuration; else $LICTOR_CONFIG.
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
    /// Find out whether the agents, the token and the snapshot of a configuration work, and what would be served: exit code 0, or 1 when
    /// something fails.
    Doctor {
        /// The configuration; else $LICTOR_CONFIG, else defaults against the local agent.
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Show services, instances and breakers of a running gateway.
    Services {
        /// Only this one.
        service: Option<String>,
        #[command(flatten)]
        live: Live,
        #[command(flatten)]
        admin: AdminOptions,
    },
    /// Show who is how near which rate limit of a running gateway.
    Limits {
        /// Only this consumer.
        consumer: Option<String>,
        #[command(flatten)]
        live: Live,
        #[command(flatten)]
        admin: AdminOptions,
    },
    /// Show the issuers of tokens of a running gateway, their keys, and what became of tokens.
    Issuers {
        /// Only this one.
        issuer: Option<String>,
        #[command(flatten)]
        live: Live,
        #[command(flatten)]
        admin: AdminOptions,
    },
    /// Show the fleet of a running gateway: every gateway, and who disagrees with whom about what.
    Fleet {
        #[command(flatten)]
        live: Live,
        #[command(flatten)]
        admin: AdminOptions,
    },
    /// Show the aggregates of a running gateway, or try one.
    Compose {
        #[command(subcommand)]
        what: ComposeCommand,
    },
    /// Show or clear the cache of a running gateway.
    Cache {
        #[command(subcommand)]
        what: CacheCommand,
    },
    /// Print a configuration of every key with its default and what it means.
    Defaults,
    /// Print a JSON Schema of the configuration, for editors.
    Schema,
    /// Print what stands in the configuration for an API key, read from the standard input.
    HashKey,
    /// Print what stands in the configuration for a password, read from the standard input.
    HashPassword,
    /// Find out about tokens.
    Token {
        #[command(subcommand)]
        what: TokenCommand,
    },
}

#[derive(Subcommand)]
enum TokenCommand {
    /// Say what a gateway of this configuration says of a token, read from the standard input, and why: exit code 0, or 1 when it refuses
    /// it. The token goes nowhere; its issuer's keys are fetched.
    Explain {
        /// The configuration; else $LICTOR_CONFIG.
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
}

#[derive(Subcommand)]
enum ComposeCommand {
    /// Which calls run at once, what needs what, and how that went.
    Show {
        /// Only this one, with its last answers.
        compose: Option<String>,
        /// Ask for one, as a client would, and show when each part began and how long it took.
        #[arg(long = "try", value_name = "URL or PATH", conflicts_with = "watch")]
        target: Option<String>,
        /// A header of that request; more than one may be said. Without Authorization and X-Api-Key the key goes along.
        #[arg(short = 'H', long = "header", value_name = "NAME: VALUE", requires = "target")]
        headers: Vec<String>,
        #[command(flatten)]
        live: Live,
        #[command(flatten)]
        admin: AdminOptions,
    },
}

#[derive(Subcommand)]
enum CacheCommand {
    /// What it holds and did.
    Show {
        #[command(flatten)]
        live: Live,
        #[command(flatten)]
        admin: AdminOptions,
    },
    /// Clear all of it, or what the options say.
    Clear {
        /// What came from this service.
        #[arg(long)]
        service: Option<String>,
        /// What lies at or below this path, as clients ask for it.
        #[arg(long, value_name = "PREFIX")]
        path: Option<String>,
        #[command(flatten)]
        admin: AdminOptions,
    },
}

/// Which gateway is asked, and how the answer is shown. The key is $LICTOR_API_KEY; its consumer needs the role admin.
#[derive(clap::Args)]
struct AdminOptions {
    /// The gateway's admin address; else $LICTOR_ADMIN, else http://127.0.0.1:5001.
    #[arg(long, value_name = "URL")]
    admin: Option<String>,
    /// A file with the key, instead of $LICTOR_API_KEY.
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

/// Whether the answer is shown once or live.
#[derive(clap::Args)]
struct Live {
    /// Live: again every second, until Ctrl-C.
    #[arg(long)]
    watch: bool,
}

fn main() -> ExitCode {
    use terminal::Command as Ask;
    let env = Environment::from_process();
    match Arguments::parse().command {
        Command::Run { config, port, admin_port } => {
            let mut source = Source::new(config, Overrides { port, admin_port }, &env);
            match source.load() {
                Ok(config) => run(config, source, env.get("RUST_LOG")),
                Err(errors) => fail(&errors),
            }
        }
        Command::Check { config } => match Source::new(config, Overrides::default(), &env).load() {
            Ok(config) => report(&config),
            Err(errors) => fail(&errors),
        },
        Command::Doctor { config, json } => {
            let mut source = Source::new(config, Overrides::default(), &env);
            match source.load() {
                Ok(config) => examine(&config, &source.status().source, json, has_colour(&env)),
                Err(errors) => fail(&errors),
            }
        }
        Command::Services { service, live, admin } => ask(&Ask::Services(service), live.watch, admin, &env),
        Command::Limits { consumer, live, admin } => ask(&Ask::Limits(consumer), live.watch, admin, &env),
        Command::Issuers { issuer, live, admin } => ask(&Ask::Issuers(issuer), live.watch, admin, &env),
        Command::Fleet { live, admin } => ask(&Ask::Fleet, live.watch, admin, &env),
        Command::Compose { what: ComposeCommand::Show { compose, target: None, live, admin, .. } } => {
            ask(&Ask::Compose(compose), live.watch, admin, &env)
        }
        Command::Compose { what: ComposeCommand::Show { compose, target: Some(target), headers, admin, .. } } => {
            let trial = terminal::Trial { compose, target, headers };
            shown(options(false, admin, &env).and_then(|options| terminal::try_out(&trial, &options)))
        }
        Command::Cache { what: CacheCommand::Show { live, admin } } => ask(&Ask::Cache, live.watch, admin, &env),
        Command::Cache { what: CacheCommand::Clear { service, path, admin } } => {
            ask(&Ask::ClearCache { service, path }, false, admin, &env)
        }
        Command::Defaults => print(config::reference::DEFAULTS),
        Command::Schema => print(&format!("{:#}\n", config::reference::schema())),
        Command::HashKey => hash_key(),
        Command::HashPassword => hash_password(),
        Command::Token { what: TokenCommand::Explain { config } } => {
            match Source::new(config, Overrides::default(), &env).load() {
                Ok(config) => explain(&config),
                Err(errors) => fail(&errors),
            }
        }
    }
}

/// Runs the gateway until it is told to end.
fn run(config: Config, source: Source, filter: Option<&str>) -> ExitCode {
    let filter = filter.unwrap_or("info,hyper=warn,reqwest=warn,h2=warn,rustls=warn");
    if let Err(error) = telemetry::init(lictor::app::format(config.log.format, &std::io::stderr()), filter) {
        return fail(&error);
    }
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    if let Some(key) = &config.generated_key {
        telemetry::tell(&format_args!("No configuration, no LICTOR_API_KEY: for this run the API key is {key}"));
    }
    tracing::info!(version = env!("CARGO_PKG_VERSION"), workers = config.workers, "lictor starts");
    let code = match lictor::app::run(config, source) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    };
    telemetry::flush();
    code
}

/// The end of a check that found no mistake.
fn report(config: &Config) -> ExitCode {
    let warnings: String = config.warnings.iter().map(|warning| format!("warning: {warning}\n")).collect();
    let addresses: Vec<_> = config.listeners.iter().map(|listener| listener.address.to_string()).collect();
    print(&format!("{warnings}ok: {} worker(s), listening on {}\n", config.workers, addresses.join(", ")))
}

/// Examines what a configuration says of Consul.
fn examine(config: &Config, source: &str, json: bool, colour: bool) -> ExitCode {
    match lictor::app::examine(config, source) {
        Ok(page) => {
            let printed = print(&terminal::diagnosis(&page, json, colour));
            if page.count(Level::Fail) > 0 { ExitCode::FAILURE } else { printed }
        }
        Err(error) => fail(&error),
    }
}

/// Whether colours are wanted where the output is a terminal: <https://no-color.org>.
fn has_colour(env: &Environment) -> bool {
    env.get("NO_COLOR").is_none() && env.get("TERM") != Some("dumb")
}

/// Explains a token that is typed, or comes through a pipe.
fn explain(config: &Config) -> ExitCode {
    if std::io::stdin().is_terminal() {
        telemetry::tell(&"Paste the token, then Enter and Ctrl-D:");
    }
    let mut token = String::new();
    if let Err(error) = std::io::stdin().lock().take(65_536).read_to_string(&mut token) {
        return fail(&error);
    }
    match lictor::app::explain(config, config::trimmed(&token).as_bytes()) {
        Ok(said) => {
            let lines: String = said.lines.iter().map(|(what, text)| format!("{what:<10}{text}\n")).collect();
            let printed = print(&lines);
            if said.holds { printed } else { ExitCode::FAILURE }
        }
        Err(error) => fail(&error),
    }
}

/// Prints the digest of a key that is typed, or comes through a pipe.
fn hash_key() -> ExitCode {
    if std::io::stdin().is_terminal() {
        telemetry::tell(&"Type the key, then Enter and Ctrl-D:");
    }
    let mut key = String::new();
    if let Err(error) = std::io::stdin().lock().take(4096).read_to_string(&mut key) {
        return fail(&error);
    }
    let key = config::trimmed(&key);
    if !config::is_key(key) {
        return fail(&"a key is 1 to 256 visible ASCII characters without spaces, on one line");
    }
    let digits: String = config::digest(key).iter().map(|byte| format!("{byte:02x}")).collect();
    print(&format!("sha256:{digits}\n"))
}

/// Prints the hash of a password that is typed, or comes through a pipe.
fn hash_password() -> ExitCode {
    if std::io::stdin().is_terminal() {
        telemetry::tell(&"Type the password, then Enter and Ctrl-D:");
    }
    let mut password = String::new();
    if let Err(error) = std::io::stdin().lock().take(4096).read_to_string(&mut password) {
        return fail(&error);
    }
    let password = config::trimmed(&password);
    if password.is_empty() {
        return fail(&"an empty password opens nothing: type one");
    }
    match config::hash_password(password) {
        Ok(hash) => print(&format!("{hash}\n")),
        Err(why) => fail(&why),
    }
}

/// Asks a running gateway, and shows its answer.
fn ask(command: &terminal::Command, watch: bool, admin: AdminOptions, env: &Environment) -> ExitCode {
    shown(options(watch, admin, env).and_then(|options| terminal::run(command, &options)))
}

/// Which gateway is asked, with which key.
fn options(watch: bool, options: AdminOptions, env: &Environment) -> Result<terminal::Options, String> {
    let AdminOptions { admin, key_file, json } = options;
    let key = match &key_file {
        Some(file) => {
            let read = config::Secret::File(file.clone()).read();
            Some(read.map_err(|error| format!("{}: {error}", file.display()))?)
        }
        None => env.secret("LICTOR_API_KEY").map(str::to_owned),
    };
    Ok(terminal::Options {
        admin: admin.or_else(|| env.get("LICTOR_ADMIN").map(str::to_owned)),
        key,
        json,
        watch,
        colour: has_colour(env),
    })
}

fn shown(ended: Result<(), String>) -> ExitCode {
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => fail(&why),
    }
}

/// Prints a text. A reader that has left, as `head` does, is no failure.
fn print(text: &str) -> ExitCode {
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => fail(&error),
        _ => ExitCode::SUCCESS,
    }
}

fn fail(why: &dyn std::fmt::Display) -> ExitCode {
    telemetry::tell(why);
    ExitCode::FAILURE
}
