//! The README's examples. The demo prints them, `cargo demo --check` runs them, and a test looks for them in the README.

use std::net::SocketAddr;

use http::Method;

use crate::client::{Client, KEY};
use crate::websocket::WebSocket;

/// The key of the demo's second consumer, who has no role and a plan of 100 requests a minute.
pub const GUEST: &str = "guest-api-key";

/// A request that somebody might try first, and the response that it gets.
#[derive(Clone, Copy, Debug)]
pub struct Example {
    /// What the example shows.
    pub shows: &'static str,
    /// Its method.
    pub method: &'static str,
    /// Its path.
    pub path: &'static str,
    /// The API key; none when empty.
    pub key: &'static str,
    /// Its body.
    pub body: &'static str,
    /// The response's status.
    pub status: u16,
    /// A text in the response's body.
    pub says: &'static str,
    /// The name of a header of the response, and a text in its value.
    pub header: (&'static str, &'static str),
    /// The response is as described when the request is sent for the second time.
    pub twice: bool,
}

const GET: Example = Example {
    shows: "",
    method: "GET",
    path: "",
    key: KEY,
    body: "",
    status: 200,
    says: "",
    header: ("", ""),
    twice: false,
};

const POST: Example = Example { method: "POST", ..GET };

/// All examples, in the order of the README.
pub const ALL: [Example; 19] = [
    Example { shows: "a list, from whichever instance is next", path: "/api/user_service/users", says: "Ada", ..GET },
    Example { shows: "one of it", path: "/api/user_service/users/1", says: "Ada", ..GET },
    Example {
        shows: "create something",
        path: "/api/order_service/orders",
        body: "{\"user_id\": 1, \"product_id\": 2}",
        status: 201,
        says: "\"user_id\":1",
        ..POST
    },
    Example {
        shows: "what the instance saw: no key, but who asked for what",
        path: "/api/user_service/echo",
        says: "x-forwarded-for",
        ..GET
    },
    Example {
        shows: "the service's own error, passed on",
        path: "/api/user_service/users/99",
        status: 404,
        says: "there is no 99",
        ..GET
    },
    Example {
        shows: "products are cached for 30 s: ask twice, and look at Cache-Status and Age",
        path: "/api/product_service/products",
        says: "Fasces",
        header: ("cache-status", "lictor; hit"),
        twice: true,
        ..GET
    },
    Example {
        shows: "a guest, on a plan of 100 a minute: look at RateLimit",
        path: "/api/user_service/users",
        key: GUEST,
        says: "Ada",
        header: ("ratelimit", "\"guest\";r=9"),
        ..GET
    },
    Example {
        shows: "a WebSocket that echoes: its handshake and its first words",
        path: "/api/user_service/ws",
        status: 101,
        says: "echoes",
        ..GET
    },
    Example { shows: "no key: 401", path: "/api/user_service/users", key: "", status: 401, says: "no_key", ..GET },
    Example {
        shows: "a service that nobody registered: 404",
        path: "/api/nobody/x",
        status: 404,
        says: "no_route",
        ..GET
    },
    Example {
        shows: "a path that is nobody's: the answer names what exists",
        path: "/",
        key: "",
        status: 404,
        says: "/api/{service}/{path}",
        ..GET
    },
    Example { shows: "alive, ready to serve", path: "/health", key: "", says: "healthy", ..GET },
    Example { shows: "", path: "/ready", key: "", says: "ready", ..GET },
    Example { shows: "what discovery knows, live", path: "/admin/services", says: "user_service", ..GET },
    Example { shows: "who is how near which limit", path: "/admin/rate-limits", says: "\"guest\"", ..GET },
    Example { shows: "what the cache did, and clearing it", path: "/admin/cache", says: "\"hits\"", ..GET },
    Example { shows: "", path: "/admin/cache/clear", says: "\"cleared\"", ..POST },
    Example { shows: "metrics, for Prometheus", path: "/admin/metrics", says: "lictor_route_requests_total", ..GET },
    Example {
        shows: "a guest has no business there: 403",
        path: "/admin/services",
        key: GUEST,
        status: 403,
        says: "no_role",
        ..GET
    },
];

impl Example {
    fn is_websocket(&self) -> bool {
        self.status == 101
    }

    /// The command of the example, to paste into a shell.
    pub fn command(&self, base: &str) -> String {
        let key = if self.key.is_empty() { String::new() } else { format!(" -H 'X-API-Key: {}'", self.key) };
        let what = match (self.body, self.method, self.is_websocket()) {
            ("", "POST", _) => " -X POST".to_owned(),
            ("", _, true) => " -N --max-time 1 -H 'Connection: Upgrade' -H 'Upgrade: websocket' -H 'Sec-WebSocket-Version: 13' -H 'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=='".to_owned(),
            ("", ..) => String::new(),
            (body, ..) => format!(" -d '{body}'"),
        };
        format!("curl -i{key}{what} {base}{}", self.path)
    }

    /// Sends the request, and compares the response with what is described.
    ///
    /// # Errors
    /// What came instead.
    pub async fn check(&self, address: SocketAddr, client: &Client) -> Result<(), String> {
        if self.is_websocket() {
            return self.talk(address).await;
        }
        let headers: &[(&str, &str)] = if self.key.is_empty() { &[] } else { &[("x-api-key", self.key)] };
        let method = Method::from_bytes(self.method.as_bytes()).expect("a method of this table");
        let mut answer = client.ask(method.clone(), self.path, headers, self.body).await;
        if self.twice {
            answer = client.ask(method, self.path, headers, self.body).await;
        }
        let (name, text) = self.header;
        let header_fits = name.is_empty() || answer.header(name).contains(text);
        if answer.status == self.status && answer.body.contains(self.says) && header_fits {
            return Ok(());
        }
        let rest = format!("{:?} {}", answer.headers, answer.body);
        Err(format!("{} {}: {} instead of {}: {rest}", self.method, self.path, answer.status, self.status))
    }

    /// Opens a WebSocket, and compares its first message and its echo.
    async fn talk(&self, address: SocketAddr) -> Result<(), String> {
        let opened = WebSocket::open(address, self.path, &[("x-api-key", self.key)]).await;
        let mut socket = opened.map_err(|status| format!("{}: {status} instead of 101", self.path))?;
        let first = socket.next().await.unwrap_or_default();
        socket.send("hello").await.map_err(|error| error.to_string())?;
        match socket.next().await.as_deref() {
            Some("hello") if first.contains(self.says) => Ok(()),
            other => Err(format!("{}: {first:?}, then {other:?}", self.path)),
        }
    }
}
