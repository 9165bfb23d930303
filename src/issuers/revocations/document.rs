//! The document: what is written of revocations, and how it is read again. Nothing in it is a secret: a `jti` or a `sub` opens nothing.

use std::borrow::Cow;
use std::io::Write;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize, Serializer};

use crate::own_file;
use crate::token::revoked::{MOST, Revocation, Revocations, Which};

/// The version of the format: of another one, nothing is read.
const FORMAT: u64 = 1;

/// The end of the year 9999, in milliseconds since 1970: the latest time that RFC 3339 has.
const LATEST: u64 = 253_402_300_799_999;

#[derive(Deserialize)]
struct Document {
    revocations: Vec<Row<'static>>,
}

/// One revocation. What is not understood of it must not be left out: another version may have meant fewer tokens, or more.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Row<'a> {
    issuer: Cow<'a, str>,
    tokens: Cow<'a, Which>,
    at_ms: u64,
    until_ms: u64,
    by: Cow<'a, str>,
}

/// Writes them.
pub(super) fn render(out: impl Write, table: &Revocations) -> serde_json::Result<()> {
    #[derive(Serialize)]
    struct Whole<'a> {
        format: u64,
        #[serde(serialize_with = "all")]
        revocations: &'a Revocations,
    }
    serde_json::to_writer(out, &Whole { format: FORMAT, revocations: table })
}

fn all<S: Serializer>(table: &Revocations, to: S) -> Result<S::Ok, S::Error> {
    to.collect_seq(table.iter().map(row))
}

fn row(one: &Revocation) -> Row<'_> {
    let (issuer, by) = (Cow::Borrowed(&*one.issuer), Cow::Borrowed(&*one.by));
    Row { issuer, tokens: Cow::Borrowed(&one.which), at_ms: ms(one.at), until_ms: ms(one.until), by }
}

/// Milliseconds since 1970, rounded up: no token may hold again because of less than one.
fn ms(at: SystemTime) -> u64 {
    let since = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    since.as_nanos().div_ceil(1_000_000).try_into().unwrap_or(u64::MAX)
}

/// Whether a time that was read is later than one of the table, and not the same one, rounded up.
pub(super) fn is_later(read: SystemTime, held: SystemTime) -> bool {
    read.duration_since(held).is_ok_and(|by| by >= Duration::from_millis(1))
}

/// Reads those that still hold, or says why the file must not be used.
pub(super) fn parse(body: &[u8], now: SystemTime) -> Result<Revocations, String> {
    let Document { revocations } = own_file::document(body, FORMAT)?;
    let read = revocations.into_iter().map(revocation).collect::<Option<Vec<_>>>();
    let read = read.ok_or("it is broken: a time in it is after the year 9999")?;
    Revocations::listed(read, now).ok_or_else(|| format!("more than {MOST} revocations in it hold"))
}

/// `None`: a time is later than any that can be shown.
fn revocation(Row { issuer, tokens, at_ms, until_ms, by }: Row<'static>) -> Option<Revocation> {
    let time = |ms: u64| (ms <= LATEST).then(|| SystemTime::UNIX_EPOCH + Duration::from_millis(ms));
    let (at, until) = (time(at_ms)?, time(until_ms)?);
    Some(Revocation { issuer: issuer.into(), which: tokens.into_owned(), at, until, by: by.into() })
}
