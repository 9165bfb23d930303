//! What is followed: the keys of an issuer, or of each of its tenants.

use std::sync::Arc;
use std::time::Duration;

use super::http::without_query;
use crate::config::Secret;
use crate::config::identity::{Iss, Issuer, Keys};
use crate::token::{KeySet, KeySets};

/// How often the keys of the network are fetched, where their issuer does not say how long they hold.
const INTERVAL: Duration = Duration::from_secs(600);

/// The least and the most that counts of what it says.
const BOUNDS: (Duration, Duration) = (Duration::from_secs(60), DAY);

/// How often a file is looked at.
const LOOK: Duration = Duration::from_secs(1);

const DAY: Duration = Duration::from_secs(86_400);

/// Keys that are fetched and kept together.
///
/// The tenants of a pattern whose keys are discovered have a place each: a tenant may manage its keys by itself, and must not sign for
/// another one by them. Where the configuration names the keys of a pattern itself, they are one set for all tenants.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    /// Its name among all places: [`KeySets::place`].
    pub(crate) key: Arc<str>,
    /// Whose keys they are.
    pub(crate) issuer: Arc<Issuer>,
    /// What the tokens that they sign say in `iss`, or the pattern of it.
    pub(crate) iss: Arc<str>,
}

/// The places of issuers.
pub(crate) fn places(issuers: &[Arc<Issuer>]) -> Vec<Place> {
    issuers.iter().flat_map(of).collect()
}

fn of(issuer: &Arc<Issuer>) -> Vec<Place> {
    let place = |iss: Arc<str>| Place { key: KeySets::place(issuer, &iss).into(), issuer: issuer.clone(), iss };
    match (&issuer.iss, &issuer.keys) {
        (Iss::Exact(iss), _) => vec![place(iss.clone())],
        (Iss::Pattern { before, after, values }, Keys::Discovery) => {
            values.iter().map(|tenant| place(format!("{before}{tenant}{after}").into())).collect()
        }
        (Iss::Pattern { before, after, .. }, _) => vec![place(format!("{before}{{…}}{after}").into())],
    }
}

impl Place {
    /// Whether what was fetched for another place holds for this one: both have the same source.
    pub(crate) fn has_source_of(&self, other: &Place) -> bool {
        self.iss == other.iss
            && self.issuer.keys == other.issuer.keys
            && self.issuer.keys_origin == other.issuer.keys_origin
    }

    /// Whether its keys come over the network.
    pub(crate) fn is_remote(&self) -> bool {
        matches!(self.issuer.keys, Keys::Discovery | Keys::Url(_))
    }

    /// Where its keys come from, in words.
    pub(crate) fn source(&self) -> String {
        match &self.issuer.keys {
            Keys::Discovery => "discovery".to_owned(),
            Keys::Url(url) => without_query(url).to_owned(),
            Keys::File(path) => path.display().to_string(),
            Keys::Secret(..) => "a secret".to_owned(),
        }
    }

    /// The keys that an answer, a file or a secret holds.
    pub(crate) fn read(&self, content: &[u8]) -> Result<KeySet, String> {
        match &self.issuer.keys {
            Keys::Secret(..) => KeySet::of_secret(content, &self.issuer),
            _ => KeySet::parse(content, &self.issuer),
        }
    }

    /// After how long its keys are fetched again. `fresh` is how long their issuer says that they hold. `random`, between 0 and 1, keeps
    /// gateways that were started together from asking together for ever; keys do not become older than they may.
    pub(crate) fn interval(&self, fresh: Option<Duration>, random: f64) -> Duration {
        match &self.issuer.keys {
            Keys::Discovery | Keys::Url(_) => {
                let wanted = fresh.unwrap_or(INTERVAL).min(BOUNDS.1).mul_f64(0.9 + 0.09 * random);
                wanted.max(BOUNDS.0.mul_f64(1.0 + 0.1 * random))
            }
            Keys::File(_) | Keys::Secret(Secret::File(_), _) => LOOK,
            Keys::Secret(Secret::Text(_), _) => DAY,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::issuers::tests::issuer;

    fn pattern(keys: Keys) -> Arc<Issuer> {
        let iss = Iss::Pattern {
            before: "https://login.example/".into(),
            after: "/v2.0".into(),
            values: vec!["a".into(), "b".into()],
        };
        Arc::new(Issuer { iss, keys, ..issuer("corp", "") })
    }

    #[test]
    fn each_tenant_whose_keys_are_discovered_has_keys_of_its_own_and_a_url_is_for_all() {
        let keys_of = |places: &[Place]| places.iter().map(|place| place.key.to_string()).collect::<Vec<_>>();
        let discovered = places(&[pattern(Keys::Discovery)]);
        assert_eq!(keys_of(&discovered), ["https://login.example/a/v2.0", "https://login.example/b/v2.0"]);
        let named = places(&[pattern(Keys::Url("https://login.example/keys".into()))]);
        assert_eq!(keys_of(&named), ["corp"]);
        assert_eq!(keys_of(&places(&[Arc::new(issuer("one", "https://one.example"))])), ["one"]);
    }

    #[test]
    fn the_query_of_a_url_is_not_shown_because_it_may_be_a_secret() {
        let place = &places(&[pattern(Keys::Url("https://login.example/keys?code=hidden".into()))])[0];
        assert_eq!(place.source(), "https://login.example/keys");
    }

    #[test]
    fn what_an_issuer_says_of_how_long_its_keys_hold_counts_between_a_minute_and_a_day() {
        let place = &places(&[Arc::new(issuer("one", "https://one.example"))])[0];
        let seconds = |random: f64| {
            let of = |fresh: Option<u64>| place.interval(fresh.map(Duration::from_secs), random).as_secs();
            [of(None), of(Some(0)), of(Some(3600)), of(Some(u64::MAX))]
        };
        assert_eq!((seconds(0.0), seconds(1.0)), ([540, 60, 3240, 77_760], [594, 66, 3564, 85_536]));
    }
}
