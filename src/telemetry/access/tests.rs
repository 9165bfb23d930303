//! What access lines say, and what becomes of those that nobody takes.

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
        parts: None,
        consumer: "shop",
        app: "",
        issuer: "",
        kid: "",
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
fn a_line_of_an_aggregate_says_how_many_parts_it_had_which_was_slowest_and_with_which_it_failed() {
    let slowest = Some(("order", Duration::from_micros(12_140)));
    let whole = Line { parts: Some(Parts { count: 3, slowest, failed: None }), ..line("/") };
    assert!(
        written(human, &whole).contains(" parts=3 slowest=order:12.1ms consumer=shop"),
        "{}",
        written(human, &whole)
    );
    let text = written(json, &whole);
    assert!(text.ends_with(",\"parts\":3,\"slowest\":{\"call\":\"order\",\"ms\":12.1}}\n"), "{text}");
    let failed = Line { parts: Some(Parts { count: 0, slowest: None, failed: Some("user") }), ..line("/") };
    assert!(written(human, &failed).contains(" parts=0 failed=user consumer="), "{}", written(human, &failed));
    let read: serde_json::Value = serde_json::from_str(&written(json, &failed)).expect("valid JSON");
    assert_eq!((&read["parts"], &read["failed"], &read["slowest"]), (&0.into(), &"user".into(), &().into()));
    assert!(!written(json, &line("/")).contains("parts") && !written(human, &line("/")).contains("parts"));
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
