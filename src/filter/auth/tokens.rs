//! Tokens: whose one is, whether it holds, and what must be asked before that is known.

use std::future::Future;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::SystemTime;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use http::request::Parts;
use tokio::time::Instant;

use super::denied::Denied;
use super::presented::Token;
use super::proofs::Use;
use super::unknown_keys::{Turn, UnknownKeys};
use super::verified::Verified;
use super::waiting::{Answer, Question, Waiting, What};
use super::{Auth, Local};
use crate::config::identity::{Demand, Issuer, Method, Methods};
use crate::io::Client;
use crate::request::{Consumer, Vouched};
use crate::token::asking::{Introspected, Look};
use crate::token::proof::Proof;
use crate::token::{Claims, KeySet, KeySets, ProofFault, Rejection, Unverified, issuer_of};

/// Tokens of more bytes are refused unread (decision 32).
const LONGEST: usize = 8192;

/// The bytes of the longest name of a key that the log shows of a token which is refused: a stranger wrote it.
const LONGEST_KID: usize = 256;

/// How many opaque tokens of one address may be asked about at once: a crowd behind one address, but not all that may wait.
const AT_ONCE: u32 = 256;

/// The field with a proof of possession (RFC 9449 section 4.1).
const DPOP: &str = "dpop";

/// Who asks, and what is known of their request.
pub(super) struct Asking<'a> {
    pub(super) head: &'a Parts,
    pub(super) client: &'a Client,
    /// The client's address, as a trusted proxy may say it.
    pub(super) address: IpAddr,
    pub(super) began: Instant,
    /// What the request waited for, or is to wait for.
    pub(super) waiting: &'a mut Option<Box<Waiting>>,
    pub(super) local: &'a Local,
    /// They ask for a page of `/admin`, which has an audience of its own.
    pub(super) for_admin: bool,
    /// Whom the request names, for the log, whatever else is wrong with it.
    pub(super) named: Named,
}

/// Whom a request names.
#[derive(Default)]
pub(super) struct Named {
    /// Their token's caller, if it holds.
    pub(super) consumer: Option<Arc<Consumer>>,
    /// Whose token it is, and which key is to have signed it.
    pub(super) token: Option<Arc<Vouched>>,
}

impl Asking<'_> {
    /// The answer to a question, if it was asked for this request and answered.
    pub(super) fn answer(&mut self, question: Question) -> Option<Answer> {
        self.waiting.take()?.answer(question)
    }

    /// Lets the request wait for an answer, which may take a turn.
    pub(super) fn wait(
        &mut self,
        question: Question,
        turn: Option<Turn>,
        answer: impl Future<Output = Answer> + Send + 'static,
    ) -> Halt {
        *self.waiting = Some(Box::new(Waiting::new(question, turn, answer)));
        Halt::Wait
    }

    /// A turn to have something dear looked at: so many at once for an address.
    pub(super) fn turn(&self, auth: &Auth, at_once: u32) -> Result<Turn, Denied> {
        UnknownKeys::turn(&auth.shared.unknown_keys, self.address, at_once, Instant::now())
    }
}

/// Why a request does not go on.
pub(super) enum Halt {
    /// It is refused.
    Denied(Denied),
    /// It must wait first.
    Wait,
}

impl From<Denied> for Halt {
    fn from(denied: Denied) -> Halt {
        Halt::Denied(denied)
    }
}

impl From<Rejection> for Halt {
    fn from(rejection: Rejection) -> Halt {
        Halt::Denied(rejection.into())
    }
}

/// The token that a request presents, if it holds and is as the route demands.
///
/// # Errors
/// When it does not, or when something must be asked before.
pub(super) fn check(
    auth: &Auth,
    demand: &Demand,
    token: Token<'_>,
    asking: &mut Asking<'_>,
) -> Result<Arc<Verified>, Halt> {
    let verified = match known(auth, token, asking)? {
        Ok(verified) => verified,
        Err(digest) => first(auth, demand, token, digest, asking)?,
    };
    let held =
        hold(auth, demand, &verified, asking.for_admin).and_then(|()| possession(auth, &verified, token, asking.head));
    if let Err(denied) = held {
        verified.counted.refuse(denied.reason());
        asking.named = Named { consumer: Some(verified.consumer.clone()), token: Some(verified.vouched.clone()) };
        return Err(denied.into());
    }
    verified.counted.accept(asking.local.worker);
    Ok(verified)
}

/// A token that is remembered, or the digest of one that is not.
fn known(auth: &Auth, token: Token<'_>, asking: &Asking<'_>) -> Result<Result<Arc<Verified>, [u8; 32]>, Rejection> {
    if token.text.len() > LONGEST {
        auth.shared.counts.of_nobody().refuse(Rejection::TooLong.reason());
        return Err(Rejection::TooLong);
    }
    let learnt = &asking.client.learnt_token;
    let before = learnt.digest(token.text, |known, sent| verify_slices_are_equal(known, sent).is_ok());
    let digest = before.unwrap_or_else(|| {
        let mut whole = [0; 32];
        whole.copy_from_slice(digest(&SHA256, token.text).as_ref());
        whole
    });
    let found = asking.local.tokens.borrow_mut().find(auth.version, &digest, asking.began);
    if found.is_some() && before.is_none() {
        learnt.learn(token.text, digest);
    }
    Ok(found.ok_or(digest))
}

/// A token that is seen for the first time, or again after a while.
fn first(
    auth: &Auth,
    demand: &Demand,
    token: Token<'_>,
    digest: [u8; 32],
    asking: &mut Asking<'_>,
) -> Result<Arc<Verified>, Halt> {
    let (issuer, kid, found) = match Unverified::read(token.text) {
        // Tokens that are encrypted (RFC 7516) are opaque to all but their issuer.
        Err(rejection @ (Rejection::NotJwt | Rejection::Encrypted)) => match opaque(auth, demand) {
            Some(issuer) => (Some(issuer), None, introspected(auth, issuer, digest, token, asking)),
            None => (None, None, Err(rejection.into())),
        },
        Err(rejection) => (None, None, Err(rejection.into())),
        Ok(unverified) => match issuer_of(&unverified, &auth.issuers) {
            // What does not count here whoever signed it has nobody asked for keys.
            Ok(issuer) if !lists(demand, issuer) => (Some(issuer), None, Err(Rejection::UnknownIssuer.into())),
            Ok(issuer) => {
                let kid = unverified.kid().filter(|kid| kid.len() <= LONGEST_KID).map(Box::from);
                (Some(issuer), kid, signed(auth, issuer, token, unverified, digest, asking))
            }
            Err(rejection) => (None, None, Err(rejection.into())),
        },
    };
    let counted = issuer.map_or_else(|| auth.shared.counts.of_nobody(), |issuer| auth.counted(issuer));
    let found = found.and_then(|(claims, until)| {
        let issuer = issuer.ok_or(Rejection::UnknownIssuer)?;
        Ok((Arc::new(Verified::new(issuer, claims, counted.clone())?), until))
    });
    match found {
        Ok((verified, until)) => {
            counted.hold(&verified.claims, verified.issuer.leeway);
            let now = Instant::now();
            asking.local.tokens.borrow_mut().keep(auth.version, digest, &verified, now, until);
            asking.client.learnt_token.learn(token.text, digest);
            Ok(verified)
        }
        Err(halt) => {
            if let Halt::Denied(denied) = &halt {
                counted.refuse(denied.reason());
                asking.named.token = issuer.map(|issuer| Arc::new(Vouched::refused(issuer.name.clone(), kid)));
            }
            Err(halt)
        }
    }
}

/// What a signed token says, and until when that holds.
fn signed(
    auth: &Auth,
    issuer: &Arc<Issuer>,
    token: Token<'_>,
    unverified: Unverified<'_>,
    digest: [u8; 32],
    asking: &mut Asking<'_>,
) -> Result<(Arc<Claims>, Instant), Halt> {
    let now = SystemTime::now();
    let keys = auth.sets.of(KeySets::place(issuer, unverified.iss().unwrap_or_default()), issuer);
    let verified = match keys {
        Some(keys) => unverified.verify(issuer, keys, now),
        None => Err(Rejection::UnknownKey),
    };
    let claims = match (verified, keys) {
        // Secrets are read here, and have nobody to be asked.
        (Err(Rejection::Signature), Some(keys)) if !keys.secret => {
            by_fetched(auth, issuer, (token, digest), Some(keys), asking)?
        }
        (Err(Rejection::UnknownKey), _) => by_fetched(auth, issuer, (token, digest), None, asking)?,
        (verified, _) => verified?,
    };
    // Within the leeway it is looked at each time.
    let left = claims.expires().duration_since(now).unwrap_or_default();
    let until = Instant::now().checked_add(left).unwrap_or_else(|| Instant::now() + super::remembered::LONGEST);
    Ok((Arc::new(claims), until))
}

/// What a token says by keys from who fetches them: by those with one of the name that it gives; or by others than those that did not sign
/// it, for its issuer may have changed a key and not the key's name. Where nobody can say that there are others, those are the ones that hold,
/// and the signature is wrong.
fn by_fetched(
    auth: &Auth,
    issuer: &Arc<Issuer>,
    (token, digest): (Token<'_>, [u8; 32]),
    than: Option<&Arc<KeySet>>,
    asking: &mut Asking<'_>,
) -> Result<Claims, Halt> {
    let unverified = Unverified::read(token.text)?;
    let what = if than.is_some() { What::OtherKeys } else { What::Key };
    let question = Question { what, about: digest, config: auth.version.config };
    match asking.answer(question) {
        Some(Answer::Keys(Look::Known(keys))) => Ok(unverified.verify(issuer, &keys, SystemTime::now())?),
        Some(Answer::Keys(_)) if than.is_some() => Err(Rejection::Signature.into()),
        Some(Answer::Keys(Look::Unknown)) => Err(Rejection::UnknownKey.into()),
        Some(Answer::Keys(Look::Away { retry_after })) => Err(Denied::Unavailable(retry_after).into()),
        _ => {
            let nobody = than.map_or(Rejection::IssuerUnavailable, |_| Rejection::Signature);
            let asker = auth.shared.asker.as_ref().ok_or(nobody)?;
            let place = KeySets::place(issuer, unverified.iss().unwrap_or_default());
            Err(match than {
                Some(than) => {
                    let asked = asker.others(place, than);
                    asking.wait(question, None, async { Answer::Keys(asked.await) })
                }
                None => {
                    let asked = asker.keys(place, unverified.kid());
                    asking.wait(question, None, async { Answer::Keys(asked.await) })
                }
            })
        }
    }
}

/// What an issuer says of a token that only it understands. One that does not hold counts as an unknown key of its sender.
fn introspected(
    auth: &Auth,
    issuer: &Issuer,
    digest: [u8; 32],
    token: Token<'_>,
    asking: &mut Asking<'_>,
) -> Result<(Arc<Claims>, Instant), Halt> {
    let question = Question { what: What::Token, about: digest, config: auth.version.config };
    match asking.answer(question) {
        Some(Answer::Token(Introspected::Active { claims, until })) => Ok((claims, until)),
        Some(Answer::Token(Introspected::Refused(rejection))) => {
            match auth.shared.unknown_keys.count(asking.address, Instant::now()) {
                Some(wait) => Err(Denied::TooManyUnknown(wait).into()),
                None => Err(rejection.into()),
            }
        }
        Some(Answer::Token(Introspected::Away { retry_after })) => Err(Denied::Unavailable(retry_after).into()),
        _ => {
            // Nothing else is a token, and an issuer need not see it.
            let text = std::str::from_utf8(token.text).ok().filter(|text| is_b64token(text));
            let text = text.ok_or(Rejection::Malformed)?;
            let asker = auth.shared.asker.as_ref().ok_or(Rejection::IssuerUnavailable)?;
            let turn = asking.turn(auth, AT_ONCE)?;
            let asked = asker.introspect(&issuer.name, digest, text);
            Err(asking.wait(question, Some(turn), async { Answer::Token(asked.await) }))
        }
    }
}

/// Whether a text can be a token at all: the `b64token` of RFC 6750 section 2.1.
fn is_b64token(text: &str) -> bool {
    let text = text.trim_end_matches('=');
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~+/".contains(&byte))
}

/// The issuer that is asked about tokens which only it understands.
fn opaque<'a>(auth: &'a Auth, demand: &Demand) -> Option<&'a Arc<Issuer>> {
    auth.issuers.iter().find(|issuer| issuer.opaque.is_some() && lists(demand, issuer))
}

/// Whether tokens of an issuer count at all.
fn lists(demand: &Demand, issuer: &Issuer) -> bool {
    let (Methods::Any(methods) | Methods::All(methods)) = &demand.methods;
    methods.iter().any(|method| matches!(method, Method::Issuer(name) if *name == issuer.name))
}

/// Whether a token that holds is what the route demands.
fn hold(auth: &Auth, demand: &Demand, verified: &Verified, for_admin: bool) -> Result<(), Denied> {
    let Verified { issuer, claims, .. } = verified;
    if !lists(demand, issuer) {
        return Err(Rejection::UnknownIssuer.into());
    }
    // What is for `/admin` alone opens no route.
    if !for_admin && !verified.for_routes {
        return Err(Rejection::Audience.into());
    }
    // Revocations come without another version of the keys.
    if verified.is_revoked(auth.sets.revoked()) {
        return Err(Rejection::Revoked.into());
    }
    if !demand.audience.is_empty() && !claims.is_for(&demand.audience) {
        return Err(Rejection::Audience.into());
    }
    if !demand.scopes.iter().all(|scope| claims.has_scope(issuer, scope)) {
        return Err(Denied::Scope);
    }
    if demand.claims.iter().all(|demanded| claims.holds(demanded)) { Ok(()) } else { Err(Denied::Claim) }
}

/// Whether who sends a token has the key that it is bound to (RFC 9449 section 7.2). The proof is used up, so this comes last.
fn possession(auth: &Auth, verified: &Verified, token: Token<'_>, head: &Parts) -> Result<(), Denied> {
    let Some(thumbprint) = verified.claims.cnf_jkt() else {
        return if token.dpop { Err(Rejection::Unbound.into()) } else { Ok(()) };
    };
    let mut proofs = head.headers.get_all(DPOP).iter();
    let proof = match (proofs.next(), proofs.next()) {
        (Some(proof), None) if token.dpop => proof,
        (Some(_), Some(_)) => return Err(Rejection::Proof(ProofFault::Several).into()),
        // A bound token that comes as any other is one that somebody may have stolen.
        _ => return Err(Rejection::Proof(ProofFault::Missing).into()),
    };
    let origin = auth.public_url.as_deref().unwrap_or_default();
    let uri = [origin, head.uri.path()].concat();
    let now = SystemTime::now();
    let proof = Proof::read(proof.as_bytes())?;
    let jti = proof.verify(head.method.as_str(), &uri, token.text, now, thumbprint)?;
    match auth.shared.proofs.once(jti.digest, proof.nonce(), Instant::now()) {
        Use::First => Ok(()),
        Use::Again => Err(Rejection::Proof(ProofFault::Replayed).into()),
        Use::Demanded(nonce) => Err(Denied::Nonce(nonce)),
        Use::Full => Err(Denied::Busy),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_can_be_a_token_is_shown_to_an_issuer() {
        for token in ["a", "AZaz09-._~+/", "abc=", "abc=="] {
            assert!(is_b64token(token), "{token}");
        }
        for other in ["", "=", "a=b", "a b", "a\"b", "a%41", "a,b", "<a>", "a\u{e9}", "a\0", "a&b", "{}", "a:b"] {
            assert!(!is_b64token(other), "{other}");
        }
    }
}
