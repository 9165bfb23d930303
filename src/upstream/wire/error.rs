//! Why a connection brought no answer.

use std::io;

use crate::io::body::Body;

/// Why there is no answer.
#[derive(Debug)]
pub enum SendError {
    /// Not a byte of the request was written: here is its body again.
    Unwritten(Body),
    /// What came back does not begin with a status line of HTTP/1.
    NotHttp(&'static str),
    /// It does, and has a form that we refuse, or is more than our buffers hold.
    BadAnswer(&'static str),
    /// The request's own body failed: the client's doing.
    Body,
    /// The connection broke, and not a byte of an answer had come.
    Reset(io::Error),
    /// The connection broke in the middle of an answer's head.
    CutOff(io::Error),
}
