//! The README's examples: printed by the demo, driven by `cargo demo --check`, and looked for in the README by a test.

use http::Method;

use crate::client::{Client, KEY};

/// One request that a stranger might try, and what comes of it.
#[derive(Clone, Copy, Debug)]
pub struct Example {
    /// What it shows.
    pub shows: &'static str,
    /// Its method.
    pub method: &'static str,
    /// Its path.
    pub path: &'static str,
    /// With the demo's key.
    pub key: bool,
    /// Its body.
    pub body: &'static str,
    /// The status that comes.
    pub status: u16,
    /// A text that is in the answer.
    pub says: &'static str,
}

/// All of them, in the order of the README.
pub const ALL: [Example; 11] = [
    get("a list, from whichever instance is next", "/api/user_service/users", 200, "Ada"),
    get("one of it", "/api/product_service/products/1", 200, "Fasces"),
    Example {
        shows: "create something",
        method: "POST",
        path: "/api/order_service/orders",
        key: true,
        body: "{\"user_id\": 1, \"product_id\": 2}",
        status: 201,
        says: "\"user_id\":1",
    },
    get("what the instance saw: no key, but who asked for what", "/api/user_service/echo", 200, "x-forwarded-for"),
    get("the service's own error, passed on", "/api/user_service/users/99", 404, "there is no 99"),
    without_key("no key", "/api/user_service/users", 401, "no_key"),
    get("a service that nobody registered", "/api/nobody/x", 404, "no_route"),
    without_key("a path that is nobody's: the answer names what exists", "/", 404, "/api/{service}/{path}"),
    without_key("alive", "/health", 200, "healthy"),
    without_key("ready to serve", "/ready", 200, "ready"),
    get("what discovery knows, live", "/admin/services", 200, "user_service"),
];

const fn get(shows: &'static str, path: &'static str, status: u16, says: &'static str) -> Example {
    Example { shows, method: "GET", path, key: true, body: "", status, says }
}

const fn without_key(shows: &'static str, path: &'static str, status: u16, says: &'static str) -> Example {
    Example { shows, method: "GET", path, key: false, body: "", status, says }
}

impl Example {
    /// Ready to paste into a shell.
    pub fn command(&self, base: &str) -> String {
        let key = if self.key { format!(" -H 'X-API-Key: {KEY}'") } else { String::new() };
        let body = if self.body.is_empty() { String::new() } else { format!(" -d '{}'", self.body) };
        format!("curl -i{key}{body} {base}{}", self.path)
    }

    /// Tries it.
    ///
    /// # Errors
    /// What came instead.
    pub async fn check(&self, client: &Client) -> Result<(), String> {
        let headers: &[(&str, &str)] = if self.key { &[("x-api-key", KEY)] } else { &[] };
        let method = Method::from_bytes(self.method.as_bytes()).expect("a method of this table");
        let answer = client.ask(method, self.path, headers, self.body).await;
        if answer.status == self.status && answer.body.contains(self.says) {
            return Ok(());
        }
        Err(format!("{} {}: {} instead of {}: {}", self.method, self.path, answer.status, self.status, answer.body))
    }
}
