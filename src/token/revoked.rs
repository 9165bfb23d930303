//! Tokens that were revoked: by their name, by whom they are for, or all of an issuer, until they would have ended. A table is never
//! changed, only replaced, so that requests read it without a lock.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use imbl::{OrdMap, OrdSet};
use serde::{Deserialize, Serialize};

/// How many revocations hold at most.
pub const MOST: usize = 100_000;

/// Which tokens are revoked. Written, it is `{"jti":"…"}`, `{"sub":"…"}` or `"all"`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Which {
    /// Those of a `jti` (RFC 7519 section 4.1.7).
    Jti(Box<str>),
    /// Those of a `sub` that were issued until now.
    Sub(Box<str>),
    /// All that were issued until now.
    All,
}

/// An operator's word that tokens hold no longer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revocation {
    /// The name of their issuer.
    pub issuer: Arc<str>,
    /// Which of its tokens.
    pub which: Which,
    /// When it was said.
    pub at: SystemTime,
    /// Until when it holds: each of these tokens has ended by then.
    pub until: SystemTime,
    /// Who said it.
    pub by: Box<str>,
}

/// What a token says of itself, as far as revocations ask.
#[derive(Clone, Copy, Debug)]
pub struct Presented<'a> {
    /// The name of its issuer.
    pub issuer: &'a str,
    /// Its `jti`.
    pub jti: Option<&'a str>,
    /// Its `sub`.
    pub sub: Option<&'a str>,
    /// Its `iat`.
    pub issued: Option<SystemTime>,
    /// How far the issuer's clock may be ahead.
    pub leeway: Duration,
}

/// All that holds. Clones share what is equal in them.
#[derive(Clone, Debug, Default)]
pub struct Revocations {
    by_issuer: OrdMap<Arc<str>, OfIssuer>,
    /// When each of them ends: the first is the first.
    ends: OrdSet<(SystemTime, Key)>,
}

/// An issuer's name, and which of its tokens.
type Key = (Arc<str>, Which);

/// What holds of one issuer's tokens: a request looks it up by names that it borrows.
#[derive(Clone, Debug, Default)]
struct OfIssuer {
    by_jti: OrdMap<Box<str>, Revocation>,
    by_sub: OrdMap<Box<str>, Revocation>,
    all: Option<Revocation>,
}

impl OfIssuer {
    fn of(&self, which: &Which) -> Option<&Revocation> {
        match which {
            Which::Jti(jti) => self.by_jti.get(&**jti),
            Which::Sub(sub) => self.by_sub.get(&**sub),
            Which::All => self.all.as_ref(),
        }
    }

    fn insert(&mut self, one: Revocation) {
        match &one.which {
            Which::Jti(jti) => drop(self.by_jti.insert(jti.clone(), one)),
            Which::Sub(sub) => drop(self.by_sub.insert(sub.clone(), one)),
            Which::All => self.all = Some(one),
        }
    }

    fn remove(&mut self, which: &Which) {
        match which {
            Which::Jti(jti) => drop(self.by_jti.remove(&**jti)),
            Which::Sub(sub) => drop(self.by_sub.remove(&**sub)),
            Which::All => self.all = None,
        }
    }

    fn is_empty(&self) -> bool {
        self.by_jti.is_empty() && self.by_sub.is_empty() && self.all.is_none()
    }
}

impl Revocations {
    /// Whether there are none: then no token need be looked up.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = &Revocation> {
        self.by_issuer.values().flat_map(|of| of.by_jti.values().chain(of.by_sub.values()).chain(&of.all))
    }

    /// Whether a token is revoked. One that does not say when it was issued counts as issued before. Each request asks this: it allocates
    /// nothing.
    pub fn holds(&self, token: Presented<'_>, now: SystemTime) -> bool {
        let Some(of) = self.by_issuer.get(token.issuer) else { return false };
        let lasts = |found: &&Revocation| now < found.until;
        let before = |found: &Revocation| token.issued.is_none_or(|issued| issued <= found.at + token.leeway);
        token.jti.and_then(|jti| of.by_jti.get(jti)).is_some_and(|found| lasts(&found))
            || token.sub.and_then(|sub| of.by_sub.get(sub)).filter(lasts).is_some_and(before)
            || of.all.as_ref().filter(lasts).is_some_and(before)
    }

    /// The one of these tokens.
    pub fn of(&self, issuer: &str, which: &Which) -> Option<&Revocation> {
        self.by_issuer.get(issuer)?.of(which)
    }

    /// Those of a list that still hold at a time. `None`: there are too many.
    pub fn listed(list: impl IntoIterator<Item = Revocation>, now: SystemTime) -> Option<Revocations> {
        let mut table = Revocations::default();
        for one in list.into_iter().filter(|one| now < one.until) {
            table.insert(one);
        }
        (table.len() <= MOST).then_some(table)
    }

    /// With one more. One of the same tokens is replaced: the later of both times counts, and the later of both ends. `None`: there are too
    /// many.
    pub fn with(&self, new: Revocation) -> Option<Revocations> {
        self.within(MOST, new)
    }

    fn within(&self, most: usize, new: Revocation) -> Option<Revocations> {
        let mut table = self.at(new.at);
        if table.len() >= most && table.of(&new.issuer, &new.which).is_none() {
            return None;
        }
        table.insert(new);
        Some(table)
    }

    fn insert(&mut self, mut new: Revocation) {
        let key = (new.issuer.clone(), new.which.clone());
        let old = self.of(&new.issuer, &new.which).map(|old| (old.at, old.until));
        if let Some((at, until)) = old {
            self.ends.remove(&(until, key.clone()));
            // A clock that was set back must let no token in again.
            (new.at, new.until) = (at.max(new.at), until.max(new.until));
        }
        self.ends.insert((new.until, key));
        self.by_issuer.entry(new.issuer.clone()).or_default().insert(new);
    }

    fn remove(&mut self, (issuer, which): &Key) {
        let Some(of) = self.by_issuer.get_mut(issuer) else { return };
        of.remove(which);
        if of.is_empty() {
            self.by_issuer.remove(issuer);
        }
    }

    /// Those that still hold at a time.
    pub fn at(&self, now: SystemTime) -> Revocations {
        let mut table = self.clone();
        while let Some(ended) = table.ends.get_min().filter(|(until, _)| *until <= now).cloned() {
            table.remove(&ended.1);
            table.ends.remove(&ended);
        }
        table
    }

    /// When the first of them ends.
    pub fn first_end(&self) -> Option<SystemTime> {
        Some(self.ends.get_min()?.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn revoke(which: Which, seconds: u64, until: u64) -> Revocation {
        Revocation { issuer: "corp".into(), which, at: at(seconds), until: at(until), by: "ops".into() }
    }

    fn holds(table: &Revocations, issuer: &str, jti: &str, sub: &str, issued: Option<u64>, now: u64) -> bool {
        let (jti, sub, issued) = (Some(jti), Some(sub), issued.map(at));
        table.holds(Presented { issuer, jti, sub, issued, leeway: Duration::from_secs(30) }, at(now))
    }

    #[test]
    fn a_token_is_revoked_by_its_jti_until_it_would_have_ended() {
        let table = Revocations::default().with(revoke(Which::Jti("a".into()), 1000, 2000)).expect("there is room");
        assert!(holds(&table, "corp", "a", "s", Some(900), 1999));
        assert!(!holds(&table, "corp", "a", "s", Some(900), 2000), "it has ended");
        assert!(!holds(&table, "corp", "b", "s", Some(900), 1500), "another token");
        assert!(!holds(&table, "other", "a", "s", Some(900), 1500), "another issuer's token of this name");
    }

    #[test]
    fn of_a_sub_or_an_issuer_only_tokens_are_revoked_that_were_issued_before() {
        for which in [Which::Sub("s".into()), Which::All] {
            let table = Revocations::default().with(revoke(which.clone(), 1000, 2000)).expect("there is room");
            for (issued, expected) in [(Some(999), true), (Some(1030), true), (Some(1031), false), (None, true)] {
                assert_eq!(holds(&table, "corp", "a", "s", issued, 1500), expected, "{which:?} {issued:?}");
            }
            assert_eq!(holds(&table, "corp", "a", "t", Some(999), 1500), which == Which::All);
        }
    }

    #[test]
    fn what_is_revoked_again_holds_until_the_later_end() {
        let sub = || Which::Sub("s".into());
        let once = Revocations::default().with(revoke(sub(), 1000, 5000)).expect("there is room");
        let twice = once.with(revoke(sub(), 1100, 2000)).expect("there is room");
        assert_eq!(twice.len(), 1);
        assert!(holds(&twice, "corp", "a", "s", Some(1100), 4999));
        assert!(!holds(&once, "corp", "a", "s", Some(1100), 4999), "the table of before is as it was");
    }

    #[test]
    fn a_revocation_that_is_said_again_by_a_clock_that_was_set_back_lets_no_token_in_again() {
        for which in [Which::Sub("s".into()), Which::All] {
            let once = Revocations::default().with(revoke(which.clone(), 1000, 5000)).expect("there is room");
            let again = once.with(revoke(which.clone(), 400, 4400)).expect("there is room");
            assert!(holds(&again, "corp", "a", "s", Some(1000), 4999), "{which:?}");
        }
    }

    #[test]
    fn a_look_finds_what_was_revoked_of_each_issuer_and_kind_and_nothing_else() {
        let names = ["a", "b", "c"];
        let all = || names.map(|name| [Which::Jti(name.into()), Which::Sub(name.into())]).into_iter().flatten();
        let every = || {
            ["corp", "other"]
                .into_iter()
                .flat_map(move |issuer| all().chain([Which::All]).map(move |which| (issuer, which)))
        };
        let one = |(issuer, which): (&str, Which)| Revocation { issuer: issuer.into(), ..revoke(which, 1000, 2000) };
        for (issuer, which) in every() {
            let table = Revocations::default().with(one((issuer, which.clone()))).expect("there is room");
            for (of, jti, sub) in
                ["corp", "other"].into_iter().flat_map(|of| names.map(|jti| names.map(|sub| (of, jti, sub)))).flatten()
            {
                let meant = match &which {
                    Which::Jti(name) => **name == *jti,
                    Which::Sub(name) => **name == *sub,
                    Which::All => true,
                };
                assert_eq!(
                    holds(&table, of, jti, sub, Some(900), 1500),
                    meant && of == issuer,
                    "{which:?} {jti} {sub}"
                );
            }
            assert_eq!(table.of(issuer, &which), Some(&one((issuer, which.clone()))));
            assert!(
                every()
                    .filter(|other| *other != (issuer, which.clone()))
                    .all(|(of, other)| table.of(of, &other).is_none())
            );
        }
        let table = Revocations::listed(every().map(one), at(1500)).expect("there is room");
        assert_eq!((table.len(), table.iter().count()), (14, 14));
        assert!(table.iter().cloned().eq({
            let mut sorted: Vec<_> = every().collect();
            sorted.sort();
            sorted.into_iter().map(one)
        }));
        let ended = table.at(at(2000));
        assert!(ended.is_empty() && ended.by_issuer.is_empty() && ended.iter().next().is_none());
    }

    #[test]
    fn of_a_list_those_count_that_still_hold() {
        let list =
            || [("a", 2000), ("b", 1500), ("a", 1000)].map(|(name, until)| revoke(Which::Jti(name.into()), 900, until));
        let table = Revocations::listed(list(), at(1500)).expect("there is room");
        assert_eq!((table.len(), table.first_end()), (1, Some(at(2000))));
        let many = (0..=MOST).map(|number| revoke(Which::Sub(number.to_string().into()), 900, 2000));
        assert!(Revocations::listed(many.clone(), at(1500)).is_none());
        assert!(Revocations::listed(many, at(2000)).is_some_and(|table| table.is_empty()));
    }

    #[test]
    fn no_more_are_kept_than_the_bound_and_those_that_ended_make_room() {
        let mut table = Revocations::default();
        let jti = |name: &str, at, until| revoke(Which::Jti(name.into()), at, until);
        for number in 0..1000 {
            table = table.within(1000, jti(&number.to_string(), 1000, 2000)).expect("there is room");
        }
        assert!(table.within(1000, jti("more", 1001, 2000)).is_none());
        assert!(table.within(1000, jti("7", 1001, 3000)).is_some(), "it is one of them");
        let later = table.within(1000, jti("more", 2000, 3000)).expect("the others have ended");
        assert_eq!((later.len(), later.first_end()), (1, Some(at(3000))));
    }
}
