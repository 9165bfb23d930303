//! The operator's terminal: the admin pages of a running gateway as tables.

mod canvas;
mod client;
mod compose;
mod doctor;
mod fleet;
mod issuers;
mod plain;
mod table;
mod trial;
mod waterfall;

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use serde_json::Value;

use canvas::Canvas;
use client::{Client, page};
use plain::{clean, clean_json};
use table::Style;

use crate::pages;

pub use client::Command;
pub use trial::Trial;

/// Where the admin pages are by default.
const ADMIN: &str = "http://127.0.0.1:5001";

/// The error of an output that nobody reads any more.
const CLOSED: &str = "the output was closed";

/// How often a live view is renewed.
const INTERVAL: Duration = Duration::from_secs(1);

/// Which gateway is asked, and how its answer is shown.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The gateway's admin address; else the default.
    pub admin: Option<String>,
    /// The key of a consumer with the role admin.
    pub key: Option<String>,
    /// The answer is shown as the JSON that it is.
    pub json: bool,
    /// It is shown again and again.
    pub watch: bool,
    /// It has colours, where the output is a terminal.
    pub colour: bool,
}

/// Sends a command to a gateway and shows the answer.
///
/// # Errors
/// Why there is no answer, as a sentence for the operator.
pub fn run(command: &Command, options: &Options) -> Result<(), String> {
    let (client, runtime) = begin(options)?;
    let ended = runtime.block_on(async {
        if !options.watch {
            return write(&show(&client.send(command).await?, command, options)?, options);
        }
        loop {
            // A gateway that is restarted does not end the view: the error is shown, and the gateway asked again.
            match client.send(command).await.and_then(|answer| show(&answer, command, options)) {
                Ok(text) => write(&text, options)?,
                Err(why) if options.json => crate::telemetry::tell(&clean(&why)),
                Err(why) => write(
                    &format!(
                        "{}
",
                        clean(&why)
                    ),
                    options,
                )?,
            }
            tokio::time::sleep(INTERVAL).await;
        }
    });
    ended_well(ended)
}

/// Asks a gateway for an aggregate, and shows what became of its parts.
///
/// # Errors
/// Why there is no answer, as a sentence for the operator.
pub fn try_out(trial: &Trial, options: &Options) -> Result<(), String> {
    let (client, runtime) = begin(options)?;
    ended_well(runtime.block_on(trial::made(trial, &client)).and_then(|tried| {
        let text = match options.json {
            true => clean_json(&format!("{:#}\n", serde_json::to_value(&tried).map_err(|why| why.to_string())?)),
            false => waterfall::waterfall(&tried, Canvas::of_stdout(options.colour)),
        };
        write(&text, options)
    }))
}

/// A client of the gateway, and what it runs on.
fn begin(options: &Options) -> Result<(Client, tokio::runtime::Runtime), String> {
    let Some(key) = &options.key else {
        return Err("whose key? Set LICTOR_API_KEY, or say --key-file; its consumer needs the role admin".into());
    };
    let client = Client::new(options.admin.as_deref().unwrap_or(ADMIN), key)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|e| e.to_string())?;
    Ok((client, runtime))
}

/// A reader that has left, as `head` does, is an ordinary end.
fn ended_well(ended: Result<(), String>) -> Result<(), String> {
    match ended {
        Err(why) if why == CLOSED => Ok(()),
        ended => ended.map_err(|why| clean(&why)),
    }
}

/// What `lictor doctor` found out, as text for the standard output.
pub fn diagnosis(page: &pages::doctor::Page, json: bool, colour: bool) -> String {
    doctor::text(page, json, Style { colour: colour && io::stdout().is_terminal() })
}

/// An answer as text.
fn show(answer: &Value, command: &Command, options: &Options) -> Result<String, String> {
    if options.json {
        // A live view has one answer a line, so that a program can read it.
        return Ok(clean_json(&if options.watch { format!("{answer}\n") } else { format!("{answer:#}\n") }));
    }
    let style = Style { colour: options.colour && io::stdout().is_terminal() };
    Ok(match command {
        Command::Services(_) => table::services(&page(answer, "services")?, style),
        Command::Limits(_) => table::limits(&page(answer, "limits")?, style),
        Command::Issuers(_) => issuers::issuers(&page(answer, "issuers")?, style),
        Command::Compose(None) => compose::all(&page(answer, "composes")?, Canvas::of_stdout(options.colour)),
        Command::Compose(Some(_)) => compose::one(&page(answer, "calls")?, Canvas::of_stdout(options.colour)),
        Command::Fleet => fleet::fleet(&page(answer, "gateways")?, style),
        Command::Cache => table::cache(&page(answer, "entries")?, style),
        Command::ClearCache { .. } => table::cleared(&page(answer, "cleared")?),
    })
}

fn write(text: &str, options: &Options) -> Result<(), String> {
    let mut out = io::stdout().lock();
    let page = match options.watch && !options.json && out.is_terminal() {
        // To the first line; each line erases what follows on it, and the last one all lines below.
        true => format!("\x1b[H{}\x1b[J", text.replace('\n', "\x1b[K\n")),
        false => text.to_owned(),
    };
    let written = out.write_all(page.as_bytes()).and_then(|()| out.flush());
    written.map_err(|error| match error.kind() {
        io::ErrorKind::BrokenPipe => CLOSED.to_owned(),
        _ => error.to_string(),
    })
}
