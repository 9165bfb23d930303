//! The trace that a client's request belongs to, held to W3C trace context (<https://www.w3.org/TR/trace-context-2/>, which widens the
//! first level). What breaks a rule is not repaired: a trace that is not valid is not continued, and a state that is not valid goes no
//! further.

use http::{HeaderMap, HeaderValue};

/// The most members of a `tracestate` (section 3.3.1.1).
const MEMBERS: usize = 32;

/// The most characters of a member's key, and of its value (sections 3.3.1.3.1 and 3.3.1.3.2).
const LONGEST: usize = 256;

/// A trace to continue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parent {
    /// The digits of its id.
    pub(super) trace: [u8; 32],
    /// The digit of those of its flags that are known: 1 is *sampled*, 2 is *random*. No other is passed on (section 3.2.2.5).
    pub(super) flags: u8,
}

/// A `tracestate` breaks a rule.
#[derive(Debug)]
struct Invalid;

impl Parent {
    /// The trace that the `traceparent` of a head names. Of two lines neither holds: nobody can tell which of them was meant.
    pub fn of(headers: &HeaderMap) -> Option<Parent> {
        let mut lines = headers.get_all("traceparent").iter();
        let line = lines.next().filter(|_| lines.next().is_none());
        line.and_then(|line| Parent::read(line.as_bytes().trim_ascii()))
    }

    /// Lower-case digits, neither id all zero (section 3.2.2). Of a later version only the part that version 00 has is read; there is
    /// no version ff.
    fn read(text: &[u8]) -> Option<Parent> {
        let digits = |part: &[u8]| part.iter().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(b));
        let some = |part: &[u8]| digits(part) && part.iter().any(|&b| b != b'0');
        let valid = text.len() >= 55
            && (text.len() == 55 || text[55] == b'-' && &text[..2] != b"00")
            && digits(&text[..2])
            && &text[..2] != b"ff"
            && [text[2], text[35], text[52]] == *b"---"
            && some(&text[3..35])
            && some(&text[36..52])
            && digits(&text[53..55]);
        if !valid {
            return None;
        }
        let known = (text[54] as char).to_digit(16)? as u8 & 3;
        Some(Parent { trace: text[3..35].try_into().ok()?, flags: b'0' + known })
    }
}

/// What the `tracestate` of a head says, as one list, in the order in which it came. Lines are joined, empty members left out, and of
/// several members with one key the first stays: it is the last word of its system. Nothing is left of a list with a member that is
/// not valid, or with more than 32 members (section 3.3.1).
pub fn state(headers: &HeaderMap) -> Option<Vec<u8>> {
    let lines = headers.get_all("tracestate").iter().map(HeaderValue::as_bytes);
    joined(lines).ok().filter(|state| !state.is_empty())
}

fn joined<'v>(lines: impl Iterator<Item = &'v [u8]>) -> Result<Vec<u8>, Invalid> {
    let mut keys: Vec<&[u8]> = Vec::new();
    let (mut count, mut state) = (0, Vec::new());
    let members = lines.flat_map(|line| line.split(|&b| b == b',')).map(<[u8]>::trim_ascii);
    for member in members.filter(|member| !member.is_empty()) {
        count += 1;
        let equals = member.iter().position(|&b| b == b'=').ok_or(Invalid)?;
        let (key, value) = (&member[..equals], &member[equals + 1..]);
        if count > MEMBERS || !is_key(key) || !is_value(value) {
            return Err(Invalid);
        }
        if keys.contains(&key) {
            continue;
        }
        keys.push(key);
        if !state.is_empty() {
            state.push(b',');
        }
        state.extend_from_slice(member);
    }
    Ok(state)
}

/// 1 to 256 of `a-z 0-9 _ - * / @`, the first of them a letter or a digit. The keys of the first level, which had one `@` at most, are
/// all among these.
fn is_key(key: &[u8]) -> bool {
    let plain = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    key.len() <= LONGEST && key.first().is_some_and(plain) && key.iter().all(|b| plain(b) || b"_-*/@".contains(b))
}

/// 1 to 256 visible characters and spaces without `,` and `=`. Spaces at its end were cut off before.
fn is_value(value: &[u8]) -> bool {
    let fits = |b: &u8| (b' '..=b'~').contains(b) && !b",=".contains(b);
    (1..=LONGEST).contains(&value.len()) && value.iter().all(fits)
}

#[cfg(test)]
mod tests;
