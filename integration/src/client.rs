//! A client whose responses are complete: status, headers and body.

use std::net::SocketAddr;
use std::time::Duration;

use http::{HeaderMap, Method};
use serde_json::Value;

/// The API key that all worlds and the demo know.
pub const KEY: &str = "test-api-key";

/// A complete response, or the reason why there is none.
#[derive(Clone, Debug)]
pub struct Response {
    /// Its status; 0 when there was no response.
    pub status: u16,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body as text; why there was no response, when there was none.
    pub body: String,
}

impl Response {
    /// Its body as JSON; null when it is not JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_default()
    }

    /// The text of a header, empty when there is no such header.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The name of the mock that answered.
    pub fn instance(&self) -> &str {
        self.header("x-instance")
    }

    /// The reason in a problem page of the gateway, empty for other responses.
    pub fn reason(&self) -> String {
        self.json()["reason"].as_str().unwrap_or_default().to_owned()
    }
}

/// Sends requests to one gateway over connections that it keeps.
#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::Client,
    base: String,
}

impl Client {
    /// A client of the gateway at this address.
    ///
    /// # Panics
    /// When the HTTP client cannot be built.
    pub fn new(address: SocketAddr) -> Client {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let plain = reqwest::redirect::Policy::none();
        let builder = reqwest::Client::builder().no_proxy().redirect(plain).timeout(Duration::from_secs(15));
        Client { http: builder.build().expect("a plain client"), base: format!("http://{address}") }
    }

    /// Sends a GET with the key.
    pub async fn get(&self, path: &str) -> Response {
        self.ask(Method::GET, path, &[("x-api-key", KEY)], "").await
    }

    /// Sends a POST with the key.
    pub async fn post(&self, path: &str, body: &str) -> Response {
        self.ask(Method::POST, path, &[("x-api-key", KEY)], body).await
    }

    /// Sends a request. Without a response, the status is 0 and the body says why.
    pub async fn ask(&self, method: Method, path: &str, headers: &[(&str, &str)], body: &str) -> Response {
        let mut request = self.http.request(method, format!("{}{path}", self.base));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if !body.is_empty() {
            request = request.body(body.to_owned());
        }
        match request.send().await {
            Err(error) => Response { status: 0, headers: HeaderMap::new(), body: error.to_string() },
            Ok(response) => {
                let (status, headers) = (response.status().as_u16(), response.headers().clone());
                match response.text().await {
                    Ok(body) => Response { status, headers, body },
                    Err(error) => Response { status: 0, headers, body: format!("the body broke off: {error}") },
                }
            }
        }
    }
}
