//! Where a path's parameters stand in it: a few offsets, without memory of its own.

use std::ops::Range;

/// As many parameters as a pattern may have.
const MOST: usize = 8;

/// The places of a path's parameters, and of what follows them. A path is shorter than 64 KiB: so `u16`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Places {
    parameters: [(u16, u16); MOST],
    count: u8,
    rest: u16,
}

impl Places {
    /// Where the n-th parameter stands.
    pub(super) fn parameter(&self, place: usize) -> Range<usize> {
        let (from, to) = self.parameters[place];
        from.into()..to.into()
    }

    /// Where what follows the pattern begins.
    pub(super) fn rest(&self) -> usize {
        self.rest.into()
    }

    /// One more parameter.
    pub(super) fn push(&mut self, place: Range<usize>) {
        self.parameters[usize::from(self.count)] = (place.start as u16, place.end as u16);
        self.count += 1;
    }

    /// One fewer.
    pub(super) fn pop(&mut self) {
        self.count -= 1;
    }

    /// The pattern ended here.
    pub(super) fn end(&mut self, rest: usize) {
        self.rest = rest as u16;
    }
}
