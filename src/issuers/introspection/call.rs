//! One question to an introspection endpoint (RFC 7662 section 2), asked as a client of the issuer's.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use base64::Engine;
use http::HeaderValue;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::config::identity::{Introspection, Issuer};
use crate::issuers::http::{Failure, Http, Request, url};
use crate::token::asking::INTROSPECTION;
use crate::token::{Claims, Rejection};

/// The most bytes of an answer.
const LARGEST: usize = 64 << 10;

/// What forms leave as it is (<https://url.spec.whatwg.org/#application-x-www-form-urlencoded-percent-encode-set>).
const FORM: &AsciiSet = &NON_ALPHANUMERIC.remove(b'*').remove(b'-').remove(b'.').remove(b'_');

/// What an issuer says of a token.
pub(crate) struct Said {
    /// The token's claims, or why it does not hold.
    pub(crate) of_token: Result<Claims, Rejection>,
    /// The bytes of the answer.
    pub(crate) bytes: usize,
    /// It did not say this, but answered with a status that refuses the question.
    pub(crate) odd: Option<String>,
}

/// Asks an issuer about a token.
pub(crate) async fn call(
    http: Http,
    issuer: Arc<Issuer>,
    endpoint: Introspection,
    token: Box<str>,
) -> Result<Said, Failure> {
    let form = format!("token={}&token_type_hint=access_token", utf8_percent_encode(&token, FORM));
    let form = Some((form, credentials(&endpoint)?));
    let url = url(&endpoint.url)?;
    // It ends before its request gives up.
    let deadline = INTROSPECTION - Duration::from_millis(100);
    let request = Request { url: &url, form, deadline, largest: LARGEST };
    let answer = match http.send_again_if_lost(&request).await {
        // Who sends odd tokens gets this for them, and must not make it look as if nobody could be asked about good ones.
        Err(Failure { refused: true, reason, .. }) => {
            return Ok(Said { of_token: Err(Rejection::Inactive), bytes: 0, odd: Some(reason) });
        }
        answer => answer?,
    };
    let of_token = Claims::introspected(&answer.body, &issuer, SystemTime::now());
    if of_token.as_ref().is_err_and(|why| *why == Rejection::IssuerUnavailable) {
        return Err(Failure::wrong("its answer about a token is not understood: it is no JSON object with `active`"));
    }
    Ok(Said { of_token, bytes: answer.body.len(), odd: None })
}

/// Name and secret, each encoded as in a form (RFC 6749 section 2.3.1). A secret's file is read each time, because it may have changed.
fn credentials(endpoint: &Introspection) -> Result<HeaderValue, Failure> {
    let secret = endpoint.secret.read();
    let secret = secret.map_err(|why| Failure::wrong(format!("the secret of our client cannot be read: {why}")))?;
    let encoded = |text: &str| utf8_percent_encode(text, FORM).to_string();
    let pair = format!("{}:{}", encoded(&endpoint.client), encoded(&secret));
    let text = format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair));
    let mut value = HeaderValue::try_from(text).map_err(|_| Failure::wrong("the name of our client is too odd"))?;
    value.set_sensitive(true);
    Ok(value)
}
