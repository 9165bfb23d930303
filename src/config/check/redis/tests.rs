//! What `[redis]` means, and what is wrong with it.

use std::time::Duration;

use crate::config::redis::{Node, Reach, Redis};
use crate::config::{Config, Environment, Errors, Overrides, Secret, parse};

fn read(text: &str) -> Result<Config, Errors> {
    let env = Environment::of(&[("LICTOR_API_KEY", "k"), ("REDIS_PASSWORD", "p")]);
    parse(Some(text), "test", Overrides::default(), &env)
}

fn redis(text: &str) -> Redis {
    read(text).unwrap_or_else(|why| panic!("{text}: {why}")).redis.expect("Redis")
}

fn node(host: &str, port: u16) -> Node {
    Node { host: host.into(), port }
}

/// A text, and the line, key and a part of the message of its one mistake.
const MISTAKES: [(&str, usize, &str, &str); 31] = [
    ("address = \"redis://a\"\nsentinels = [\"b\"]\nmaster = \"m\"", 3, "redis.sentinels", "keep one"),
    ("address = \"redis://a\"\ncluster = [\"b\"]", 3, "redis.cluster", "keep one"),
    ("sentinels = [\"a\"]", 1, "redis.master", "is needed"),
    ("master = \"m\"", 2, "redis.master", "write sentinels"),
    ("sentinels = []\nmaster = \"m\"", 2, "redis.sentinels", "is empty"),
    ("address = \"redis://me:secret@a\"", 2, "redis.address", "write user = … and password ="),
    ("address = \"redis://a/0?password=secret\"", 2, "redis.address", "user and password as keys"),
    ("address = \"unix:///r.sock?db=2&pass=secret\"", 2, "redis.address", "nothing may follow"),
    ("address = \"http://a\"", 2, "redis.address", "redis://127.0.0.1:6379"),
    ("address = \"redis://\"", 2, "redis.address", "not an address"),
    ("address = \"redis://a:x\"", 2, "redis.address", "not an address"),
    ("address = \"redis://a:0\"", 2, "redis.address", "not an address"),
    ("address = \"redis://::1\"", 2, "redis.address", "not an address"),
    ("address = \"redis://a/x\"", 2, "redis.address", "not the number of a database"),
    ("cluster = [\"redis://a/1\"]", 2, "redis.cluster", "remove what follows the port"),
    ("cluster = [\"redis://a\", \"rediss://b\"]", 2, "redis.cluster", "write the same for all"),
    ("cluster = [\"a\",\n\"redis://a:6379\"]", 3, "redis.cluster", "listed twice"),
    ("cluster = [\"unix:///x\"]", 2, "redis.cluster", "is a socket"),
    ("ca_file = \"/ca.pem\"", 2, "redis.ca_file", "write rediss://"),
    ("address = \"rediss://a\"\nclient_cert = \"/c.pem\"", 1, "redis.client_cert", "go together"),
    ("user = \"me\"", 2, "redis.user", "has no password"),
    ("sentinel_password = \"p\"", 2, "redis.sentinel_password", "there are none"),
    ("sentinels = [\"a\"]\nmaster = \"m\"\nsentinel_user = \"u\"", 4, "redis.sentinel_user", "has no password"),
    ("deadline = \"2s\"", 2, "redis.deadline", "1s at most"),
    ("deadline = \"0s\"", 2, "redis.deadline", "too short"),
    ("prefix = \"{a}\"", 2, "redis.prefix", "without blanks and braces"),
    ("adress = \"a\"", 2, "redis.adress", "did you mean `address`"),
    ("address = \"a\"\n[redis.cache]", 3, "redis.cache.address", "is needed"),
    ("address = \"a\"\n[redis.cache]\naddress = \"a:6379\"", 3, "redis.cache.address", "another server"),
    ("cluster = [\"a\", \"b\"]\n[redis.cache]\ncluster = [\"b\", \"a\"]", 3, "redis.cache.address", "another server"),
    (
        "sentinels = [\"a\", \"b\"]\nmaster = \"m\"\n[redis.cache]\nsentinels = [\"b\", \"a\"]\nmaster = \"m\"",
        4,
        "redis.cache.address",
        "another server",
    ),
];

#[test]
fn every_mistake_of_redis_has_its_line_and_says_what_to_write_instead() {
    for (text, line, key, part) in MISTAKES {
        let errors = read(&format!("[redis]\n{text}")).expect_err(text);
        let [mistake] = errors.mistakes() else { panic!("{text}: {errors}") };
        assert_eq!((mistake.line, &*mistake.key), (line, key), "{text}: {mistake}");
        assert!(mistake.message.contains(part) && !mistake.message.contains("secret"), "{text}: {mistake}");
    }
    let errors = read("[redis.cache]\naddress = \"a\"").expect_err("no [redis]");
    assert!(errors.to_string().contains("redis.address: is needed beside [redis.cache]"), "{errors}");
}

#[test]
fn redis_is_reached_by_one_address_by_sentinels_or_as_a_cluster() {
    assert_eq!(read("").expect("valid").redis, None);
    let local = redis("[redis]");
    assert_eq!((local.main.reach, local.main.database), (Reach::Address(node("127.0.0.1", 6379)), 0));
    let server = redis("[redis]\naddress = \"rediss://[::1]:7000/3\"").main;
    assert_eq!((server.to_string(), server.tls, server.database), ("rediss://[::1]:7000/3".into(), true, 3));
    assert_eq!(redis("[redis]\naddress = \"r\"").main.reach, Reach::Address(node("r", 6379)));
    assert_eq!(redis("[redis]\naddress = \"unix:///r.sock\"").main.to_string(), "unix:///r.sock");
    let server = redis("[redis]\nsentinels = [\"a\", \"b:1\"]\nmaster = \"m\"").main;
    assert_eq!(server.to_string(), "redis://a:26379,b:1 (sentinels of m)");
    assert_eq!(server.reach, Reach::Sentinels(vec![node("a", 26379), node("b", 1)], "m".into()));
    let server = redis("[redis]\ncluster = \"rediss://a\"").main;
    assert_eq!((server.to_string(), server.tls), ("rediss://a:6379 (cluster)".into(), true));
}

#[test]
fn answers_may_have_a_server_of_their_own_with_the_deadline_and_the_prefix_of_the_other() {
    let both = redis(
        "[redis]\naddress = \"a\"\ndeadline = \"7ms\"\nprefix = \"a:\"\npassword = \"p\"\n[redis.cache]\naddress = \"b\"",
    );
    let cache = both.cache.expect("another server");
    assert_eq!((cache.reach, cache.deadline), (Reach::Address(node("b", 6379)), Duration::from_millis(7)));
    assert_eq!((&*cache.prefix, cache.password), ("a:", None));
}

#[test]
fn another_database_of_the_same_server_is_warned_of_because_memory_and_policy_are_the_servers() {
    let warnings = |main: &str, cache: &str| {
        let text = format!("[redis]\n{main}\n[redis.cache]\n{cache}");
        read(&text).unwrap_or_else(|why| panic!("{text}: {why}")).warnings
    };
    let said = warnings("address = \"a\"", "address = \"a/1\"");
    assert!(said.len() == 1 && said[0].contains("one memory and one maxmemory-policy"), "{said:?}");
    assert!(warnings("address = \"a\"", "address = \"b/1\"").is_empty());
    let sentinels = |master: &str| format!("sentinels = [\"a\"]\nmaster = \"{master}\"");
    assert!(warnings(&sentinels("m"), &sentinels("n")).is_empty(), "the same sentinels know both masters");
}

#[test]
fn a_password_is_read_from_where_it_stands_and_is_said_to_be_overheard_where_it_is() {
    let server = redis("[redis]\nuser = \"u\"\npassword = { env = \"REDIS_PASSWORD\" }").main;
    assert_eq!((server.user.as_deref(), server.password), (Some("u"), Some(Secret::Text("p".into()))));
    let warnings = |text: &str| read(text).unwrap_or_else(|why| panic!("{why}")).warnings;
    let said = warnings("[redis]\naddress = \"10.0.0.1\"\npassword = \"p\"");
    assert_eq!(said, ["[redis] the password goes to 10.0.0.1:6379 in plain text: use rediss:// there"]);
    for text in ["address = \"rediss://10.0.0.1\"\npassword = \"p\"", "address = \"10.0.0.1\"", "password = \"p\""] {
        assert!(warnings(&format!("[redis]\n{text}")).is_empty(), "{text}");
    }
}
