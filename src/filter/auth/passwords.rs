//! Names and passwords (RFC 7617). To compare a password is dear on purpose: it is done off the workers, by few at a time, and what was found
//! right is known again by a digest.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use argon2::{Argon2, Params, PasswordHash, PasswordVerifier};
use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use foldhash::fast::RandomState;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::Auth;
use super::denied::Denied;
use super::tokens::{Asking, Halt};
use super::waiting::{Answer, Question, What};
use crate::request::Consumer;

/// How many passwords are compared at once: each takes up to 64 MiB and a core for some time.
const AT_ONCE: usize = 2;

/// How many more may wait for that.
const QUEUE: usize = 16;

/// How many of these may come from one address: as many as a browser has connections, twice.
const OF_ONE: u32 = 12;

/// The most bytes of a name and a password, in base64.
const LONGEST: usize = 1024;

/// How many right passwords a worker remembers, and for how long.
pub(super) const MOST: usize = 1000;

/// For how long.
const REMEMBERED: Duration = Duration::from_secs(300);

/// How passwords are compared, whatever the configuration.
#[derive(Debug)]
pub(super) struct Passwords {
    /// For digests: nobody else could look for a password by its digest.
    key: hmac::Key,
    permits: Arc<Semaphore>,
    under_way: Arc<AtomicUsize>,
}

/// What a consumer's password is compared with, and the consumer.
pub(super) type Holder = (Arc<str>, Arc<Consumer>);

/// Whose passwords these are, by name.
pub(super) struct Holders {
    by_name: HashMap<Box<str>, Holder, RandomState>,
    /// What is compared for a name that nobody has; `None`: nobody has a password.
    nobody: Option<Arc<str>>,
}

impl FromIterator<(Box<str>, Holder)> for Holders {
    fn from_iter<T: IntoIterator<Item = (Box<str>, Holder)>>(holders: T) -> Holders {
        let by_name: HashMap<_, Holder, _> = holders.into_iter().collect();
        let nobody = nobody(by_name.values().map(|(hash, _)| &**hash));
        Holders { by_name, nobody }
    }
}

/// Without the hashes.
impl std::fmt::Debug for Holders {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.by_name.keys()).finish()
    }
}

/// A hash to which no password is known. To compare it takes as long as the dearest of these does, so that time does not tell an unknown name
/// from one whose password is as dear as that. It depends on nothing else: no reload that leaves the costs alone asks anew.
fn nobody<'a>(hashes: impl Iterator<Item = &'a str>) -> Option<Arc<str>> {
    let costs = hashes.filter_map(|hash| Params::try_from(&PasswordHash::new(hash).ok()?).ok());
    let costs = costs.map(|costs| (costs.m_cost(), costs.t_cost(), costs.p_cost()));
    let (memory, rounds, lanes) = costs.max_by_key(|costs| (u64::from(costs.0) * u64::from(costs.1), *costs))?;
    Some(format!("$argon2id$v=19$m={memory},t={rounds},p={lanes}$bm9ib2R5bm9ib2R5${}", "A".repeat(43)).into())
}

/// The passwords that one worker has seen to be right, by digest, each until a time. A digest depends on the hash and the name, so that a
/// reload makes none of them wrong.
#[derive(Debug, Default)]
pub(super) struct Known(HashMap<[u8; 32], Instant, RandomState>);

impl Known {
    fn holds(&self, digest: &[u8; 32], now: Instant) -> bool {
        self.0.get(digest).is_some_and(|until| *until > now)
    }

    /// Where no more fit, the oldest makes room: to find it takes microseconds, and the password has just taken milliseconds.
    fn keep(&mut self, digest: [u8; 32], now: Instant) {
        if self.0.len() >= MOST && !self.0.contains_key(&digest) {
            let oldest = self.0.iter().min_by_key(|(_, until)| **until).map(|(digest, _)| *digest);
            oldest.and_then(|oldest| self.0.remove(&oldest));
        }
        self.0.insert(digest, now + REMEMBERED);
    }
}

/// The consumer of a name and a password.
///
/// # Errors
/// When nobody has them, or when they must be compared first.
pub(super) fn check(auth: &Auth, sent: &[u8], asking: &mut Asking<'_>) -> Result<Arc<Consumer>, Halt> {
    let Some((name, password)) = read(sent) else { return Err(wrong(auth, asking)) };
    let known = auth.holders.by_name.get(name.as_str());
    let hash = known.map(|(hash, _)| hash).or(auth.holders.nobody.as_ref());
    let Some(hash) = hash else { return Err(wrong(auth, asking)) };
    let passwords = &auth.shared.passwords;
    let digest = passwords.digest(hash, &name, &password);
    if let Some((_, consumer)) = known
        && asking.local.passwords.borrow().holds(&digest, asking.began)
    {
        return Ok(consumer.clone());
    }
    let question = Question { what: What::Password, about: digest, config: 0 };
    match asking.answer(question) {
        Some(Answer::Password(Some(true))) if known.is_some() => {
            asking.local.passwords.borrow_mut().keep(digest, Instant::now());
            known.map(|(_, consumer)| consumer.clone()).ok_or(Halt::Wait)
        }
        Some(Answer::Password(Some(_))) => Err(wrong(auth, asking)),
        Some(Answer::Password(None)) => Err(Denied::Busy.into()),
        _ => {
            let turn = asking.turn(auth, OF_ONE)?;
            let compared = passwords.compare(hash.clone(), password);
            Err(asking.wait(question, Some(turn), async { Answer::Password(compared.await) }))
        }
    }
}

/// Nobody has them: that counts as an unknown key does.
fn wrong(auth: &Auth, asking: &Asking<'_>) -> Halt {
    match auth.shared.unknown_keys.count(asking.address, Instant::now()) {
        Some(wait) => Denied::TooManyUnknown(wait).into(),
        None => Denied::WrongPassword.into(),
    }
}

/// A name and a password (RFC 7617 section 2).
fn read(sent: &[u8]) -> Option<(String, String)> {
    let text = STANDARD.decode(Some(sent).filter(|sent| sent.len() <= LONGEST)?).ok()?;
    let text = String::from_utf8(text).ok()?;
    text.split_once(':').map(|(name, password)| (name.to_owned(), password.to_owned()))
}

impl Default for Passwords {
    fn default() -> Passwords {
        let mut key = [0; 32];
        aws_lc_rs::rand::fill(&mut key).expect("the system has randomness");
        let key = hmac::Key::new(hmac::HMAC_SHA256, &key);
        Passwords { key, permits: Arc::new(Semaphore::new(AT_ONCE)), under_way: Arc::default() }
    }
}

impl Passwords {
    /// What is asked when a name and a password are compared with a hash, and what they are known again by for as long as this hash is theirs.
    fn digest(&self, hash: &str, name: &str, password: &str) -> [u8; 32] {
        let mut context = hmac::Context::with_key(&self.key);
        for part in [hash, name, password] {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part.as_bytes());
        }
        let mut digest = [0; 32];
        digest.copy_from_slice(context.sign().as_ref());
        digest
    }

    /// Whether a password is the one of a hash; `None`: too many are compared.
    fn compare(&self, hash: Arc<str>, password: String) -> impl Future<Output = Option<bool>> + Send + use<> {
        let place = Place::take(&self.under_way);
        let permits = self.permits.clone();
        async move {
            let place = place?;
            let permit = permits.acquire_owned().await.ok()?;
            // Who leaves frees nothing: the work goes on.
            let compared = tokio::task::spawn_blocking(move || {
                let _held = (place, permit);
                let hash = PasswordHash::new(&hash).ok()?;
                Some(Argon2::default().verify_password(password.as_bytes(), &hash).is_ok())
            });
            compared.await.ok().flatten()
        }
    }
}

/// A place among those that are compared or wait for that.
struct Place(Arc<AtomicUsize>);

impl Place {
    fn take(under_way: &Arc<AtomicUsize>) -> Option<Place> {
        let place = Place(under_way.clone());
        let before = under_way.fetch_add(1, Ordering::Relaxed);
        (before < AT_ONCE + QUEUE).then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `argon2id` of `right`, as cheap as the configuration allows.
    fn hash() -> Arc<str> {
        use argon2::password_hash::{PasswordHasher, SaltString};
        let params = argon2::Params::new(8, 1, 1, None).expect("costs");
        let argon2 = Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, params);
        let salt = SaltString::from_b64("c2FsdHNhbHRzYWx0").expect("a salt");
        argon2.hash_password(b"right", &salt).expect("a hash").to_string().into()
    }

    #[test]
    fn an_unknown_name_is_compared_with_a_hash_of_nobody_that_is_as_dear_as_the_dearest() {
        let hash = |costs: &str| {
            format!("$argon2id$v=19${costs}$c2FsdHNhbHRzYWx0$RdescudvJCsgt3ub+b8dWRWJTmaaJObG2F4kpdYcXgw")
        };
        let hashes = ["m=7168,t=5,p=1", "m=38912,t=1,p=2", "m=19456,t=2,p=4", "m=9216,t=4,p=1"].map(hash);
        let found = nobody(hashes.iter().map(String::as_str)).expect("somebody has one");
        let parsed = PasswordHash::new(&found).expect("a hash");
        let costs = Params::try_from(&parsed).expect("costs");
        assert_eq!((costs.m_cost(), costs.t_cost(), costs.p_cost()), (38_912, 1, 2));
        assert!(parsed.hash.is_some_and(|hash| hash.len() == 32) && parsed.salt.is_some());
        assert!(!hashes.contains(&found.to_string()));
        assert_eq!(nobody(hashes.iter().rev().map(String::as_str)), Some(found), "their order does not matter");
        assert_eq!(nobody(std::iter::empty()), None);
    }

    #[tokio::test]
    async fn a_password_is_right_or_wrong_and_no_more_wait_than_may() {
        let (passwords, hash) = (Passwords::default(), hash());
        assert_eq!(passwords.compare(hash.clone(), "right".into()).await, Some(true));
        assert_eq!(passwords.compare(hash.clone(), "wrong".into()).await, Some(false));
        let waiting: Vec<_> = (0..AT_ONCE + QUEUE).map(|_| passwords.compare(hash.clone(), "right".into())).collect();
        assert_eq!(passwords.compare(hash.clone(), "right".into()).await, None);
        drop(waiting);
        assert_eq!(passwords.compare(hash, "right".into()).await, Some(true));
    }

    #[test]
    fn a_name_ends_at_the_first_colon_and_what_is_no_base64_names_nobody() {
        let read = |text: &str| super::read(STANDARD.encode(text).as_bytes());
        assert_eq!(read("old:a:b"), Some(("old".into(), "a:b".into())));
        assert_eq!(read("nobody"), None);
        assert_eq!(super::read(b"?"), None);
        assert_eq!(read(&"x:".repeat(600)), None);
    }

    #[test]
    fn a_right_password_is_forgotten_in_time_and_before_that_only_the_oldest_makes_room() {
        let (mut known, start) = (Known::default(), Instant::now());
        let digest = |number: usize| {
            let mut digest = [0; 32];
            digest[..8].copy_from_slice(&number.to_be_bytes());
            digest
        };
        let at = |number: usize| start + Duration::from_millis(number as u64);
        (0..MOST).for_each(|number| known.keep(digest(number), at(number)));
        // One that is there already needs no room, and is no longer the oldest.
        known.keep(digest(0), at(MOST));
        known.keep(digest(MOST), at(MOST));
        let forgotten: Vec<_> = (0..=MOST).filter(|number| !known.holds(&digest(*number), at(MOST))).collect();
        assert_eq!(forgotten, [1]);
        assert!(!known.holds(&digest(2), at(2) + REMEMBERED) && known.holds(&digest(3), at(2) + REMEMBERED));
    }
}
