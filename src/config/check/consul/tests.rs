//! What `[consul]` and the variables of Consul's own tools mean, alone and together.

use std::path::Path;
use std::time::Duration;

use crate::config::{Config, Consul, Environment, Errors, Overrides, Secret, parse};

fn read(text: &str, variables: &[(&str, &str)]) -> Result<Config, Errors> {
    let all: Vec<_> = variables.iter().copied().chain([("LICTOR_API_KEY", "k")]).collect();
    parse(Some(text), "test", Overrides::default(), &Environment::of(&all))
}

fn consul(text: &str, variables: &[(&str, &str)]) -> Consul {
    read(text, variables).unwrap_or_else(|why| panic!("{text}: {why}")).consul.expect("Consul")
}

fn warnings(text: &str, variables: &[(&str, &str)]) -> Vec<String> {
    read(text, variables).unwrap_or_else(|why| panic!("{text}: {why}")).warnings
}

fn text(secret: Option<Secret>) -> String {
    secret.expect("a secret").read().expect("it can be read")
}

#[test]
fn consuls_variables_are_honoured_where_the_file_says_nothing() {
    let one = |name: &str, value: &str| consul("", &[(name, value)]);
    assert_eq!(one("CONSUL_HTTP_ADDR", "10.0.0.1:8500").addresses, ["http://10.0.0.1:8500"]);
    assert_eq!(one("CONSUL_HTTP_ADDR", "unix:///run/c.sock").addresses, ["unix:///run/c.sock"]);
    let tls = [("CONSUL_HTTP_ADDR", "c:1"), ("CONSUL_HTTP_SSL", "true")];
    assert_eq!(consul("", &tls).addresses, ["https://c:1"]);
    assert_eq!(one("CONSUL_NAMESPACE", "n").namespace.as_deref(), Some("n"));
    assert_eq!(one("CONSUL_PARTITION", "p").partition.as_deref(), Some("p"));
    assert_eq!(text(one("CONSUL_HTTP_TOKEN", "t").token), "t");
    assert!(matches!(one("CONSUL_HTTP_TOKEN_FILE", "/t").token, Some(Secret::File(_))));
    assert_eq!(text(one("CONSUL_HTTP_AUTH", "me:secret").http_auth), "me:secret");
    assert_eq!(one("CONSUL_CACERT", "/ca.pem").ca_file.as_deref(), Some(Path::new("/ca.pem")));
    assert_eq!(one("CONSUL_CAPATH", "/ca").ca_path.as_deref(), Some(Path::new("/ca")));
    assert_eq!(one("CONSUL_TLS_SERVER_NAME", "s").tls_server_name.as_deref(), Some("s"));
    assert!(!one("CONSUL_HTTP_SSL_VERIFY", "false").verify && one("CONSUL_HTTP_SSL_VERIFY", "1").verify);
    assert!(one("CONSUL_HTTP_SSL_VERIFY", "").verify, "an empty variable is not set");
    let both = consul("", &[("CONSUL_CACERT", "/ca.pem"), ("CONSUL_CAPATH", "/ca")]);
    assert!(both.ca_file.is_some() && both.ca_path.is_none(), "as for Consul's tools, the file holds");
    let service = "[[service]]\nname = \"a\"\ninstances = [\"127.0.0.1:1\"]\n";
    assert!(read(service, &[("CONSUL_HTTP_SSL_VERIFY", "odd")]).expect("nobody asks Consul").consul.is_none());
}

#[test]
fn the_file_beats_each_variable_and_a_warning_names_it() {
    let table = [
        ("address = \"http://a:1\"", "CONSUL_HTTP_ADDR", "http://b:2"),
        ("addresses = [\"http://a:1\", \"http://b:2\"]", "CONSUL_HTTP_ADDR", "http://b:2"),
        ("ca_file = \"/a\"", "CONSUL_CACERT", "/b"),
        ("ca_path = \"/a\"", "CONSUL_CAPATH", "/b"),
        ("ca_path = \"/a\"", "CONSUL_CACERT", "/b"),
        ("tls_server_name = \"a\"", "CONSUL_TLS_SERVER_NAME", "b"),
        ("verify = true", "CONSUL_HTTP_SSL_VERIFY", "0"),
        ("http_auth = \"a:b\"", "CONSUL_HTTP_AUTH", "b:c"),
        ("namespace = \"a\"", "CONSUL_NAMESPACE", "b"),
        ("partition = \"a\"", "CONSUL_PARTITION", "b"),
    ];
    for (written, name, value) in table {
        let file = format!("[consul]\n{written}\n");
        let alone = format!("{:?}", consul(&file, &[]));
        assert_eq!(format!("{:?}", consul(&file, &[(name, value)])), alone, "{written} beside {name}");
        let warned = warnings(&file, &[(name, value)]);
        assert!(warned.iter().any(|warning| warning.contains(name)), "{written} beside {name}: {warned:?}");
    }
    let same = warnings("[consul]\naddress = \"http://a:1\"\n", &[("CONSUL_HTTP_ADDR", "http://a:1")]);
    assert!(same.is_empty(), "what agrees is worth no warning: {same:?}");
}

#[test]
fn a_word_that_is_neither_true_nor_false_switches_neither_tls_nor_its_verification_off() {
    let words = [("1", true), ("t", true), ("T", true), ("true", true), ("TRUE", true), ("True", true)];
    let words = words.into_iter().chain([("0", false), ("f", false), ("F", false), ("false", false), ("FALSE", false)]);
    for (word, wanted) in words {
        let read =
            consul("", &[("CONSUL_HTTP_ADDR", "c:1"), ("CONSUL_HTTP_SSL", word), ("CONSUL_HTTP_SSL_VERIFY", word)]);
        assert_eq!((read.addresses[0].starts_with("https"), read.verify), (wanted, wanted), "{word}");
    }
    for name in ["CONSUL_HTTP_SSL", "CONSUL_HTTP_SSL_VERIFY"] {
        for odd in ["yes", "on", "tRUE", "2", "http", "\u{fffd}"] {
            let why = read("", &[(name, odd)]).expect_err("it is not known").to_string();
            assert!(why.contains(name), "{odd}: {why}");
        }
    }
}

#[test]
fn several_agents_keep_their_order_and_may_be_reached_in_different_ways() {
    let file =
        "[consul]\naddresses = [\"unix:///run/c.sock\", \"10.0.0.1:8500\", \"https://c.example.com:8501/consul/\"]\n";
    let wanted = ["unix:///run/c.sock", "http://10.0.0.1:8500", "https://c.example.com:8501/consul"];
    assert_eq!(consul(file, &[]).addresses, wanted);
    assert_eq!(consul("", &[]).addresses, ["http://127.0.0.1:8500"]);
    assert_eq!(consul("[consul]\naddresses = \"http://[::1]:8500\"\n", &[]).addresses, ["http://[::1]:8500"]);
}

#[test]
fn what_cannot_be_meant_is_a_mistake_in_its_line() {
    let table = [
        ("address = \"http://a:1\"\naddresses = [\"http://b:1\"]", 2, "consul.address", "keep one"),
        ("addresses = []", 2, "consul.addresses", "is empty"),
        ("addresses = [\n\"http://a:1\",\n\"http://me:pw@a:1\"]", 4, "consul.addresses", "`a:1` is not an agent's"),
        ("addresses = [\n\"http://a:1\",\n\"a:1\"]", 4, "consul.addresses", "listed twice"),
        ("ca_file = \"/a\"\nca_path = \"/b\"", 3, "consul.ca_path", "keep one"),
        ("client_cert = \"/a\"", 1, "consul.client_cert", "go together"),
        ("datacenters = [\"dc1\",\n\"DC2\"]", 3, "consul.datacenters", "`DC2` is not"),
        ("datacenters = \"\"", 2, "consul.datacenters", "is not the name"),
        ("canary = \"a/b\"", 2, "consul.canary", "not understood"),
        ("canary = false", 2, "consul.canary", "is a text"),
        ("hold = \"0s\"", 2, "consul.hold", "too short"),
        ("snapshot = { max_age = \"1h\" }", 2, "consul.snapshot.file", "is needed"),
        ("snapshot = { file = \"\" }", 2, "consul.snapshot.file", "not the path of a file"),
        ("snapshot = { file = \"/a/\" }", 2, "consul.snapshot.file", "not the path of a file"),
        ("snapshot = { file = \"/a\", age = \"1h\" }", 2, "consul.snapshot.age", "there are: file, max_age"),
        ("snapshot = \"/a\"", 2, "consul.snapshot", "is a section"),
        ("http_auth = \" \"", 2, "consul.http_auth", "is empty"),
        ("verify = \"no\"", 2, "consul.verify", "true or false"),
    ];
    for (written, line, key, part) in table {
        let errors = read(&format!("[consul]\n{written}\n"), &[]).expect_err(written);
        let [mistake] = errors.mistakes() else { panic!("{written}: {errors}") };
        assert_eq!((mistake.line, mistake.key.as_str()), (line, key), "{written}: {errors}");
        assert!(mistake.message.contains(part), "{written}: {errors}");
    }
}

#[test]
fn what_is_written_is_meant_and_what_is_not_has_its_default() {
    let bare = consul("", &[]);
    assert_eq!(
        (bare.hold, bare.canary.as_deref(), bare.saved, bare.verify),
        (Duration::from_secs(600), Some("consul"), None, true)
    );
    assert!(bare.datacenters.is_empty());
    let file = "[consul]\ndatacenters = [\"dc2\", \"dc1\"]\nhold = \"90s\"\ncanary = \"web\"\nsnapshot = { file = \"a/b.json\" }\n";
    let full = consul(file, &[]);
    assert_eq!((full.datacenters, full.hold), (vec!["dc2".into(), "dc1".into()], Duration::from_secs(90)));
    let saved = full.saved.expect("a file");
    assert_eq!(
        (full.canary.as_deref(), saved.max_age, crate::own_file::directory(&saved.file)),
        (Some("web"), Duration::from_secs(3_600), Path::new("a"))
    );
    assert_eq!(consul("[consul]\ncanary = \"none\"\n", &[]).canary, None);
}

#[test]
fn consuls_own_service_is_no_canary_where_no_token_can_see_it() {
    for elsewhere in ["namespace", "partition"] {
        let canary = |more: &str| consul(&format!("[consul]\n{elsewhere} = {more}\n"), &[]).canary;
        assert_eq!(canary("\"shop\""), None, "{elsewhere}");
        assert_eq!(canary("\"default\"").as_deref(), Some("consul"), "{elsewhere}");
        assert_eq!(canary("\"shop\"\ncanary = \"web\"").as_deref(), Some("web"), "{elsewhere}");
    }
}

#[test]
fn what_weakens_the_way_to_an_agent_is_worth_a_warning() {
    let warned = |written: &str| warnings(&format!("[consul]\n{written}\n"), &[]);
    let table = [
        ("verify = false", "verify is false"),
        ("token = \"t\"\naddress = \"10.0.0.1:8500\"", "the token goes to http://10.0.0.1:8500"),
        ("token = \"t\"\naddresses = [\"localhost:1\", \"http://consul/x\"]", "the token goes to http://consul/x"),
        ("http_auth = \"a:b\"\naddress = \"http://[2001:db8::1]:8500\"", "[2001:db8::1]"),
        ("datacenters = [\"dc1\", \"dc2\", \"dc1\"]", "names dc1 twice"),
    ];
    for (written, part) in table {
        let found = warned(written);
        assert!(found.len() == 1 && found[0].contains(part), "{written}: {found:?}");
    }
    for address in
        ["127.0.0.1:8500", "127.9.9.9:1", "[::1]:1", "[::ffff:127.0.0.1]:1", "localhost", "unix:///c", "https://c"]
    {
        assert_eq!(warned(&format!("token = \"t\"\naddress = \"{address}\"")), [""; 0], "{address}");
    }
    assert_eq!(warned("address = \"10.0.0.1:8500\""), [""; 0], "there is no token to overhear");
}
