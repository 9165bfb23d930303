//! How workers ask the control plane about tokens: for keys that their snapshot does not have, about tokens that only their issuer
//! understands, and to revoke some.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout};

use super::revoked::Revocation;
use super::{Claims, KeySet, Rejection};

/// How long a request waits for keys.
const KEYS: Duration = Duration::from_secs(1);

/// How long a request waits for what an issuer says of its token.
pub const INTROSPECTION: Duration = Duration::from_secs(2);

/// How long an operator waits for a revocation, which may wait for a disk.
const REVOCATION: Duration = Duration::from_secs(10);

/// How many questions of one kind may be on their way at once. Who follows issuers takes them up at once.
const UNDER_WAY: usize = 4096;

/// The bytes of the longest name that a key may have to be asked for: many of these wait at once.
const LONGEST_KID: usize = 256;

/// After how long another try is worth it, where nobody knows better.
pub const SOON: Duration = Duration::from_secs(1);

/// What is known of the key that a token names.
#[derive(Clone, Debug)]
pub enum Look {
    /// There are keys with this one in them, which the snapshot may not have yet: the token is to be verified with these.
    Known(Arc<KeySet>),
    /// The issuer has no such key.
    Unknown,
    /// Nobody knows: the issuer does not answer, has never answered, or was asked too often lately. 503 `issuer_unavailable`.
    Away {
        /// After how long another try is worth it.
        retry_after: Duration,
    },
}

/// What an issuer says of a token that only it understands.
#[derive(Clone, Debug)]
pub enum Introspected {
    /// The token holds.
    Active {
        /// What it says.
        claims: Arc<Claims>,
        /// Until when that may be remembered.
        until: Instant,
    },
    /// The token does not hold. It counts as an unknown key of its sender.
    Refused(Rejection),
    /// Nobody knows: the issuer does not answer, or too many tokens are asked about. 503 `issuer_unavailable`.
    Away {
        /// After how long another try is worth it.
        retry_after: Duration,
    },
}

/// A question for keys.
#[derive(Debug)]
pub enum Question {
    /// A token names a key that the snapshot does not have.
    Key {
        /// Where the keys are kept: [`super::KeySets::place`].
        place: Arc<str>,
        /// The key's name; `None`: the token names none, and any keys will do.
        kid: Option<Box<str>>,
        /// Where the answer goes.
        reply: oneshot::Sender<Look>,
    },
    /// No key of these made the signature of a token that is to be theirs: its issuer may have others by now, under the same name or none.
    Others {
        /// Where the keys are kept.
        place: Arc<str>,
        /// Those that are not meant.
        than: Arc<KeySet>,
        /// Where the answer goes. [`Look::Unknown`]: there are no others.
        reply: oneshot::Sender<Look>,
    },
}

/// A question about a token.
pub struct About {
    /// The name of its issuer.
    pub issuer: Arc<str>,
    /// Its SHA-256 digest.
    pub digest: [u8; 32],
    /// The token.
    pub token: Box<str>,
    /// Where the answer goes.
    pub reply: oneshot::Sender<Introspected>,
}

/// Leaves out the token.
impl fmt::Debug for About {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("About").field("issuer", &self.issuer).finish_non_exhaustive()
    }
}

/// An operator's word that tokens hold no longer.
#[derive(Debug)]
pub struct Revoke {
    /// Which ones, and until when.
    pub what: Revocation,
    /// Where the answer goes.
    pub reply: oneshot::Sender<Result<Effect, Unrevoked>>,
}

/// What a revocation did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Effect {
    /// Until when it holds: later than was asked for where it held until then already.
    pub until: SystemTime,
    /// How many revocations hold now.
    pub count: usize,
    /// It is in a file from which the next start reads it.
    pub survives_restart: bool,
}

/// Why nothing was revoked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unrevoked {
    /// There are too many revocations.
    Full,
    /// They cannot be written to their file, for this reason.
    Unwritten(String),
}

/// Where questions are asked. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Asker {
    keys: mpsc::Sender<Question>,
    tokens: mpsc::Sender<About>,
    revocations: mpsc::Sender<Revoke>,
}

/// Where questions are heard.
#[derive(Debug)]
pub struct Asked {
    /// For keys.
    pub keys: mpsc::Receiver<Question>,
    /// About tokens.
    pub tokens: mpsc::Receiver<About>,
    /// What is to be revoked.
    pub revocations: mpsc::Receiver<Revoke>,
}

/// A way to ask.
pub fn channel() -> (Asker, Asked) {
    let (keys, keys_asked) = mpsc::channel(UNDER_WAY);
    let (tokens, tokens_asked) = mpsc::channel(UNDER_WAY);
    let (revocations, revocations_asked) = mpsc::channel(UNDER_WAY);
    let asked = Asked { keys: keys_asked, tokens: tokens_asked, revocations: revocations_asked };
    (Asker { keys, tokens, revocations }, asked)
}

impl Asker {
    /// Asks for a key that the snapshot does not have; without a `kid`, for the keys of a place of which it has none. The future ends when
    /// a fetch does, or after 1 s, whichever is first. No issuer is asked for a name of over 256 bytes.
    pub fn keys(&self, place: &str, kid: Option<&str>) -> impl Future<Output = Look> + Send + use<> {
        let (reply, answer) = oneshot::channel();
        let too_long = kid.is_some_and(|kid| kid.len() > LONGEST_KID);
        let question = || Question::Key { place: place.into(), kid: kid.map(Box::from), reply };
        let asked = !too_long && self.keys.try_send(question()).is_ok();
        async move { if too_long { Look::Unknown } else { look(asked, answer).await } }
    }

    /// Asks for other keys than these, none of which made a token's signature. The future ends as that of [`Asker::keys`]. Keys that were
    /// fetched lately are not fetched again.
    pub fn others(&self, place: &str, than: &Arc<KeySet>) -> impl Future<Output = Look> + Send + use<> {
        let (reply, answer) = oneshot::channel();
        let question = Question::Others { place: place.into(), than: than.clone(), reply };
        let asked = self.keys.try_send(question).is_ok();
        look(asked, answer)
    }

    /// Asks an issuer about a token that only it understands. `digest` is the token's SHA-256. The future ends after 2 s at the latest.
    pub fn introspect(
        &self,
        issuer: &Arc<str>,
        digest: [u8; 32],
        token: &str,
    ) -> impl Future<Output = Introspected> + Send + use<> {
        let (reply, answer) = oneshot::channel();
        let asked = self.tokens.try_send(About { issuer: issuer.clone(), digest, token: token.into(), reply }).is_ok();
        async move {
            match timeout(INTROSPECTION, answer).await {
                Ok(Ok(introspected)) if asked => introspected,
                _ => Introspected::Away { retry_after: SOON },
            }
        }
    }

    /// Revokes tokens. `None`: who keeps revocations did not answer within 10 s, and may yet have done it.
    pub fn revoke(&self, what: Revocation) -> impl Future<Output = Option<Result<Effect, Unrevoked>>> + Send + use<> {
        let (reply, answer) = oneshot::channel();
        let asked = self.revocations.try_send(Revoke { what, reply }).is_ok();
        async move { timeout(REVOCATION, answer).await.ok()?.ok().filter(|_| asked) }
    }
}

/// The answer to a question for keys, if it was asked.
async fn look(asked: bool, answer: oneshot::Receiver<Look>) -> Look {
    match timeout(KEYS, answer).await {
        Ok(Ok(look)) if asked => look,
        _ => Look::Away { retry_after: SOON },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_longer_than_its_time_whoever_does_not_answer() {
        let (asker, mut asked) = channel();
        let begun = Instant::now();
        let look = asker.keys("corp", Some("k1"));
        let question = asked.keys.recv().await;
        assert!(matches!(look.await, Look::Away { retry_after: SOON }));
        assert_eq!(begun.elapsed().as_secs(), 1);
        drop(question);
        let introspected = asker.introspect(&"corp".into(), [0; 32], "secret");
        let about = asked.tokens.recv().await.expect("a question");
        assert!(!format!("{about:?}").contains("secret"));
        assert!(matches!(introspected.await, Introspected::Away { .. }));
        assert_eq!(begun.elapsed().as_secs(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn who_asks_when_nobody_listens_any_more_is_told_at_once() {
        let (asker, asked) = channel();
        drop(asked);
        let begun = Instant::now();
        assert!(matches!(asker.keys("corp", Some("k1")).await, Look::Away { .. }));
        assert!(matches!(asker.introspect(&"corp".into(), [0; 32], "t").await, Introspected::Away { .. }));
        assert_eq!(begun.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn questions_that_nobody_takes_up_are_bounded_in_their_number() {
        let (asker, _asked) = channel();
        let waiting: Vec<_> = (0..UNDER_WAY).map(|_| asker.keys("corp", Some("k"))).collect();
        let begun = Instant::now();
        assert!(matches!(asker.keys("corp", Some("k")).await, Look::Away { .. }));
        assert_eq!(begun.elapsed(), Duration::ZERO);
        drop(waiting);
    }
}
