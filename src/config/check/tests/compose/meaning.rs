//! What an aggregate means that is written without a mistake.

use std::time::Duration;

use http::{Method, StatusCode};
use serde_json::json;

use super::*;
use crate::config::compose::{
    Aggregates, Answer, Body, Call, Compose, Expects, Fallback, Piece, Place, Template, Value,
};
use crate::config::identity::{ClaimPath, Condition, Demanded};

/// A page of an order, and another shape of it for phones.
const EXAMPLE: &str = r#"
[[compose]]
name = "order_page"
deadline = "2s"
answer = "{ id: order.id, buyer: user.name, items: products[].{ count: item.count, name: answer.name } }"

[[compose.call]]
name = "order"
service = "order_service"
path = "/orders/{id}"

[[compose.call]]
name = "user"
service = "user_service"
path = "/users/{order.user_id}"
on_error = "null"
cache = { ttl = "30s" }

[[compose.call]]
name = "products"
service = "product_service"
each = "order.items"
most = 32
at_once = 8
path = "/products/{item.product_id}"

[[route]]
path = { pattern = "/order-pages/{id}" }
compose = "order_page"

[[route]]
name = "phone"
path = { pattern = "/order-pages/{id}" }
headers = { X-Client = "phone" }
compose = "order_page"
answer = "{ id: order.id, buyer: user.name }"
"#;

#[test]
fn the_example_is_valid_and_both_of_its_routes_share_the_calls() {
    let config = config(EXAMPLE);
    let used = config.routes.iter().filter_map(|route| match &route.action {
        Action::Compose { compose, .. } => Some(compose),
        _ => None,
    });
    let same = used.filter(|used| Arc::ptr_eq(used, &config.composes[0])).count();
    assert_eq!((same, config.warnings.len()), (2, 0), "{:?}", config.warnings);
    assert_eq!(config.aggregates, Aggregates { memory: 64 << 20, wait: Duration::from_secs(1) });
}

/// All kinds of keys.
const FULL: &str = r#"
[aggregates]
memory = "8MiB"
wait = "0s"

[[compose]]
name = "order_page"
deadline = "2s"
answer = "{ id: order.id, price: quote }"
errors = true
most = 16
object = "64KiB"

[[compose.call]]
name = "quote"
service = "price_service"
method = "POST"
path = "/quotes/v{claim.version}-{order.id}"
query = { page = "{query.page}", "a b" = "{{x}}" }
headers = { X-Org = "{claim.realm.\"https://x.y/org\"}" }
body = { who = "{order.user}", text = "of {order.id}", lines = ["{products}", 3, true] }
when = "order.total > `0` && id != 'x'"
expects = "text"
object = "1KiB"
on_error = { 404 = { value = [] }, 503 = "omit", else = "null" }

[[compose.call]]
name = "products"
service = "product_service"
each = "order.items"
at_once = 4
path = "/products/{item.product_id}/{item}"
cache = { ttl = "30s" }
on_error = "stale"

[[compose.call]]
name = "order"
service = "order_service"
path = "/orders/{id}"

[[issuer]]
name = "corp"
issuer = "https://a.example"
audience = "api"

[[route]]
path = { pattern = "/pages/{shop}/{id}" }
methods = ["GET"]
compose = "order_page"
answer = "order"
auth = { any = ["corp"] }
limits = ["10/s"]
"#;

fn text_of(answer: &Answer) -> Option<&str> {
    answer.expression.as_ref().map(|expression| &*expression.text)
}

fn value(template: &Template) -> &Value {
    template.alone().expect("nothing but a value")
}

#[test]
fn an_aggregate_means_what_is_written() {
    let config = config(FULL);
    let [compose] = &config.composes[..] else { panic!("one") };
    let Compose { deadline, answer, errors, calls, parameters, size, .. } = &**compose;
    assert_eq!((*deadline, *size, &parameters[..]), (Duration::from_secs(2), 4 << 20, &["id".into()][..]));
    assert!(*errors);
    assert_eq!(answer.as_ref().map(|answer| (&*answer.text, answer.line)), Some(("{ id: order.id, price: quote }", 9)));
    assert_eq!(config.aggregates, Aggregates { memory: 8 << 20, wait: Duration::ZERO });
    let names: Vec<_> = calls.iter().map(|call| (&*call.name, &call.needs[..])).collect();
    assert_eq!(names, [("order", &[][..]), ("products", &[0]), ("quote", &[0, 1])]);
    let [order, products, quote] = &calls[..] else { panic!("three") };
    assert_eq!((order.method.clone(), order.expects, order.object), (Method::GET, Expects::Json, 64 << 10));
    assert_eq!(order.path.0, [Piece::Literal("/orders/".into()), Piece::Value(Value::Parameter(0), Place::Segment)]);
    assert_eq!((order.on_error.fallback(None), order.policy.cache.enabled), (&Fallback::Fail, false));

    let each = products.each.as_ref().expect("a list");
    assert_eq!((each.call, &each.members[..], each.most, each.at_once), (0, &["items".into()][..], 16, 4));
    let item = |members: &[&str]| {
        let members = members.iter().map(|member| (*member).into()).collect();
        Piece::Value(Value::Item(members), Place::Segment)
    };
    assert_eq!([&products.path.0[1], &products.path.0[3]], [&item(&["product_id"]), &item(&[])]);
    assert_eq!(products.on_error.fallback(None), &Fallback::Stale);

    the_quote(quote);
    let route = config.routes.iter().find(|route| &*route.name == "/pages/{shop}/{id}").expect("the route");
    let Action::Compose { compose: used, parameters, answers, fields } = &route.action else { panic!("an aggregate") };
    assert!(Arc::ptr_eq(used, compose));
    assert!(!fields);
    let [answer] = &answers[..] else { panic!("one shape") };
    assert_eq!((&parameters[..], text_of(answer)), (&[1][..], Some("order")));
    assert_eq!((&answer.plan, &answer.claims[..]), (&None, &[][..]));
    // What is about clients holds for the route's request, once.
    assert!(route.policy.limits.is_some() && route.policy.auth.is_some());
    assert!(calls.iter().all(|call| call.policy.limits.is_none() && call.policy.auth.is_none()));
    assert!(config.warnings.is_empty(), "{:?}", config.warnings);
}

fn the_quote(quote: &Call) {
    let answer = |call: usize, members: &[&str]| Value::Answer {
        call,
        members: members.iter().map(|member| (*member).into()).collect(),
    };
    assert_eq!(quote.path.0.len(), 4, "{:?}", quote.path);
    let [(page, of_page), (text, literal)] = &quote.query[..] else { panic!("two: {:?}", quote.query) };
    let (page, of_page, text, literal) =
        if &**page == "page" { (page, of_page, text, literal) } else { (text, literal, page, of_page) };
    assert_eq!((&**page, value(of_page)), ("page", &Value::Query("page".into())));
    assert_eq!((&**text, &literal.0[..]), ("a b", &[Piece::Literal("%7Bx%7D".into())][..]));
    let claim = ClaimPath(vec!["realm".into(), "https://x.y/org".into()]);
    assert_eq!(value(&quote.headers[0].1), &Value::Claim(claim));
    let Some(Body::Object(members)) = &quote.body else { panic!("an object") };
    let member = |name: &str| members.iter().find(|(known, _)| **known == *name).map(|(_, body)| body);
    let alone = |value: Value| Body::Text(Template(vec![Piece::Value(value, Place::Json)]));
    assert_eq!(member("who"), Some(&alone(answer(0, &["user"]))));
    let lines = [alone(answer(1, &[])), Body::Fixed(json!(3)), Body::Fixed(json!(true))];
    assert_eq!(member("lines"), Some(&Body::Array(lines.into())));
    let when = quote.when.as_ref().expect("a condition");
    assert_eq!((&when.calls[..], &when.parameters[..]), (&[0][..], &[0][..]));
    assert_eq!((quote.expects, quote.object), (Expects::Text, 1 << 10));
    let on = |status: u16| quote.on_error.fallback(StatusCode::from_u16(status).ok());
    assert_eq!((on(404), on(503), on(500)), (&Fallback::Value(json!([])), &Fallback::Omit, &Fallback::Null));
}

#[test]
fn the_line_of_an_expression_makes_no_difference_to_what_it_is() {
    let answer = |text: &str| config(text).composes[0].answer.clone().expect("a shape");
    let moved = format!("\n\n{FULL}");
    let (one, other) = (answer(FULL), answer(&moved));
    assert_ne!(one.line, other.line);
    assert_eq!((format!("{one:?}"), &one), (format!("{other:?}"), &other));
}

/// What follows [`FULL`]: a route with a shape for each kind of caller.
const BY_CALLER: &str = r#"
[[plan]]
name = "phone"
limits = ["1/s"]

[[route]]
name = "by-caller"
path = { pattern = "/by-caller/{id}" }
methods = ["GET"]
compose = "order_page"
auth = { any = ["key", "corp"] }
fields = true
answer = [
    { plan = "phone", claims = { tier = ["gold", "silver"], realm = { roles = { has = "a" } } }, answer = "quote" },
    { plan = "phone" },
    { answer = "@" },
]
"#;

#[test]
fn each_kind_of_caller_can_have_a_shape_and_an_entry_without_one_is_that_of_the_compose() {
    let config = config(&format!("{FULL}{BY_CALLER}"));
    let route = config.routes.iter().find(|route| &*route.name == "by-caller").expect("the route");
    let Action::Compose { answers, fields: true, .. } = &route.action else { panic!("an aggregate") };
    let plans: Vec<_> = answers.iter().map(|answer| (answer.plan.as_deref(), text_of(answer))).collect();
    assert_eq!(plans, [(Some("phone"), Some("quote")), (Some("phone"), None), (None, Some("@"))]);
    let claim = |path: &[&str], condition| Demanded {
        claim: ClaimPath(path.iter().map(|name| (*name).into()).collect()),
        condition,
    };
    let mut claims = answers[0].claims.clone();
    claims.sort_by_key(|demanded| demanded.claim.0.len());
    let tier = claim(&["tier"], Condition::OneOf(vec![json!("gold"), json!("silver")]));
    assert_eq!(claims, [tier, claim(&["realm", "roles"], Condition::Has(json!("a")))]);
    assert!(answers[1..].iter().all(|answer| answer.claims.is_empty()));
    assert!(config.warnings.is_empty(), "{:?}", config.warnings);
}
