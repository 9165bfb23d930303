//! One line a request, off its path: a worker writes into a buffer of its own, a thread writes buffers out.

use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, SystemTime};

use super::Format;

/// A buffer goes out when it holds this much.
const FULL: usize = 32 * 1024;

/// A target longer than this is cut in the line.
const LONGEST: usize = 2048;

/// Buffers on their way at most; what comes beyond is dropped and counted.
const QUEUE: usize = 64;

/// Where access lines go.
#[derive(Clone, Debug)]
pub struct AccessLog {
    buffers: SyncSender<Vec<u8>>,
    dropped: Arc<AtomicU64>,
    format: Format,
}

/// One worker's end of it.
#[derive(Debug)]
pub struct AccessWriter {
    log: AccessLog,
    buffer: Vec<u8>,
    lines: u64,
}

/// One request.
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
    /// From its head to the end of the answer.
    pub duration: Duration,
    /// The route's name, empty when none matched.
    pub route: &'a str,
    /// The service's name.
    pub service: &'a str,
    /// The instance that answered.
    pub instance: Option<SocketAddr>,
    /// How many attempts it took.
    pub attempts: u32,
    /// The consumer's name.
    pub consumer: &'a str,
    /// What the cache had to do with it, where there is one: `hit`, `miss`, `revalidated`, `collapsed`, `pass`.
    pub cache: &'a str,
    /// Why it ended as it did, when that needs a word.
    pub reason: &'a str,
    /// Whose doing that is: `client`, `upstream`, `gateway`.
    pub blame: &'a str,
}

impl AccessLog {
    /// Lines go to `out`, written by a thread that ends with the last writer.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn start(format: Format, out: impl Write + Send + 'static) -> std::io::Result<AccessLog> {
        let (buffers, queue) = sync_channel(QUEUE);
        std::thread::Builder::new().name("lictor-access".into()).spawn(move || write(&queue, out))?;
        Ok(AccessLog { buffers, dropped: Arc::default(), format })
    }

    /// A worker's end.
    pub fn writer(&self) -> AccessWriter {
        AccessWriter { log: self.clone(), buffer: Vec::with_capacity(FULL + 4096), lines: 0 }
    }

    /// Lines dropped because the reader of the log is too slow.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

fn write(queue: &Receiver<Vec<u8>>, mut out: impl Write) {
    while let Ok(buffer) = queue.recv() {
        // Nobody reads any more (a closed pipe): nothing to be done, and no reason to stop serving.
        let _ = out.write_all(&buffer).and_then(|()| out.flush());
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

    /// Hands over what is buffered.
    pub fn flush(&mut self) {
        if self.buffer.is_empty() {
            return;
        }
        let full = std::mem::replace(&mut self.buffer, Vec::with_capacity(FULL + 4096));
        if self.log.buffers.try_send(full).is_err() {
            self.log.dropped.fetch_add(self.lines, Ordering::Relaxed);
        }
        self.lines = 0;
    }
}

impl Drop for AccessWriter {
    fn drop(&mut self) {
        self.flush();
    }
}

fn json(out: &mut Vec<u8>, line: &Line<'_>) {
    let time = humantime(line.time);
    let _ = write!(
        out,
        "{{\"time\":\"{time}\",\"request_id\":\"{}\",\"client\":\"{}\",\"method\":",
        line.request_id, line.client
    );
    quoted(out, line.method);
    out.extend_from_slice(b",\"path\":");
    quoted(out, line.path);
    let ms = line.duration.as_secs_f64() * 1000.0;
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
    ] {
        if !value.is_empty() {
            let _ = write!(out, ",\"{key}\":");
            quoted(out, value);
        }
    }
    if let Some(instance) = line.instance {
        let _ = write!(out, ",\"instance\":\"{instance}\"");
    }
    out.extend_from_slice(b"}\n");
}

fn human(out: &mut Vec<u8>, line: &Line<'_>) {
    let ms = line.duration.as_secs_f64() * 1000.0;
    let _ = write!(out, "{} {} {} ", humantime(line.time), line.client, line.status);
    plain(out, line.method);
    out.push(b' ');
    plain(out, line.path);
    let _ = write!(out, " {}B {ms:.1}ms", line.bytes);
    if let Some(instance) = line.instance {
        let _ = write!(out, " -> {} {instance} ({})", line.service, line.attempts);
    }
    for (key, value) in [("consumer", line.consumer), ("cache", line.cache), ("reason", line.reason)] {
        if !value.is_empty() {
            let _ = write!(out, " {key}=");
            plain(out, value);
        }
    }
    let _ = writeln!(out, " {}", line.request_id);
}

/// A JSON string (RFC 8259 section 7), cut when too long.
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

/// Text on a line for people: nothing that moves a cursor or ends a line.
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

/// RFC 3339 with milliseconds, in UTC.
pub fn humantime(time: SystemTime) -> impl std::fmt::Display {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let (days, second) = ((since.as_secs() / 86_400) as i64, since.as_secs() % 86_400);
    // Days to a civil date: eras of 400 years that begin on 1 March (H. Hinnant's algorithm).
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let moved_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * moved_month + 2) / 5 + 1;
    let month = if moved_month < 10 { moved_month + 3 } else { moved_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (hour, minute) = (second / 3600, second / 60 % 60);
    Stamp { year, month, day, hour, minute, second: second % 60, ms: since.subsec_millis() }
}

struct Stamp {
    year: i64,
    month: i64,
    day: i64,
    hour: u64,
    minute: u64,
    second: u64,
    ms: u32,
}

impl std::fmt::Display for Stamp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Stamp { year, month, day, hour, minute, second, ms } = self;
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z")
    }
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

    #[test]
    fn when_nobody_takes_the_lines_they_are_dropped_and_counted() {
        let (buffers, queue) = sync_channel(1);
        let log = AccessLog { buffers, dropped: Arc::default(), format: Format::Json };
        let mut writer = log.writer();
        for _ in 0..3 {
            writer.line(&line("/"));
            writer.flush();
        }
        assert_eq!(log.dropped(), 2);
        drop(queue);
    }
}
