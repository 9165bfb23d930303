//! The client of a gateway's admin pages.

use std::error::Error;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use http::{HeaderMap, HeaderName, HeaderValue, header};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::Url;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::pages::Refusal;
use crate::pages::compose::Tried;

/// The field of a key.
const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// What a gateway is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Its services and their instances, or those of one service.
    Services(Option<String>),
    /// Who is how near which limit, or how near one consumer is.
    Limits(Option<String>),
    /// Its issuers of tokens and their keys, or one issuer.
    Issuers(Option<String>),
    /// Its aggregates, or one of them with how it went the last times.
    Compose(Option<String>),
    /// Its fleet.
    Fleet,
    /// What its cache holds and did.
    Cache,
    /// To clear its cache.
    ClearCache {
        /// Only what came from this service.
        service: Option<String>,
        /// Only what lies at or below this path.
        path: Option<String>,
    },
}

/// A client of one gateway.
pub(super) struct Client {
    http: reqwest::Client,
    base: String,
    key: String,
}

impl Client {
    pub(super) fn new(base: &str, key: &str) -> Result<Client, String> {
        let base = if base.contains("://") { base.to_owned() } else { format!("http://{base}") };
        let http = http("", &[])?;
        Ok(Client { http, base: base.trim_end_matches('/').to_owned(), key: key.to_owned() })
    }

    /// Sends a command; the answer's JSON, or why there is none.
    pub(super) async fn send(&self, command: &Command) -> Result<Value, String> {
        // The page, and what is wanted of it.
        let one;
        let (path, parameters) = match command {
            Command::Compose(None) => ("/admin/compose", Vec::new()),
            Command::Compose(Some(name)) => {
                one = format!("/admin/compose/{}", utf8_percent_encode(name, NON_ALPHANUMERIC));
                (&*one, Vec::new())
            }
            Command::Services(name) => ("/admin/services", vec![("service", name)]),
            Command::Limits(name) => ("/admin/rate-limits", vec![("consumer", name)]),
            Command::Issuers(name) => ("/admin/issuers", vec![("issuer", name)]),
            Command::Fleet => ("/admin/fleet", Vec::new()),
            Command::Cache => ("/admin/cache", Vec::new()),
            Command::ClearCache { service, path } => ("/admin/cache/clear", vec![("service", service), ("path", path)]),
        };
        let mut url = Url::parse(&format!("{}{path}", self.base))
            .map_err(|error| format!("`{}` is not an address: {error}", self.base))?;
        for (name, value) in parameters {
            if let Some(value) = value {
                url.query_pairs_mut().append_pair(name, value);
            }
        }
        // Pairs are written as in forms, where `+` is a space. Elsewhere a space is %20.
        let query = url.query().map(|query| query.replace('+', "%20"));
        url.set_query(query.as_deref());
        // The request and its answer.
        let request = match command {
            Command::ClearCache { .. } => self.http.post(url),
            _ => self.http.get(url),
        };
        let answer = request.header(X_API_KEY, &self.key).send().await.map_err(|error| self.no_answer(&error))?;
        let status = answer.status().as_u16();
        let text = answer.text().await.map_err(|error| self.no_answer(&error))?;
        match status {
            200 => serde_json::from_str(&text).map_err(|_| {
                format!(
                    "{} answers {path} with something that is not JSON: is it the admin address of a Lictor?",
                    self.base
                )
            }),
            401 => {
                Err("the gateway does not know this key: set LICTOR_API_KEY to one of a consumer with the role admin"
                    .into())
            }
            403 => Err("this key's consumer lacks the role admin".into()),
            _ => {
                let refusal: Refusal = serde_json::from_str(&text).unwrap_or_default();
                match (status, refusal.error) {
                    (404, None) => Err(format!("{} has no {path}: is it the admin address of a Lictor?", self.base)),
                    (404, Some(why)) => Err(why),
                    (_, why) => {
                        let why = why.or(refusal.detail).unwrap_or(text);
                        Err(format!("{} answers {status}: {}", self.base, why.trim()))
                    }
                }
            }
        }
    }

    /// Where a path is on a listener of the gateway: one of all addresses is asked where admin is.
    pub(super) fn beside(&self, listener: SocketAddr, path: &str) -> String {
        let admin = Url::parse(&self.base).ok().and_then(|base| base.host_str().map(str::to_owned));
        match admin.filter(|_| listener.ip().is_unspecified()) {
            Some(host) => format!("http://{host}:{}{path}", listener.port()),
            None => format!("http://{listener}{path}"),
        }
    }

    /// Asks for what clients ask for, and waits so long for the whole answer. The key goes along where one of the gateway's own
    /// listeners is asked, and no other credential is given.
    pub(super) async fn get(
        &self,
        url: &str,
        mut headers: HeaderMap,
        listeners: &[SocketAddr],
        patience: Duration,
    ) -> Result<Tried, String> {
        let url = Url::parse(url).map_err(|error| format!("`{url}` is neither a URL nor a path: {error}"))?;
        let credential =
            [header::AUTHORIZATION, header::COOKIE, X_API_KEY].iter().any(|name| headers.contains_key(name));
        let admin = Url::parse(&self.base).map(|base| addresses(&base)).unwrap_or_default();
        let own = if credential { Vec::new() } else { own(addresses(&url), &admin, listeners) };
        if !own.is_empty() {
            headers.extend(HeaderValue::from_str(&self.key).map(|key| (X_API_KEY, key)));
        }
        let host = url.host_str().unwrap_or_default().to_owned();
        let failed = |error: &reqwest::Error| match error.is_timeout() && !error.is_connect() {
            true => {
                format!("{host} has not answered within {} s, longer than any aggregate may take", patience.as_secs())
            }
            false => format!("no gateway answers at {host} ({})", innermost(error)),
        };
        let began = Instant::now();
        let request = http(&host, &own)?.get(url).headers(headers).timeout(patience);
        let answer = request.send().await.map_err(|error| failed(&error))?;
        let text =
            |name: &str| answer.headers().get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
        let tried = Tried {
            status: answer.status().as_u16(),
            partial: text("lictor-partial"),
            cache: text("cache-status"),
            request_id: text("x-request-id"),
            without_key: Some(host.clone()).filter(|_| own.is_empty() && !credential),
            ..Tried::default()
        };
        let bytes = answer.bytes().await.map_err(|error| failed(&error))?.len() as u64;
        let took_ms = (began.elapsed().as_secs_f64() * 1_000_000.0).round() / 1000.0;
        Ok(Tried { bytes, took_ms, ..tried })
    }

    /// Why no gateway answers: the innermost cause, and what may mend it.
    fn no_answer(&self, error: &reqwest::Error) -> String {
        format!(
            "no gateway answers at {} ({}): say --admin or LICTOR_ADMIN if [admin] address is another",
            self.base,
            innermost(error)
        )
    }
}

/// Asks gateways; a host of this name at these addresses alone, if there are any. Nobody else than the gateway is sent the key.
fn http(host: &str, addresses: &[SocketAddr]) -> Result<reqwest::Client, String> {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let http = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none());
    let http = if addresses.is_empty() { http } else { http.resolve_to_addrs(host, addresses) };
    http.timeout(Duration::from_secs(10)).build().map_err(|error| error.to_string())
}

/// The addresses that a URL leads to; none where its host has none.
fn addresses(url: &Url) -> Vec<SocketAddr> {
    let mut found = url.socket_addrs(|| None).unwrap_or_default();
    if let (Some("localhost"), Some(port)) = (url.host_str(), url.port_or_known_default()) {
        found.extend([SocketAddr::from((Ipv4Addr::LOCALHOST, port)), SocketAddr::from((Ipv6Addr::LOCALHOST, port))]);
    }
    found
}

/// Those of the addresses that are the gateway's.
fn own(mut asked: Vec<SocketAddr>, admin: &[SocketAddr], listeners: &[SocketAddr]) -> Vec<SocketAddr> {
    asked.retain(|asked| is_own(asked, admin, listeners));
    asked
}

/// Whether what is asked for is the gateway's, whose admin pages have these addresses: it is one of them, or of its listeners. A
/// listener whose port the system chose may have any. One of loopback is the gateway's only where that is on this machine.
fn is_own(asked: &SocketAddr, admin: &[SocketAddr], listeners: &[SocketAddr]) -> bool {
    let beside_admin = admin.iter().any(|admin| admin.ip() == asked.ip());
    let is_local = admin.iter().any(|admin| admin.ip().is_loopback());
    let leads = |listener: &SocketAddr| {
        let ip = match listener.ip() {
            ip if ip.is_unspecified() => beside_admin,
            ip => ip == asked.ip() && (is_local || !ip.is_loopback()),
        };
        ip && (listener.port() == asked.port() || listener.port() == 0)
    };
    admin.contains(asked) || listeners.iter().any(leads)
}

/// The page that an answer holds. A page may lack what its gateway is too old for, but not `main`, which all have.
pub(super) fn page<T: DeserializeOwned>(answer: &Value, main: &str) -> Result<T, String> {
    let page = if answer.get(main).is_some() {
        T::deserialize(answer).map_err(|why| why.to_string())
    } else {
        Err(format!("it has no `{main}`"))
    };
    page.map_err(|why| format!("the answer is not this page of a Lictor ({why}): --json shows it as it is"))
}

fn innermost(error: &dyn Error) -> String {
    let mut why = error;
    while let Some(deeper) = why.source() {
        why = deeper;
    }
    why.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(url: &str) -> Vec<SocketAddr> {
        addresses(&Url::parse(url).expect("a URL"))
    }

    #[test]
    fn the_key_goes_to_the_gateways_listeners_whatever_their_hosts_are_called_and_to_nobody_else() {
        let (loopback, remote) = ("http://localhost:5001", "http://10.0.0.5:5001");
        for (asked, admin, listener, own) in [
            ("http://127.0.0.1:5000/x", loopback, "127.0.0.1:5000", true),
            ("http://localhost:5000/x", "http://127.0.0.1:5001", "[::1]:5000", true),
            ("http://10.0.0.5:8080", loopback, "10.0.0.5:8080", true),
            ("http://127.0.0.1:8080", loopback, "0.0.0.0:8080", true),
            ("http://10.0.0.5", remote, "[::]:80", true),
            ("http://127.0.0.1:4711", loopback, "127.0.0.1:0", true),
            ("http://10.0.0.5:5001", remote, "127.0.0.1:5000", true),
            ("http://127.0.0.1:5002/x", loopback, "127.0.0.1:5000", false),
            ("http://10.0.0.6:8080", remote, "0.0.0.0:8080", false),
            ("http://10.0.0.6:8080", remote, "10.0.0.5:8080", false),
            ("http://127.0.0.1:5000", remote, "127.0.0.1:5000", false),
        ] {
            let listener = listener.parse().expect("an address");
            let found = super::own(at(asked), &at(admin), &[listener]);
            assert_eq!(!found.is_empty(), own, "{asked} {admin} {listener}");
        }
        let address = |text: &str| text.parse::<SocketAddr>().expect("an address");
        let (ours, another) = (address("10.0.0.5:8080"), address("10.0.0.6:8080"));
        assert_eq!(super::own(vec![another, ours], &at(remote), &[ours]), [ours], "of a name with two addresses");
    }

    #[tokio::test]
    async fn a_name_that_leads_elsewhere_as_well_is_asked_where_the_gateway_is() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let http = http("lictor.test", &[address]).expect("a client");
        let asked = tokio::spawn(http.get(format!("http://lictor.test:{}/", address.port())).send());
        let accepted = tokio::time::timeout(Duration::from_secs(10), listener.accept()).await;
        accepted.expect("it is asked here, whatever a resolver says").expect("a connection");
        asked.abort();
    }
}
