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
    /// The consumer's name.
    pub consumer: &'a str,
    /// What the cache did, on a route that has one: `hit`, `miss`, `revalidated`, `collapsed`, `pass`.
    pub cache: &'a str,
    /// Why it ended as it did, where something went wrong: one word, which the problem page has as its `reason`, if there is one.
    pub reason: &'a str,
    /// Whose fault that is: `client`, `upstream`, `gateway`.
    pub blame: &'a str,
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
    for (key, value) in [
        ("route", line.route),
        ("service", line.service),
        ("consumer", line.consumer),
        ("cache", line.cache),
        ("reason", line.reason),
        ("blame", line.blame),
    ] {
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
    out.extend_from_slice(b"}\n");
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
    for (key, value) in
        [("consumer", line.consumer), ("cache", line.cache), ("reason", line.reason), ("blame", line.blame)]
    {
        if !value.is_empty() {
            let _ = write!(out, " {key}=");
            plain(out, value);
        }
    }
    let _ = writeln!(out, " {}", line.request_id);
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

#[cfg(test)]
mod tests {
    use super::*;

    fn line(path: &str) -> Line<'_> {
        Line {
            time: SystemTime::UNIX_EPOCH + Duration::from_millis(1_795_464_000_123),
            request_id: "ab",
            client: [10, 0, 0, 1].into(),
            method: "GET",
            path,
            status: 200,
            bytes: 5,
            duration: Duration::from_micros(1500),
            route: "api",
            service: "orders",
            instance: Some("10.0.0.7:80".parse().expect("an address")),
            attempts: 1,
            tried: &[],
            consumer: "shop",
            cache: "",
            reason: "",
            blame: "",
        }
    }

    #[test]
    fn a_line_is_valid_json_whatever_the_path_holds() {
        let mut out = Vec::new();
        json(&mut out, &line("/a\"b\\c\n\u{1b}[31m\u{e4}"));
        let read: serde_json::Value = serde_json::from_slice(&out).expect("valid JSON");
        assert_eq!(read["path"], "/a\"b\\c\n\u{1b}[31m\u{e4}");
        assert_eq!(read["duration_ms"], 1.5);
        assert_eq!(read["time"], "2026-11-23T20:00:00.123Z");
        assert_eq!(out.iter().filter(|&&b| b == b'\n').count(), 1);
    }

    #[test]
    fn a_line_for_people_cannot_be_forged() {
        let mut out = Vec::new();
        human(&mut out, &line("/a\n10.0.0.2 200 \u{1b}[2J"));
        let text = String::from_utf8(out).expect("UTF-8");
        assert_eq!(text.lines().count(), 1);
        assert!(!text.contains('\u{1b}'));
    }

    fn written(write: fn(&mut Vec<u8>, &Line<'_>), line: &Line<'_>) -> String {
        let mut out = Vec::new();
        write(&mut out, line);
        String::from_utf8(out).expect("UTF-8")
    }

    #[test]
    fn a_line_says_whose_fault_it_was_where_something_went_wrong() {
        let failed = Line { status: 502, reason: "reset", blame: "upstream", ..line("/") };
        let text = written(json, &failed);
        assert!(text.contains(",\"reason\":\"reset\",\"blame\":\"upstream\","), "{text}");
        assert!(written(human, &failed).ends_with(" reason=reset blame=upstream ab\n"));
        assert!(!written(json, &line("/")).contains("blame") && !written(human, &line("/")).contains("blame"));
    }

    #[test]
    fn a_line_names_the_attempts_before_the_last_one_and_why_each_was_not_the_last() {
        let attempt = |instance: &str, micros, why| EarlierAttempt {
            instance: instance.parse().expect("an address"),
            duration: Duration::from_micros(micros),
            why,
        };
        let tried = [attempt("10.0.0.5:8080", 1200, "reset"), attempt("[::1]:80", 20_040, "status_502")];
        let third = Line { attempts: 3, tried: &tried, ..line("/") };
        let read: serde_json::Value = serde_json::from_str(&written(json, &third)).expect("valid JSON");
        let wanted = serde_json::json!([
            { "instance": "10.0.0.5:8080", "ms": 1.2, "why": "reset" },
            { "instance": "[::1]:80", "ms": 20.0, "why": "status_502" },
        ]);
        assert_eq!(read["tried"], wanted);
        let text = written(human, &third);
        assert!(text.contains(" (3) tried=10.0.0.5:8080(reset,1.2ms),[::1]:80(status_502,20.0ms) consumer="), "{text}");
        assert!(!written(json, &line("/")).contains("tried") && !written(human, &line("/")).contains("tried"));
    }

    #[test]
    fn a_clock_before_1970_is_no_panic() {
        let text = rfc3339(SystemTime::UNIX_EPOCH - Duration::from_secs(1)).to_string();
        assert_eq!(text, "1970-01-01T00:00:00.000Z");
    }

    /// A reader that takes nothing until the other end is dropped.
    struct Stands(std::sync::mpsc::Receiver<()>);

    impl Write for Stands {
        fn write(&mut self, text: &[u8]) -> std::io::Result<usize> {
            let _ = self.0.recv();
            Ok(text.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn when_nobody_takes_the_lines_they_are_dropped_and_counted() {
        let (stands, reader) = std::sync::mpsc::channel();
        let log = AccessLog::start(Format::Json, Stands(reader)).expect("a thread");
        let mut writer = log.writer();
        for _ in 0..ROOM / CAPACITY + 2 {
            writer.line(&line("/"));
            writer.flush();
        }
        assert_eq!(log.lost(), 2);
        drop(stands);
    }
}
