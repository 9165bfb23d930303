//! Issuers, and what routes demand: mistakes by table, and what is meant.

use std::time::Duration;

use serde_json::json;

use super::*;
use crate::config::identity::{
    Algorithm, Audience, ClaimPath, Condition, Demanded, Dpop, Iss, Issuer, Keys, Method, Methods, PlanOf,
};
use crate::config::policy::By;

/// An issuer that is complete, but for what a test adds.
const ISSUER: &str = "[[issuer]]\nname = \"corp\"\nissuer = \"https://a.example\"\naudience = \"api\"\n";

/// Two issuers, the first of which has opaque tokens.
const TWO: &str = "[[issuer]]\nname = \"corp\"\nissuer = \"https://a.example\"\naudience = \"api\"\nopaque = { url = \"https://a.example/i\", client = \"c\", secret = \"s\" }\n[[issuer]]\nname = \"other\"\nissuer = \"https://b.example\"\naudience = \"api\"\nopaque = { url = \"https://b.example/i\", client = \"c\", secret = \"s\" }\n";

/// What stands after [`ISSUER`], the key and a part of the message of its one mistake.
const ISSUERS: [(&str, &str, &str); 44] = [
    ("algorithms = [\"HS256\"]", "issuer[0].algorithms", "signs with a secret"),
    ("algorithms = [\"none\"]", "issuer[0].algorithms", "no algorithm"),
    ("algorithms = []", "issuer[0].algorithms", "is empty"),
    (
        "keys = { secret = \"0123456789abcdef0123456789abcdef\" }\nalgorithms = [\"RS256\"]",
        "issuer[0].algorithms",
        "only HS256",
    ),
    ("keys = { secret = \"short\" }", "issuer[0].keys", "at least 32"),
    (
        "keys = { secret = \"0123456789abcdef0123456789abcdef\" }\nalgorithms = [\"HS512\"]",
        "issuer[0].keys",
        "at least 64",
    ),
    (
        "keys = { secret = \"MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZQ==\", encoding = \"base64\" }",
        "issuer[0].keys",
        "31 bytes: at least 32",
    ),
    ("keys = { secret = \"no base64!\", encoding = \"base64\" }", "issuer[0].keys", "no base64"),
    (
        "keys = { secret = \"0123456789abcdef0123456789abcdef\", encoding = \"hex\" }",
        "issuer[0].keys.encoding",
        "\"text\", \"base64\"",
    ),
    ("keys = { file = \"a\", encoding = \"base64\" }", "issuer[0].keys.encoding", "there is none"),
    ("keys = { secret = \"a\", file = \"b\" }", "issuer[0].keys", "is a URL"),
    ("keys = {}", "issuer[0].keys", "is a URL"),
    ("keys = \"http://keys.example/jwks\"", "issuer[0].keys", "not https"),
    ("keys = \"https://me:pw@keys.example/jwks\"", "issuer[0].keys", "remove it"),
    ("keys = 1", "issuer[0].keys", "a text or a table"),
    ("keys = \"https://a.example/k\"\nkeys_origin = \"https://b.example\"", "issuer[0].keys_origin", "discovery"),
    ("keys_origin = \"https://b.example/x\"", "issuer[0].keys_origin", "has a path"),
    ("tid = [\"a\"]", "issuer[0].tid", "which has none"),
    ("leeway = \"10m\"", "issuer[0].leeway", "more than 5m"),
    ("consumer = []", "issuer[0].consumer", "is empty"),
    ("consumer = [1]", "issuer[0].consumer", "a claim is its name"),
    ("tenant = []", "issuer[0].tenant", "a claim is its name"),
    ("require = \"x\"", "issuer[0].require", "is a table"),
    ("require = { a = 2026-01-01 }", "issuer[0].require", "is a text, a number"),
    ("require = { a = [] }", "issuer[0].require", "is a text, a number"),
    ("plan = \"gold\"", "issuer[0].plan", "is no plan"),
    ("plan = { map = {} }", "issuer[0].plan.claim", "is needed"),
    ("plan = { claim = \"t\", map = { a = \"gold\" } }", "issuer[0].plan.map", "is no plan"),
    ("plan = { claim = \"t\", else = \"gold\" }", "issuer[0].plan.else", "is no plan"),
    ("admin = { claim = \"roles\" }", "issuer[0].admin", "needs claim"),
    ("admin = { has = \"x\" }", "issuer[0].admin", "needs claim"),
    ("forward = { sub = \"X-API-Key\" }", "issuer[0].forward", "means something"),
    ("forward = { sub = \"Authorization\" }", "issuer[0].forward", "means something"),
    ("forward = { sub = \"X-Forwarded-User\" }", "issuer[0].forward", "means something"),
    ("forward = { sub = \"X_User\" }", "issuer[0].forward", "write it with -"),
    ("forward = { sub = \"X-A\", email = \"x-a\" }", "issuer[0].forward", "for two claims"),
    ("forward = { sub = 1 }", "issuer[0].forward", "name of a header field"),
    ("opaque = { client = \"c\", secret = \"s\" }", "issuer[0].opaque.url", "is needed"),
    ("opaque = { url = \"http://a.example\", client = \"c\", secret = \"s\" }", "issuer[0].opaque.url", "not https"),
    (
        "opaque = { url = \"https://a\", client = \"c\", secret = \"s\", remember = \"1h\" }",
        "issuer[0].opaque.remember",
        "more than 5m",
    ),
    ("dpop = \"accept\"", "issuer[0].dpop", "public_url"),
    ("dpop = \"maybe\"", "issuer[0].dpop", "\"off\", \"accept\", \"require\""),
    (
        "[[issuer]]\nname = \"https://a.example\"\nissuer = \"https://b.example\"\naudience = \"x\"",
        "issuer",
        "a name that is none",
    ),
    ("[[issuer]]\nname = \"b\"\nissuer = \"https://a.example\"\naudience = \"x\"", "issuer", "could be of this issuer"),
];

/// Two issuers that would be asked about the same opaque token at `/admin`.
const ASKED: &str = r#"
[admin]
audience = "gateway"
[[issuer]]
name = "a"
issuer = "https://a.example"
audience = "x"
admin = { claim = "role", is = "admin" }
opaque = { url = "https://a.example/i", client = "c", secret = "s" }
[[issuer]]
name = "b"
issuer = "https://b.example"
audience = "x"
admin = { claim = "role", is = "admin" }
opaque = { url = "https://b.example/i", client = "c", secret = "s" }
"#;

/// Whole files, each with the key and a part of the message of its one mistake.
const FILES: [(&str, &str, &str); 11] = [
    (ASKED, "issuer", "nobody could tell whom to ask"),
    ("[[issuer]]\nname = \"a\"\nissuer = \"https://a.example\"", "issuer[0].audience", "is needed"),
    ("[[issuer]]\nname = \"a\"\nissuer = \"https://a.example\"\naudience = []", "issuer[0].audience", "is needed"),
    (
        "[[issuer]]\nname = \"a\"\nissuer = \"https://a.example\"\naudience = \"unchecked\"",
        "issuer[0].audience",
        "client_id",
    ),
    ("[[issuer]]\nname = \"a\"\naudience = \"x\"", "issuer[0].issuer", "is needed"),
    ("[[issuer]]\nname = \"a\"\nissuer = \"a.example\"\naudience = \"x\"", "issuer[0].issuer", "not https"),
    ("[[issuer]]\nname = \"a\"\nissuer = \"https://a/{tid}\"\naudience = \"x\"", "issuer[0].issuer", "list which ones"),
    (
        "[[issuer]]\nname = \"a\"\nissuer = \"https://a/{tid}\"\ntid = [\"a/b\"]\naudience = \"x\"",
        "issuer[0].tid",
        "cannot stand",
    ),
    (
        "[[issuer]]\nname = \"a\"\nissuer = \"https://{tid}.a/{tid}\"\ntid = [\"b\"]\naudience = \"x\"",
        "issuer[0].issuer",
        "more than once",
    ),
    (
        "[[issuer]]\nname = \"key\"\nissuer = \"https://a.example\"\naudience = \"x\"",
        "issuer[0].name",
        "choose another",
    ),
    ("public_url = \"https://api.example.com/v1\"", "public_url", "has a path"),
];

/// What stands at `auth` of a route, the key and a part of the message of its one mistake.
const DEMANDS: [(&str, &str, &str); 18] = [
    ("{}", "route[0].auth", "which credentials count"),
    ("{ scopes = \"a\" }", "route[0].auth", "which credentials count"),
    ("{ any = [\"key\"], all = [\"key\"] }", "route[0].auth", "any and all"),
    ("{ any = [] }", "route[0].auth.any", "is empty"),
    ("{ any = [\"corp2\"] }", "route[0].auth.any", "\"corp\", \"other\""),
    ("{ any = [\"key\", \"key\"] }", "route[0].auth.any", "twice"),
    ("{ any = [\"key\"], scopes = [\"a\"] }", "route[0].auth.scopes", "no issuer"),
    ("{ any = [\"key\"], claims = { a = 1 } }", "route[0].auth.claims", "no issuer"),
    ("{ any = [\"key\"], audience = [\"a\"] }", "route[0].auth.audience", "no issuer"),
    ("{ any = [\"corp\"], scopes = [\"a b\"] }", "route[0].auth.scopes", "no scope"),
    ("{ any = [\"corp\"], cookie = \"s\" }", "route[0].auth.cookie", "any page"),
    (
        "{ any = [\"corp\"], cookie = \"a=b\", origins = \"https://a.example\" }",
        "route[0].auth.cookie",
        "no cookie's name",
    ),
    ("{ any = [\"corp\"], origins = \"https://a.example\" }", "route[0].auth.origins", "cookie"),
    ("{ any = [\"corp\"], cookie = \"s\", origins = \"*\" }", "route[0].auth.origins", "URL"),
    ("{ any = [\"corp\", \"other\"] }", "route[0].auth", "opaque"),
    ("{ all = [\"corp\", \"other\"] }", "route[0].auth.all", "one Authorization"),
    ("{ all = [\"key\", \"basic\"] }", "consumer", "nobody has one"),
    ("{ any = [\"corp\"], scope = \"a\" }", "route[0].auth.scope", "did you mean `scopes`"),
];

fn only_mistake(text: &str, key: &str, part: &str) {
    let found = mistakes(text);
    let [(line, at, message)] = &found[..] else { panic!("{text}: {found:#?}") };
    assert!(at == key && message.contains(part), "{text}: line {line}, {at}: {message}");
}

#[test]
fn each_mistake_of_an_issuer_is_named_with_its_remedy() {
    for (text, key, part) in ISSUERS {
        only_mistake(&format!("{ISSUER}{text}"), key, part);
    }
    for (text, key, part) in FILES {
        only_mistake(text, key, part);
    }
}

#[test]
fn each_mistake_of_a_demand_is_named_with_its_remedy() {
    for (text, key, part) in DEMANDS {
        only_mistake(
            &format!("{TWO}[[route]]\npath = {{ prefix = \"/a\" }}\nservice = \"a\"\nauth = {text}"),
            key,
            part,
        );
    }
}

#[test]
fn a_pattern_and_an_issuer_that_it_covers_overlap() {
    let pattern =
        "[[issuer]]\nname = \"b\"\nissuer = \"https://{tid}.example\"\ntid = [\"b\", \"a\"]\naudience = \"x\"";
    only_mistake(&format!("{ISSUER}{pattern}"), "issuer", "`https://a.example`");
}

#[test]
fn a_password_is_an_argon2id_hash_of_bounded_cost() {
    let hash = |start: &str| format!("{start}$c2FsdHNhbHRzYWx0$RdescudvJCsgt3ub+b8dWRWJTmaaJObG2F4kpdYcXgw");
    let file = |hash: &str| format!("[[consumer]]\nname = \"old\"\npassword = \"{hash}\"");
    for (start, part) in [
        ("$argon2i$v=19$m=19456,t=2,p=1", "not argon2id"),
        ("$argon2id$v=16$m=19456,t=2,p=1", "not argon2id"),
        ("$argon2id$v=19$m=1024,t=2,p=1", "m=1024"),
        ("$argon2id$v=19$m=1048576,t=2,p=1", "m=1048576"),
        ("$argon2id$v=19$m=19456,t=99,p=1", "t=99"),
        ("secret", "no hash"),
    ] {
        only_mistake(&file(&hash(start)), "consumer[0].password", part);
    }
    let made = crate::config::hash_password("secret").expect("a hash");
    assert!(parse(Some(&file(&made)), "test", Overrides::default(), &env()).is_ok(), "{made}");
    let text = file(&hash("$argon2id$v=19$m=19456,t=2,p=1"));
    let config = parse(Some(&text), "test", Overrides::default(), &env()).expect("it is valid");
    assert!(config.consumers[0].password.is_some() && config.consumers[0].keys.is_empty());
    assert!(!format!("{config:?}").contains("RdescudvJCsgt3ub"), "a hash is not printed");
    only_mistake(&text.replace("\"old\"", "\"a:b\""), "consumer[0].name", "no :");
}

#[test]
fn tokens_open_admin_where_it_has_an_audience_and_where_it_has_none_that_is_said() {
    let issuer = format!("{ISSUER}operator = {{ claim = \"role\", is = \"ops\" }}\n");
    let plain = "[[issuer]]\nname = \"b\"\nissuer = \"https://b.example\"\naudience = \"api\"\n";
    for (admin, audience, said) in [("", &[][..], 1), ("[admin]\naudience = \"gateway\"\n", &["gateway"][..], 0)] {
        let text = format!("{admin}{issuer}{plain}");
        let config = parse(Some(&text), "test", Overrides::default(), &env()).expect("it is valid");
        let warned = config.warnings.iter().filter(|warning| warning.contains("only keys open it")).count();
        let audiences = config.issuers.iter().map(|issuer| issuer.admin_audience.iter().map(|it| &**it).collect());
        assert_eq!((audiences.collect::<Vec<Vec<_>>>(), warned), (vec![audience.to_vec(), vec![]], said), "{admin}");
    }
}

fn path(names: &[&str]) -> ClaimPath {
    ClaimPath(names.iter().map(|name| (*name).into()).collect())
}

#[test]
fn an_issuer_means_what_is_written_and_the_rest_is_the_default() {
    let text = r#"
public_url = "https://API.example.com/"
[[plan]]
name = "partner"
limits = ["1/s", { rate = "2/s", by = "user" }, { rate = "3/s", by = "app" }]
[[issuer]]
name = "corp"
issuer = "https://login.example.com/{tid}/v2.0"
tid = ["one", "two"]
keys_origin = "https://keys.example.com"
audience = ["a", "b"]
require = { token_use = "access", amr = ["mfa", 1, true], realm_access = { roles = { has = "user" } }, "https://x/y" = 1 }
typ = "application/AT+JWT"
algorithms = ["RS256", "Ed25519"]
consumer = ["sub", ["act", "sub"]]
tenant = ["org", "id"]
plan = { claim = "tier", map = { gold = "partner" } }
admin = { claim = ["realm_access", "roles"], has = "gateway-admin" }
forward = { sub = "X-User-Id", realm_access = { roles = "X-Roles" } }
dpop = "require"
[[issuer]]
name = "plain"
issuer = "accounts.google.com"
keys = { file = "/tmp/jwks" }
audience = "x"
"#;
    let config = parse(Some(text), "test", Overrides::default(), &env()).unwrap_or_else(|errors| panic!("{errors}"));
    let [corp, plain] = &config.issuers[..] else { panic!("two issuers") };
    assert_eq!(config.public_url.as_deref(), Some("https://api.example.com"));
    let is = |claim: &[&str], condition| Demanded { claim: path(claim), condition };
    let mut require = corp.require.clone();
    require.sort_by_key(|demanded| demanded.claim.0.clone());
    let wanted = [
        is(&["amr"], Condition::OneOf(vec![json!("mfa"), json!(1), json!(true)])),
        is(&["https://x/y"], Condition::OneOf(vec![json!(1)])),
        is(&["realm_access", "roles"], Condition::Has(json!("user"))),
        is(&["token_use"], Condition::OneOf(vec![json!("access")])),
    ];
    assert_eq!(require, wanted);
    let Issuer {
        iss, keys, keys_origin, audience, typ, algorithms, consumer, tenant, plan, admin, forward, dpop, ..
    } = &**corp;
    let values = vec!["one".into(), "two".into()];
    assert_eq!(*iss, Iss::Pattern { before: "https://login.example.com/".into(), after: "/v2.0".into(), values });
    assert_eq!((keys, &keys_origin[..]), (&Keys::Discovery, &["https://keys.example.com".to_owned()][..]));
    assert_eq!(*audience, Audience::OneOf(vec!["a".into(), "b".into()]));
    assert_eq!((&typ[..], algorithms), (&["at+jwt".to_owned()][..], &Some(vec![Algorithm::RS256, Algorithm::EdDSA])));
    assert_eq!((&consumer[..], tenant), (&[path(&["sub"]), path(&["act", "sub"])][..], &Some(path(&["org", "id"]))));
    let map = vec![("gold".into(), "partner".into())];
    assert_eq!(*plan, Some(PlanOf::Claim { claim: path(&["tier"]), map, other: None }));
    assert_eq!(*admin, Some(is(&["realm_access", "roles"], Condition::Has(json!("gateway-admin")))));
    let mut forward: Vec<_> = forward.iter().map(|(claim, name)| (claim.clone(), name.as_str())).collect();
    forward.sort_by_key(|(_, name)| *name);
    assert_eq!(forward, [(path(&["realm_access", "roles"]), "x-roles"), (path(&["sub"]), "x-user-id")]);
    assert_eq!((dpop, plain.dpop), (&Dpop::Require, Dpop::Off));
    assert_eq!((plain.leeway, plain.algorithms.as_ref()), (Duration::from_secs(30), None));
    assert_eq!(
        (&plain.consumer[..], &plain.scopes_from[..]),
        (&[path(&["sub"]), path(&["client_id"])][..], &[path(&["scope"]), path(&["scp"])][..])
    );
    let limits: Vec<_> = config.plans[0].limits.iter().map(|limit| limit.by).collect();
    assert_eq!(limits, [By::Consumer, By::User, By::App]);
}

#[test]
fn a_demand_means_what_is_written_and_true_is_an_api_key() {
    let route = |auth: &str| {
        let text = format!("{ISSUER}[[route]]\npath = {{ prefix = \"/a\" }}\nservice = \"a\"\nauth = {auth}");
        let config = parse(Some(&text), "test", Overrides::default(), &env());
        let config = config.unwrap_or_else(|errors| panic!("{errors}"));
        config.routes.iter().find(|route| &*route.name == "/a/*").expect("the route").policy.auth.clone()
    };
    assert!(route("false").is_none());
    let key = route("true").expect("a demand");
    assert_eq!((&key.methods, key.optional), (&Methods::Any(vec![Method::Key]), false));
    let both =
        route("{ all = [\"key\", \"corp\"], scopes = [\"a\", \"b\"], audience = \"x\", claims = { org = \"acme\" } }");
    let both = both.expect("a demand");
    assert_eq!(both.methods, Methods::All(vec![Method::Key, Method::Issuer("corp".into())]));
    assert_eq!((both.scopes.len(), &both.audience[..], both.claims.len()), (2, &["x".into()][..], 1));
    let cookie =
        route("{ any = [\"corp\"], cookie = \"s\", origins = \"https://A.example\", pass = true }").expect("one");
    assert_eq!(cookie.cookie.as_ref().map(|cookie| &cookie.origins[..]), Some(&["https://a.example".to_owned()][..]));
    assert!(cookie.pass);
}

#[test]
fn who_may_come_without_a_credential_counts_as_everybody() {
    let text = format!(
        "{ISSUER}[[listener]]\naddress = \"0.0.0.0:5000\"\n[[route]]\npath = {{ prefix = \"/a\" }}\nservice = \"a\"\nauth = {{ any = [\"corp\"], optional = true }}"
    );
    only_mistake(&text, "route `/a/*`.auth", "open_to_everyone");
}

#[test]
fn a_secret_that_is_bytes_is_written_in_base64_of_either_alphabet_with_or_without_padding() {
    let standard = "+/v7".repeat(10) + "+/s=";
    let without = standard.trim_end_matches('=').to_owned();
    let url_safe = |text: &str| text.replace('+', "-").replace('/', "_");
    let in_lines = format!("{}\n{}\n", &standard[..20], &standard[20..]);
    for text in [url_safe(&standard), url_safe(&without), standard, without, in_lines] {
        let environment = Environment::of(&[("HMAC", &text), ("LICTOR_API_KEY", "k")]);
        for keys in [format!("{text:?}"), "{ env = \"HMAC\" }".to_owned()] {
            let text = format!("{ISSUER}keys = {{ secret = {keys}, encoding = \"base64\" }}");
            let config = parse(Some(&text), "test", Overrides::default(), &environment);
            let config = config.unwrap_or_else(|errors| panic!("{errors}"));
            let Keys::Secret(secret, encoding) = &config.issuers[0].keys else { panic!("a secret") };
            assert_eq!(encoding.bytes(&secret.read().expect("a text")), Ok(vec![0xfb; 32]));
        }
    }
}
