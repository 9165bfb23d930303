//! Which of the credentials that were sent decides (decision 31), and whom it names.

use std::sync::Arc;

use super::denied::Denied;
use super::presented::Presented;
use super::tokens::{self, Asking, Halt, Named};
use super::{Auth, challenge, passwords};
use crate::config::identity::{Demand, Methods};
use crate::filter::{Passing, Step};
use crate::request::{Consumer, Vouched};

/// Who calls.
#[derive(Debug, Default)]
pub(super) struct Identity {
    /// The one whose call it is: the token's or the password's, else the key's.
    pub(super) consumer: Option<Arc<Consumer>>,
    /// The key's, where something else says whose call it is.
    app: Option<Arc<Consumer>>,
    /// What a token says besides.
    pub(super) token: Option<Arc<Vouched>>,
}

/// Finds out who asks, where more than a key may count.
pub(super) fn before(auth: &Auth, demand: &Demand, passing: &mut Passing<'_>) -> Step {
    let Passing { head, client, facts, notes, local, .. } = passing;
    let (address, began, waiting) = (facts.client, facts.began, &mut notes.auth);
    let named = Named::default();
    let mut asking = Asking { head, client, address, began, waiting, local, for_admin: false, named };
    match identity(auth, demand, &mut asking) {
        Ok(Identity { consumer, app, token }) => {
            (facts.consumer, facts.app, facts.token) = (consumer, app, token);
            Step::Continue
        }
        Err(Halt::Wait) => Step::Wait,
        Err(Halt::Denied(denied)) => {
            (facts.consumer, facts.token) = (asking.named.consumer, asking.named.token);
            Step::Refuse(challenge::refusal(denied, demand, &auth.issuers, auth.metadata.as_deref()))
        }
    }
}

/// Whom the credentials of a request name.
///
/// # Errors
/// When they do not, or something must be asked before.
pub(super) fn identity(auth: &Auth, demand: &Demand, asking: &mut Asking<'_>) -> Result<Identity, Halt> {
    let head = asking.head;
    let presented = Presented::of(&head.headers, demand)?;
    match (&demand.methods, presented.count()) {
        (_, 0) if demand.optional => return Ok(Identity::default()),
        (Methods::Any(_), 1) => {}
        (Methods::All(methods), sent) if sent == methods.len() => {}
        (Methods::Any(_), 2..) => return Err(Denied::SeveralCredentials.into()),
        _ => return Err(Denied::NoCredential.into()),
    }
    // The cheapest comes first: who has no key costs no signature.
    let key = match presented.key {
        Some(key) => Some(auth.holder(key, &asking.client.learnt, asking.address, asking.began)?.clone()),
        None => None,
    };
    let holder = match presented.basic {
        Some(sent) => Some(passwords::check(auth, sent, asking)?),
        None => None,
    };
    let token = match presented.token {
        Some(token) => Some(tokens::check(auth, demand, token, asking)?),
        None => None,
    };
    let user = token.as_ref().map(|verified| verified.consumer.clone()).or(holder);
    let token = token.map(|verified| verified.vouched.clone());
    Ok(match user {
        Some(user) => Identity { consumer: Some(user), app: key, token },
        None => Identity { consumer: key, app: None, token },
    })
}
