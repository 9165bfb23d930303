//! What a file says, whatever its order, its spaces and its comments: by its digest gateways tell whether they are configured alike.

use std::borrow::Cow;
use std::collections::BTreeMap;

use aws_lc_rs::digest::{SHA256, digest as hash};
use toml::de::{DeTable, DeValue};

use crate::config::fleet::Digest;

/// Keys that are about one host, and differ in a fleet whose gateways are configured alike.
const OF_THE_HOST: &[&str] = &["workers", "log", "listener.address", "admin.address", "fleet.address"];

/// The digest of what a file says, but for what concerns this host alone.
pub(in crate::config) fn digest(table: &DeTable<'_>) -> Digest {
    let mut text = String::new();
    write_table(&mut text, "", table);
    of(text.as_bytes())
}

/// The digest of two together: of what the file said at the start, and what it says now.
pub(in crate::config) fn joined(Digest(old): Digest, Digest(new): Digest) -> Digest {
    of(&[old, new].concat())
}

fn of(bytes: &[u8]) -> Digest {
    Digest(hash(&SHA256, bytes).as_ref().try_into().expect("SHA-256 has 32 bytes"))
}

/// Members in the order of their names.
fn write_table(text: &mut String, path: &str, table: &DeTable<'_>) {
    let members: BTreeMap<&Cow<'_, str>, _> = table.iter().map(|(name, value)| (name.get_ref(), value)).collect();
    text.push('{');
    for (name, value) in members {
        let path = if path.is_empty() { name.to_string() } else { format!("{path}.{name}") };
        if !OF_THE_HOST.contains(&&*path) {
            *text += &format!("{name:?}=");
            write(text, &path, value.get_ref());
        }
    }
    text.push('}');
}

fn write(text: &mut String, path: &str, value: &DeValue<'_>) {
    match value {
        DeValue::String(string) => *text += &format!("{string:?}"),
        DeValue::Integer(number) => *text += &format!("{}:{}", number.radix(), number.as_str()),
        DeValue::Float(number) => *text += number.as_str(),
        DeValue::Boolean(flag) => *text += &flag.to_string(),
        DeValue::Datetime(time) => *text += &time.to_string(),
        DeValue::Table(table) => write_table(text, path, table),
        DeValue::Array(items) => {
            text.push('[');
            items.iter().for_each(|item| write(text, path, item.get_ref()));
            text.push(']');
        }
    }
    text.push(',');
}

#[cfg(test)]
mod tests {
    use crate::config::fleet::Digest;
    use crate::config::{Environment, Overrides, parse};

    fn digest(text: &str) -> Digest {
        let text = format!("{text}\n[[service]]\nname = \"a\"\ninstances = [\"127.0.0.1:1\"]\n");
        let env = Environment::of(&[("LICTOR_API_KEY", "test")]);
        parse(Some(&text), "test", Overrides::default(), &env).unwrap_or_else(|why| panic!("{why}\n{text}")).digest
    }

    #[test]
    fn files_that_say_the_same_have_one_digest_whatever_their_order_and_their_host() {
        let one = digest("workers = 1\n[retry]\nmore = 1\n[timeouts]\nconnect = \"1s\"\nidle = \"9s\"\n");
        let same = "workers = 2\n[timeouts] # of all\nidle = \"9s\"\nconnect = \"1s\"\n[retry]\nmore = 1\n[[listener]]\naddress = \"127.0.0.1:7\"\n";
        let with_a_listener =
            "[retry]\nmore = 1\n[timeouts]\nconnect = \"1s\"\nidle = \"9s\"\n[[listener]]\naddress = \"127.0.0.1:8\"\n";
        assert_eq!(digest(same), digest(with_a_listener));
        assert_ne!(one, digest("workers = 1\n[retry]\nmore = 2\n[timeouts]\nconnect = \"1s\"\nidle = \"9s\"\n"));
        assert_ne!(one, digest("workers = 1\n[retry]\nmore = 1\n[timeouts]\nconnect = \"1s\"\n"));
        let keys = "[[listener]]\naddress = \"127.0.0.1:8\"\nkeep_alive = ";
        assert_ne!(digest(&format!("{keys}\"1s\"")), digest(&format!("{keys}\"2s\"")));
    }
}
