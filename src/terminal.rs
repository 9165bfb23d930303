//! The operator's terminal: what the admin pages of a running gateway say, as tables.

mod client;
mod table;

use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use client::Client;
use table::Style;

/// Where the admin pages are when nothing is said.
const ADMIN: &str = "http://127.0.0.1:5001";

/// Nobody reads any more.
const GONE: &str = "the output was closed";

/// The pace of a live view.
const PACE: Duration = Duration::from_secs(1);

/// What is asked of a gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Question {
    /// Services and their instances, or those of one.
    Services(Option<String>),
    /// Who is how near which limit; or one consumer.
    Limits(Option<String>),
    /// What the cache holds and did.
    Cache,
    /// To clear it: all, what belongs to a service, what lies below a path.
    Clear(Option<String>, Option<String>),
}

/// How it is asked, and shown.
#[derive(Clone, Debug, Default)]
pub struct Manner {
    /// The gateway's admin address; else the default.
    pub admin: Option<String>,
    /// The key of a consumer with the role admin.
    pub key: Option<String>,
    /// A file with that key.
    pub key_file: Option<PathBuf>,
    /// As JSON.
    pub json: bool,
    /// Again and again.
    pub watch: bool,
    /// Colours, where the output is a terminal.
    pub colour: bool,
}

/// Asks and shows.
///
/// # Errors
/// Why there is no answer, in words for the operator.
pub fn run(question: &Question, manner: &Manner) -> Result<(), String> {
    let key = match (&manner.key_file, &manner.key) {
        (Some(file), _) => {
            let text = std::fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
            text.trim().to_owned()
        }
        (None, Some(key)) => key.clone(),
        (None, None) => {
            return Err("whose key? Set LICTOR_API_KEY, or say --key-file; its consumer needs the role admin".into());
        }
    };
    let client = Client::new(manner.admin.as_deref().unwrap_or(ADMIN), &key)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|e| e.to_string())?;
    let ended = runtime.block_on(async {
        if !manner.watch {
            return show(&client.ask(question).await?, question, manner);
        }
        loop {
            // A gateway that restarts is shown as such, and looked for again.
            match client.ask(question).await {
                Ok(answer) => show(&answer, question, manner)?,
                Err(why) if manner.json => eprintln!("{why}"),
                Err(why) => write(&format!("{why}\n"), manner)?,
            }
            tokio::time::sleep(PACE).await;
        }
    });
    // A reader that has gone, as `head` does, is an end like any other.
    match ended {
        Err(why) if why == GONE => Ok(()),
        ended => ended,
    }
}

fn show(answer: &Value, question: &Question, manner: &Manner) -> Result<(), String> {
    if manner.json {
        // Live, one answer a line: so that a program can read it.
        return write(&if manner.watch { format!("{answer}\n") } else { format!("{answer:#}\n") }, manner);
    }
    let style = Style { colour: manner.colour && io::stdout().is_terminal() };
    let text = match question {
        Question::Services(_) => table::services(answer, style),
        Question::Limits(_) => table::limits(answer, style),
        Question::Cache => table::cache(answer, style),
        Question::Clear(..) => table::cleared(answer),
    };
    write(&text, manner)
}

fn write(text: &str, manner: &Manner) -> Result<(), String> {
    let mut out = io::stdout().lock();
    let page = match manner.watch && !manner.json && out.is_terminal() {
        // Home, each line to its end, then what is left of the page before.
        true => format!("\x1b[H{}\x1b[J", text.replace('\n', "\x1b[K\n")),
        false => text.to_owned(),
    };
    let written = out.write_all(page.as_bytes()).and_then(|()| out.flush());
    written.map_err(|error| match error.kind() {
        io::ErrorKind::BrokenPipe => GONE.to_owned(),
        _ => error.to_string(),
    })
}
