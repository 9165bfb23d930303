//! The client of a gateway's admin pages.

use std::error::Error;
use std::time::Duration;

use serde_json::Value;

use crate::pages::Refusal;

/// What a gateway is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Its services and their instances, or those of one service.
    Services(Option<String>),
    /// Who is how near which limit, or how near one consumer is.
    Limits(Option<String>),
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
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let base = if base.contains("://") { base.to_owned() } else { format!("http://{base}") };
        let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(10)).build();
        let http = http.map_err(|error| error.to_string())?;
        Ok(Client { http, base: base.trim_end_matches('/').to_owned(), key: key.to_owned() })
    }

    /// Sends a command; the answer's JSON, or why there is none.
    pub(super) async fn send(&self, command: &Command) -> Result<Value, String> {
        // The page, and what is wanted of it.
        let (path, parameters) = match command {
            Command::Services(name) => ("/admin/services", vec![("service", name)]),
            Command::Limits(name) => ("/admin/rate-limits", vec![("consumer", name)]),
            Command::Cache => ("/admin/cache", Vec::new()),
            Command::ClearCache { service, path } => ("/admin/cache/clear", vec![("service", service), ("path", path)]),
        };
        let mut url = reqwest::Url::parse(&format!("{}{path}", self.base))
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
        let answer = request.header("x-api-key", &self.key).send().await.map_err(|error| self.no_answer(&error))?;
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
            404 => Err(format!("{} has no {path}: is it the admin address of a Lictor?", self.base)),
            _ => {
                let refusal: Refusal = serde_json::from_str(&text).unwrap_or_default();
                let why = refusal.error.or(refusal.detail).unwrap_or(text);
                Err(format!("{} answers {status}: {}", self.base, why.trim()))
            }
        }
    }

    /// Why no gateway answers: the innermost cause, and what may mend it.
    fn no_answer(&self, error: &reqwest::Error) -> String {
        let mut why: &dyn Error = error;
        while let Some(deeper) = why.source() {
            why = deeper;
        }
        format!(
            "no gateway answers at {} ({why}): say --admin or LICTOR_ADMIN if [admin] address is another",
            self.base
        )
    }
}
