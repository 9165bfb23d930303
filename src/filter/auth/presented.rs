//! What a request presents of the credentials that its route asks for. What the route does not ask for is none of the gateway's business:
//! a service may have tokens of its own.

use http::{HeaderMap, HeaderValue, header};

use super::denied::Denied;
use crate::config::identity::{Demand, Method, Methods};
use crate::fields::X_API_KEY;

/// The scheme of an `Authorization` with a key (RFC 9110 section 11.1).
pub(super) const SCHEME: &[u8] = b"ApiKey";

/// At most one credential of each kind.
#[derive(Default)]
pub(super) struct Presented<'a> {
    /// An API key.
    pub(super) key: Option<&'a [u8]>,
    /// A name and a password, in base64 (RFC 7617 section 2).
    pub(super) basic: Option<&'a [u8]>,
    /// A token.
    pub(super) token: Option<Token<'a>>,
}

/// A token, as it was sent.
#[derive(Clone, Copy)]
pub(super) struct Token<'a> {
    /// It.
    pub(super) text: &'a [u8],
    /// It came with the scheme `DPoP` (RFC 9449 section 7.1).
    pub(super) dpop: bool,
}

/// Without the credentials.
impl std::fmt::Debug for Presented<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("(credentials)")
    }
}

/// Without the token.
impl std::fmt::Debug for Token<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("(token)")
    }
}

impl<'a> Presented<'a> {
    /// What a request presents.
    ///
    /// # Errors
    /// When it presents two of one kind, or in a way that its route does not take.
    pub(super) fn of(headers: &'a HeaderMap, demand: &Demand) -> Result<Presented<'a>, Denied> {
        let (Methods::Any(methods) | Methods::All(methods)) = &demand.methods;
        let (takes_key, takes_basic) = (methods.contains(&Method::Key), methods.contains(&Method::Basic));
        let takes_tokens = methods.iter().any(|method| matches!(method, Method::Issuer(_)));
        let mut presented = Presented::default();
        // What a route does not take is not looked for.
        if takes_key {
            for key in headers.get_all(&X_API_KEY) {
                once(&mut presented.key, key.as_bytes())?;
            }
        }
        let mut lines =
            headers.get_all(header::AUTHORIZATION).iter().filter(|_| takes_key || takes_basic || takes_tokens);
        let line = lines.next();
        if lines.next().is_some() {
            return Err(Denied::SeveralCredentials);
        }
        match line.map(|line| (line, scheme(line))) {
            None => {}
            Some((line, _)) if takes_key && is_api_key(line) => once(&mut presented.key, rest(line))?,
            Some((line, scheme)) if takes_basic && scheme.eq_ignore_ascii_case(b"Basic") => {
                presented.basic = Some(rest(line));
            }
            Some((line, scheme)) if takes_tokens && scheme.eq_ignore_ascii_case(b"Bearer") => {
                presented.token = Some(Token { text: rest(line), dpop: false });
            }
            Some((line, scheme)) if takes_tokens && scheme.eq_ignore_ascii_case(b"DPoP") => {
                presented.token = Some(Token { text: rest(line), dpop: true });
            }
            // A route that takes keys alone leaves other schemes to its service.
            Some(_) if !takes_basic && !takes_tokens => {}
            Some(_) => return Err(Denied::OtherScheme),
        }
        presented.cookie(headers, demand)?;
        Ok(presented)
    }

    /// A token in the cookie that the route names, which only pages of its list may have made a browser send (RFC 6455 section 10.2).
    fn cookie(&mut self, headers: &'a HeaderMap, demand: &Demand) -> Result<(), Denied> {
        let Some(wanted) = &demand.cookie else { return Ok(()) };
        let lines = headers.get_all(header::COOKIE).iter();
        let pairs = lines.flat_map(|line| line.as_bytes().split(|&b| b == b';')).map(<[u8]>::trim_ascii);
        let named = pairs.filter_map(|pair| {
            let at = pair.iter().position(|&b| b == b'=')?;
            (pair[..at] == *wanted.name.as_bytes()).then_some(&pair[at + 1..])
        });
        for text in named {
            if self.token.is_some() {
                return Err(Denied::SeveralCredentials);
            }
            let mut origins = headers.get_all(header::ORIGIN).iter();
            let (origin, another) = (origins.next(), origins.next());
            let listed = |origin: &HeaderValue| {
                wanted.origins.iter().any(|own| own.as_bytes().eq_ignore_ascii_case(origin.as_bytes()))
            };
            if another.is_some() || !origin.is_some_and(listed) {
                return Err(Denied::OtherOrigin);
            }
            self.token = Some(Token { text, dpop: false });
        }
        Ok(())
    }

    /// How many kinds there are.
    pub(super) fn count(&self) -> usize {
        usize::from(self.key.is_some()) + usize::from(self.basic.is_some()) + usize::from(self.token.is_some())
    }
}

/// Takes the first of a kind.
fn once<'a>(place: &mut Option<&'a [u8]>, key: &'a [u8]) -> Result<(), Denied> {
    if place.replace(key).is_some() { Err(Denied::SeveralKeys) } else { Ok(()) }
}

/// The scheme of an `Authorization` (RFC 9110 section 11.4): what stands before the first space, or what some take for one.
fn scheme(line: &HeaderValue) -> &[u8] {
    let line = line.as_bytes();
    &line[..line.iter().position(|b| matches!(b, b' ' | b'\t')).unwrap_or(line.len())]
}

/// What follows the scheme. White space inside of it is part of it, and of no token.
fn rest(line: &HeaderValue) -> &[u8] {
    line.as_bytes()[scheme(line).len()..].trim_ascii()
}

/// Whether an `Authorization` is meant for the gateway, also one without a key: then it is not forwarded. A scheme ends with a space, or
/// with what some take for one.
pub fn is_api_key(value: &HeaderValue) -> bool {
    let (scheme, rest) = value.as_bytes().split_at(SCHEME.len().min(value.len()));
    scheme.eq_ignore_ascii_case(SCHEME) && matches!(rest, [] | [b' ' | b'\t', ..])
}
