//! Bodies in the store: blocks, which the store shares with whoever reads them.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Frame, SizeHint};

use super::memory::{SHARED, Share, allocation};
use crate::io::body::{Body, Error};

/// Bytes of a block: what is longer than this need not lie in one piece, so that nothing is copied when a body grows.
pub(super) const BLOCK: usize = 64 * 1024;

/// What a block takes besides its bytes: its count of owners, and its share of the memory that is counted.
pub(super) const OWNER: usize = SHARED + size_of::<Share>();

/// A whole body. All its blocks are full but the last.
#[derive(Clone, Debug, Default)]
pub struct Blocks {
    first: Bytes,
    /// The others; most bodies have none.
    rest: Option<Arc<[Bytes]>>,
    length: usize,
}

impl Blocks {
    /// The body that these blocks are.
    pub(super) fn of(blocks: &[Bytes]) -> Blocks {
        let Some((first, rest)) = blocks.split_first() else { return Blocks::default() };
        let length = blocks.iter().map(Bytes::len).sum();
        Blocks { first: first.clone(), rest: (!rest.is_empty()).then(|| rest.into()), length }
    }

    /// Its bytes.
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// It as the body of an answer.
    pub fn body(&self) -> Body {
        match &self.rest {
            None => Body::from(self.first.clone()),
            Some(_) => Body::Followed(Box::pin(Reading { blocks: self.clone(), next: 0, left: self.length })),
        }
    }

    /// What its blocks take of memory.
    pub(super) fn taken(&self) -> usize {
        let rest = self.rest.as_deref().unwrap_or_default();
        let blocks = std::iter::once(&self.first).chain(rest).filter(|block| !block.is_empty());
        blocks.map(|block| allocation(block.len()) + OWNER).sum()
    }
}

/// A stored body of several blocks on its way to a client.
struct Reading {
    blocks: Blocks,
    next: usize,
    left: usize,
}

impl http_body::Body for Reading {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let Blocks { first, rest, .. } = &self.blocks;
        let block = match self.next {
            0 => Some(first),
            next => rest.as_ref().and_then(|rest| rest.get(next - 1)),
        };
        let block = block.cloned();
        self.next += 1;
        self.left -= block.as_ref().map_or(0, Bytes::len);
        Poll::Ready(block.map(|block| Ok(Frame::data(block))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left as u64)
    }
}
