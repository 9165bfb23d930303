//! Text -> whether it is a value: for what is passed on as it is, and looked at by nobody.

use std::borrow::Cow;

use hifijson::SliceLexer;
use hifijson::num::LexWrite as _;
use hifijson::str::LexAlloc as _;

use super::Number;
use super::read::{DEPTH, ends, plain};

/// So many names are compared with each other; more of them are sorted.
const FEW: usize = 16;

/// Whether a text is one value, by the rules of [`super::read`], which says why where it is none. It takes no memory but for where the names stand
/// of objects that have not ended yet, and of a few that have.
pub fn is_value(text: &[u8]) -> bool {
    if std::str::from_utf8(text).is_err() {
        return false;
    }
    let (names, open) = (Vec::with_capacity(FEW), Vec::with_capacity(FEW));
    Checker { text, names, open, before: Vec::new() }.run().is_some()
}

struct Checker<'t> {
    text: &'t [u8],
    /// The names of objects that have not ended, one after the other.
    names: Vec<Name<'t>>,
    /// What has not ended.
    open: Vec<Open>,
    /// For each depth the names of the last object there that has ended: the objects of a list mostly have the same ones, in one order.
    before: Vec<Vec<Name<'t>>>,
}

/// Of up to seven bytes, a name is its key, with its length in the highest byte. Longer ones have their texts besides.
#[derive(Clone)]
struct Name<'t> {
    key: u64,
    text: Cow<'t, [u8]>,
    /// Where it is written, from its quote to the colon.
    written: (usize, usize),
}

impl<'t> Name<'t> {
    /// One that is read whole with the first eight bytes behind its quote, and its length.
    #[inline]
    fn short(eight: [u8; 8]) -> Option<(Name<'t>, usize)> {
        let word = u64::from_le_bytes(eight);
        let found = ends(word);
        let bits = found.trailing_zeros() & !7;
        // No byte ends a name, or it is not a quote.
        if found == 0 || (word >> bits) as u8 != b'"' {
            return None;
        }
        let key = (word & ((1 << bits) - 1)) | (u64::from(bits / 8) << 56);
        Some((Name { key, text: Cow::Borrowed(&[]), written: (0, 0) }, bits as usize / 8))
    }

    fn long(text: Cow<'t, [u8]>) -> Name<'t> {
        let mut eight = [0; 8];
        match text.first_chunk() {
            Some(first) => eight = *first,
            None => eight[..text.len()].copy_from_slice(&text),
        }
        let short = text.len() < 8;
        let highest = if short { text.len() as u64 } else { 0xff };
        let key = (u64::from_le_bytes(eight) & (u64::MAX >> 8)) | (highest << 56);
        Name { key, text: if short { Cow::Borrowed(&[]) } else { text }, written: (0, 0) }
    }

    #[inline]
    fn is(&self, other: &Name<'_>) -> bool {
        self.key == other.key && (self.key >> 56 < 8 || self.text == other.text)
    }
}

#[derive(Clone, Copy)]
enum Open {
    /// The whole text: there is one value.
    Text,
    Array,
    Object(Object),
}

#[derive(Clone, Copy)]
struct Object {
    /// Where its names begin among [`Checker::names`].
    first: usize,
    /// How many of its names are those of the one before, where all are so far: these differ, as that one's do. Else [`OTHER`].
    alike: usize,
}

/// An object has another name than the one before.
const OTHER: usize = usize::MAX;

/// `None`: the text is no value.
type Checked<T> = Option<T>;

impl<'t> Checker<'t> {
    /// Reads the value, from its first byte to its last. What is open by now is at hand; what lies around it, in [`Checker::open`].
    fn run(&mut self) -> Checked<()> {
        let (mut at, mut open) = (0, Open::Text);
        loop {
            at = self.space(at);
            at = match self.text.get(at)? {
                b'"' => self.string(at + 1)?.0,
                b'-' | b'0'..=b'9' => self.number(at)?,
                b'{' => {
                    let inside = self.space(at + 1);
                    if self.text.get(inside) == Some(&b'}') {
                        self.is_there_room()?;
                        inside + 1
                    } else {
                        self.begin(&mut open, Open::Object(Object { first: self.names.len(), alike: 0 }))?;
                        at = self.member(&mut open, inside)?;
                        continue;
                    }
                }
                b'[' => {
                    let inside = self.space(at + 1);
                    if self.text.get(inside) == Some(&b']') {
                        self.is_there_room()?;
                        inside + 1
                    } else {
                        self.begin(&mut open, Open::Array)?;
                        at = inside;
                        continue;
                    }
                }
                b't' => self.word(at, b"true")?,
                b'f' => self.word(at, b"false")?,
                b'n' => self.word(at, b"null")?,
                _ => return None,
            };
            match self.after(&mut open, at)? {
                Some(next) => at = next,
                None => return Some(()),
            }
        }
    }

    /// Whether an array or an object may lie as deep as it would.
    #[inline]
    fn is_there_room(&self) -> Checked<()> {
        (self.open.len() < DEPTH).then_some(())
    }

    /// An array or an object begins.
    #[inline]
    fn begin(&mut self, open: &mut Open, inner: Open) -> Checked<()> {
        self.is_there_room()?;
        self.open.push(std::mem::replace(open, inner));
        Some(())
    }

    /// A value has ended: where the next one begins, if there is one.
    #[inline]
    fn after(&mut self, open: &mut Open, mut at: usize) -> Checked<Option<usize>> {
        loop {
            at = self.space(at);
            let next = self.text.get(at);
            at += 1;
            match (&mut *open, next) {
                (Open::Text, None) => return Some(None),
                (Open::Array, Some(b',')) => return Some(Some(at)),
                (Open::Object(_), Some(b',')) => {
                    at = self.space(at);
                    return self.member(open, at).map(Some);
                }
                (Open::Array, Some(b']')) => {}
                (Open::Object(object), Some(b'}')) => {
                    if object.alike == OTHER {
                        self.differ(object.first)?;
                    }
                }
                _ => return None,
            }
            *open = self.open.pop()?;
        }
    }

    /// Where white space ends.
    #[inline]
    fn space(&self, mut at: usize) -> usize {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.text.get(at) {
            at += 1;
        }
        at
    }

    fn word(&self, at: usize, word: &[u8]) -> Checked<usize> {
        if self.text[at..].starts_with(word) { Some(at + word.len()) } else { None }
    }

    /// Reads a number, and says where it ends.
    #[inline]
    fn number(&self, start: usize) -> Checked<usize> {
        let digits = |mut at: usize| {
            while let Some(b'0'..=b'9') = self.text.get(at) {
                at += 1;
            }
            at
        };
        let first = start + usize::from(self.text[start] == b'-');
        let mut end = digits(first);
        if end == first || (self.text[first] == b'0' && end > first + 1) {
            return None;
        }
        if self.text.get(end) == Some(&b'.') {
            let fraction = end + 1;
            end = digits(fraction);
            if end == fraction {
                return None;
            }
        }
        if let Some(b'e' | b'E') = self.text.get(end) {
            let mut lexer = SliceLexer::new(&self.text[start..]);
            let (text, _) = lexer.num_string().validated().ok()?;
            end = start + text.len();
            return Number::is_in_range(text).then_some(end);
        }
        Some(end)
    }

    /// Reads a string, whose quote was read, and says where it ends, and whether it has no escapes.
    #[inline]
    fn string(&self, start: usize) -> Checked<(usize, bool)> {
        let rest = &self.text[start..];
        let length = plain(rest)?;
        if rest[length] == b'"' {
            return Some((start + length + 1, true));
        }
        let mut lexer = SliceLexer::new(rest);
        lexer.str_string().ok()?;
        Some((self.text.len() - lexer.as_slice().len(), false))
    }

    /// Reads the name of a member and the colon, and says where its value begins.
    #[inline]
    fn member(&mut self, open: &mut Open, at: usize) -> Checked<usize> {
        let Open::Object(object) = open else { return None };
        let before = self.before.get(self.open.len() - 1).map_or(&[][..], |before| before);
        if let Some(known) = before.get(object.alike)
            && is_written(self.text, known.written, at)
        {
            object.alike += 1;
            return Some(at + known.written.1);
        }
        self.other(object, at)
    }

    /// An object goes its own way: its names are compared from here on.
    fn other(&mut self, object: &mut Object, at: usize) -> Checked<usize> {
        if object.alike != OTHER {
            let before = self.before.get(self.open.len() - 1).map_or(&[][..], |before| before);
            self.names.extend_from_slice(before.get(..object.alike)?);
            object.alike = OTHER;
        }
        self.name(at, object.first)
    }

    /// Likewise, and compares it with those before it.
    fn name(&mut self, at: usize, first: usize) -> Checked<usize> {
        if self.text.get(at) != Some(&b'"') {
            return None;
        }
        let first_eight = self.text[at + 1..].first_chunk().copied();
        let (mut name, end) = match first_eight.and_then(Name::short) {
            Some((name, length)) => (name, at + 1 + length + 1),
            None => {
                let (end, is_plain) = self.string(at + 1)?;
                // Names are compared as they are meant.
                let name = match is_plain {
                    true => Cow::Borrowed(&self.text[at + 1..end - 1]),
                    false => {
                        Cow::Owned(SliceLexer::new(&self.text[at + 1..]).str_string().ok()?.into_owned().into_bytes())
                    }
                };
                (Name::long(name), end)
            }
        };
        // A few are compared as they come.
        if self.names.len() - first < FEW && self.names[first..].iter().any(|known| known.is(&name)) {
            return None;
        }
        let colon = self.space(end);
        if self.text.get(colon) != Some(&b':') {
            return None;
        }
        name.written = (at, colon + 1 - at);
        self.names.push(name);
        Some(colon + 1)
    }

    /// An object has ended. Of more than a few names, equal ones lie beside each other once they are sorted; of a few it is remembered
    /// how they are written.
    fn differ(&mut self, first: usize) -> Checked<()> {
        let depth = self.open.len() - 1;
        if self.before.len() <= depth {
            self.before.resize_with(depth + 1, Vec::new);
        }
        let (names, before) = (&mut self.names[first..], &mut self.before[depth]);
        before.clear();
        if names.len() > FEW {
            names.sort_unstable_by(|one, other| (one.key, &one.text).cmp(&(other.key, &other.text)));
            if names.windows(2).any(|pair| pair[0].is(&pair[1])) {
                return None;
            }
            self.names.truncate(first);
        } else {
            before.extend(self.names.drain(first..));
        }
        Some(())
    }
}

/// Whether a text has at some place what it has at another one before it, from there for so many bytes.
#[inline]
fn is_written(text: &[u8], (start, length): (usize, usize), at: usize) -> bool {
    let (known, here) = (&text[start..], &text[at..]);
    match (known.first_chunk(), here.first_chunk()) {
        (Some(known), Some(here)) if length <= 16 => {
            let differ = u128::from_le_bytes(*known) ^ u128::from_le_bytes(*here);
            differ << (128 - 8 * length) == 0
        }
        _ => here.starts_with(&known[..length]),
    }
}
