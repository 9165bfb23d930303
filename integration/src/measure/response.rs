//! A response as it arrives, in whatever pieces TCP delivers: its status, where it ends, and whether the connection stays open.

use super::system::Outcome;

/// The most bytes of a head, more than any of the proxies sends.
const HEAD: usize = 64 * 1024;

/// What is kept of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Response {
    /// Its status.
    pub status: u16,
    /// The server closes the connection.
    pub closes: bool,
}

/// Reads the responses of one connection, one after the other.
#[derive(Debug, Default)]
pub struct Reader {
    /// The part that has arrived of an incomplete head; empty in the usual case, in which a head arrives whole.
    head: Vec<u8>,
    /// The response whose body is being read.
    response: Option<Response>,
    rest: Rest,
}

/// What is still to arrive.
#[derive(Debug, Default, PartialEq, Eq)]
enum Rest {
    #[default]
    Head,
    Bytes(u64),
    /// More of a chunked body.
    Chunks(Chunk),
    /// Until the connection ends.
    ToTheEnd,
}

/// The position in a chunked body.
#[derive(Debug, PartialEq, Eq)]
enum Chunk {
    /// In a line with a size: its value so far, and whether its digits have ended.
    Size(u64, bool),
    /// In a chunk's data: how many bytes are left, with the line break after them.
    Data(u64),
    /// In a line after the last chunk: its length so far. An empty line ends the body.
    Trailer(usize),
}

impl Reader {
    /// Takes bytes that arrived. Returns how many of them belong to this response, and the response if it is complete; the
    /// rest of the bytes belongs to the next one.
    pub fn take(&mut self, bytes: &[u8]) -> Outcome<(usize, Option<Response>)> {
        let mut at = 0;
        if self.rest == Rest::Head {
            match self.take_head(bytes)? {
                None => return Ok((bytes.len(), None)),
                Some(end) => at = end,
            }
        }
        let more = &bytes[at..];
        let done = match &mut self.rest {
            Rest::Head | Rest::ToTheEnd => {
                at = bytes.len();
                false
            }
            Rest::Bytes(left) => {
                let here = (*left).min(more.len() as u64);
                *left -= here;
                at += here as usize;
                *left == 0
            }
            Rest::Chunks(position) => {
                let (taken, done) = take_chunks(position, more)?;
                at += taken;
                done
            }
        };
        Ok((at, if done { self.complete() } else { None }))
    }

    /// The connection ended, which completes a response without a length.
    pub fn end(&mut self) -> Option<Response> {
        if self.rest == Rest::ToTheEnd { self.complete() } else { None }
    }

    fn complete(&mut self) -> Option<Response> {
        self.rest = Rest::Head;
        self.response.take()
    }

    /// Returns where in `bytes` the head ends, if it does.
    fn take_head(&mut self, bytes: &[u8]) -> Outcome<Option<usize>> {
        if self.head.is_empty() {
            if let Some((end, response, rest)) = parse(bytes)? {
                (self.response, self.rest) = (Some(response), rest);
                return Ok(Some(end));
            }
            self.head.extend_from_slice(bytes);
            return Ok(None);
        }
        let before = self.head.len();
        self.head.extend_from_slice(bytes);
        let Some((end, response, rest)) = parse(&self.head)? else {
            return if self.head.len() > HEAD { Err("an answer's head does not end".into()) } else { Ok(None) };
        };
        self.head.clear();
        (self.response, self.rest) = (Some(response), rest);
        Ok(Some(end - before))
    }
}

fn parse(bytes: &[u8]) -> Outcome<Option<(usize, Response, Rest)>> {
    let mut fields = [httparse::EMPTY_HEADER; 64];
    let mut head = httparse::Response::new(&mut fields);
    let status = head.parse(bytes).map_err(|error| format!("not an answer: {error}"))?;
    let httparse::Status::Complete(end) = status else { return Ok(None) };
    let mut response = Response { status: head.code.unwrap_or(0), closes: head.version == Some(0) };
    let (mut length, mut chunked) = (None, false);
    for field in head.headers.iter() {
        if field.name.eq_ignore_ascii_case("content-length") {
            length = std::str::from_utf8(field.value).ok().and_then(|text| text.trim().parse().ok());
        } else if field.name.eq_ignore_ascii_case("transfer-encoding") {
            chunked = field.value.eq_ignore_ascii_case(b"chunked");
        } else if field.name.eq_ignore_ascii_case("connection") {
            response.closes = field.value.eq_ignore_ascii_case(b"close");
        }
    }
    let rest = match (chunked, length) {
        _ if matches!(response.status, 204 | 304) => Rest::Bytes(0),
        (true, _) => Rest::Chunks(Chunk::Size(0, false)),
        (false, Some(length)) => Rest::Bytes(length),
        (false, None) => Rest::ToTheEnd,
    };
    Ok(Some((end, response, rest)))
}

/// Returns how many of `bytes` belong to the body, and whether they end it.
fn take_chunks(position: &mut Chunk, bytes: &[u8]) -> Outcome<(usize, bool)> {
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        match position {
            Chunk::Data(left) => {
                let here = (*left).min((bytes.len() - at) as u64);
                *left -= here;
                at += here as usize;
                if *left == 0 {
                    *position = Chunk::Size(0, false);
                }
                continue;
            }
            Chunk::Size(size, over) => match byte {
                // The data is followed by a line break of two bytes.
                b'\n' => *position = if *size == 0 { Chunk::Trailer(0) } else { Chunk::Data(*size + 2) },
                b';' | b'\r' => *over = true,
                _ if *over => {}
                byte => {
                    let digit = (*byte as char).to_digit(16).ok_or("a chunk's size is no number")?;
                    *size = size.checked_mul(16).ok_or("a chunk's size is too large")? + u64::from(digit);
                }
            },
            Chunk::Trailer(length) => match byte {
                b'\n' if *length == 0 => return Ok((at + 1, true)),
                b'\n' => *length = 0,
                b'\r' => {}
                _ => *length += 1,
            },
        }
        at += 1;
    }
    Ok((at, false))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
    const CHUNKED: &[u8] = b"HTTP/1.1 503 No\r\ntransfer-encoding: chunked\r\nConnection: close\r\n\r\n\
        5;x=1\r\nhello\r\n1a\r\nabcdefghijklmnopqrstuvwxyz\r\n0\r\nA: b\r\n\r\n";
    const EMPTY: &[u8] = b"HTTP/1.1 204 None\r\n\r\n";

    fn read(reader: &mut Reader, parts: &[&[u8]]) -> Vec<Response> {
        let mut responses = Vec::new();
        for part in parts {
            let mut rest = *part;
            loop {
                let (taken, response) = reader.take(rest).expect("well-formed");
                responses.extend(response);
                rest = &rest[taken..];
                if rest.is_empty() {
                    break;
                }
            }
        }
        responses
    }

    #[test]
    fn answers_are_the_same_wherever_they_are_cut() {
        let all = [PLAIN, CHUNKED, EMPTY, PLAIN].concat();
        let expected = [(200, false), (503, true), (204, false), (200, false)];
        let expected = expected.map(|(status, closes)| Response { status, closes });
        assert_eq!(read(&mut Reader::default(), &[&all]), expected);
        for cut in 1..all.len() {
            assert_eq!(read(&mut Reader::default(), &[&all[..cut], &all[cut..]]), expected, "cut at {cut}");
        }
        let bytes: Vec<&[u8]> = all.chunks(1).collect();
        assert_eq!(read(&mut Reader::default(), &bytes), expected);
    }

    #[test]
    fn an_answer_without_a_length_lasts_until_the_connection_ends() {
        let mut reader = Reader::default();
        assert_eq!(read(&mut reader, &[b"HTTP/1.0 200 OK\r\n\r\nhel", b"lo"]), []);
        assert_eq!(reader.end(), Some(Response { status: 200, closes: true }));
        let mut reader = Reader::default();
        assert_eq!(read(&mut reader, &[&PLAIN[..PLAIN.len() - 1]]), []);
        assert_eq!(reader.end(), None, "a response that broke off is none");
    }

    #[test]
    fn what_is_not_an_answer_is_an_error() {
        assert!(Reader::default().take(b"SSH-2.0-x\r\n\r\n").is_err());
        let bad = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n";
        assert!(Reader::default().take(bad).is_err());
    }
}
