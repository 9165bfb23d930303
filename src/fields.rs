//! The one table of header fields that mean something to the gateway, and what each of them is. Every rule about a field asks this
//! table, so that no two rules can disagree about one.

use http::{HeaderMap, HeaderName};

/// The request's id, in a request for the instance and in its answer.
pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The API key of a client.
pub const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");
/// Who asked, and through which proxies.
pub const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// `http` or `https`, as the client asked.
pub const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
/// The host that the client asked.
pub const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
/// What a route took off the path, behind what a trusted proxy took off before.
pub const X_FORWARDED_PREFIX: HeaderName = HeaderName::from_static("x-forwarded-prefix");
/// The port that the client asked, where a trusted proxy says it.
pub const X_FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
/// The client's address, where a trusted proxy says it.
pub const X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");
/// The trace that a request belongs to (<https://www.w3.org/TR/trace-context/>).
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// What tracing systems note of that trace (the same document, section 3.3).
pub const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
/// How long the sender keeps an idle connection (RFC 2068 section 19.7.1).
pub const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
/// What is left of a client's limits (draft-ietf-httpapi-ratelimit-headers-10).
pub const RATELIMIT: HeaderName = HeaderName::from_static("ratelimit");
/// What a client's limits are (the same draft).
pub const RATELIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
/// The nonce that proofs of possession must have (RFC 9449 section 9).
pub const DPOP_NONCE: HeaderName = HeaderName::from_static("dpop-nonce");

/// What is missing of an aggregate: a list of its calls, each with the `reason` (RFC 9651 section 3.1).
pub const LICTOR_PARTIAL: HeaderName = HeaderName::from_static("lictor-partial");

/// What a field is: any of the constants below, together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traits(u16);

impl Traits {
    /// It belongs to one connection and goes no further in either direction (RFC 9110 section 7.6.1).
    pub const HOP: Traits = Traits(1);
    /// A client's word on it ends here: it is meant for the gateway, or only the gateway may say it to an instance.
    pub const ENDS_HERE: Traits = Traits(1 << 1);
    /// The gateway writes it into every request for an instance, or into many.
    pub const WRITTEN: Traits = Traits(1 << 2);
    /// `Connection` cannot take it away, although it may name it: others rely on it.
    pub const PROTECTED: Traits = Traits(1 << 3);
    /// No other spelling of it may come from a client: CGI and WSGI take `X_Request_Id` and `X.Request.Id` for it.
    pub const ONE_SPELLING: Traits = Traits(1 << 4);
    /// The rules of a route cannot set, add or remove it.
    pub const FIXED: Traits = Traits(1 << 5);
    /// It comes too late in a trailer: it says how a message is framed, routed, trusted, or to be answered or stored (RFC 9110
    /// section 6.5.1).
    pub const NO_TRAILER: Traits = Traits(1 << 6);
    /// Each answer from the store says it anew.
    pub const NOT_STORED: Traits = Traits(1 << 7);
    /// It describes the body of an answer: a 304, which has none, does not go out with it.
    pub const OF_BODY: Traits = Traits(1 << 8);
    /// A cache looks at it in a request.
    pub const HEEDED: Traits = Traits(1 << 9);
    /// It is another one in every request that an instance sees: an answer that varies by it is for one request only.
    pub const UNIQUE: Traits = Traits(1 << 10);
    /// It is part of the key of every stored answer, or seen by no instance: that an answer varies by it adds nothing.
    pub const IN_KEY: Traits = Traits(1 << 11);

    /// It says how the body of an answer is coded: what a 304 says of it does not hold for the stored body (RFC 9111 section 3.2).
    pub const OF_STORED: Traits = Traits(1 << 12);

    /// All of both.
    pub const fn and(self, other: Traits) -> Traits {
        Traits(self.0 | other.0)
    }

    /// Whether it is any of these.
    pub const fn any(self, of: Traits) -> bool {
        self.0 & of.0 != 0
    }
}

/// Every field with a meaning, and what it is. A row that ends in `…` stands for all fields whose names begin so and that have no row
/// of their own.
pub const TABLE: &[(&str, Traits)] = &{
    use Traits as T;
    const HOP: T = T::HOP.and(T::ONE_SPELLING).and(T::FIXED);
    const FORWARDED: T = T::ENDS_HERE.and(T::PROTECTED).and(T::ONE_SPELLING);
    const CREDENTIAL: T = T::PROTECTED.and(T::ONE_SPELLING).and(T::HEEDED).and(T::NO_TRAILER);
    const CONDITION: T = T::HEEDED.and(T::NO_TRAILER);
    const SAID_ANEW: T = T::NOT_STORED.and(T::NO_TRAILER);
    const BODY: T = T::OF_BODY.and(T::OF_STORED);
    const FRAMING: T = T::PROTECTED.and(T::ONE_SPELLING).and(T::NO_TRAILER);
    [
        ("accept-encoding", T::ONE_SPELLING),
        ("age", SAID_ANEW),
        ("authorization", CREDENTIAL),
        ("cache-control", T::PROTECTED.and(T::HEEDED).and(T::NO_TRAILER)),
        ("cache-status", SAID_ANEW),
        ("connection", HOP.and(T::HEEDED)),
        ("content-encoding", T::PROTECTED.and(BODY).and(T::NO_TRAILER)),
        ("content-language", T::OF_BODY),
        ("content-length", FRAMING.and(T::FIXED).and(BODY)),
        ("content-range", T::OF_STORED.and(T::NO_TRAILER)),
        ("content-type", FRAMING.and(BODY)),
        ("cookie", CREDENTIAL),
        ("date", T::PROTECTED),
        ("dpop", T::PROTECTED.and(T::ONE_SPELLING).and(T::NO_TRAILER)),
        ("etag", T::PROTECTED),
        ("expect", T::ENDS_HERE.and(T::ONE_SPELLING)),
        ("expires", T::NO_TRAILER),
        ("forwarded", FORWARDED.and(T::UNIQUE)),
        ("host", FRAMING.and(T::IN_KEY)),
        ("http2-settings", T::HOP),
        ("if-match", CONDITION),
        ("if-modified-since", T::NO_TRAILER),
        ("if-none-match", T::ONE_SPELLING.and(T::NO_TRAILER)),
        ("if-range", CONDITION),
        ("if-unmodified-since", CONDITION),
        ("keep-alive", HOP),
        ("location", T::PROTECTED.and(T::NO_TRAILER)),
        ("max-forwards", T::NO_TRAILER),
        ("pragma", CONDITION),
        ("proxy", T::ENDS_HERE),
        ("proxy-authenticate", T::HOP),
        ("proxy-authorization", T::ENDS_HERE.and(T::ONE_SPELLING)),
        ("proxy-connection", T::HOP.and(T::ONE_SPELLING)),
        ("range", CONDITION),
        ("ratelimit", SAID_ANEW),
        ("ratelimit-policy", SAID_ANEW),
        ("retry-after", T::NO_TRAILER),
        ("sec-websocket-…", T::PROTECTED),
        ("set-cookie", T::PROTECTED.and(T::NO_TRAILER)),
        ("te", HOP.and(T::NO_TRAILER)),
        ("traceparent", T::WRITTEN.and(T::PROTECTED).and(T::FIXED).and(T::UNIQUE)),
        ("tracestate", T::PROTECTED.and(T::ONE_SPELLING).and(T::UNIQUE).and(T::NO_TRAILER)),
        ("trailer", FRAMING.and(T::FIXED)),
        ("transfer-encoding", HOP.and(T::PROTECTED).and(T::NO_TRAILER)),
        ("upgrade", HOP),
        ("vary", T::PROTECTED.and(T::NO_TRAILER)),
        ("via", T::WRITTEN.and(T::PROTECTED).and(T::ONE_SPELLING).and(T::FIXED).and(T::UNIQUE)),
        ("www-authenticate", T::NO_TRAILER),
        ("x-api-key", FORWARDED.and(T::IN_KEY)),
        ("x-forwarded-…", FORWARDED),
        ("x-forwarded-for", FORWARDED.and(T::WRITTEN).and(T::UNIQUE)),
        ("x-forwarded-host", FORWARDED.and(T::WRITTEN).and(T::IN_KEY)),
        ("x-forwarded-port", FORWARDED.and(T::WRITTEN).and(T::IN_KEY)),
        ("x-forwarded-prefix", FORWARDED.and(T::WRITTEN).and(T::IN_KEY)),
        ("x-forwarded-proto", FORWARDED.and(T::WRITTEN).and(T::IN_KEY)),
        ("x-real-ip", FORWARDED.and(T::WRITTEN).and(T::UNIQUE)),
        ("x-request-id", FORWARDED.and(T::WRITTEN).and(T::FIXED).and(T::NOT_STORED).and(T::UNIQUE)),
    ]
};

/// Where each row of the table is found by the hash of its name. The hash has no collisions between rows, or this does not compile.
const ROWS: [u8; 512] = {
    let mut rows = [u8::MAX; 512];
    let mut row = 0;
    while row < TABLE.len() {
        let place = hash(TABLE[row].0.as_bytes());
        assert!(rows[place] == u8::MAX, "two names have the same hash: choose other factors");
        rows[place] = row as u8;
        row += 1;
    }
    rows
};

/// A few instructions for a name: its length, its first byte and its last two.
const fn hash(name: &[u8]) -> usize {
    let length = name.len();
    if length < 2 {
        return 0;
    }
    let mixed = length + name[0] as usize * 9 + name[length - 2] as usize + name[length - 1] as usize;
    mixed % 512
}

/// What a field of this name is; the name is in lower case, as header maps have it.
pub fn of(name: &str) -> Traits {
    match TABLE.get(usize::from(ROWS[hash(name.as_bytes())])) {
        Some((known, traits)) if *known == name => *traits,
        _ if name.starts_with("x-forwarded-") => of("x-forwarded-…"),
        _ if name.starts_with("sec-websocket-") => of("sec-websocket-…"),
        _ => Traits::default(),
    }
}

/// Whether some servers take this name for another one, which may only be spelt in one way.
#[inline]
pub fn is_other_spelling(name: &str) -> bool {
    name.bytes().any(|b| b == b'_' || b == b'.') && has_one_spelling(name)
}

/// Whether the field that servers take this name for may only be spelt in one way.
#[cold]
fn has_one_spelling(name: &str) -> bool {
    of(&usual_spelling(name)).any(Traits::ONE_SPELLING)
}

/// Whether a field of this name may go on as a trailer, in either direction: what holds for it in a head holds at a message's end,
/// too, and what a head must say comes too late there (RFC 9110 section 6.5.1).
pub fn may_be_trailer(name: &str) -> bool {
    const BARRED: Traits = Traits::HOP.and(Traits::ENDS_HERE).and(Traits::WRITTEN).and(Traits::NO_TRAILER);
    !of(name).any(BARRED) && !is_other_spelling(name)
}

/// The names in a list of field names, as `Trailer` and `Connection` hold them (RFC 9110 section 5.6.1); what is no name is left out.
pub fn names(list: &[u8]) -> impl Iterator<Item = HeaderName> {
    list.split(|&b| b == b',').filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok())
}

/// A name as servers read it that know neither `_` nor `.` in names: `x_request.id` is `x-request-id`.
pub fn usual_spelling(name: &str) -> String {
    name.replace(['_', '.'], "-")
}

/// Whether a field is one of these, in this spelling or in one that servers take for it. Their own names have no other spellings.
pub fn is_spelt(name: &HeaderName, of: &[HeaderName]) -> bool {
    let alias = name.as_str().contains(['_', '.']);
    of.iter().any(|own| own == name || (alias && usual_spelling(name.as_str()) == own.as_str()))
}

/// How many names in `Connection` are looked at. A request that names more is refused; that an answer does is its instance's fault.
const NAMED: usize = 1000;

/// The names in `Connection` that go no further with it (RFC 9110 section 7.6.1). Options that name no field, and fields that are
/// not the sender's to take away, are left out.
pub fn named_by_connection(headers: &HeaderMap) -> Vec<HeaderName> {
    let values = headers.get_all(http::header::CONNECTION).iter();
    let options = values.flat_map(|value| value.as_bytes().split(|&b| b == b',')).map(<[u8]>::trim_ascii).take(NAMED);
    let names = options.filter(|option| {
        let known: [&[u8]; 3] = [b"keep-alive", b"close", b"upgrade"];
        !known.iter().any(|known| known.eq_ignore_ascii_case(option))
    });
    let names = names.filter_map(|name| HeaderName::from_bytes(name).ok());
    names.filter(|name| !of(name.as_str()).any(Traits::PROTECTED)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the README says of each trait, in the order in which it says it.
    const WORDS: &[(Traits, &str)] = &[
        (Traits::HOP, "of one hop"),
        (Traits::ENDS_HERE, "ends here"),
        (Traits::WRITTEN, "written"),
        (Traits::PROTECTED, "protected"),
        (Traits::ONE_SPELLING, "one spelling"),
        (Traits::FIXED, "fixed"),
        (Traits::NO_TRAILER, "no trailer"),
        (Traits::NOT_STORED, "not stored"),
        (Traits::OF_BODY, "not in a 304"),
        (Traits::OF_STORED, "kept over a 304"),
        (Traits::HEEDED, "heeded"),
        (Traits::UNIQUE, "unique"),
        (Traits::IN_KEY, "in the key"),
    ];

    /// The table as the README prints it: fields that are the same share a line, in the order of the first of them.
    fn printed() -> String {
        let mut lines: Vec<(Traits, Vec<String>)> = Vec::new();
        for (name, traits) in TABLE {
            let name = format!("`{name}`");
            match lines.iter_mut().find(|(known, _)| known == traits) {
                Some((_, names)) => names.push(name),
                None => lines.push((*traits, vec![name])),
            }
        }
        let line = |(traits, names): &(Traits, Vec<String>)| {
            let words: Vec<_> = WORDS.iter().filter(|(word, _)| traits.any(*word)).map(|(_, text)| *text).collect();
            format!("| {} | {} |\n", names.join(" "), words.join(", "))
        };
        format!("| field | |\n| --- | --- |\n{}", lines.iter().map(line).collect::<String>())
    }

    #[test]
    fn the_readme_prints_this_table_and_says_what_its_words_mean() {
        let readme = include_str!("../README.md");
        let shown =
            readme.split_once("<!-- fields:begin -->\n").and_then(|(_, rest)| rest.split_once("<!-- fields:end -->"));
        let (shown, _) = shown.expect("the README has a place for it");
        assert!(shown == printed(), "the README prints another table than this one:\n{}", printed());
        for (_, word) in WORDS {
            assert!(readme.contains(&format!("*{word}*")), "the README does not say what `{word}` means");
        }
    }

    #[test]
    fn what_a_head_must_say_is_no_trailer_in_any_spelling() {
        for name in [
            "host",
            "cookie",
            "x-forwarded-anything",
            "via",
            "proxy",
            "x_api_key",
            "x.request-id",
            "tracestate",
            "if-match",
        ] {
            assert!(!may_be_trailer(name), "{name}");
        }
        for name in ["x-sum", "etag", "digest", "server-timing", "x_sum", "grpc-status"] {
            assert!(may_be_trailer(name), "{name}");
        }
    }

    #[test]
    fn every_row_is_found_by_its_name_and_rows_are_in_order() {
        for (name, traits) in TABLE {
            assert_eq!(of(name), *traits, "{name}");
            assert!(*traits != Traits::default(), "{name} means nothing");
        }
        assert!(TABLE.is_sorted_by_key(|(name, _)| name.trim_end_matches('…')));
    }

    #[test]
    fn a_name_that_is_not_in_the_table_means_nothing_unless_it_says_where_a_request_comes_from() {
        for name in ["", "x", "accept", "x-forwarded", "content-typ", "x-request-ie", "user-agent"] {
            assert_eq!(of(name), Traits::default(), "{name}");
        }
        assert!(of("x-forwarded-port").any(Traits::ENDS_HERE));
        assert!(of("sec-websocket-key").any(Traits::PROTECTED));
    }

    #[test]
    fn other_spellings_are_known_by_what_servers_make_of_them() {
        for name in ["x_request_id", "x-request.id", "content_length", "x_forwarded_port", "proxy_connection"] {
            assert!(is_other_spelling(name), "{name}");
        }
        for name in ["x-request-id", "x_tenant", "x_version.1", "cache_control"] {
            assert!(!is_other_spelling(name), "{name}");
        }
    }

    #[test]
    fn connection_takes_away_what_it_names_but_not_what_others_rely_on() {
        let mut headers = HeaderMap::new();
        headers.append("connection", "close, X-One, cookie".parse().expect("a value"));
        headers.append("connection", "x-two, Sec-WebSocket-Key, x-forwarded-for, bad name".parse().expect("a value"));
        assert_eq!(named_by_connection(&headers), ["x-one", "x-two"]);
    }
}
