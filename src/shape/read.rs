//! Text -> value.
//!
//! `hifijson` gives each number as it is written, borrows from the text, and has neither dependencies nor unsafe code.
//! `serde_json` keeps digits only with `arbitrary_precision`, a feature that would hold for the whole program, or with
//! `RawValue`, which reads each value twice; `jiter` turns fractions into `f64`; `sonic-rs` has unsafe code throughout.

use std::sync::Arc;

use hifijson::num::LexWrite as _;
use hifijson::str::LexAlloc as _;
use hifijson::token::{Expect, Lex as _};
use hifijson::{Error, SliceLexer, str};

use super::{NotJson, Number, Object, Text, Value, budget};

/// How deep arrays and objects may lie in each other: what `serde_json` takes, too.
pub(super) const DEPTH: usize = 128;

/// Reads the one value that a text is.
///
/// # Errors
/// All of [`NotJson`] but `Weight`. Half of a surrogate pair (`"\ud800"`) is refused, not replaced: a reader that replaces makes
/// two strings equal that are not.
pub fn read(text: &[u8]) -> Result<Value, NotJson> {
    read_within(text, usize::MAX).map(|(value, _)| value)
}

/// Reads the one value that a text is, if it weighs `most` bytes at most, and says what it weighs: the memory that is free again
/// when it is dropped, as jemalloc counts it. That is 24 bytes for each value, 40 for each member of an object (44 if there are
/// more than 16), the text itself, strings with escapes once more, and what is rounded up. An order of 2 KiB weighs 13 KiB,
/// and nothing of some length more than 24 times its text. While it is read, up to three times as much can be in use for lists whose end was not
/// yet read: on one thread, and only for the moment.
///
/// # Errors
/// As [`read`], and [`NotJson::Weight`] before the memory is taken.
pub fn read_within(text: &[u8], most: usize) -> Result<(Value, usize), NotJson> {
    let weight = budget::text(text.len());
    if weight > most || u32::try_from(text.len()).is_err() {
        return Err(NotJson::Weight { most });
    }
    let (text, end) = match core::str::from_utf8(text) {
        Ok(text) => (text, None),
        Err(error) => {
            (core::str::from_utf8(&text[..error.valid_up_to()]).unwrap_or_default(), Some(error.valid_up_to()))
        }
    };
    let mut lexer = SliceLexer::new(text.as_bytes());
    let source = Arc::new(text.into());
    // Most texts fit in: growing costs a copy.
    let room = (text.len() / 16).min(1_024);
    let (names, values) = (Vec::with_capacity(room), Vec::with_capacity(room));
    let mut reader = Reader { source, names, values, left: most - weight };
    let read = lexer.exactly_one(SliceLexer::ws_peek, |next, lexer| reader.value(next, lexer, DEPTH));
    let at = text.len() - lexer.as_slice().len();
    match (read, end) {
        (Ok(()), None) => Ok((reader.values.pop().unwrap_or(Value::Null), most - reader.left)),
        // What is not UTF-8 stands in a string that has no end before it, or where nothing of the kind can stand.
        (Err(Stop::Lexer(Error::Str(str::Error::Eof))), Some(at)) => Err(NotJson::Unicode { at }),
        (Ok(()), Some(at)) => Err(NotJson::Syntax { at }),
        (Err(stop), _) => Err(not_json(stop, at, most)),
    }
}

/// Why a text is none, of which so many bytes were read.
fn not_json(stop: Stop, at: usize, most: usize) -> NotJson {
    match stop {
        Stop::Lexer(Error::Str(error)) if error.is_unicode_error() => NotJson::Unicode { at },
        Stop::Lexer(_) => NotJson::Syntax { at },
        Stop::Depth => NotJson::Depth { most: DEPTH },
        Stop::Duplicate(name) => NotJson::Duplicate { name: name.as_str().to_owned() },
        Stop::Exponent => NotJson::Exponent { at },
        Stop::Weight => NotJson::Weight { most },
    }
}

/// Of eight bytes of a string, the lowest with its highest bit set in the result is the first that is a quote, a backslash or a control
/// character; without one the result is 0.
#[inline]
pub(super) fn ends(word: u64) -> u64 {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    let zeros = |word: u64| word.wrapping_sub(ONES) & !word;
    let control = word.wrapping_sub(ONES * 0x20) & !word;
    (zeros(word ^ (ONES * u64::from(b'"'))) | zeros(word ^ (ONES * u64::from(b'\\'))) | control) & (ONES << 7)
}

/// How many bytes of a string come before a quote, a backslash or a control character.
pub(super) fn plain(string: &[u8]) -> Option<usize> {
    let mut at = 0;
    while let Some(eight) = string.get(at..).and_then(<[u8]>::first_chunk) {
        let found = ends(u64::from_le_bytes(*eight));
        if found != 0 {
            return Some(at + found.trailing_zeros() as usize / 8);
        }
        at += 8;
    }
    let ends = |byte: &u8| matches!(byte, b'"' | b'\\' | 0..=0x1f);
    string[at..].iter().position(ends).map(|end| at + end)
}

/// The number that a text is, if it is one and nothing else.
pub(super) fn number(text: &Text) -> Option<Number> {
    let mut lexer = SliceLexer::new(text.as_bytes());
    let (_, parts) = lexer.num_string().validated().ok()?;
    let is_number = lexer.as_slice().is_empty() && (!parts.exp || Number::is_in_range(text));
    is_number.then(|| Number::new(text.clone()))
}

/// Why reading stops; where it does, the lexer knows.
enum Stop {
    Lexer(Error),
    Depth,
    Duplicate(Text),
    Exponent,
    Weight,
}

impl From<Expect> for Stop {
    fn from(token: Expect) -> Stop {
        Stop::Lexer(token.into())
    }
}

impl From<hifijson::num::Error> for Stop {
    fn from(error: hifijson::num::Error) -> Stop {
        Stop::Lexer(error.into())
    }
}

impl From<hifijson::str::Error> for Stop {
    fn from(error: hifijson::str::Error) -> Stop {
        Stop::Lexer(error.into())
    }
}

/// What was read of arrays and objects that have not ended yet. All of them share two stacks, from which those of one that ends
/// are moved into a block of their exact size: each costs one allocation. What reads a value leaves it on the stack: one that is
/// handed from function to function is copied each time.
struct Reader {
    /// All of the text.
    source: Arc<Box<str>>,
    names: Vec<Text>,
    values: Vec<Value>,
    /// How many bytes values may still weigh.
    left: usize,
}

impl Reader {
    /// Takes memory, before it is there.
    fn take(&mut self, bytes: usize) -> Result<(), Stop> {
        self.left = self.left.checked_sub(bytes).ok_or(Stop::Weight)?;
        Ok(())
    }

    /// Reads a value that begins with `next`, in which arrays and objects may lie `depth` deep.
    fn value(&mut self, next: u8, lexer: &mut SliceLexer<'_>, depth: usize) -> Result<(), Stop> {
        match next {
            b'"' => match self.plain(lexer.discarded()) {
                Some((start, length)) => self.values.push(Value::String(Text::part(&self.source, start, length))),
                None => {
                    let text = self.escaped(lexer)?;
                    self.values.push(Value::String(text));
                }
            },
            b'-' | b'0'..=b'9' => {
                let start = self.at(lexer);
                let (text, parts) = lexer.num_string().validated()?;
                if parts.exp && !Number::is_in_range(text) {
                    return Err(Stop::Exponent);
                }
                self.values.push(Value::Number(Number::new(Text::part(&self.source, start, text.len()))));
            }
            b'{' => self.object(lexer.discarded(), depth.checked_sub(1).ok_or(Stop::Depth)?)?,
            b'[' => self.array(lexer.discarded(), depth.checked_sub(1).ok_or(Stop::Depth)?)?,
            b'a'..=b'z' => match lexer.null_or_bool().ok_or(Expect::Value)? {
                Some(value) => self.values.push(Value::Bool(value)),
                None => self.values.push(Value::Null),
            },
            _ => return Err(Expect::Value.into()),
        }
        Ok(())
    }

    /// How much of the text was read.
    fn at(&self, lexer: &SliceLexer<'_>) -> usize {
        self.source.len() - lexer.as_slice().len()
    }

    /// Reads a string without escapes, whose quote was read, and says where it stands and how long it is.
    #[inline]
    fn plain(&self, lexer: &mut SliceLexer<'_>) -> Option<(usize, usize)> {
        let start = self.at(lexer);
        let rest = lexer.as_slice();
        let length = plain(rest).filter(|&length| rest[length] == b'"')?;
        *lexer = SliceLexer::new(&rest[length + 1..]);
        Some((start, length))
    }

    /// Reads any other string.
    fn escaped(&mut self, lexer: &mut SliceLexer<'_>) -> Result<Text, Stop> {
        let text = lexer.str_string()?;
        self.take(budget::text(text.len()))?;
        Ok(text.as_ref().into())
    }

    fn array(&mut self, lexer: &mut SliceLexer<'_>, depth: usize) -> Result<(), Stop> {
        let from = self.values.len();
        lexer.seq(b']', SliceLexer::ws_peek, |next, lexer| {
            self.take(size_of::<Value>())?;
            self.value(next, lexer, depth)
        })?;
        let count = self.values.len() - from;
        self.take(budget::list(count).saturating_sub(count * size_of::<Value>()))?;
        let elements = if count == 0 { Arc::default() } else { self.values.drain(from..).collect() };
        self.values.push(Value::Array(elements));
        Ok(())
    }

    fn object(&mut self, lexer: &mut SliceLexer<'_>, depth: usize) -> Result<(), Stop> {
        let (first, from) = (self.names.len(), self.values.len());
        lexer.seq(b'}', SliceLexer::ws_peek, |next, lexer| {
            lexer.expect(|_| Some(next), b'"').ok_or(Expect::String)?;
            self.take(size_of::<(Text, Value)>())?;
            match self.plain(lexer) {
                Some((start, length)) => self.names.push(Text::part(&self.source, start, length)),
                None => {
                    let name = self.escaped(lexer)?;
                    self.names.push(name);
                }
            }
            lexer.expect(SliceLexer::ws_peek, b':').ok_or(Expect::Colon)?;
            let next = lexer.ws_peek().ok_or(Expect::Value)?;
            self.value(next, lexer, depth)
        })?;
        let count = self.values.len() - from;
        self.take(budget::object(count).saturating_sub(count * size_of::<(Text, Value)>()))?;
        let members = match count {
            0 => Arc::default(),
            _ => self.names.drain(first..).zip(self.values.drain(from..)).collect(),
        };
        self.values.push(Value::Object(Object::new(members).map_err(Stop::Duplicate)?));
        Ok(())
    }
}
