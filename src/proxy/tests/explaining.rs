//! What the access line says of aggregates.

use super::*;

/// An aggregate of one service: a call whose answer is not JSON makes it fail.
const PAGE: &str = r#"
[[compose]]
name = "page"
[[compose.call]]
name = "first"
service = "orders"
path = "/first"
[[compose.call]]
name = "second"
service = "orders"
path = "/second/{first.id}"
[[route]]
path = { pattern = "/page" }
compose = "page"
auth = false
"#;

/// The line of a request for it, where the instance answers so.
fn line_of(play: Play) -> serde_json::Value {
    let (lines, written) = std::sync::mpsc::channel();
    let log = AccessLog::start(Format::Json, Lines(lines)).expect("a thread");
    paused(async {
        let rig = Rig::logging(&[play], PAGE, Some(log.writer()));
        rig.page_at("/page").await;
        rig.proxy.tick();
    });
    serde_json::from_slice(&written.recv().expect("a line")).expect("JSON")
}

#[test]
fn the_line_of_an_aggregate_says_how_many_parts_it_had_and_with_which_call_it_failed() {
    let json = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 8\r\n\r\n{\"id\":1}";
    let whole = line_of(Play::Answer(json));
    assert_eq!((&whole["status"], &whole["parts"], &whole["failed"]), (&200.into(), &2.into(), &().into()), "{whole}");
    assert!(matches!(whole["slowest"]["call"].as_str(), Some("first" | "second")), "{whole}");
    assert!(whole["slowest"]["ms"].is_number(), "{whole}");
    let failed = line_of(OK);
    assert_eq!((&failed["status"], &failed["parts"]), (&502.into(), &1.into()), "{failed}");
    assert_eq!((&failed["failed"], &failed["reason"]), (&"first".into(), &"part_failed".into()), "{failed}");
}
