//! The access log: one line for each request. A worker writes lines into a buffer of its own, and hands over what it has ten times a
//! second, or when the buffer is full.

use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, SystemTime};

use super::Format;
use super::output::Output;

/// A buffer goes out when it holds this many bytes.
const FULL: usize = 32 * 1024;

/// Text of a client's, such as a path, is cut in the line after this many bytes.
const LONGEST: usize = 2048;

/// How many bytes a buffer has room for, so that the line that makes it full needs no other.
const CAPACITY: usize = FULL + 4096;

/// How many bytes may wait to be written: 64 buffers.
const ROOM: usize = 64 * CAPACITY;

/// Where all workers' lines go.
#[derive(Clone, Debug)]
pub struct AccessLog {
    output: Output,
    format: Format,
}

/// One worker's buffer.
#[derive(Debug)]
pub struct AccessWriter {
    log: AccessLog,
    buffer: Vec<u8>,
    /// How many lines it holds.
    lines: u64,
}

/// What a line says of a request.
#[derive(Clone, Copy, Debug)]
pub struct Line<'a> {
    /// When it was answered.
    pub time: SystemTime,
    /// Its id.
    pub request_id: &'a str,
    /// The client's IP.
    pub client: IpAddr,
    /// Its method.
    pub method: &'a str,
    /// Its path, without the query (queries carry secrets).
    pub path: &'a str,
    /// The answer's status.
    pub status: u16,
    /// Bytes of the answer's body that went out.
    pub bytes: u64,
    /// From the end of its head to the end of the answer.
    pub duration: Duration,
    /// The route's name, empty when none matched.
    pub route: &'a str,
    /// The service's name.
    pub service: &'a str,
    /// The instance that was tried last: who answered, if anybody did.
    pub instance: Option<SocketAddr>,
    /// How many attempts there were, the last one included.
    pub attempts: u32,
    /// The attempts before the last one, in their order.
    pub tried: &'a [EarlierAttempt],
    /// Of what the answer was made, where it is an aggregate.
    pub parts: Option<Parts<'a>>,
    /// The consumer's name.
    pub consumer: &'a str,
    /// The name of the app by which the consumer called, where that has a key of its own.
    pub app: &'a str,
    /// The name of the issuer of the token.
    pub issuer: &'a str,
    /// The name of the key that signed it.
    pub kid: &'a str,
    /// What the cache did, on a route that has one: `hit`, `miss`, `revalidated`, `collapsed`, `pass`.
    pub cache: &'a str,
    /// Why it ended as it did, where something went wrong: one word, which the problem page has as its `reason`, if there is one.
    pub reason: &'a str,
    /// Whose fault that is: `client`, `upstream`, `gateway`.
    pub blame: &'a str,
}

/// Of what an aggregate was made.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Parts<'a> {
    /// How many requests were made for it.
    pub count: usize,
    /// The call of the one that took longest, and how long that was.
    pub slowest: Option<(&'a str, Duration)>,
    /// The call with which the whole failed, if it did.
    pub failed: Option<&'a str>,
}

/// An attempt after which there was another one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EarlierAttempt {
    /// The instance that was tried.
    pub instance: SocketAddr,
    /// From the beginning of the attempt to the decision to make another one.
    pub duration: Duration,
    /// Why another one was made: a word such as `reset`, `connect_refused`, `status_502`.
    pub why: &'static str,
}

impl AccessLog {
    /// Starts the thread that writes to `out`. It ends when the log and all its writers are dropped.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn start(format: Format, out: impl Write + Send + 'static) -> std::io::Result<AccessLog> {
        Output::start("stdout", ROOM, out).map(|output| AccessLog { output, format })
    }

    /// A buffer for one worker.
    pub fn writer(&self) -> AccessWriter {
        AccessWriter { log: self.clone(), buffer: Vec::with_capacity(CAPACITY), lines: 0 }
    }

    /// How many lines were lost: they could not be written, or not fast enough.
    pub fn lost(&self) -> u64 {
        self.output.lost()
    }

    /// Waits until what the writers have handed over is written, or until `patience` is over.
    pub fn flush(&self, patience: Duration) {
        self.output.flush(patience);
    }
}

impl AccessWriter {
    /// Adds a line.
    pub fn line(&mut self, line: &Line<'_>) {
        match self.log.format {
            Format::Json => json(&mut self.buffer, line),
            Format::Human => human(&mut self.buffer, line),
        }
        self.lines += 1;
        if self.buffer.len() >= FULL {
            self.flush();
        }
    }

    /// Hands the buffer over to be written.
    pub fn flush(&mut self) {
        if self.buffer.is_empty() {
            return;
        }
        let full = std::mem::replace(&mut self.buffer, Vec::with_capacity(CAPACITY));
        self.log.output.send(full, std::mem::take(&mut self.lines));
    }
}

impl Drop for AccessWriter {
    fn drop(&mut self) {
        self.flush();
    }
}

fn json(out: &mut Vec<u8>, line: &Line<'_>) {
    let time = rfc3339(line.time);
    let _ = write!(
        out,
        "{{\"time\":\"{time}\",\"request_id\":\"{}\",\"client\":\"{}\",\"method\":",
        line.request_id, line.client
    );
    quoted(out, line.method);
    out.extend_from_slice(b",\"path\":");
    quoted(out, line.path);
    let ms = milliseconds(line.duration);
    let _ = write!(
        out,
        ",\"status\":{},\"bytes\":{},\"duration_ms\":{ms:.3},\"attempts\":{}",
        line.status, line.bytes, line.attempts
    );
    for (key, value) in [("route", line.route), ("service", line.service)].into_iter().chain(names(line)) {
        if !value.is_empty() {
            let _ = write!(out, ",\"{key}\":");
            quoted(out, value);
        }
    }
    if let Some(instance) = line.instance {
        let _ = write!(out, ",\"instance\":\"{instance}\"");
    }
    let mut before = ",\"tried\":[";
    for EarlierAttempt { instance, duration, why } in line.tried {
        let _ = write!(
            out,
            "{before}{{\"instance\":\"{instance}\",\"ms\":{:.1},\"why\":\"{why}\"}}",
            milliseconds(*duration)
        );
        before = ",";
    }
    if !line.tried.is_empty() {
        out.push(b']');
    }
    if let Some(parts) = &line.parts {
        json_parts(out, parts);
    }
    out.extend_from_slice(b"}\n");
}

/// Calls have names that need no escape.
fn json_parts(out: &mut Vec<u8>, Parts { count, slowest, failed }: &Parts<'_>) {
    let _ = write!(out, ",\"parts\":{count}");
    if let Some((call, took)) = slowest {
        let _ = write!(out, ",\"slowest\":{{\"call\":\"{call}\",\"ms\":{:.1}}}", milliseconds(*took));
    }
    if let Some(call) = failed {
        let _ = write!(out, ",\"failed\":\"{call}\"");
    }
}

fn human(out: &mut Vec<u8>, line: &Line<'_>) {
    let ms = milliseconds(line.duration);
    let _ = write!(out, "{} {} {} ", rfc3339(line.time), line.client, line.status);
    plain(out, line.method);
    out.push(b' ');
    plain(out, line.path);
    let _ = write!(out, " {}B {ms:.1}ms", line.bytes);
    if let Some(instance) = line.instance {
        let _ = write!(out, " -> {} {instance} ({})", line.service, line.attempts);
    }
    let mut before = " tried=";
    for EarlierAttempt { instance, duration, why } in line.tried {
        let _ = write!(out, "{before}{instance}({why},{:.1}ms)", milliseconds(*duration));
        before = ",";
    }
    if let Some(parts) = &line.parts {
        human_parts(out, parts);
    }
    for (key, value) in names(line) {
        if !value.is_empty() {
            let _ = write!(out, " {key}=");
            plain(out, value);
        }
    }
    let _ = writeln!(out, " {}", line.request_id);
}

fn human_parts(out: &mut Vec<u8>, Parts { count, slowest, failed }: &Parts<'_>) {
    let _ = write!(out, " parts={count}");
    if let Some((call, took)) = slowest {
        let _ = write!(out, " slowest={call}:{:.1}ms", milliseconds(*took));
    }
    if let Some(call) = failed {
        let _ = write!(out, " failed={call}");
    }
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

/// A JSON string (RFC 8259 section 7), cut at [`LONGEST`].
fn quoted(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    for character in cut(text).chars() {
        match character {
            '"' => out.extend_from_slice(b"\\\""),
            '\\' => out.extend_from_slice(b"\\\\"),
            c if (c as u32) < 0x20 || c == '\x7f' => {
                let _ = write!(out, "\\u{:04x}", c as u32);
            }
            c => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    out.push(b'"');
}

/// Text on a line for people, cut at [`LONGEST`]. What would end the line or move a terminal's cursor is replaced.
fn plain(out: &mut Vec<u8>, text: &str) {
    for character in cut(text).chars() {
        let shown = if character.is_control() { '\u{fffd}' } else { character };
        out.extend_from_slice(shown.encode_utf8(&mut [0; 4]).as_bytes());
    }
}

fn cut(text: &str) -> &str {
    let mut end = text.len().min(LONGEST);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// A time as RFC 3339 writes it, in UTC and with milliseconds: `2026-11-23T20:00:00.123Z`. A time before 1970 is shown as the first
/// moment of 1970.
pub fn rfc3339(time: SystemTime) -> impl std::fmt::Display {
    humantime::format_rfc3339_millis(time.max(SystemTime::UNIX_EPOCH))
}

/// Who asked, and why it ended as it did, by the names that both formats have for it. What is empty is left out.
fn names<'a>(line: &Line<'a>) -> [(&'static str, &'a str); 7] {
    [
        ("consumer", line.consumer),
        ("app", line.app),
        ("issuer", line.issuer),
        ("kid", line.kid),
        ("cache", line.cache),
        ("reason", line.reason),
        ("blame", line.blame),
    ]
}

#[cfg(test)]
mod tests;
