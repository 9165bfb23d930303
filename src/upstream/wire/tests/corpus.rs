//! Answers, well formed and not.

mod bodies;
mod heads;

use http::Method;

/// An answer, and the request's method.
pub(super) struct Case {
    pub(super) name: String,
    pub(super) method: Method,
    pub(super) bytes: Vec<u8>,
    pub(super) differs: Option<Differs>,
}

/// Where ours is not hyper's on purpose.
pub(super) struct Differs {
    pub(super) why: &'static str,
    /// What ours tells when the connection stays open after the bytes, and when it closes.
    pub(super) ours: [&'static str; 2],
}

/// All of them.
pub(super) fn all() -> Vec<Case> {
    let mut cases = heads::all();
    cases.extend(bodies::all());
    cases
}

fn case(name: &str, bytes: impl AsRef<[u8]>) -> Case {
    Case { name: name.to_owned(), method: Method::GET, bytes: bytes.as_ref().to_vec(), differs: None }
}

impl Case {
    /// It answers another method.
    fn to(self, method: Method) -> Case {
        Case { method, ..self }
    }

    /// Ours tells the same whether the connection closes or not.
    fn differs(self, why: &'static str, ours: &'static str) -> Case {
        self.differs_by(why, [ours, ours])
    }

    fn differs_by(self, why: &'static str, ours: [&'static str; 2]) -> Case {
        Case { differs: Some(Differs { why, ours }), ..self }
    }
}

/// An answer of 200 with these fields, and what follows them.
fn ok(fields: &str, rest: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\n{fields}\r\n{rest}").into_bytes()
}

/// A chunked answer.
fn chunked(rest: &str) -> Vec<u8> {
    ok("transfer-encoding: chunked\r\n", rest)
}
