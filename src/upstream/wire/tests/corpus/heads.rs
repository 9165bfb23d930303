//! Heads: lines, fields, interim answers, lengths, and what says whether the connection is kept.

use http::Method;

use super::{Case, case, ok};

const REFUSED: &str = "refused";

/// All of them.
pub(super) fn all() -> Vec<Case> {
    [lines(), fields(), interim(), lengths(), kept(), sizes()].into_iter().flatten().collect()
}

fn lines() -> Vec<Case> {
    let end = "content-length: 0\r\n\r\n";
    let line = |name: &str, line: &str| case(name, format!("{line}\r\n{end}"));
    vec![
        case("nothing", ""),
        case("an empty line", "\r\n"),
        case("empty lines only", "\r\n\r\n\n\n"),
        case("empty lines before the answer", format!("\r\n\r\n\nHTTP/1.1 200 OK\r\n{end}")),
        line("no reason", "HTTP/1.1 200 "),
        line("no reason and no space", "HTTP/1.1 200"),
        line("an odd reason", "HTTP/1.1 404 Gone fishing, \"back\" at 5"),
        line("a reason with a tab", "HTTP/1.1 200 All\tright"),
        line("a reason with bytes above 127", "HTTP/1.1 200 Tr\u{e8}s bien"),
        line("a reason with a control byte", "HTTP/1.1 200 O\u{1}K"),
        line("two spaces before the status", "HTTP/1.1  200 OK"),
        line("a status of two digits", "HTTP/1.1 20 OK"),
        line("a status of four digits", "HTTP/1.1 2000 OK"),
        line("a status below 100", "HTTP/1.1 099 OK"),
        line("a status nobody knows", "HTTP/1.1 799 Whatever"),
        line("a status of letters", "HTTP/1.1 abc OK"),
        line("HTTP/2 in the line", "HTTP/2.0 200 OK"),
        line("HTTP/1.2", "HTTP/1.2 200 OK"),
        line("HTTP/1.0", "HTTP/1.0 200 OK"),
        line("HTTP/0.9, or something like it", "HTTP/0.9 200 OK"),
        line("a lower case name", "http/1.1 200 OK"),
        line("a space before the line", " HTTP/1.1 200 OK"),
        case("garbage", "SSH-2.0-OpenSSH_9.6\r\n"),
        case("garbage without a line end", [0xff; 300]),
        case("a request", "GET / HTTP/1.1\r\nhost: a\r\n\r\n"),
        case("a TLS record", [0x15, 3, 3, 0, 2, 2, 0x46]),
        case("half a line", "HTTP/1.1 20"),
        case("a line and no more", "HTTP/1.1 200 OK\r\n"),
        case("half a field", "HTTP/1.1 200 OK\r\ncontent-le"),
        case("no empty line", "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n"),
        case("half an empty line", "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r"),
        case("line feeds only", "HTTP/1.1 200 OK\ncontent-length: 2\n\nhi"),
        case("line ends of both kinds", "HTTP/1.1 200 OK\r\ncontent-length: 2\n\r\nhi"),
        case("a carriage return in the line", "HTTP/1.1 200 O\rK\r\ncontent-length: 0\r\n\r\n"),
    ]
}

fn fields() -> Vec<Case> {
    let field = |name: &str, field: &str| case(name, ok(&format!("content-length: 2\r\n{field}"), "hi"));
    let many = |count: usize| (1..count).map(|n| format!("x-{n}: {n}\r\n")).collect::<String>();
    vec![
        field("a field of every kind of letter", "X-Odd_!#$%&'*+-.^`|~9: v\r\n"),
        field("a field twice", "set-cookie: a=1\r\nx: y\r\nSet-Cookie: b=2\r\n"),
        field("an empty value", "x:\r\ny: \r\nz:\t \t\r\n"),
        field("spaces around a value", "x: \t a b \t \r\n"),
        field("a value with bytes above 127", "x: gr\u{fc}n\r\n"),
        field("a value with a tab", "x: a\tb\r\n"),
        field("a value with a zero byte", "x: a\0b\r\n"),
        field("a value with a control byte", "x: a\u{7}b\r\n"),
        field("a value with a delete", "x: a\u{7f}b\r\n"),
        field("a value with a carriage return", "x: a\rb\r\n"),
        field("a folded value", "x: a\r\n b\r\n"),
        field("a folded first field", " x: a\r\n"),
        field("a space before a colon", "x : a\r\n"),
        field("a space in a name", "x y: a\r\n"),
        field("an empty name", ": a\r\n"),
        field("a line without a colon", "nonsense\r\n"),
        field("a name with a byte above 127", "x\u{fc}: a\r\n"),
        field("a bracket in a name", "x(y): a\r\n"),
        field("one hundred fields", &many(100)),
        field("one hundred and one fields", &many(101)),
        field("a length with a space before its colon", "content-length : 5\r\n"),
        field("a length in a folded value", "x: a\r\n\tcontent-length: 5\r\n"),
    ]
}

fn interim() -> Vec<Case> {
    let last = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi";
    vec![
        case("a 100 before", format!("HTTP/1.1 100 Continue\r\n\r\n{last}")),
        case("a 103 with fields before", format!("HTTP/1.1 103 Early Hints\r\nlink: </a.css>\r\n\r\n{last}")),
        case(
            "three before",
            format!("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 199 X\r\n\r\n{last}"),
        ),
        case("a 100 only", "HTTP/1.1 100 Continue\r\n\r\n"),
        case("a 100 that says that it closes", format!("HTTP/1.1 100 Continue\r\nconnection: close\r\n\r\n{last}")),
        case("a 100 with a length", format!("HTTP/1.1 100 Continue\r\ncontent-length: 2\r\n\r\n{last}")),
        case("a 100 of HTTP/1.0", format!("HTTP/1.0 100 Continue\r\n\r\n{last}")),
        case("a 100 and garbage", "HTTP/1.1 100 Continue\r\n\r\ngarbage\r\n\r\n"),
        case("a 101", "HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n"),
        case("a 101 and what follows it", "HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\n\r\nbytes"),
        case("a 101 with a length", "HTTP/1.1 101 Switching Protocols\r\ncontent-length: 5\r\n\r\nbytes"),
    ]
}

fn lengths() -> Vec<Case> {
    let length = |name: &str, fields: &str| case(name, ok(fields, "hello"));
    const ONCE: &str = "A length that was said twice is passed on once, so that nobody after us can read two.";
    const HELLO: [&str; 2] =
        ["HTTP/1.1 200 [content-length: 5] | hello | reusable", "HTTP/1.1 200 [content-length: 5] | hello | spent"];
    let head = |name: &str, fields: &str, rest: &str| case(name, ok(fields, rest)).to(Method::HEAD);
    let bare = |name: &str, line: &str, rest: &str| case(name, format!("HTTP/1.1 {line}\r\n\r\n{rest}"));
    vec![
        length("a length", "content-length: 5\r\n"),
        length("a length of zero and a body", "content-length: 0\r\n"),
        length("a length with zeros before it", "content-length: 0005\r\n"),
        length("a shorter length", "content-length: 4\r\n"),
        length("a longer length", "content-length: 6\r\n"),
        length("a length said twice", "content-length: 5\r\nContent-Length: 5\r\n").differs_by(ONCE, HELLO),
        length("a length said twice in a value", "content-length: 5, 5\r\n").differs_by(ONCE, HELLO),
        length("two lengths", "content-length: 5\r\ncontent-length: 4\r\n"),
        length("two lengths in a value", "content-length: 5, 4\r\n"),
        length("a length and nothing", "content-length: 5,\r\n"),
        length("a length with a sign", "content-length: +5\r\n"),
        length("a negative length", "content-length: -5\r\n"),
        length("a length in hexadecimal", "content-length: 0x5\r\n"),
        length("a length with a fraction", "content-length: 5.0\r\n"),
        length("a length with a space within", "content-length: 5 5\r\n"),
        length("no length in the length", "content-length:\r\n"),
        length("the largest length", "content-length: 18446744073709551613\r\n"),
        length("more than the largest length", "content-length: 18446744073709551614\r\n"),
        length("a length of all bits", "content-length: 18446744073709551615\r\n"),
        length("a length that does not fit", "content-length: 18446744073709551616\r\n"),
        head("HEAD with a length", "content-length: 5\r\n", ""),
        head("HEAD with a length and a body", "content-length: 5\r\n", "hello"),
        head("HEAD with chunks", "transfer-encoding: chunked\r\n", ""),
        head("HEAD with two lengths", "content-length: 5\r\ncontent-length: 4\r\n", ""),
        head("HEAD without any length", "", ""),
        head("HEAD with a length that closes", "content-length: 5\r\nconnection: close\r\n", ""),
        bare("204", "204 No Content", ""),
        bare("204 with a length", "204 No Content\r\ncontent-length: 5", ""),
        bare("204 with a body", "204 No Content\r\ncontent-length: 5", "hello"),
        bare("204 with chunks", "204 No Content\r\ntransfer-encoding: chunked", ""),
        bare("304 with a length", "304 Not Modified\r\ncontent-length: 5", ""),
        bare("304 with a body", "304 Not Modified\r\ncontent-length: 5", "hello"),
        bare("205 with a body", "205 Reset Content\r\ncontent-length: 5", "hello"),
    ]
}

fn kept() -> Vec<Case> {
    let old = |name: &str, fields: &str| case(name, format!("HTTP/1.0 200 OK\r\n{fields}\r\nhi"));
    let new = |name: &str, fields: &str| case(name, ok(&format!("content-length: 2\r\n{fields}"), "hi"));
    vec![
        old("HTTP/1.0 with a length", "content-length: 2\r\n"),
        old("HTTP/1.0 kept alive", "content-length: 2\r\nconnection: Keep-Alive\r\n"),
        old("HTTP/1.0 kept alive in a list", "content-length: 2\r\nconnection: x, keep-alive\r\n"),
        old("HTTP/1.0 kept alive and closed", "content-length: 2\r\nconnection: close, keep-alive\r\n"),
        old("HTTP/1.0 kept alive beside bytes above 127", "content-length: 2\r\nconnection: \u{e9}, keep-alive\r\n"),
        old("HTTP/1.0 kept alive without a length", "connection: keep-alive\r\n"),
        old("HTTP/1.0 until it closes", ""),
        old("HTTP/1.0 with chunks", "transfer-encoding: chunked\r\n"),
        new("closed", "connection: close\r\n"),
        new("closed in capitals", "Connection: CLOSE\r\n"),
        new("closed in a list", "connection: foo ,\tclose\r\n"),
        new("closed in the first of two lines", "connection: close\r\nconnection: keep-alive\r\n"),
        new("closed in the second of two lines", "connection: keep-alive\r\nconnection: close\r\n"),
        new("almost closed", "connection: closed\r\n"),
        new("kept, and a word that nobody knows", "connection: upgrade\r\n"),
        new("closed beside bytes above 127", "connection: \u{e9}, close\r\n").differs(
            "Who says close is believed even where the rest of the line is not ASCII.",
            "HTTP/1.1 200 [connection: \\xc3\\xa9, close] [content-length: 2] | hi | spent",
        ),
        case("a second answer behind the first", [ok("content-length: 2\r\n", "hi"), ok("", "")].concat()),
        case("a second answer behind an empty one", [ok("content-length: 0\r\n", ""), ok("", "")].concat()),
        case("a line end behind the answer", ok("content-length: 2\r\n", "hi\r\n")),
    ]
}

fn sizes() -> Vec<Case> {
    const WHY: &str = "A head has 64 KiB at the most, and not the hundreds that hyper buffers.";
    let begin = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nx: ";
    let end = "\r\n\r\n";
    let sized = |size: usize| format!("{begin}{}{end}hi", "y".repeat(size - begin.len() - end.len()));
    let endless = |size: usize| format!("{begin}{}", "y".repeat(size - begin.len()));
    vec![
        case("a head of 64 KiB less one", sized(64 * 1024 - 1)),
        case("a head of 64 KiB", sized(64 * 1024)),
        case("a head of 64 KiB and one", sized(64 * 1024 + 1)).differs(WHY, REFUSED),
        case("a head of 64 KiB without an end", endless(64 * 1024)),
        case("a head of more than 64 KiB without an end", endless(64 * 1024 + 1)).differs(WHY, REFUSED),
        case("interim answers of more than 64 KiB", "HTTP/1.1 102 Processing\r\n\r\n".repeat(64 * 40))
            .differs("Nobody waits for the end of endless interim answers.", REFUSED),
        case("a large head behind an interim one", format!("HTTP/1.1 100 Continue\r\n\r\n{}", sized(64 * 1024))),
    ]
}
