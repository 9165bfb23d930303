//! The gateway: as an aggregator, and as what passes on requests for the parts.

use std::fs;

use integration::measure::system::Outcome;
use serde_json::Value;

use super::Setup;
use super::services::{NAMES, Part, Services, aggregate};
use super::side::Side;

/// Starts it with an aggregate of these parts, which have the same size, at `/page`.
pub(super) fn aggregator(setup: &Setup, parts: [Part; 3]) -> Outcome<Side> {
    let expected = [("/page".to_owned(), aggregate(parts[0].bytes))];
    start(setup, "Lictor", &|port| text(port, &setup.services, Some(parts)), &expected)
}

/// Starts it without an aggregate. Each of these parts is asked for in turn.
pub(super) fn proxy(setup: &Setup, parts: &[(&str, Part)]) -> Outcome<Side> {
    let path = |(name, part): &(&str, Part)| format!("/api/{name}{}", part.path());
    let expected: Vec<_> = parts.iter().map(|asked| (path(asked), aggregate(asked.1.bytes)[asked.0].clone())).collect();
    start(setup, "Lictor", &|port| text(port, &setup.services, None), &expected)
}

fn start(setup: &Setup, name: &str, text: &dyn Fn(u16) -> String, expected: &[(String, Value)]) -> Outcome<Side> {
    let command = |port| {
        let file = std::env::temp_dir().join(format!("aggregates-{}-{port}.toml", std::process::id()));
        fs::write(&file, text(port)).map_err(|error| format!("{}: {error}", file.display()))?;
        let words = [&setup.gateway.display().to_string(), "run", "--config", &file.display().to_string()];
        Ok((words.map(str::to_owned).into(), vec![file]))
    };
    Side::start(name, &setup.runtime, command, expected)
}

/// Its configuration: all that the other aggregators do, and what is always on (metrics, breakers, forwarding headers).
fn text(port: u16, services: &Services, parts: Option<[Part; 3]>) -> String {
    let mut text = format!(
        "workers = 1\n[[listener]]\naddress = \"127.0.0.1:{port}\"\n[admin]\naddress = \"127.0.0.1:0\"\n\
         [api]\nauth = false\n[log]\naccess = false\n"
    );
    for (name, address) in NAMES.iter().zip(services.0) {
        text += &format!("[[service]]\nname = \"{name}\"\ninstances = [\"{address}\"]\n");
    }
    let Some(parts) = parts else { return text };
    text += "[[route]]\nname = \"page\"\npath = { exact = \"/page\" }\ncompose = \"page\"\nauth = false\n";
    text += "[[compose]]\nname = \"page\"\n";
    for (name, part) in NAMES.iter().zip(parts) {
        let path = part.path();
        text += &format!("[[compose.call]]\nname = \"{name}\"\nservice = \"{name}\"\npath = \"{path}\"\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use lictor::config::{self, Environment, Overrides};

    use super::*;

    #[test]
    fn the_gateways_configuration_has_no_mistake() {
        let address = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let services = Services([address(9101), address(9102), address(9103)]);
        let text = text(8106, &services, Some([Part { bytes: 2048, delay: 0 }; 3]));
        let read = config::parse(Some(&text), "test", Overrides::default(), &Environment::default());
        read.unwrap_or_else(|errors| panic!("{errors}\n{text}"));
    }
}
