//! Asking a gateway's admin pages.

use std::error::Error;
use std::time::Duration;

use serde_json::Value;

use super::Question;

/// Asks one gateway.
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

    pub(super) async fn ask(&self, question: &Question) -> Result<Value, String> {
        let (path, parameters) = match question {
            Question::Services(name) => ("/admin/services", vec![("service", name)]),
            Question::Limits(name) => ("/admin/rate-limits", vec![("consumer", name)]),
            Question::Cache => ("/admin/cache", Vec::new()),
            Question::Clear(service, path) => ("/admin/cache/clear", vec![("service", service), ("path", path)]),
        };
        let mut url = reqwest::Url::parse(&format!("{}{path}", self.base))
            .map_err(|error| format!("`{}` is not an address: {error}", self.base))?;
        for (name, value) in parameters {
            if let Some(value) = value {
                url.query_pairs_mut().append_pair(name, value);
            }
        }
        // A space as %20: `+` is a space in forms only.
        let query = url.query().map(|query| query.replace('+', "%20"));
        url.set_query(query.as_deref());
        let request = match question {
            Question::Clear(..) => self.http.post(url),
            _ => self.http.get(url),
        };
        let answer = request.header("x-api-key", &self.key).send().await.map_err(|error| self.silent(&error))?;
        let status = answer.status().as_u16();
        let text = answer.text().await.map_err(|error| self.silent(&error))?;
        let words: Value = serde_json::from_str(&text).unwrap_or_default();
        match status {
            200 => Ok(words),
            401 => {
                Err("the gateway does not know this key: set LICTOR_API_KEY to one of a consumer with the role admin"
                    .into())
            }
            403 => Err("this key's consumer lacks the role admin".into()),
            404 => Err(format!("{} has no {path}: is it the admin address of a Lictor?", self.base)),
            _ => {
                let said = words["error"].as_str().or(words["detail"].as_str()).unwrap_or(&text);
                Err(format!("{} answers {status}: {}", self.base, said.trim()))
            }
        }
    }

    fn silent(&self, error: &reqwest::Error) -> String {
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
