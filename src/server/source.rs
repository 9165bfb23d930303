//! Where the bytes come from that hyper reads of a client: nearly always from the socket, sometimes from memory. What comes from
//! memory was read to see whether the client is still there, or is a body whose tiny chunks are joined.

use tokio::io::ReadBuf;

use super::chunks::Joiner;

/// The source of what hyper reads next.
#[derive(Debug)]
pub(super) enum Source {
    /// The socket.
    Socket,
    /// These bytes, of which there is at least one; then the socket.
    Ahead(Vec<u8>),
    /// The body with this number, chunk by chunk.
    Chunks(u32, Box<Joiner>),
}

impl Source {
    /// Whether all bytes come straight from the socket.
    pub(super) fn is_socket(&self) -> bool {
        matches!(self, Source::Socket)
    }

    /// The bytes in memory.
    pub(super) fn bytes(&self) -> &[u8] {
        match self {
            Source::Socket => &[],
            Source::Ahead(bytes) => bytes,
            Source::Chunks(_, joiner) => joiner.rest(),
        }
    }

    /// Adds bytes that come after those in memory.
    pub(super) fn push(&mut self, more: &[u8]) {
        if more.is_empty() {
            return;
        }
        self.plain();
        match self {
            Source::Ahead(bytes) => bytes.extend_from_slice(more),
            _ => *self = Source::Ahead(more.to_vec()),
        }
    }

    /// Puts bytes before those in memory.
    pub(super) fn put_back(&mut self, bytes: &[u8]) {
        if !bytes.is_empty() {
            let later = std::mem::replace(self, Source::Ahead(bytes.to_vec()));
            self.push(later.bytes());
        }
    }

    /// Moves bytes from memory to `buf`; false when there are none.
    pub(super) fn take(&mut self, buf: &mut ReadBuf<'_>) -> bool {
        self.plain();
        let Source::Ahead(bytes) = self else { return false };
        let count = bytes.len().min(buf.remaining());
        buf.put_slice(&bytes[..count]);
        bytes.drain(..count);
        if bytes.is_empty() {
            *self = Source::Socket;
        }
        true
    }

    /// Forgets the first bytes of those in memory.
    pub(super) fn skip(&mut self, count: usize) {
        let rest = self.bytes().get(count..).unwrap_or_default().to_vec();
        *self = if rest.is_empty() { Source::Socket } else { Source::Ahead(rest) };
    }

    /// The joiner of the body with this number, if its chunks are joined. That of another body gives way to its bytes.
    pub(super) fn joiner(&mut self, body: u32) -> Option<&mut Joiner> {
        if matches!(self, Source::Chunks(number, _) if *number != body) {
            self.plain();
        }
        match self {
            Source::Chunks(_, joiner) => Some(joiner),
            Source::Socket | Source::Ahead(_) => None,
        }
    }

    /// Joins the chunks of the body with this number from here on. `data` counts the bytes that hyper found in the body's chunks.
    pub(super) fn join(&mut self, body: u32, data: u32) {
        if let Some(joiner) = self.joiner(body) {
            return joiner.seek(data);
        }
        let ahead = match std::mem::replace(self, Source::Socket) {
            Source::Ahead(bytes) => bytes,
            Source::Socket | Source::Chunks(..) => Vec::new(),
        };
        *self = Source::Chunks(body, Box::new(Joiner::new(&ahead, data)));
    }

    /// Chunks are joined no more.
    fn plain(&mut self) {
        if let Source::Chunks(_, joiner) = self {
            let rest = joiner.rest().to_vec();
            *self = if rest.is_empty() { Source::Socket } else { Source::Ahead(rest) };
        }
    }
}
