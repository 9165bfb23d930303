//! Where calls of other gateways are judged.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use tokio::time::Instant;

use super::nonces::Nonces;
use super::seal::{Call, Key, Seal, seconds};
use crate::config::Secret;
use crate::config::fleet::{Field, SKEW};

/// For how long the secret is not read again: strangers choose how often calls come.
const KEPT: Duration = Duration::from_secs(1);

/// How often at most the log says that a call was refused.
const QUIET: Duration = Duration::from_secs(60);

/// Why a call is refused, for the operator of this gateway: whoever made it is told nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused(pub String);

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Judges calls.
#[derive(Debug)]
pub(super) struct Desk {
    id: Arc<str>,
    nonces: Mutex<Nonces>,
    /// The secret's key, and when it was read.
    key: Mutex<Option<(Instant, Key)>>,
    /// When the log said last that a call was refused.
    said: Mutex<Option<Instant>>,
}

impl Desk {
    pub(super) fn new(id: Arc<str>) -> Desk {
        Desk { id, nonces: Mutex::default(), key: Mutex::default(), said: Mutex::default() }
    }

    /// Judges a call without a body that is made now.
    pub(super) fn judge(
        &self,
        secret: &Secret,
        (method, target): (&str, &str),
        field: Option<&str>,
    ) -> Result<Seal, Refused> {
        let judged = self.judge_at(SystemTime::now(), secret, (method, target), field);
        if let Err(why) = &judged {
            self.say(why);
        }
        judged
    }

    pub(super) fn judge_at(
        &self,
        now: SystemTime,
        secret: &Secret,
        (method, target): (&str, &str),
        field: Option<&str>,
    ) -> Result<Seal, Refused> {
        let refused = |why: &str| Refused(why.to_owned());
        let field = field.ok_or_else(|| refused("nothing proves it"))?;
        let Field { time, nonce, mac, to } = Field::read(field).ok_or_else(|| refused("its proof cannot be read"))?;
        let key = self.key(secret)?;
        // The proof comes first: what a stranger says of time and receiver is not worth a word.
        if !key.proves(&Call { method, target, body: b"", to, time, nonce }, &mac) {
            return Err(refused("its proof is wrong: does it have another secret?"));
        }
        if to != &*self.id {
            return Err(Refused(format!("it is for {to}, and this is {}", self.id)));
        }
        let now = seconds(now);
        if now.abs_diff(time) > SKEW {
            return Err(Refused(format!("its clock and this one are {} s apart", now.abs_diff(time))));
        }
        self.nonces.lock().take(nonce, time + SKEW, now).map_err(refused)?;
        Ok(key.seal(&self.id, nonce))
    }

    fn key(&self, secret: &Secret) -> Result<Key, Refused> {
        let mut kept = self.key.lock();
        if let Some((_, key)) = kept.as_ref().filter(|(since, _)| since.elapsed() < KEPT) {
            return Ok(key.clone());
        }
        let key = Key::read(secret).map_err(Refused)?;
        *kept = Some((Instant::now(), key.clone()));
        Ok(key)
    }

    /// Tells the log, but not of each call.
    fn say(&self, why: &Refused) {
        let mut said = self.said.lock();
        if said.is_none_or(|last| last.elapsed() >= QUIET) {
            *said = Some(Instant::now());
            tracing::warn!("a call that says it is from another gateway of the fleet is refused: {why}");
        }
    }
}
