//! Mistakes and defaults, by table; the parser, by property.

mod compose;
mod fleet;
mod identity;

use proptest::prelude::*;

use super::*;
use crate::config::Secret;

fn env() -> Environment {
    Environment::of(&[("LICTOR_API_KEY", "k")])
}

fn mistakes(text: &str) -> Vec<(usize, String, String)> {
    let read = parse(Some(text), "test", Overrides::default(), &env());
    let errors = read.expect_err("there are mistakes");
    errors.mistakes().iter().map(|m| (m.line, m.key.clone(), m.message.clone())).collect()
}

/// A text, and the line, key and a part of the message of its one mistake.
const MISTAKES: [(&str, usize, &str, &str); 49] = [
    ("worker = 2", 1, "worker", "did you mean `workers`"),
    ("workers = 0", 1, "workers", "from 1 to 1024"),
    ("workers = \"2\"", 1, "workers", "not a text"),
    ("[listeners]\nx = 1", 1, "listeners", "did you mean `listener`"),
    ("[[listener]]\naddress = \"x\"\n", 2, "listener[0].address", "0.0.0.0:5000"),
    ("[listener]\naddress = \"127.0.0.1:1\"", 1, "listener", "write [[listener]]"),
    ("[[listener]]\naddress = \"127.0.0.1:1\"\nhead = 10", 3, "listener[0].head", "with its unit"),
    ("[[listener]]\naddress = \"127.0.0.1:1\"\nhead = \"10\"", 3, "listener[0].head", "not a duration"),
    ("[[listener]]\naddress = \"127.0.0.1:1\"\n[[listener]]\naddress = \"127.0.0.1:1\"", 3, "listener", "listed twice"),
    ("[timeouts]\nconnect = \"0s\"", 2, "timeouts.connect", "too short"),
    ("[timeouts]\nconnect = \"2 days\"", 2, "timeouts.connect", "too long"),
    ("[timeouts]\nfirst_bite = \"1s\"", 2, "timeouts.first_bite", "did you mean `first_byte`"),
    ("[breaker]\nconsecutive = 0", 2, "breaker.consecutive", "from 1"),
    ("[breaker]\nprobes = 256", 2, "breaker.probes", "to 255"),
    ("[breaker]\nopen = \"2m\"", 1, "breaker.open_max", "shorter than `open`"),
    ("[breaker]\nenabled = 1", 2, "breaker.enabled", "true or false"),
    ("[retry]\nmethods = [\"POST\"]", 2, "retry.methods", "may not be sent twice"),
    ("[retry]\nbudget = 20", 2, "retry.budget", "write [retry.budget]"),
    ("[retry.budget]\npercent = 101", 2, "retry.budget.percent", "to 100"),
    ("[request]\nhead = \"64MiB\"", 2, "request.head", "out of bounds"),
    ("[request]\ntarget = \"8 apples\"", 2, "request.target", "not a size"),
    ("[log]\nformat = \"xml\"", 2, "log.format", "\"auto\", \"human\", \"json\""),
    ("[api]\nprefix = \"api\"", 2, "api.prefix", "\"/api\""),
    ("[api]\nprefix = \"/admin/x\"", 1, "api.prefix", "the gateway's own"),
    ("[api]\nprefix = \"/\"", 2, "api.prefix", "every path"),
    ("[consul]\naddress = \"http://\"", 2, "consul.address", "not an agent's address"),
    ("[consul]\ntoken = { env = \"NOWHERE\" }", 2, "consul.token", "the environment has no NOWHERE"),
    ("[consul]\nexpose = \"some\"", 2, "consul.expose", "\"tagged\", \"all\""),
    ("[[service]]\nname = \"a/b\"\ninstances = [\"127.0.0.1:1\"]", 2, "service[0].name", "not understood"),
    ("[[service]]\nname = \"a\"\ninstances = [\"somewhere\"]", 3, "service[0].instances", "10.0.3.7:8080"),
    ("[[service]]\nname = \"a\"", 1, "service[0].instances", "at least one"),
    ("[[service]]\nnam = \"a\"\ninstances = [\"10.0.0.1:1\"]", 2, "service[0].nam", "did you mean `name`"),
    ("[[service]]\nname = \"a\"\ninstances = [{ weight = 2 }]", 3, "service[0].instances[0].address", "is needed"),
    (
        "[[service]]\nname = \"a\"\ninstances = [\"10.0.0.1:0\"]",
        3,
        "service[0].instances",
        "no address that an instance",
    ),
    (
        "[[service]]\nname = \"a\"\ninstances = [\"0.0.0.0:80\"]",
        3,
        "service[0].instances",
        "no address that an instance",
    ),
    ("[[service]]\nname = \"a\"\ninstances = [\"169.254.169.254:80\"]", 3, "service[0].instances", "no address that"),
    ("[[service]]\nname = \"a\"\ninstances = [\"127.0.0.1:5000\"]", 0, "service", "the gateway's own address"),
    ("[[listener]]\naddress = \"0.0.0.0:5001\"", 0, "admin.address", "clash"),
    ("[[listener]]\naddress = \"[::ffff:127.0.0.1]:80\"", 2, "listener[0].address", "write \"127.0.0.1:80\""),
    ("[admin]\nrevocations = {}", 2, "admin.revocations.file", "is needed: write e.g. file = \"/var/lib/lictor/rev"),
    ("[admin]\nrevocations = { file = \"/a/\" }", 2, "admin.revocations.file", "not the path of a file"),
    ("[admin]\nrevocations = { file = \"/a\", max_age = \"1h\" }", 2, "admin.revocations.max_age", "there are: file"),
    ("[request]\nbody = -1", 2, "request.body", "not a size"),
    ("[cache]\nsize = 0x1F", 2, "cache.size", "out of bounds"),
    ("[consul]\naddress = \"http://:8500\"", 2, "consul.address", "not an agent's address"),
    ("[consul]\naddress = \"127.0.0.1:99999\"", 2, "consul.address", "not an agent's address"),
    ("[consul]\naddress = \"http://me:secret@a:1\"", 2, "consul.address", "`a:1` is not"),
    ("[[route]]\nname = \"default\"\nservice = \"s\"", 1, "route", "the limits at the top"),
    ("[[consumer]]\nname = \"a\"\nkeys = \"plain\"", 3, "consumer[0].keys", "lictor hash-key"),
];

/// Mistakes of limits, plans, caches, proxies and breakers.
const POLICIES: [(&str, usize, &str, &str); 24] = [
    ("limits = [\"10 per second\"]", 1, "limits", "write e.g. \"10/s\""),
    ("limits = [\"0/s\"]", 1, "limits", "not a rate"),
    ("limits = \"10/s\"", 1, "limits", "is a list"),
    (
        "limits = [{ rate = \"10/s\", by = \"users\" }]",
        1,
        "limits[0].by",
        "\"user\", \"app\", \"address\", \"everyone\"",
    ),
    ("limits = [{ rate = \"10/s\", per = \"x\" }]", 1, "limits[0].per", "there are: rate, by"),
    ("[[plan]]\nlimits = [\"1/s\"]", 1, "plan[0].name", "is needed"),
    ("[[plan]]\nname = \"a\"", 1, "plan[0].limits", "at least one"),
    (
        "[[plan]]\nname = \"a\"\nlimits = [\"1/s\"]\n[[plan]]\nname = \"a\"\nlimits = [\"2/s\"]",
        5,
        "plan[1].name",
        "two plans",
    ),
    ("[[consumer]]\nname = \"a\"\nplan = \"gold\"", 3, "consumer[0].plan", "there is no [[plan]]"),
    ("[rate_limits]\nmemory = \"1KiB\"", 2, "rate_limits.memory", "out of bounds"),
    ("[cache]\nsize = \"1MiB\"\nobject = \"1MiB\"", 3, "cache.object", "a sixteenth"),
    ("[cache]\nttl = 30", 2, "cache.ttl", "with its unit"),
    ("[cache]\nsise = \"1MiB\"", 2, "cache.sise", "did you mean `size`"),
    (
        "[[listener]]\naddress = \"127.0.0.1:1\"\ntrusted_proxies = [\"10.0.0.0/33\"]",
        3,
        "listener[0].trusted_proxies",
        "not a network",
    ),
    (
        "[[listener]]\naddress = \"127.0.0.1:1\"\ntrusted_proxies = [\"0.0.0.0/0\"]",
        3,
        "listener[0].trusted_proxies",
        "everybody",
    ),
    (
        "[[listener]]\naddress = \"127.0.0.1:1\"\nproxy_protocol = {}",
        3,
        "listener[0].proxy_protocol.from",
        "from = [\"10.0.0.0/24\"]",
    ),
    (
        "[[listener]]\naddress = \"127.0.0.1:1\"\nproxy_protocol = { from = [] }",
        3,
        "listener[0].proxy_protocol.from",
        "is needed",
    ),
    (
        "[[listener]]\naddress = \"127.0.0.1:1\"\nproxy_protocol = { from = \"::/0\" }",
        3,
        "listener[0].proxy_protocol.from",
        "everybody",
    ),
    (
        "[[listener]]\naddress = \"127.0.0.1:1\"\n[listener.proxy_protocol]\nfrom = \"10.0.0.1\"\nform = \"x\"",
        5,
        "listener[0].proxy_protocol.form",
        "did you mean `from`",
    ),
    (
        "[[listener]]\naddress = \"127.0.0.1:1\"\nproxy_protocol = true",
        3,
        "listener[0].proxy_protocol",
        "y_protocol = {",
    ),
    ("[breaker]\nrate = 50", 2, "breaker.rate", "true, false or a section"),
    ("[breaker]\nrate = { failed = \"half\" }", 2, "breaker.rate.failed", "\"50%\""),
    ("[breaker]\nrate = { within = \"1h\" }", 2, "breaker.rate.within", "1s to 10m"),
    ("[[service]]\nname = \"a\"\nbreaker = { probes = 0 }", 3, "service[0].breaker.probes", "from 1"),
];

/// Mistakes of a route: what stands below `[[route]]`, in lines from 2 on.
const ROUTES: [(&str, usize, &str, &str); 40] = [
    ("path = { prefix = \"/a\" }", 1, "route[0].service", "is needed"),
    ("path = \"/a\"\nservice = \"s\"", 2, "route[0].path", "{ prefix = \"/orders\" }"),
    ("path = { prefix = \"a\" }\nservice = \"s\"", 2, "route[0].path.prefix", "write \"/a\""),
    ("path = { prefix = \"/a/\" }\nservice = \"s\"", 2, "route[0].path.prefix", "write \"/a\""),
    ("path = { prefix = \"/a/{id}\" }\nservice = \"s\"", 2, "route[0].path.prefix", "write pattern"),
    ("path = { pattern = \"/a/{id}/{id}\" }\nservice = \"s\"", 2, "route[0].path.pattern", "twice"),
    ("path = { pattern = \"/a/{*r}/b\" }\nservice = \"s\"", 2, "route[0].path.pattern", "comes last"),
    ("path = { pattern = \"/a/x{id}\" }\nservice = \"s\"", 2, "route[0].path.pattern", "whole segment"),
    ("path = { exact = \"/a\", prefix = \"/b\" }\nservice = \"s\"", 2, "route[0].path", "two routes"),
    ("path = { exact = \"/a%2fb\" }\nservice = \"s\"", 2, "route[0].path.exact", "refused"),
    ("path = { exact = \"/%7Ea\" }\nservice = \"s\"", 2, "route[0].path.exact", "encodes `~`"),
    ("path = { exact = \"/a/../b\" }\nservice = \"s\"", 2, "route[0].path.exact", "never"),
    ("path = { exact = \"/a?x=1\" }\nservice = \"s\"", 2, "route[0].path.exact", "query"),
    ("path = { prefix = \"/admin\" }\nservice = \"s\"", 2, "route[0].path", "the gateway's own"),
    ("host = \"http://x\"\nservice = \"s\"", 2, "route[0].host", "a scheme"),
    ("host = \"a.*.com\"\nservice = \"s\"", 2, "route[0].host", "\"*.example.com\""),
    ("methods = [\"get\"]\nservice = \"s\"", 2, "route[0].methods", "write \"GET\""),
    ("headers = { \"a b\" = \"x\" }\nservice = \"s\"", 2, "route[0].headers", "not a header's name"),
    ("query = { a = 1 }\nservice = \"s\"", 2, "route[0].query", "true for any value"),
    ("path = { prefix = \"/a\" }\nservice = \"s\"\nstrip = \"/b\"", 4, "route[0].strip", "begins with (/a/*)"),
    (
        "path = { prefix = \"/a\" }\nservice = \"s\"\nrewrite = \"/{id}\"",
        4,
        "route[0].rewrite",
        "there are: path, host",
    ),
    ("path = { prefix = \"/a\" }\nservice = \"{name}\"", 3, "route[0].service", "no parameter"),
    ("service = \"s\"\nredirect = { to = \"/x\" }", 1, "route[0]", "keep one"),
    ("redirect = { to = \"x\" }", 2, "route[0].redirect.to", "begin with https://"),
    (
        "path = { pattern = \"/{h}\" }\nredirect = { to = \"https://{h}/x\" }",
        3,
        "route[0].redirect.to",
        "choose the host",
    ),
    (
        "path = { pattern = \"/{*r}\" }\nredirect = { to = \"https://{host}{r}\" }",
        3,
        "route[0].redirect.to",
        "choose the host",
    ),
    ("redirect = { to = \"https://{path}\" }", 2, "route[0].redirect.to", "choose the host"),
    ("path = { prefix = \"/a\" }\nservice = \"s\"\nrewrite = \"/x?a=1\"", 4, "route[0].rewrite", "query"),
    ("path = { prefix = \"/a\" }\nservice = \"s\"\nrewrite = \"/a b\"", 4, "route[0].rewrite", "percent-encode"),
    ("path = { prefix = \"/a\" }\nservice = \"s\"\nrewrite = \"/../b\"", 4, "route[0].rewrite", "never"),
    ("host = \"[hello]\"\nservice = \"s\"", 2, "route[0].host", "not an IPv6 address"),
    ("host = \"*.[::1]\"\nservice = \"s\"", 2, "route[0].host", "not an IPv6 address"),
    ("redirect = { to = \"/x\", status = 304 }", 2, "route[0].redirect.status", "301, 302, 303, 307 or 308"),
    ("respond = { status = 204, body = \"x\" }", 2, "route[0].respond.body", "204"),
    (
        "service = \"s\"\nrequest_headers = { set = { Connection = \"x\" } }",
        3,
        "route[0].request_headers.set",
        "the gateway's to manage",
    ),
    ("service = \"s\"\ncors = { origins = [\"https://a/x\"] }", 3, "route[0].cors.origins", "no path"),
    (
        "service = \"s\"\ncors = { origins = [\"*\"], credentials = true }",
        3,
        "route[0].cors.origins",
        "never with credentials",
    ),
    ("service = \"s\"\ntimeouts = { first_byte = \"x\" }", 3, "route[0].timeouts.first_byte", "not a duration"),
    ("service = \"s\"\nretry = { methods = [\"POST\"] }", 3, "route[0].retry.methods", "PUT, DELETE"),
    ("service = \"s\"\ncash = true", 3, "route[0].cash", "did you mean `cache`"),
];

#[test]
fn every_mistake_names_its_line_its_key_and_the_remedy() {
    let routes = ROUTES.map(|(text, line, key, part)| (format!("[[route]]\n{text}"), line, key, part));
    let others = MISTAKES.iter().chain(&POLICIES).map(|&(text, line, key, part)| (text.to_owned(), line, key, part));
    for (text, line, key, part) in others.chain(routes) {
        let found = mistakes(&text);
        let hit = found.iter().any(|(l, k, m)| *l == line && k == key && m.contains(part));
        assert!(hit, "{text:?}: {found:#?}");
    }
}

#[test]
fn templates_that_can_only_be_what_they_say_are_taken() {
    for route in [
        "path = { pattern = \"/f/{name}/{ext}\" }\nservice = \"s\"\nrewrite = \"/{name}.{ext}\"",
        "path = { prefix = \"/a\" }\nredirect = { to = \"https://{host}:8443/b{path}\" }",
        "path = { prefix = \"/a\" }\nredirect = { to = \"https://{host}{path}\" }",
        "path = { prefix = \"/a\" }\nredirect = { to = \"{path}/\" }",
    ] {
        let read = parse(Some(&format!("[[route]]\n{route}\n")), "test", Overrides::default(), &env());
        assert!(read.is_ok(), "{route}: {}", read.err().map(|errors| errors.to_string()).unwrap_or_default());
    }
    let consul = parse(Some("[consul]\naddress = \"https://proxy/consul\"\n"), "test", Overrides::default(), &env());
    assert!(consul.is_ok());
}

#[test]
fn two_routes_with_the_same_right_to_a_request_are_a_mistake_that_names_both() {
    let route = |name: &str, rest: &str| format!("[[route]]\nname = \"{name}\"\nservice = \"s\"\n{rest}\n");
    let pair = |a: &str, b: &str| {
        let text = route("first", a) + &route("second", b);
        let read = parse(Some(&text), "test", Overrides::default(), &env());
        read.err().map(|errors| errors.to_string())
    };
    let path = "path = { pattern = \"/a/{x}\" }\n";
    for (a, b) in [
        (path, "path = { pattern = \"/a/{y}\" }"),
        ("host = \"A.example\"", "host = [\"b.example\", \"a.example\"]"),
        ("methods = [\"GET\"]", "methods = [\"GET\", \"PUT\"]"),
        ("methods = [\"GET\"]", "headers = { x = true }"),
        ("headers = { x = \"1\" }", "headers = { y = \"1\" }"),
        (
            "path = { prefix = \"/api/{service}\" }"
                .replace("prefix", "pattern")
                .replace("}\" }", "}/{*p}\" }")
                .as_str(),
            "path = { prefix = \"/x\" }",
        ),
    ] {
        let message = pair(a, b).unwrap_or_else(|| panic!("{a} and {b} tie"));
        assert!(message.contains("could both claim"), "{message}");
    }
    for (a, b) in [
        (path, "path = { exact = \"/a/b\" }"),
        ("methods = [\"GET\"]", "methods = [\"PUT\"]"),
        ("methods = [\"GET\"]", "methods = [\"GET\"]\nheaders = { x = true }"),
        ("headers = { x = \"1\" }", "headers = { x = \"2\" }"),
        ("query = { v = \"1\" }", "query = { v = \"2\" }"),
        ("host = \"a.example\"", "host = \"*.example\""),
    ] {
        assert_eq!(pair(a, b), None, "{a} and {b}");
    }
    assert!(pair("", "name = \"first\"").is_some_and(|text| text.contains("TOML") || text.contains("two routes")));
}

#[test]
fn a_route_without_a_key_beyond_loopback_must_be_asked_for_in_so_many_words() {
    let text = |more: &str| format!("[[listener]]\naddress = \"0.0.0.0:5000\"\n[[route]]\nauth = false\n{more}\n");
    let read = |more: &str| parse(Some(&text(more)), "test", Overrides::default(), &env());
    assert!(read("service = \"s\"").is_err_and(|e| e.to_string().contains("open_to_everyone")));
    assert!(read("service = \"s\"\nopen_to_everyone = true").is_ok());
    assert!(read("redirect = { to = \"/x\" }").is_ok());
}

#[test]
fn all_mistakes_come_at_once_in_the_order_of_their_lines() {
    let found = mistakes("workers = 0\n[breaker]\nprobes = 0\n[timeouts]\nidle = 1\n[nonsense]\nx = 1\n");
    let lines: Vec<_> = found.iter().map(|(line, ..)| *line).collect();
    assert_eq!(lines, [1, 3, 5, 6], "{found:#?}");
}

#[test]
fn broken_toml_is_a_mistake_with_its_line() {
    let found = mistakes("workers = 1\n[breaker\nx = 1\n");
    assert!(found.iter().any(|(line, _, message)| *line == 2 && message.contains("TOML")), "{found:#?}");
}

#[test]
fn consumers_need_names_keys_and_known_roles_and_somebody_must_have_a_key() {
    let consumer = |rest: &str| mistakes(&format!("[[consumer]]\n{rest}\n"));
    assert!(consumer("name = \"a\"").iter().any(|(_, key, _)| key == "consumer[0].keys"));
    assert!(consumer("name = \"a\"\nkeys = [\"plain\"]").iter().any(|(_, _, m)| m.contains("lictor hash-key")));
    let key = format!("keys = [\"sha256:{}\"]", "0".repeat(64));
    assert!(
        consumer(&format!("name = \"a\"\n{key}\nroles = [\"root\"]")).iter().any(|(_, _, m)| m.contains("no role"))
    );
    let twice = format!("name = \"a\"\n{key}\n[[consumer]]\nname = \"a\"\n{key}");
    assert_eq!(consumer(&twice).len(), 2);
    let nobody = parse(Some(""), "test", Overrides::default(), &Environment::default()).expect_err("nobody has a key");
    assert!(nobody.to_string().contains("LICTOR_API_KEY"));
}

#[test]
fn an_open_door_beyond_loopback_must_be_asked_for_in_so_many_words() {
    let public = "[[listener]]\naddress = \"0.0.0.0:5000\"\n";
    let open = |more: &str| parse(Some(&format!("{public}{more}")), "test", Overrides::default(), &env());
    assert!(open("").is_ok());
    assert!(open("[api]\nauth = false\n").is_err_and(|e| e.to_string().contains("open_to_everyone")));
    assert!(open("[api]\nauth = false\nopen_to_everyone = true\n").is_ok());
    let demo: String = digest("test-api-key").iter().map(|byte| format!("{byte:02x}")).collect();
    let key = format!("[[consumer]]\nname = \"d\"\nkeys = [\"sha256:{demo}\"]\n");
    assert!(open(&key).is_err_and(|e| e.to_string().contains("test-api-key")));
}

#[test]
fn without_a_file_everything_is_on_loopback_and_a_key_is_made() {
    let config = parse(None, "environment", Overrides::default(), &Environment::default()).expect("the defaults");
    assert!(config.listeners.iter().all(|listener| listener.address.ip().is_loopback()));
    assert_eq!(config.generated_key.as_ref().map(String::len), Some(32));
    assert_eq!(config.consul.expect("Consul").addresses[0], "http://127.0.0.1:8500");
    let moved = Overrides { port: Some(7), admin_port: Some(8) };
    let config = parse(None, "environment", moved, &env()).expect("the defaults");
    assert!(config.listeners.iter().all(|listener| listener.address.port() == 7) && config.admin.address.port() == 8);
}

#[test]
fn a_secret_is_the_same_from_file_variable_and_text_whatever_white_space_is_around_it() {
    let path = std::env::temp_dir().join(format!("lictor-secret-{}", std::process::id()));
    std::fs::write(&path, "\t secret\r\n\n").expect("a file");
    let token = |written: &str, vars: &[(&str, &str)]| {
        let text = format!("[consul]\n{written}\n[api]\nauth = false\n");
        let read = parse(Some(&text), "test", Overrides::default(), &Environment::of(vars));
        read.map(|config| config.consul.expect("it is asked").token.map(|token| token.read().expect("a secret")))
    };
    let file = format!("token = {{ file = {:?} }}", path.display().to_string());
    let padded = [("CONSUL_HTTP_TOKEN", " secret\n"), ("MINE", "secret\t\n")];
    for written in ["token = \" secret\\n\"", "token = { env = \"MINE\" }", "", file.as_str()] {
        assert_eq!(token(written, &padded).expect("it is valid").as_deref(), Some("secret"), "{written}");
    }
    std::fs::write(&path, " \n").expect("a file");
    assert!(Secret::File(path.clone()).read().is_err(), "nothing is no secret");
    std::fs::remove_file(&path).expect("it is there");
    assert_eq!(token("", &[("CONSUL_HTTP_TOKEN", " ")]).expect("it is valid"), None);
    let empty = mistakes("[consul]\ntoken = \" \"\n");
    assert!(empty[0].2.starts_with("is empty"), "{empty:?}");
    let config = parse(None, "test", Overrides::default(), &Environment::of(&[("LICTOR_API_KEY", " k\n")]));
    assert_eq!(config.expect("it is valid").consumers[0].keys, [digest("k")]);
}

#[test]
fn a_secret_never_shows_itself() {
    assert_eq!(format!("{:?}", Secret::Text("hush".into())), "(secret)");
}

proptest! {
    #[test]
    fn no_text_makes_the_parser_panic(text in "\\PC{0,200}") {
        let _ = parse(Some(&text), "test", Overrides::default(), &env());
    }

    #[test]
    fn no_mutation_of_a_good_text_makes_the_parser_panic(at in 0usize..400, with in "[\\[\\]{}=\"0-9a-z\n]{0,3}") {
        let good = "workers = 2\n[[listener]]\naddress = \"127.0.0.1:1\"\n[retry]\nbudget = { percent = 20 }\nmethods = [\"GET\"]\n[[service]]\nname = \"a\"\ninstances = [\"1.1.1.1:1\", { address = \"1.1.1.1:2\", weight = 2 }]\n[request]\nhead = \"8KiB\"\n[consul]\ntoken = { file = \"x\" }\n";
        let at = at.min(good.len());
        let text = format!("{}{with}{}", &good[..at], &good[at..]);
        let _ = parse(Some(&text), "test", Overrides::default(), &env());
    }
}
