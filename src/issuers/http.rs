//! Requests to issuers: with a deadline, a bound on the answer, no redirects and no proxy, over https beyond loopback. No other part of
//! this room uses reqwest.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use reqwest::header::{ACCEPT, AGE, AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER};
use reqwest::{RequestBuilder, Response, StatusCode};
use tokio::time::timeout;

pub(crate) use reqwest::Url;

/// How long a connect may take.
const CONNECT: Duration = Duration::from_secs(2);

/// How long a connection may be silent before the other end is asked whether it is there, how long that may take, and how long one
/// that nobody uses is kept.
const KEEP_ALIVE: (Duration, Duration, Duration) =
    (Duration::from_secs(15), Duration::from_secs(5), Duration::from_secs(30));

/// How many connections to one issuer are kept while nobody needs them.
const IDLE: usize = 16;

/// The way to all issuers. Clones share their connections.
#[derive(Clone, Debug)]
pub(crate) struct Http(Way);

#[derive(Clone, Debug)]
enum Way {
    Network(Arc<Clients>),
    /// Tests answer in the issuers' place, so that time can stand still.
    #[cfg(test)]
    Script(crate::issuers::tests::script::Script),
}

/// Made when they are needed first: to load the system's certificates takes milliseconds.
#[derive(Debug, Default)]
struct Clients {
    plain: OnceLock<Result<reqwest::Client, String>>,
    tls: OnceLock<Result<reqwest::Client, String>>,
}

/// What is asked.
pub(crate) struct Request<'a> {
    /// Where.
    pub(crate) url: &'a Url,
    /// The body of a form that is posted, and the `Authorization` to it.
    pub(crate) form: Option<(String, HeaderValue)>,
    /// How long it may take, from the connect to the end of the answer.
    pub(crate) deadline: Duration,
    /// The most bytes of an answer.
    pub(crate) largest: usize,
}

/// Leaves out the form, in which there is a token, and the query.
impl fmt::Debug for Request<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let method = if self.form.is_some() { "POST" } else { "GET" };
        write!(f, "{method} {} within {:?}", without_query(self.url.as_str()), self.deadline)
    }
}

/// An answer with status 200.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Answer {
    /// Its content.
    pub(crate) body: Vec<u8>,
    /// How much longer it holds, as it says itself (RFC 9111 section 4.2).
    pub(crate) fresh: Option<Duration>,
}

/// Leaves out the body, which may be a secret.
impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.body.len())
    }
}

/// Why there is no answer that can be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    /// A sentence for the operator.
    pub(crate) reason: String,
    /// Whoever was asked is away: it was not reached, was too slow, or is in trouble itself. Else it answered something that may not be.
    pub(crate) away: bool,
    /// The connection was lost before the answer had come: it may have been an old one that the other end had just closed.
    pub(crate) lost: bool,
    /// It answers, and has something against this one question: whoever was asked would answer another one.
    pub(crate) refused: bool,
    /// After how long it wants to be asked again.
    pub(crate) retry_after: Option<Duration>,
}

impl Failure {
    /// An answer that may not be.
    pub(crate) fn wrong(reason: impl Into<String>) -> Failure {
        Failure { reason: reason.into(), away: false, lost: false, refused: false, retry_after: None }
    }

    /// No answer.
    pub(crate) fn away(reason: impl Into<String>) -> Failure {
        Failure { reason: reason.into(), away: true, lost: false, refused: false, retry_after: None }
    }
}

/// Reads a URL at which an issuer may be asked: https, or http on loopback.
pub(crate) fn url(text: &str) -> Result<Url, Failure> {
    let shown = without_query(text);
    let url = Url::parse(text).map_err(|why| Failure::wrong(format!("`{shown}` is no URL: {why}")))?;
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    let loopback =
        host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback());
    match url.scheme() {
        _ if !url.username().is_empty() || url.password().is_some() => {
            Err(Failure::wrong("a URL must have no name and password in it"))
        }
        "https" => Ok(url),
        "http" if loopback => Ok(url),
        _ => Err(Failure::wrong(format!("`{shown}`: beyond loopback only https is taken"))),
    }
}

/// A URL as it is shown: without its query and its fragment, in which there may be a secret.
pub(crate) fn without_query(url: &str) -> &str {
    url.find(['?', '#']).map_or(url, |end| &url[..end])
}

/// The origin of a URL, as `keys_origin` writes it.
pub(crate) fn origin(url: &Url) -> String {
    url.origin().ascii_serialization()
}

impl Http {
    /// Over the network. Connects to nothing yet.
    pub(crate) fn new() -> Http {
        Http(Way::Network(Arc::default()))
    }

    /// A script answers.
    #[cfg(test)]
    pub(crate) fn scripted(script: crate::issuers::tests::script::Script) -> Http {
        Http(Way::Script(script))
    }

    /// Asks once.
    pub(crate) async fn send(&self, request: &Request<'_>) -> Result<Answer, Failure> {
        in_time(request, self.ask(request)).await
    }

    /// Asks once, and once more where a connection was lost. Both together have the time of one.
    pub(crate) async fn send_again_if_lost(&self, request: &Request<'_>) -> Result<Answer, Failure> {
        let answer = async {
            match self.ask(request).await {
                Err(failure) if failure.lost => self.ask(request).await,
                answer => answer,
            }
        };
        in_time(request, answer).await
    }

    async fn ask(&self, request: &Request<'_>) -> Result<Answer, Failure> {
        match &self.0 {
            Way::Network(clients) => read(prepare(clients, request)?, request.largest).await,
            #[cfg(test)]
            Way::Script(script) => script.answer(request).await,
        }
    }
}

/// An answer before the deadline of its request. What is wrong is said with the name of the host.
async fn in_time(
    request: &Request<'_>,
    answer: impl Future<Output = Result<Answer, Failure>>,
) -> Result<Answer, Failure> {
    let (deadline, host) = (request.deadline, request.url.host_str().unwrap_or_default());
    match timeout(deadline, answer).await {
        Ok(answer) => answer.map_err(|failure| Failure { reason: format!("{host}: {}", failure.reason), ..failure }),
        Err(_) => Err(Failure::away(format!("{host}: no answer within {deadline:?}"))),
    }
}

fn prepare(clients: &Clients, request: &Request<'_>) -> Result<RequestBuilder, Failure> {
    let tls = request.url.scheme() == "https";
    let client = if tls { &clients.tls } else { &clients.plain };
    let client = client.get_or_init(|| client_for(tls).map_err(|error| in_words(&error)));
    let client = client.as_ref().map_err(|why| Failure::away(why.clone()))?;
    Ok(match &request.form {
        None => client.get(request.url.clone()).header(ACCEPT, "application/json, application/jwk-set+json"),
        Some((form, credentials)) => client
            .post(request.url.clone())
            .header(ACCEPT, "application/json")
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(AUTHORIZATION, credentials.clone())
            .body(form.clone()),
    })
}

fn client_for(tls: bool) -> reqwest::Result<reqwest::Client> {
    let (silence, patience, idle) = KEEP_ALIVE;
    let builder = reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .referer(false)
        .connect_timeout(CONNECT)
        .tcp_keepalive(silence)
        .tcp_user_timeout(patience)
        .http2_keep_alive_interval(silence)
        .http2_keep_alive_timeout(patience)
        .pool_idle_timeout(idle)
        .pool_max_idle_per_host(IDLE)
        .user_agent(concat!("lictor/", env!("CARGO_PKG_VERSION")));
    // Plain HTTP needs no roots, and to load those of the system takes milliseconds.
    if tls { builder.build() } else { builder.tls_certs_only([]).build() }
}

async fn read(request: RequestBuilder, largest: usize) -> Result<Answer, Failure> {
    let lost = |error: reqwest::Error| {
        let lost = !error.is_connect() && !error.is_timeout();
        Failure { lost, ..Failure::away(in_words(&error.without_url())) }
    };
    let mut response: Response = request.send().await.map_err(lost)?;
    let status = response.status();
    if status != StatusCode::OK {
        return Err(refusal(status, response.headers()));
    }
    let fresh = freshness(response.headers());
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(lost)? {
        if body.len() + chunk.len() > largest {
            return Err(Failure::wrong(format!("the answer is larger than {} KiB", largest >> 10)));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Answer { body, fresh })
}

/// What a status other than 200 says.
fn refusal(status: StatusCode, headers: &HeaderMap) -> Failure {
    // These three are about who asks, or when, and not about what is asked (RFC 9110 sections 15.5.2 and 15.5.9, RFC 6585 section 4).
    let of_all = [StatusCode::UNAUTHORIZED, StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_MANY_REQUESTS];
    let busy = status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS;
    let seconds = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
    let redirect = if status.is_redirection() { ", and redirects are not followed" } else { "" };
    Failure {
        reason: format!("it answers {status}{redirect}"),
        away: busy,
        lost: false,
        refused: status.is_client_error() && !of_all.contains(&status),
        retry_after: seconds.filter(|_| busy).map(Duration::from_secs),
    }
}

/// How much longer an answer holds: its `max-age` without the time that caches on the way have had it (RFC 9111 section 4.2.1).
fn freshness(headers: &HeaderMap) -> Option<Duration> {
    let lines = headers.get_all(CACHE_CONTROL).iter().filter_map(|value| value.to_str().ok());
    let directives: Vec<_> = lines.flat_map(|line| line.split(',')).map(str::trim).collect();
    let has = |name: &str| directives.iter().any(|directive| directive.eq_ignore_ascii_case(name));
    if has("no-store") || has("no-cache") {
        return None;
    }
    let max_age = directives.iter().find_map(|directive| {
        let (name, value) = directive.split_once('=')?;
        name.eq_ignore_ascii_case("max-age").then(|| value.trim_matches('"').parse::<u64>().ok())?
    })?;
    let age = headers.get(AGE).and_then(|value| value.to_str().ok()?.trim().parse::<u64>().ok()).unwrap_or(0);
    Some(Duration::from_secs(max_age.saturating_sub(age)))
}

/// An error with its causes: reqwest's own text leaves out that a connection was refused.
fn in_words(error: &reqwest::Error) -> String {
    let mut words = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        let more = inner.to_string();
        if !words.contains(&more) {
            words = format!("{words}: {more}");
        }
        cause = inner.source();
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_debugged_shows_neither_a_token_nor_a_secret_nor_the_query_of_a_url() {
        let mut credentials = HeaderValue::from_static("Basic hidden");
        credentials.set_sensitive(true);
        let url = url("https://a.example/keys?code=hidden#hidden").expect("a URL");
        let form = Some(("token=hidden".to_owned(), credentials));
        let request = Request { url: &url, form, deadline: CONNECT, largest: 1 };
        let answer = Answer { body: b"hidden".to_vec(), fresh: None };
        let text = format!("{request:?} {answer:?}");
        assert!(!text.contains("hidden") && !text.contains("104, 105"), "{text}");
        assert!(text.contains("https://a.example/keys") && text.contains("6 bytes"), "{text}");
    }

    #[test]
    fn why_a_url_is_not_taken_does_not_repeat_its_query() {
        for bad in ["http://a.example/k?code=hidden", "a.example?hidden", "ftp://a.example/k#hidden"] {
            let failure = super::url(bad).expect_err("refused");
            assert!(!failure.reason.contains("hidden"), "{failure:?}");
        }
    }

    #[test]
    fn only_https_is_taken_beyond_loopback_and_no_url_carries_a_password() {
        for good in [
            "https://a.example/k",
            "http://127.0.0.1:1/k",
            "http://[::1]:1/k",
            "http://[::ffff:127.0.0.1]:1/k",
            "http://localhost/k",
        ] {
            assert!(url(good).is_ok(), "{good}");
        }
        for bad in ["http://a.example/k", "http://10.0.0.1/k", "ftp://a.example", "https://u:p@a.example/", "a.example"]
        {
            assert!(url(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn how_long_an_answer_holds_is_what_caches_on_the_way_have_left_of_it() {
        let fresh = |lines: &[(&'static str, &'static str)]| {
            let headers: HeaderMap = lines
                .iter()
                .map(|(name, value)| (name.parse().expect("a name"), HeaderValue::from_static(value)))
                .collect();
            freshness(&headers).map(|time| time.as_secs())
        };
        assert_eq!(fresh(&[]), None);
        assert_eq!(fresh(&[("cache-control", "public, Max-Age=300")]), Some(300));
        assert_eq!(fresh(&[("cache-control", "max-age=\"300\""), ("age", "100")]), Some(200));
        assert_eq!(fresh(&[("cache-control", "max-age=300"), ("age", "900")]), Some(0));
        assert_eq!(fresh(&[("cache-control", "no-cache, max-age=300")]), None);
        assert_eq!(fresh(&[("cache-control", "max-age=soon")]), None);
    }
}
