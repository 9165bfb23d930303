//! The shop: users, products and orders, in memory.

use std::collections::BTreeMap;
use std::sync::Mutex;

use http::{Method, StatusCode};
use serde_json::{Value, json};

/// The service that an instance belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `user_service`, at `/users`.
    User,
    /// `product_service`, at `/products`.
    Product,
    /// `order_service`, at `/orders`.
    Order,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Kind; 3] = [Kind::User, Kind::Product, Kind::Order];

    /// The service's name.
    pub fn service(self) -> &'static str {
        match self {
            Kind::User => "user_service",
            Kind::Product => "product_service",
            Kind::Order => "order_service",
        }
    }

    /// The kind of the service with this name.
    pub fn of(service: &str) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| kind.service() == service)
    }

    fn collection(self) -> &'static str {
        match self {
            Kind::User => "users",
            Kind::Product => "products",
            Kind::Order => "orders",
        }
    }

    /// What the shop has at the start.
    fn goods(self) -> Vec<Value> {
        match self {
            Kind::User => vec![
                json!({"id": 1, "name": "Ada", "email": "ada@example.com"}),
                json!({"id": 2, "name": "Grace", "email": "grace@example.com"}),
            ],
            Kind::Product => vec![
                json!({"id": 1, "name": "Fasces", "price_cents": 1200}),
                json!({"id": 2, "name": "Toga", "price_cents": 8900}),
            ],
            // A product of the second order is not sold any more.
            Kind::Order => vec![
                json!({"id": 1, "user_id": 1, "items": [{"product_id": 2, "count": 1}, {"product_id": 1, "count": 3}]}),
                json!({"id": 2, "user_id": 2, "items": [{"product_id": 1, "count": 1}, {"product_id": 3, "count": 2}]}),
            ],
        }
    }

    /// The fields that a new thing must have.
    fn needed(self) -> &'static [&'static str] {
        match self {
            Kind::User => &["name", "email"],
            Kind::Product => &["name", "price_cents"],
            Kind::Order => &["user_id", "items"],
        }
    }
}

/// The goods of one instance.
#[derive(Debug)]
pub(crate) struct Shop {
    kind: Kind,
    goods: Mutex<BTreeMap<u64, Value>>,
}

/// The shop's reply to a request.
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) body: Value,
    /// The path of what was created.
    pub(crate) location: Option<String>,
    /// The methods that the path allows, when the request's was another one.
    pub(crate) allow: Option<&'static str>,
}

impl Shop {
    pub(crate) fn new(kind: Kind) -> Shop {
        Shop { kind, goods: Mutex::new((1..).zip(kind.goods()).collect()) }
    }

    /// Lists, gets or creates; `None` for a path that is not the shop's.
    pub(crate) fn answer(&self, method: &Method, path: &str, body: &[u8]) -> Option<Reply> {
        let below = path.strip_prefix('/')?.strip_prefix(self.kind.collection())?;
        let id = match below.trim_end_matches('/') {
            "" => None,
            id => Some(id.strip_prefix('/')?),
        };
        let goods = self.goods.lock().expect("no one panics while holding this");
        let read = matches!(*method, Method::GET | Method::HEAD);
        Some(match id {
            None if read => found(json!(goods.values().collect::<Vec<_>>())),
            None if method == Method::POST => {
                drop(goods);
                self.create(body)
            }
            Some(id) if read => match id.parse().ok().and_then(|id: u64| goods.get(&id)) {
                Some(thing) => found(thing.clone()),
                None => {
                    refused(StatusCode::NOT_FOUND, format!("there is no {id} among the {}", self.kind.collection()))
                }
            },
            _ => {
                let allow = Some(if id.is_none() { "GET, HEAD, POST" } else { "GET, HEAD" });
                Reply { allow, ..refused(StatusCode::METHOD_NOT_ALLOWED, format!("{method} is not for this path")) }
            }
        })
    }

    fn create(&self, body: &[u8]) -> Reply {
        let Ok(Value::Object(mut thing)) = serde_json::from_slice(body) else {
            return refused(StatusCode::BAD_REQUEST, "the body is not a JSON object".into());
        };
        if let Some(missing) = self.kind.needed().iter().find(|field| !thing.contains_key(**field)) {
            return refused(StatusCode::BAD_REQUEST, format!("`{missing}` is missing"));
        }
        let mut goods = self.goods.lock().expect("no one panics while holding this");
        let id = goods.keys().next_back().copied().unwrap_or(0) + 1;
        thing.insert("id".into(), json!(id));
        let thing = Value::Object(thing);
        goods.insert(id, thing.clone());
        let location = Some(format!("/{}/{id}", self.kind.collection()));
        Reply { status: StatusCode::CREATED, body: thing, location, allow: None }
    }
}

fn found(body: Value) -> Reply {
    Reply { status: StatusCode::OK, body, location: None, allow: None }
}

fn refused(status: StatusCode, why: String) -> Reply {
    Reply { status, body: json!({ "error": why }), location: None, allow: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shop_lists_gets_creates_and_refuses_properly() {
        let shop = Shop::new(Kind::Order);
        let ask = |method: Method, path: &str, body: &str| {
            shop.answer(&method, path, body.as_bytes()).map(|answer| (answer.status.as_u16(), answer.location))
        };
        assert_eq!(ask(Method::GET, "/orders", ""), Some((200, None)));
        assert_eq!(ask(Method::GET, "/orders/1", ""), Some((200, None)));
        assert_eq!(ask(Method::GET, "/orders/9", ""), Some((404, None)));
        assert_eq!(ask(Method::POST, "/orders", "{\"user_id\":1,\"items\":[]}"), Some((201, Some("/orders/3".into()))));
        assert_eq!(ask(Method::POST, "/orders", "{\"user_id\":1}"), Some((400, None)));
        assert_eq!(ask(Method::POST, "/orders", "nonsense"), Some((400, None)));
        assert_eq!(ask(Method::DELETE, "/orders/1", ""), Some((405, None)));
        assert_eq!(ask(Method::GET, "/elsewhere", ""), None);
        assert_eq!(ask(Method::GET, "/ordersome", ""), None);
        let allow = |path: &str| shop.answer(&Method::DELETE, path, b"").and_then(|answer| answer.allow);
        assert_eq!((allow("/orders"), allow("/orders/1")), (Some("GET, HEAD, POST"), Some("GET, HEAD")));
    }
}
