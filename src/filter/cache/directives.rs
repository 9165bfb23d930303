//! `Cache-Control` read, and lists whose parts may be quoted.

use std::time::Duration;

use http::{HeaderMap, header};

/// Ages and lifetimes beyond this are all the same to us.
pub(super) const LONGEST: Duration = Duration::from_secs(10 * 365 * 86_400);

/// `Cache-Control` of one message (RFC 9111 section 5.2). What is not understood is read in the way that stores less and asks more.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Directives {
    pub(super) no_store: bool,
    pub(super) no_cache: bool,
    pub(super) private: bool,
    pub(super) public: bool,
    pub(super) must_revalidate: bool,
    pub(super) only_if_cached: bool,
    pub(super) max_age: Option<Duration>,
    pub(super) s_maxage: Option<Duration>,
    /// There is a field at all, understood or not.
    pub(super) present: bool,
}

impl Directives {
    pub(super) fn of(headers: &HeaderMap) -> Directives {
        let mut found = Directives::default();
        for value in headers.get_all(header::CACHE_CONTROL) {
            found.present = true;
            match value.to_str() {
                Ok(text) => parts(text, Quotes::Strings).for_each(|part| found.add(part)),
                Err(_) => found.no_store = true,
            }
        }
        let pragma = || headers.get_all(header::PRAGMA).iter().flat_map(|value| value.as_bytes().split(|&b| b == b','));
        if !found.present && pragma().any(|part| part.trim_ascii().eq_ignore_ascii_case(b"no-cache")) {
            found.no_cache = true;
        }
        found
    }

    fn add(&mut self, part: &str) {
        let (name, value) = part.split_once('=').map_or((part, None), |(name, value)| (name, Some(value)));
        let trimmed = name.trim();
        // What is no directive may hide one: `no-store; max-age=60`, or a quoted string without its end.
        let well_formed = !trimmed.is_empty() && trimmed.bytes().all(is_token) && value.is_none_or(is_argument);
        self.no_store |= !well_formed;
        // `max-age = 60` means nothing that can be relied on, and neither does `public=no`.
        let alone = value.is_none();
        let seconds = if name == trimmed { seconds(value) } else { Duration::ZERO };
        match trimmed.to_ascii_lowercase().as_str() {
            "no-store" => self.no_store = true,
            // With field names, `no-cache` and `private` are about those fields only; we do not take messages apart.
            "no-cache" => self.no_cache = true,
            "private" => self.private = true,
            "public" => self.public |= alone,
            "must-revalidate" | "proxy-revalidate" => self.must_revalidate |= alone,
            "only-if-cached" => self.only_if_cached = true,
            // A request for what stays fresh for a while: the instance has the freshest.
            "min-fresh" => self.max_age = Some(Duration::ZERO),
            // Given twice, the shorter holds.
            "max-age" => self.max_age = self.max_age.into_iter().chain([seconds]).min(),
            "s-maxage" => self.s_maxage = self.s_maxage.into_iter().chain([seconds]).min(),
            _ => {}
        }
    }

    /// It is for everybody, also where who asked said who they are. A lifetime for shared caches says so only where it is one.
    pub(super) fn for_all(&self) -> bool {
        self.public || self.must_revalidate || self.s_maxage.is_some_and(|shared| !shared.is_zero())
    }
}

/// A number of seconds, in quotes or not. One too large is as good as for ever; what is none means "already" (RFC 9111 4.2.1).
fn seconds(value: Option<&str>) -> Duration {
    let text = value.unwrap_or_default();
    let text = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if digits { text.parse().map_or(LONGEST, Duration::from_secs).min(LONGEST) } else { Duration::ZERO }
}

/// A byte of a token (RFC 9110 5.6.2).
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// A token, or one quoted string from its first byte to its last.
fn is_argument(value: &str) -> bool {
    let Some(quoted) = value.trim().strip_prefix('"') else { return value.trim().bytes().all(is_token) };
    let mut escaped = false;
    let end = quoted.bytes().position(|b| {
        let end = b == b'"' && !escaped;
        escaped = b == b'\\' && !escaped;
        end
    });
    end.is_some_and(|end| end + 1 == quoted.len())
}

/// What stands in the quotes of a list.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Quotes {
    /// Quoted strings: a backslash takes the next byte's meaning away (RFC 9110 5.6.4).
    Strings,
    /// Entity tags, where a backslash means itself (RFC 9110 8.8.3).
    Tags,
}

/// The parts of a list, commas inside quotes left alone.
pub(super) fn parts(text: &str, quotes: Quotes) -> impl Iterator<Item = &str> {
    let (mut quoted, mut escaped) = (false, false);
    text.split(move |c| {
        quoted ^= c == '"' && !escaped;
        escaped = c == '\\' && quoted && !escaped && quotes == Quotes::Strings;
        c == ',' && !quoted
    })
    .map(str::trim)
    .filter(|part| !part.is_empty())
}
