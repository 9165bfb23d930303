//! A client that keeps what it got: status, headers, body.

use std::net::SocketAddr;
use std::time::Duration;

use http::{HeaderMap, Method};
use serde_json::Value;

/// The key that all worlds and the demo know.
pub const KEY: &str = "test-api-key";

/// An answer, complete.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Its status; 0 when there was none.
    pub status: u16,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body, as text.
    pub body: String,
}

impl Answer {
    /// Its body as JSON; null when it is none.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_default()
    }

    /// A header's text, empty when it is not there.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// Which mock answered.
    pub fn instance(&self) -> &str {
        self.header("x-instance")
    }

    /// The problem's reason, if this is a problem of the gateway's own.
    pub fn reason(&self) -> String {
        self.json()["reason"].as_str().unwrap_or_default().to_owned()
    }
}

/// Asks one gateway, with keep-alive, and the key unless told otherwise.
#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::Client,
    base: String,
}

impl Client {
    /// For an address.
    ///
    /// # Panics
    /// When a plain client cannot be made.
    pub fn new(address: SocketAddr) -> Client {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let plain = reqwest::redirect::Policy::none();
        let builder = reqwest::Client::builder().no_proxy().redirect(plain).timeout(Duration::from_secs(15));
        Client { http: builder.build().expect("a plain client"), base: format!("http://{address}") }
    }

    /// GET with the key.
    pub async fn get(&self, path: &str) -> Answer {
        self.ask(Method::GET, path, &[("x-api-key", KEY)], "").await
    }

    /// POST with the key.
    pub async fn post(&self, path: &str, body: &str) -> Answer {
        self.ask(Method::POST, path, &[("x-api-key", KEY)], body).await
    }

    /// Anything. Without an answer, the status is 0 and the body says why.
    pub async fn ask(&self, method: Method, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let mut request = self.http.request(method, format!("{}{path}", self.base));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if !body.is_empty() {
            request = request.body(body.to_owned());
        }
        match request.send().await {
            Err(error) => Answer { status: 0, headers: HeaderMap::new(), body: error.to_string() },
            Ok(answer) => {
                let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
                match answer.text().await {
                    Ok(body) => Answer { status, headers, body },
                    Err(error) => Answer { status: 0, headers, body: format!("the body broke off: {error}") },
                }
            }
        }
    }
}
