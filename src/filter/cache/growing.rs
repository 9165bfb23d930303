//! Bodies on their way into the store, and on their way to who reads along: both have the same blocks. However small the pieces are that
//! a body comes in, and however large the buffers that they are part of, it takes its own size and no more.

use bytes::Bytes;

use super::body::{BLOCK, Blocks, OWNER};
use super::fills::Filling;
use super::memory::{Share, allocation};

/// The bytes of a block, which count for as long as anybody has them.
struct Block {
    bytes: Box<[u8]>,
    _share: Share,
}

impl AsRef<[u8]> for Block {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// A body on its way into the store.
#[derive(Debug)]
pub struct Growing {
    /// None when it is not on its way any more.
    filling: Option<Filling>,
    full: Vec<Bytes>,
    /// What these take.
    sealed: usize,
    /// The block that is not full yet.
    tail: Vec<u8>,
    /// What that takes.
    share: Share,
    length: usize,
    /// Bytes in all, where the head says it.
    expected: Option<u64>,
}

impl Growing {
    /// The beginning of a body of this size, where it is known.
    pub fn new(filling: Filling, expected: Option<u64>) -> Growing {
        let share = filling.cache.memory.share(0);
        let filling = Some(filling);
        Growing { filling, full: Vec::new(), sealed: 0, tail: Vec::new(), share, length: 0, expected }
    }

    /// Bytes so far.
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// One more piece. False, and nothing of it is taken, when there is no room for it.
    pub fn push(&mut self, mut data: &[u8]) -> bool {
        if data.len() > self.tail.capacity() - self.tail.len() {
            let held = self.sealed + allocation(self.capacity(data.len())) + data.len().saturating_sub(BLOCK);
            if !self.filling.as_mut().is_some_and(|filling| filling.holds(held)) {
                return false;
            }
        }
        while !data.is_empty() {
            let (now, later) = data.split_at(data.len().min(BLOCK - self.tail.len()));
            self.reserve(now.len());
            self.tail.extend_from_slice(now);
            self.length += now.len();
            if self.tail.len() == BLOCK {
                self.seal();
            }
            data = later;
        }
        true
    }

    /// Makes room for so many bytes in the last block: it grows by doubling, and not beyond what is still to come.
    fn reserve(&mut self, more: usize) {
        if self.tail.len() + more > self.tail.capacity() {
            self.tail.reserve_exact(self.capacity(more) - self.tail.len());
            self.share.set(allocation(self.tail.capacity()));
        }
    }

    /// How large the last block is with so many bytes more.
    fn capacity(&self, more: usize) -> usize {
        let begun = (self.length - self.tail.len()) as u64;
        let end = self.expected.map_or(BLOCK as u64, |expected| expected.saturating_sub(begun).min(BLOCK as u64));
        (2 * self.tail.capacity()).min(end as usize).max(self.tail.len() + more).min(BLOCK)
    }

    /// The last block is complete.
    fn seal(&mut self) {
        let bytes = std::mem::take(&mut self.tail).into_boxed_slice();
        self.share.set(0);
        let share = self.share.another(allocation(bytes.len()) + OWNER);
        self.sealed += share.bytes();
        self.full.push(Bytes::from_owner(Block { bytes, _share: share }));
    }

    /// What follows so many bytes from the beginning, as far as it has come.
    pub fn after(&self, read: usize) -> Option<Bytes> {
        if read >= self.length {
            return None;
        }
        let (block, offset) = (read / BLOCK, read % BLOCK);
        match self.full.get(block) {
            Some(full) => Some(full.slice(offset..)),
            None => self.tail.get(offset..).map(Bytes::copy_from_slice),
        }
    }

    /// What lies before so many bytes from the beginning is needed no more.
    pub fn forget(&mut self, read: usize) {
        for block in self.full.iter_mut().take(read / BLOCK).rev().take_while(|block| !block.is_empty()) {
            *block = Bytes::new();
        }
    }

    /// It is not on its way to the store any more. Who reads along still finds what came.
    pub fn leave(&mut self) {
        self.filling = None;
    }

    /// That was all. Who reads along still finds it.
    pub fn finish(&mut self) -> Blocks {
        if !self.tail.is_empty() {
            self.seal();
        }
        Blocks::of(&self.full)
    }
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::sync::Arc;
    use std::task::{Context, Poll};

    use super::super::{Cache, Found, Place};
    use super::*;
    use crate::config::Store;

    fn growing(expected: Option<u64>) -> (Arc<Cache>, Growing) {
        let cache = Cache::new(&Store { size: 16 << 20, object: 1 << 20 }, 1);
        let place = Place {
            scheme: "http",
            host: "a",
            told: None,
            path: "/",
            query: None,
            form: "1",
            claims: "",
            has_body: false,
        };
        let fields = http::HeaderMap::new();
        let found = cache.find(&http::Method::GET, &fields, &place, tokio::time::Instant::now());
        let Found::Fetch(fetch) = found else { panic!("nothing is stored") };
        let filling = cache.hold(&fetch.key, &fields).expect("there is room");
        (cache, Growing::new(filling, expected))
    }

    /// Bytes of which no two that are near each other are alike.
    fn pattern(length: usize) -> Vec<u8> {
        (0..length).map(|at| (at ^ (at >> 8) ^ (at >> 16)) as u8).collect()
    }

    /// All that a body gives.
    fn read(blocks: &Blocks) -> Vec<u8> {
        let (mut body, mut whole) = (blocks.body(), Vec::new());
        let mut cx = Context::from_waker(std::task::Waker::noop());
        loop {
            assert_eq!(http_body::Body::size_hint(&body).exact(), Some((blocks.len() - whole.len()) as u64));
            let Poll::Ready(frame) = http_body::Body::poll_frame(Pin::new(&mut body), &mut cx) else {
                panic!("all is here")
            };
            let Some(frame) = frame else { break };
            whole.extend_from_slice(frame.expect("it is here").data_ref().expect("data"));
        }
        assert!(http_body::Body::is_end_stream(&body));
        whole
    }

    #[test]
    fn a_body_is_the_same_in_whatever_pieces_it_came_and_was_read_along() {
        for length in [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK, 3 * BLOCK + 7] {
            let whole = pattern(length);
            for (piece, expected) in [(1000, None), (7, Some(length as u64)), (BLOCK, None), (5 * BLOCK, Some(9))] {
                let (_cache, mut growing) = growing(expected);
                let mut along = Vec::new();
                for (number, data) in whole.chunks(piece).enumerate() {
                    assert!(growing.push(data));
                    if number % 3 == 0 {
                        along.extend_from_slice(&growing.after(along.len()).unwrap_or_default());
                    }
                }
                let blocks = growing.finish();
                assert!(read(&blocks) == whole, "{length} in pieces of {piece}");
                growing.leave();
                while let Some(data) = growing.after(along.len()) {
                    along.extend_from_slice(&data);
                    growing.forget(along.len());
                }
                assert!(along == whole, "{length} in pieces of {piece}, read along");
            }
        }
    }

    #[test]
    fn a_body_takes_its_own_size_however_small_its_pieces_are_until_nobody_has_it() {
        let (cache, mut growing) = growing(None);
        let before = cache.memory.taken();
        for byte in pattern(300_000) {
            assert!(growing.push(&[byte]));
        }
        let (taken, blocks) = (cache.memory.taken() - before, growing.finish());
        assert!((300_000..300_000 + 2 * BLOCK as u64).contains(&taken), "{taken}");
        drop(growing);
        assert_eq!(cache.memory.taken(), blocks.taken() as u64);
        assert!(blocks.taken() < 330_000, "{}", blocks.taken());
        let reading = blocks.body();
        drop(blocks);
        assert!(cache.memory.taken() > 300_000, "a client reads it still");
        drop(reading);
        assert_eq!(cache.memory.taken(), 0);
    }
}
