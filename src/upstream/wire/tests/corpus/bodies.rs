//! Bodies: chunks, codings, until the connection closes, and ends before the end.

use super::{Case, case, chunked, ok};

/// All of them.
pub(super) fn all() -> Vec<Case> {
    [chunks(), broken(), trailers(), codings(), ends()].into_iter().flatten().collect()
}

fn chunks() -> Vec<Case> {
    vec![
        case("a chunk", chunked("5\r\nhello\r\n0\r\n\r\n")),
        case("no chunk", chunked("0\r\n\r\n")),
        case("many chunks", chunked("1\r\na\r\n2\r\nbc\r\n3\r\ndef\r\n0\r\n\r\n")),
        case(
            "sizes of every digit",
            chunked(&format!("1A\r\n{}\r\n1f\r\n{}\r\n0\r\n\r\n", "x".repeat(26), "y".repeat(31))),
        ),
        case("a size with zeros before it", chunked("0005\r\nhello\r\n0000\r\n\r\n")),
        case("a size of sixteen digits", chunked("0000000000000005\r\nhello\r\n0\r\n\r\n")),
        case("a size of seventeen digits", chunked("00000000000000005\r\nhello\r\n0\r\n\r\n")).differs(
            "More digits than a size can have are refused, as they are when they come without their line's end.",
            "HTTP/1.1 200 [transfer-encoding: chunked] |  | broken | spent",
        ),
        case("an extension", chunked("5;a=b\r\nhello\r\n0;last\r\n\r\n")),
        case("an extension in quotes", chunked("5;a=\"b;c\"\r\nhello\r\n0\r\n\r\n")),
        case("spaces before an extension", chunked("5 \t;a\r\nhello\r\n0\r\n\r\n")),
        case("spaces behind a size", chunked("5 \r\nhello\r\n0  \r\n\r\n")),
        case("the largest size", chunked("ffffffffffffffff\r\nhello")),
        case("bytes behind the last chunk", chunked("5\r\nhello\r\n0\r\n\r\nmore")),
        case("a second answer behind the last chunk", chunked("0\r\n\r\nHTTP/1.1 200 OK\r\n\r\n")),
        case("chunks in capitals", ok("Transfer-Encoding: CHUNKED\r\n", "5\r\nhello\r\n0\r\n\r\n")),
        case("chunks that close", ok("transfer-encoding: chunked\r\nconnection: close\r\n", "2\r\nhi\r\n0\r\n\r\n")),
        case(
            "large chunks",
            chunked(&format!("4000\r\n{}\r\n4000\r\n{}\r\n0\r\n\r\n", "x".repeat(0x4000), "y".repeat(0x4000))),
        ),
        case("an extension of almost 16 KiB", chunked(&format!("1;{}\r\na\r\n0\r\n\r\n", "x".repeat(16 * 1024 - 2)))),
        case("an extension of more than 16 KiB", chunked(&format!("1;{}\r\na\r\n0\r\n\r\n", "x".repeat(16 * 1024)))),
        case(
            "extensions of more than 16 KiB",
            chunked(&format!("{}0\r\n\r\n", format!("1;{}\r\na\r\n", "x".repeat(1500)).repeat(12))),
        ),
    ]
}

fn broken() -> Vec<Case> {
    vec![
        case("a size of letters", chunked("xyz\r\nhello\r\n0\r\n\r\n")),
        case("no size", chunked("\r\nhello\r\n0\r\n\r\n")),
        case("a size with a sign", chunked("+5\r\nhello\r\n0\r\n\r\n")),
        case("a negative size", chunked("-5\r\nhello\r\n0\r\n\r\n")),
        case("a size with a prefix", chunked("0x5\r\nhello\r\n0\r\n\r\n")),
        case("a space before a size", chunked(" 5\r\nhello\r\n0\r\n\r\n")),
        case("a space within a size", chunked("1 0\r\nhello\r\n0\r\n\r\n")),
        case("a size that does not fit", chunked("10000000000000000\r\nhello\r\n0\r\n\r\n")),
        case("line feeds behind a size", chunked("5\nhello\r\n0\r\n\r\n")),
        case("a carriage return behind a size", chunked("5\rhello\r\n0\r\n\r\n")),
        case("a line feed in an extension", chunked("5;a\nhello\r\n0\r\n\r\n")),
        case("a carriage return in an extension", chunked("5;a\rb\r\nhello\r\n0\r\n\r\n")),
        case("a chunk longer than its size", chunked("5\r\nhello!\r\n0\r\n\r\n")),
        case("a chunk shorter than its size", chunked("6\r\nhello\r\n0\r\n\r\n")),
        case("no line end behind a chunk", chunked("5\r\nhello0\r\n\r\n")),
        case("a line feed behind a chunk", chunked("5\r\nhello\n0\r\n\r\n")),
        case("a carriage return behind a chunk", chunked("5\r\nhello\r0\r\n\r\n")),
        case("line feeds at the end", chunked("5\r\nhello\r\n0\r\n\n")),
        case("an end without its line end", chunked("5\r\nhello\r\n0\r\n")),
        case("an end without its line feed", chunked("5\r\nhello\r\n0\r\n\r")),
        case("no body of chunks", chunked("")),
        case("half a size", chunked("5")),
        case("a size and a carriage return", chunked("5\r")),
        case("half a chunk", chunked("5\r\nhel")),
        case("a chunk without its line end", chunked("5\r\nhello")),
        case("a chunk with half its line end", chunked("5\r\nhello\r")),
        case("a chunk and no more", chunked("5\r\nhello\r\n")),
        case("a carriage return and something else at the end", chunked("0\r\n\rx\r\n\r\n")),
    ]
}

fn trailers() -> Vec<Case> {
    let sized = |size: usize| chunked(&format!("0\r\nx: {}\r\n\r\n", "y".repeat(size - 7)));
    let many = |count: usize| {
        chunked(&format!("0\r\n{}\r\n", (0..count).map(|n| format!("x-{n}: {n}\r\n")).collect::<String>()))
    };
    vec![
        case("a trailer", chunked("5\r\nhello\r\n0\r\nx: y\r\n\r\n")),
        case("trailers", chunked("0\r\nx: 1\r\nX: 2\r\nz:\r\n\r\n")),
        case("a trailer and bytes behind it", chunked("0\r\nx: y\r\n\r\nmore")),
        case("a trailer without its end", chunked("0\r\nx: y\r\n")),
        case("a trailer with half its end", chunked("0\r\nx: y\r\n\r")),
        case("half a trailer", chunked("0\r\nx: ")),
        case("a trailer that is none", chunked("0\r\nnonsense\r\n\r\n")),
        case("a trailer with a space before its colon", chunked("0\r\nx : y\r\n\r\n")),
        case("a trailer with a control byte", chunked("0\r\nx: \u{1}\r\n\r\n")),
        case("a folded trailer", chunked("0\r\nx: y\r\n z\r\n\r\n")),
        case("a line feed between trailers", chunked("0\r\nx: y\nz: w\r\n\r\n")),
        case("an empty line among trailers", chunked("0\r\nx: y\n\nz: w\r\n\r\n")).differs(
            "Trailers that end twice are refused: hyper drops what is behind the first end.",
            "HTTP/1.1 200 [transfer-encoding: chunked] |  | broken | spent",
        ),
        case("a length among trailers", chunked("0\r\ncontent-length: 5\r\n\r\n")),
        case("trailers of almost 16 KiB", sized(16 * 1024 - 1)),
        case("trailers of more than 16 KiB", sized(16 * 1024 + 1)),
        case("one hundred trailers", many(100)),
        case("one hundred and one trailers", many(101)),
    ]
}

fn codings() -> Vec<Case> {
    const WHY: &str = "Only chunks are read: any other coding would be passed on as if it were the content.";
    const CHUNKS: &str = "5\r\nhello\r\n0\r\n\r\n";
    let coded = |name: &str, fields: &str| case(name, ok(fields, CHUNKS)).differs(WHY, "refused");
    const BOTH: &str =
        "Somebody on the way may believe the length: it is dropped, and the connection ends with the answer.";
    const KEPT: &str = "HTTP/1.1 200 [transfer-encoding: chunked] | hello | spent";
    let both = |name: &str, fields: &str| case(name, ok(fields, CHUNKS)).differs(BOTH, KEPT);
    vec![
        coded("gzip before chunks", "transfer-encoding: gzip, chunked\r\n"),
        coded("gzip before chunks in two lines", "transfer-encoding: gzip\r\ntransfer-encoding: chunked\r\n"),
        coded("chunks twice", "transfer-encoding: chunked, chunked\r\n"),
        coded("chunks twice in two lines", "transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n"),
        coded("chunks before gzip", "transfer-encoding: chunked, gzip\r\n"),
        coded("identity", "transfer-encoding: identity\r\n"),
        coded("chunks with a parameter", "transfer-encoding: chunked;q=1\r\n"),
        coded("no coding in the coding", "transfer-encoding:\r\n"),
        coded("a coding nobody knows", "transfer-encoding: xchunked\r\n"),
        coded("chunks in quotes", "transfer-encoding: \"chunked\"\r\n"),
        coded("a list of one", "transfer-encoding: , chunked\r\n"),
        both("chunks and a length", "content-length: 5\r\ntransfer-encoding: chunked\r\n"),
        both("chunks and a length behind them", "transfer-encoding: chunked\r\ncontent-length: 5\r\n"),
        both("chunks and a length that is none", "content-length: x\r\ntransfer-encoding: chunked\r\n"),
    ]
}

fn ends() -> Vec<Case> {
    let large = "x".repeat(100_000);
    vec![
        case("until it closes", ok("", "hello")),
        case("until it closes at once", ok("", "")),
        case("until it closes, said to be kept", ok("connection: keep-alive\r\n", "hello")),
        case("a large body until it closes", ok("", &large)),
        case("a large body", ok("content-length: 100000\r\n", &large)),
        case("a large body and a byte", ok("content-length: 99999\r\n", &large)),
        case("a body that lacks its last byte", ok("content-length: 100001\r\n", &large)),
        case("a body that lacks everything", ok("content-length: 5\r\n", "")),
    ]
}
