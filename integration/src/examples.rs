//! The README's examples. The demo prints them, `cargo demo --check` runs them, and a test looks for them in the README.

use std::net::SocketAddr;

use http::Method;
use serde_json::Value;

use crate::client::{Client, KEY};
use crate::websocket::WebSocket;

/// The key of the demo's second consumer, who has no role and a plan of 100 requests a minute.
pub const GUEST: &str = "guest-api-key";

/// Where the examples are sent.
#[derive(Clone, Copy, Debug)]
pub struct Bases<'a> {
    /// The gateway: `http://localhost:5000`.
    pub gateway: &'a str,
    /// The demo's issuer of tokens: `http://localhost:5002`.
    pub issuer: &'a str,
}

/// Who sends an example.
#[derive(Clone, Copy, Debug)]
pub enum Caller {
    /// Nobody says it.
    Nobody,
    /// Who has this API key.
    Key(&'static str),
    /// Who has a token of the demo's issuer with this scope.
    Token(&'static str),
}

/// A request that somebody might try first, and the response that it gets.
#[derive(Clone, Copy, Debug)]
pub struct Example {
    /// What the example shows.
    pub shows: &'static str,
    /// Its method.
    pub method: &'static str,
    /// Its path.
    pub path: &'static str,
    /// Who sends it.
    pub caller: Caller,
    /// A header field that it has besides: name and value.
    pub field: (&'static str, &'static str),
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
    /// The issuer has new keys before it is sent.
    pub rotated: bool,
    /// A service, and how many requests it has to answer for this one.
    pub calls: Option<(&'static str, u64)>,
}

const GET: Example = Example {
    shows: "",
    method: "GET",
    path: "",
    caller: Caller::Key(KEY),
    field: ("", ""),
    body: "",
    status: 200,
    says: "",
    header: ("", ""),
    twice: false,
    rotated: false,
    calls: None,
};

const POST: Example = Example { method: "POST", ..GET };

/// All examples, in the order of the README.
pub const ALL: [Example; 28] = [
    Example { shows: "a list, from whichever instance is next", path: "/api/user_service/users", says: "Ada", ..GET },
    Example { shows: "one of it", path: "/api/user_service/users/1", says: "Ada", ..GET },
    Example {
        shows: "create something",
        path: "/api/order_service/orders",
        body: "{\"user_id\": 1, \"items\": [{\"product_id\": 2, \"count\": 1}]}",
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
        shows: "one answer of three services: an order, who ordered it, and each product",
        path: "/api/shop/orders/1",
        says: "{\"id\":1,\"buyer\":\"Ada\",\"items\":[{\"count\":1,\"name\":\"Toga\"},{\"count\":3,\"name\":\"Fasces\"}]}",
        calls: Some(("product_service", 2)),
        ..GET
    },
    Example {
        shows: "the same for a phone, which gets less: nobody asks for the products",
        path: "/api/shop/orders/1",
        field: ("X-Client", "phone"),
        says: "{\"id\":1,\"buyer\":\"Ada\"}",
        calls: Some(("product_service", 0)),
        ..GET
    },
    Example {
        shows: "a product that is not there any more: look at Lictor-Partial, and at errors",
        path: "/api/shop/orders/2",
        says: "{\"count\":2,\"name\":null}],\"errors\":[{",
        header: ("lictor-partial", "products;reason=status;status=404;count=1"),
        ..GET
    },
    Example {
        shows: "an order that is not there: 404, and which call said so",
        path: "/api/shop/orders/99",
        status: 404,
        says: "\"call\":\"order\"",
        calls: Some(("product_service", 0)),
        ..GET
    },
    Example {
        shows: "a part of a service that nobody registered: the rest is there",
        path: "/api/shop/orders/1/delivery",
        says: "{\"id\":1,\"delivery\":null,\"errors\":[{",
        header: ("lictor-partial", "delivery;reason=no_instances"),
        ..GET
    },
    Example {
        shows: "a guest, on a plan of 100 a minute: look at RateLimit",
        path: "/api/user_service/users",
        caller: Caller::Key(GUEST),
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
    Example {
        shows: "no key: 401",
        path: "/api/user_service/users",
        caller: Caller::Nobody,
        status: 401,
        says: "no_key",
        ..GET
    },
    Example {
        shows: "a token instead of a key, from the demo's issuer: the route demands the scope orders:read",
        path: "/orders",
        caller: Caller::Token("orders:read"),
        says: "product_id",
        ..GET
    },
    Example {
        shows: "a token without that scope: 403",
        path: "/orders",
        caller: Caller::Token("orders:write"),
        status: 403,
        says: "insufficient_scope",
        header: ("www-authenticate", "orders:read"),
        ..GET
    },
    Example {
        shows: "no token: 401, and what to send",
        path: "/orders",
        caller: Caller::Nobody,
        status: 401,
        header: ("www-authenticate", "Bearer"),
        ..GET
    },
    Example {
        shows: "new keys at the issuer, and a token that they have signed",
        path: "/orders",
        caller: Caller::Token("orders:read"),
        says: "product_id",
        rotated: true,
        ..GET
    },
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
        caller: Caller::Nobody,
        status: 404,
        says: "/api/{service}/{path}",
        ..GET
    },
    Example { shows: "alive, ready to serve", path: "/health", caller: Caller::Nobody, says: "healthy", ..GET },
    Example { shows: "", path: "/ready", caller: Caller::Nobody, says: "ready", ..GET },
    Example { shows: "what discovery knows, live", path: "/admin/services", says: "user_service", ..GET },
    Example { shows: "who is how near which limit", path: "/admin/rate-limits", says: "\"guest\"", ..GET },
    Example { shows: "what the cache did, and clearing it", path: "/admin/cache", says: "\"hits\"", ..GET },
    Example { shows: "", path: "/admin/cache/clear", says: "\"cleared\"", ..POST },
    Example { shows: "metrics, for Prometheus", path: "/admin/metrics", says: "lictor_route_requests_total", ..GET },
    Example {
        shows: "a guest has no business there: 403",
        path: "/admin/services",
        caller: Caller::Key(GUEST),
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
    pub fn command(&self, bases: Bases<'_>) -> String {
        let Bases { gateway, issuer } = bases;
        let rotation = if self.rotated { format!("curl -X POST {issuer}/_mock/rotate\n") } else { String::new() };
        let who = match self.caller {
            Caller::Nobody => String::new(),
            Caller::Key(key) => format!(" -H 'X-API-Key: {key}'"),
            Caller::Token(scope) => {
                let form = format!("-d grant_type=client_credentials -d scope={scope}");
                format!(
                    " -H \"Authorization: Bearer $(curl -s -u demo:demo-secret {form} {issuer}/token | cut -d '\"' -f 4)\""
                )
            }
        };
        let field = match self.field {
            ("", _) => String::new(),
            (name, value) => format!(" -H '{name}: {value}'"),
        };
        let what = match (self.body, self.method, self.is_websocket()) {
            ("", "POST", _) => " -X POST".to_owned(),
            ("", _, true) => " -N --max-time 1 -H 'Connection: Upgrade' -H 'Upgrade: websocket' -H 'Sec-WebSocket-Version: 13' -H 'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=='".to_owned(),
            ("", ..) => String::new(),
            (body, ..) => format!(" -d '{body}'"),
        };
        format!("{rotation}curl -i{who}{field}{what} {gateway}{}", self.path)
    }

    /// Sends the request, and compares the response with what is described.
    ///
    /// # Errors
    /// What came instead.
    pub async fn check(&self, address: SocketAddr, client: &Client, issuer: &Client) -> Result<(), String> {
        if self.is_websocket() {
            return self.talk(address).await;
        }
        if self.rotated {
            issuer.post("/_mock/rotate", "{}").await;
        }
        let header = self.header(issuer).await?;
        let field = Some(self.field).filter(|(name, _)| !name.is_empty());
        let headers: Vec<_> = header.iter().map(|(name, value)| (*name, value.as_str())).chain(field).collect();
        let before = self.counted(client).await;
        let method = Method::from_bytes(self.method.as_bytes()).expect("a method of this table");
        let mut answer = client.ask(method.clone(), self.path, &headers, self.body).await;
        if self.twice {
            answer = client.ask(method, self.path, &headers, self.body).await;
        }
        let (name, text) = self.header;
        let header_fits = name.is_empty() || answer.header(name).contains(text);
        let rest = format!("{:?} {}", answer.headers, answer.body);
        if let Some((service, calls)) = self.calls {
            let made = self.counted(client).await - before;
            if made != calls {
                return Err(format!("{}: {made} requests instead of {calls} went to {service}: {rest}", self.path));
            }
        }
        if answer.status == self.status && answer.body.contains(self.says) && header_fits {
            return Ok(());
        }
        Err(format!("{} {}: {} instead of {}: {rest}", self.method, self.path, answer.status, self.status))
    }

    /// How many requests the service of [`Example::calls`] has had to answer so far, by the gateway's metrics.
    async fn counted(&self, client: &Client) -> u64 {
        let Some((service, _)) = self.calls else { return 0 };
        let metrics = client.get("/admin/metrics").await.body;
        let begins = format!("lictor_service_requests_total{{service=\"{service}\"");
        let of = metrics.lines().filter(|line| line.starts_with(&begins));
        of.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
    }

    /// The field that says who sends it.
    async fn header(&self, issuer: &Client) -> Result<Option<(&'static str, String)>, String> {
        let scope = match self.caller {
            Caller::Nobody => return Ok(None),
            Caller::Key(key) => return Ok(Some(("x-api-key", key.to_owned()))),
            Caller::Token(scope) => scope,
        };
        let form = format!("grant_type=client_credentials&scope={scope}&client_id=demo&client_secret=demo-secret");
        let answer = issuer.post("/token", &form).await;
        match &answer.json()["access_token"] {
            Value::String(token) => Ok(Some(("authorization", format!("Bearer {token}")))),
            _ => Err(format!("the issuer gives no token: {} {}", answer.status, answer.body)),
        }
    }

    /// Opens a WebSocket, and compares its first message and its echo.
    async fn talk(&self, address: SocketAddr) -> Result<(), String> {
        let opened = WebSocket::open(address, self.path, &[("x-api-key", KEY)]).await;
        let mut socket = opened.map_err(|status| format!("{}: {status} instead of 101", self.path))?;
        let first = socket.next().await.unwrap_or_default();
        socket.send("hello").await.map_err(|error| error.to_string())?;
        match socket.next().await.as_deref() {
            Some("hello") if first.contains(self.says) => Ok(()),
            other => Err(format!("{}: {first:?}, then {other:?}", self.path)),
        }
    }
}
