//! `[fleet]`: what it means, and what is wrong with it.

use super::*;
use crate::config::Secret;
use crate::config::fleet::Fleet;

const CONSUL: &str = "[consul]\naddress = \"http://127.0.0.1:1\"\n";
const SECRET: &str = "secret = \"0123456789abcdef\"\n";

fn read(fleet: &str) -> Result<Config, Errors> {
    let text = format!("{CONSUL}[fleet]\n{fleet}");
    parse(Some(&text), "test", Overrides::default(), &Environment::of(&[("LICTOR_API_KEY", "test")]))
}

fn fleet(text: &str) -> Fleet {
    read(text).unwrap_or_else(|why| panic!("{why}")).fleet.expect("it is written")
}

#[test]
fn a_fleet_has_a_name_of_its_own_a_secret_and_networks() {
    let plain = fleet(SECRET);
    assert_eq!((plain.service.as_str(), plain.admin_networks.len(), plain.address), ("lictor", 0, None));
    let text = "service = \"edge\"\nsecret = { file = \"/f\" }\nadmin_networks = [\"10.0.0.0/8\", \"192.0.2.1\"]\naddress = \"[2001:db8::1]\"";
    let all = fleet(text);
    assert_eq!((all.service.as_str(), all.address.as_deref()), ("edge", Some("2001:db8::1")));
    assert_eq!(all.secret, Secret::File("/f".into()));
    let networks: Vec<_> = all.admin_networks.iter().map(ToString::to_string).collect();
    assert_eq!(networks, ["10.0.0.0/8", "192.0.2.1/32"]);
    assert_eq!(fleet(&format!("{SECRET}address = \"edge-1.example\"")).address.as_deref(), Some("edge-1.example"));
    assert!(
        parse(Some(CONSUL), "test", Overrides::default(), &Environment::of(&[("LICTOR_API_KEY", "test")]))
            .is_ok_and(|config| config.fleet.is_none())
    );
}

#[test]
fn what_is_wrong_with_a_fleet_is_said_with_its_line_and_the_remedy() {
    let table = [
        ("", 3, "fleet.secret", "write e.g. secret = { file"),
        ("secret = \"short\"", 4, "fleet.secret", "shorter than 16 bytes"),
        ("secret = { env = \"NOWHERE\" }", 4, "fleet.secret", "the environment has no NOWHERE"),
        ("secret = { fil = \"/f\" }", 4, "fleet.secret", "{ file = \"path\" }"),
        (&format!("{SECRET}admin_networks = [\"0.0.0.0/0\"]"), 5, "fleet.admin_networks", "your gateways"),
        (&format!("{SECRET}admin_networks = [\"ten\"]"), 5, "fleet.admin_networks", "\"10.0.0.0/8\""),
        (&format!("{SECRET}address = \"0.0.0.0\""), 5, "fleet.address", "write this host's"),
        (&format!("{SECRET}address = \"10.0.0.7:5000\""), 5, "fleet.address", "without a port"),
        (&format!("{SECRET}service = \"a/b\""), 5, "fleet.service", "lictor"),
        (&format!("{SECRET}adress = \"a\""), 5, "fleet.adress", "did you mean `address`"),
    ];
    for (text, line, key, message) in table {
        let errors = read(text).err().unwrap_or_else(|| panic!("no mistake: {text}"));
        let found = errors.mistakes().iter().find(|mistake| mistake.key == key && mistake.message.contains(message));
        assert!(found.is_some_and(|mistake| mistake.line == line), "{text}: {errors}");
    }
    let services = format!("[[service]]\nname = \"a\"\ninstances = [\"127.0.0.1:1\"]\n[fleet]\n{SECRET}");
    let env = Environment::of(&[("LICTOR_API_KEY", "test")]);
    let errors = parse(Some(&services), "test", Overrides::default(), &env).expect_err("nobody asks Consul");
    assert_eq!((errors.mistakes()[0].line, &*errors.mistakes()[0].key), (4, "fleet"));
    assert!(errors.mistakes()[0].message.contains("no [consul]"), "{errors}");
}

#[test]
fn a_fleet_that_nobody_can_reach_or_ask_is_worth_a_warning() {
    let warnings = |text: &str| read(text).expect("it is valid").warnings;
    let found = warnings(SECRET);
    assert!(found.iter().any(|text| text.contains("admin_networks")), "{found:?}");
    assert!(found.iter().any(|text| text.contains("only this host reaches")), "{found:?}");
    let more = format!("{SECRET}admin_networks = [\"10.0.0.0/8\"]\naddress = \"10.0.0.7\"");
    assert!(warnings(&more).iter().all(|text| !text.contains("[fleet]")), "{:?}", warnings(&more));
}

#[test]
fn no_route_can_have_a_path_for_other_gateways() {
    let route = "[[route]]\nname = \"r\"\npath = { prefix = \"/_lictor/x\" }\nservice = \"s\"\n";
    let errors = read(&format!("{SECRET}{route}")).expect_err("it is the gateway's own");
    assert!(errors.mistakes()[0].message.contains("the gateway's own"), "{errors}");
}
