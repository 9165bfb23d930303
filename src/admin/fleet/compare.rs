//! Who disagrees with whom about what, pure.

use std::collections::{BTreeMap, BTreeSet};

use crate::pages::fleet::{Disagreement, Side, State};

/// How many services, and how many instances, are named at most.
const MOST: usize = 50;

/// What these gateways, by their ids, say differently.
pub(super) fn disagreements(gateways: &[(&str, &State)]) -> Vec<Disagreement> {
    let mut all = Vec::new();
    all.extend(about("version", "", gateways, |state| state.version.clone()));
    all.extend(about("configuration", "", gateways, |state| state.configuration.clone().unwrap_or("unknown".into())));
    all.extend(snapshots(gateways));
    let tripped: BTreeSet<_> = gateways.iter().flat_map(|(_, state)| &state.tripped).collect();
    let breakers = tripped.into_iter().filter_map(|instance| {
        let says = |state: &State| if state.tripped.contains(instance) { "open" } else { "closed" }.to_owned();
        about("breaker", instance, gateways, says)
    });
    all.extend(breakers.take(MOST));
    all
}

/// The services in which snapshots differ, or that they differ where it is not known in what.
fn snapshots(gateways: &[(&str, &State)]) -> Vec<Disagreement> {
    let Some(whole) = about("snapshot", "", gateways, |state| state.snapshot.clone()) else { return Vec::new() };
    let names: BTreeSet<_> = gateways.iter().flat_map(|(_, state)| state.services.keys()).collect();
    let listed = gateways.iter().all(|(_, state)| !state.services.is_empty());
    let differ = names.into_iter().filter_map(|name| {
        about("snapshot", name, gateways, |state| state.services.get(name).map_or("has none".into(), Clone::clone))
    });
    let differ: Vec<_> = if listed { differ.take(MOST).collect() } else { Vec::new() };
    if differ.is_empty() { vec![whole] } else { differ }
}

/// What is said of one thing, where that differs.
fn about(
    about: &str,
    what: &str,
    gateways: &[(&str, &State)],
    says: impl Fn(&State) -> String,
) -> Option<Disagreement> {
    let mut sides: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (id, state) in gateways {
        sides.entry(says(state)).or_default().push((*id).to_owned());
    }
    let sides: Vec<_> = sides.into_iter().map(|(says, gateways)| Side { says, gateways }).collect();
    (sides.len() > 1).then(|| Disagreement { about: about.to_owned(), what: what.to_owned(), sides })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> State {
        State {
            version: "1".into(),
            configuration: Some("c".into()),
            snapshot: "s".into(),
            services: [("orders".to_owned(), "2 instances, aa".to_owned())].into(),
            ..State::default()
        }
    }

    /// As lines: about, what, who says what.
    fn found(gateways: &[(&str, &State)]) -> Vec<String> {
        let side = |side: &Side| format!("{} by {}", side.says, side.gateways.join("+"));
        let line = |d: &Disagreement| {
            format!("{} {}: {}", d.about, d.what, d.sides.iter().map(side).collect::<Vec<_>>().join("; "))
        };
        disagreements(gateways).iter().map(line).collect()
    }

    #[test]
    fn gateways_that_say_the_same_do_not_disagree_and_age_is_no_matter() {
        let older = State { age_ms: 9, started: "then".into(), ..state() };
        assert!(found(&[("a", &state()), ("b", &older)]).is_empty());
        assert!(found(&[("a", &state())]).is_empty() && found(&[]).is_empty());
    }

    #[test]
    fn it_is_said_who_disagrees_with_whom_about_what() {
        let services =
            [("orders".to_owned(), "1 instance, bb".to_owned()), ("users".to_owned(), "1 instance, cc".to_owned())];
        let other = State {
            version: "2".into(),
            configuration: None,
            snapshot: "t".into(),
            services: services.into(),
            tripped: vec!["orders 10.0.0.1:80".into()],
            ..state()
        };
        let lines = found(&[("a", &state()), ("b", &other), ("c", &state())]);
        let expected = [
            "version : 1 by a+c; 2 by b",
            "configuration : c by a+c; unknown by b",
            "snapshot orders: 1 instance, bb by b; 2 instances, aa by a+c",
            "snapshot users: 1 instance, cc by b; has none by a+c",
            "breaker orders 10.0.0.1:80: closed by a+c; open by b",
        ];
        assert_eq!(lines, expected);
        // Where one has too many services to list them, only that they differ.
        let many = State { services: BTreeMap::new(), ..other.clone() };
        assert!(found(&[("a", &state()), ("b", &many)]).contains(&"snapshot : s by a; t by b".to_owned()));
    }
}
