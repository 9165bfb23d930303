//! Bodies in many small pieces, both ways.

use super::*;

/// Sends a body in these chunks and returns the answer: how many pieces the handler got, and what it got.
async fn echo(sizes: &[usize], data: &[u8], end: &str, split: usize) -> (usize, Vec<u8>) {
    let mut raw = b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    let mut rest = data;
    for &size in sizes {
        raw.extend_from_slice(format!("{size:x}\r\n").as_bytes());
        raw.extend_from_slice(&rest[..size]);
        raw.extend_from_slice(b"\r\n");
        rest = &rest[size..];
    }
    raw.extend_from_slice(end.as_bytes());
    let (mut receive, mut send) = tokio::io::split(Rig::new().open_with(1 << 20));
    let pour = async {
        for piece in raw.chunks(split) {
            send.write_all(piece).await.expect("it is read");
            tokio::task::yield_now().await;
        }
    };
    let read = async {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            head.push(char::from(receive.read_u8().await.expect("an answer")));
        }
        let field = |name: &str| {
            let line = head.lines().find_map(|line| line.strip_prefix(&format!("{name}: ")));
            line.and_then(|value| value.parse::<usize>().ok()).unwrap_or(0)
        };
        let mut body = vec![0; field("content-length")];
        receive.read_exact(&mut body).await.expect("a whole body");
        (field("pieces"), body)
    };
    tokio::join!(pour, read).1
}

#[test]
fn tiny_chunks_are_joined_and_not_a_byte_is_lost_wherever_reads_and_chunks_end() {
    paused(async {
        let mut random = fastrand::Rng::with_seed(7);
        for round in 0..20 {
            let most = [1, 2, 16, 300, 1500][round % 5];
            let sizes: Vec<_> = (0..random.usize(100..800)).map(|_| random.usize(1..=most)).collect();
            // Data that looks like the ends of lines and chunks.
            let data: Vec<_> = (0..sizes.iter().sum()).map(|_| *random.choice(b"\r\n01a;").expect("a byte")).collect();
            let split = [3, 17, 1000, 1 << 20][random.usize(..4)];
            let end = ["0\r\n\r\n", "0\r\nTrailer: x\r\n\r\n", "00000\r\n\r\n"][round % 3];
            let (_, body) = echo(&sizes, &data, end, split).await;
            assert!(body == data, "round {round}: {} bytes became {}", data.len(), body.len());
        }
        // What hyper reads together with the head comes chunk by chunk.
        let (pieces, body) = echo(&[1; 40_000], &[b'x'; 40_000], "0\r\n\r\n", 1 << 20).await;
        assert_eq!(body.len(), 40_000);
        assert!(pieces < 8192 / 6 + 200, "{pieces} pieces");
    });
}

#[test]
fn after_tiny_chunks_a_broken_one_is_still_seen() {
    paused(async {
        for end in ["x\r\n", "1\r\nab\r\n0\r\n\r\n", "1\r\nx0\r\n\r\n", "-1\r\n", "1 1\r\nx\r\n"] {
            let (_, body) = echo(&[1; 5_000], &[b'x'; 5_000], end, 1 << 20).await;
            assert_eq!(body, b"broken", "{end:?}");
        }
        for end in ["1;extension\r\nx\r\n0\r\n\r\n", "1 \r\nx\r\n0\r\n\r\n", "0001\r\nx\r\n0\r\n\r\n"] {
            let (_, body) = echo(&[1; 5_000], &[b'x'; 5_000], end, 1 << 20).await;
            assert_eq!(body.len(), 5_001, "{end:?}");
        }
    });
}

#[test]
fn the_next_request_follows_a_body_of_tiny_chunks() {
    paused(async {
        let mut client = Rig::new().open_with(1 << 20);
        let body = "1\r\nx\r\n".repeat(5_000);
        write(
            &mut client,
            &format!("POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n{body}0\r\n\r\n"),
        )
        .await;
        write(
            &mut client,
            &format!("POST /sum HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{}", "\r\n\r\n\r\n\r\nx"),
        )
        .await;
        ask(&mut client, "/now").await;
        let all = answer(&mut client).await;
        assert!(all.contains("content-length: 5000") && all.contains("\r\n\r\n9HTTP/1.1 200"), "{all}");
    });
}

#[test]
fn an_answers_tiny_pieces_are_joined_and_one_that_breaks_off_brings_what_came() {
    paused(async {
        let mut client = Rig::new().open();
        write(&mut client, "GET /pieces HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
        let (all, _) = rest(&mut client).await;
        let (head, body) = all.split_once("\r\n\r\n").expect("a head");
        assert!(head.contains("chunked"), "{head}");
        assert_eq!(body.matches('x').count(), 3000);
        assert!(body.matches("\r\n").count() < 20 && body.ends_with("0\r\n\r\n"), "{body}");
        let mut client = Rig::new().open();
        ask(&mut client, "/broken").await;
        let (all, _) = rest(&mut client).await;
        assert!(all.starts_with("HTTP/1.1 200") && !all.ends_with("0\r\n\r\n"), "{all}");
    });
}
