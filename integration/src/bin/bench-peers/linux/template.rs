//! Configurations from templates. A line `#: bare full` begins a part that only these modes have, `#: all` one that all have, and
//! `#: each` one that is repeated for each of many services.

use super::mode::Mode;

/// What replaces the `{…}` of a template.
pub(crate) struct Values<'a> {
    pub(crate) folder: &'a str,
    pub(crate) port: u16,
    /// The ports of the two instances.
    pub(crate) backend: [u16; 2],
    /// The number of services.
    pub(crate) services: usize,
}

/// Fills a template for one mode.
pub(crate) fn fill(template: &str, mode: Mode, values: &Values<'_>) -> String {
    let mut filled = String::new();
    for part in format!("#: all\n{template}").split("#: ").skip(1) {
        let (scenarios, text) = part.split_once('\n').unwrap_or((part, ""));
        let mut scenarios = scenarios.split_whitespace();
        if scenarios.clone().any(|name| name == "each") {
            let services = if mode == Mode::Services { values.services } else { 0 };
            (0..services).for_each(|number| filled += &text.replace("{service}", &service(number)));
        } else if scenarios.any(|name| name == "all" || name == mode.name()) {
            filled += text;
        }
    }
    filled
        .replace("{folder}", values.folder)
        .replace("{port}", &values.port.to_string())
        .replace("{one}", &values.backend[0].to_string())
        .replace("{two}", &values.backend[1].to_string())
}

/// The name of one of many services.
pub(crate) fn service(number: usize) -> String {
    format!("service_{number}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALUES: Values<'_> = Values { folder: "/x", port: 1, backend: [2, 3], services: 2 };

    #[test]
    fn a_scenario_has_its_parts_and_no_others() {
        let template = "a {port}\n#: full cached\nb {one}\n#: each\nc {service}\n#: all\nd {two} {folder}\n";
        assert_eq!(fill(template, Mode::Bare, &VALUES), "a 1\nd 3 /x\n");
        assert_eq!(fill(template, Mode::Cached, &VALUES), "a 1\nb 2\nd 3 /x\n");
        assert_eq!(fill(template, Mode::Services, &VALUES), "a 1\nc service_0\nc service_1\nd 3 /x\n");
    }
}
