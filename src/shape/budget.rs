//! What an expression may take of time and memory.

use std::cell::Cell;

use super::{Fault, Object, Text, Value};

/// What an expression may take before it is given up. An expression is short and its data are bounded, and still what it makes of
/// them is not: `[@,@] | [@,@] | …` doubles with each step what a comparison, a text or a flattened list has to go through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// How many steps. A step is a part of the expression applied to one value, an element looked at or put into a list, or 64
    /// bytes of a text: about 10 to 50 ns.
    pub steps: usize,
    /// How many bytes of lists, objects and texts it makes in all, those included that it only needs on its way. What it
    /// takes over from its data costs nothing, because values share their contents. While a list is made, it is there twice.
    pub bytes: usize,
}

impl Default for Budget {
    /// Ten million steps, and 16 MiB.
    ///
    /// A whole of 4 MiB (decision 40) has some 400,000 values: ten million steps apply 25 parts of an expression to each of
    /// them, and end within half a second, a tenth of a whole's deadline. 16 MiB are 300,000 members or 500,000 elements,
    /// which take some 4 MiB as text, and a quarter of what all aggregates together may hold.
    fn default() -> Budget {
        Budget { steps: 10_000_000, bytes: 16 << 20 }
    }
}

/// What is left of a budget.
pub(super) struct Meter {
    most: Budget,
    steps: Cell<usize>,
    bytes: Cell<usize>,
}

impl Meter {
    pub(super) fn new(most: Budget) -> Meter {
        Meter { most, steps: Cell::new(most.steps), bytes: Cell::new(most.bytes) }
    }

    pub(super) fn unlimited() -> Meter {
        Meter::new(Budget { steps: usize::MAX, bytes: usize::MAX })
    }

    /// Takes steps, before they are gone.
    pub(super) fn steps(&self, count: usize) -> Result<(), Fault> {
        let left = self.steps.get().checked_sub(count).ok_or(Fault::Steps { most: self.most.steps })?;
        self.steps.set(left);
        Ok(())
    }

    /// Takes the steps for looking through so many bytes of text.
    pub(super) fn text(&self, bytes: usize) -> Result<(), Fault> {
        self.steps(1 + bytes / 64)
    }

    /// Takes memory, before it is there.
    pub(super) fn bytes(&self, count: usize) -> Result<(), Fault> {
        let left = self.bytes.get().checked_sub(count).ok_or_else(|| self.too_much())?;
        self.bytes.set(left);
        Ok(())
    }

    /// How many bytes may still be made.
    pub(super) fn left(&self) -> usize {
        self.bytes.get()
    }

    /// That there is no memory left.
    pub(super) fn too_much(&self) -> Fault {
        Fault::Memory { most: self.most.bytes }
    }

    /// Takes what a list of so many elements costs.
    pub(super) fn list(&self, elements: usize) -> Result<(), Fault> {
        self.steps(elements)?;
        self.bytes(list(elements))
    }

    /// Takes what an object of so many members costs.
    pub(super) fn object(&self, members: usize) -> Result<(), Fault> {
        self.steps(members)?;
        self.bytes(object(members))
    }

    /// Takes what the making of a text of so many bytes costs.
    pub(super) fn make_text(&self, bytes: usize) -> Result<(), Fault> {
        self.text(bytes)?;
        self.bytes(text(bytes))
    }
}

/// What a block of memory takes of which so many bytes are used: 16 for its counts, and what jemalloc rounds up, whose sizes divide
/// what lies between two powers of two by four, and are multiples of 16.
fn block(bytes: usize) -> usize {
    let whole = bytes.saturating_add(16);
    let step = whole.checked_next_power_of_two().map(|power| (power / 8).max(16));
    step.and_then(|step| whole.checked_next_multiple_of(step)).unwrap_or(usize::MAX)
}

/// What an array's elements weigh, without what these share.
pub(super) fn list(elements: usize) -> usize {
    if elements == 0 { 0 } else { block(elements.saturating_mul(size_of::<Value>())) }
}

/// What an object's members weigh, without what these share.
pub(super) fn object(members: usize) -> usize {
    let list = if members == 0 { 0 } else { block(members.saturating_mul(size_of::<(Text, Value)>())) };
    let places = Object::bytes_of_places(members);
    list.saturating_add(places.map_or(0, |(places, other)| block(places).saturating_add(block(other))))
}

/// What a text of its own weighs.
pub(super) fn text(bytes: usize) -> usize {
    block(size_of::<Box<str>>()).saturating_add(block(bytes))
}
