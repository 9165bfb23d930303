//! What a request waits for before it is known who calls: keys, an issuer's word, or a password that is compared. An answer counts for the
//! question that was asked and for no other one: keys and configuration may have changed while the request waited.

use std::fmt;
use std::future::Future;
use std::pin::Pin;

use tokio::runtime::Handle;

use super::unknown_keys::Turn;
use crate::token::asking::{Introspected, Look};

/// What a request waits for, and what came of it.
pub struct Waiting {
    question: Question,
    state: State,
    /// Whose turn it is, where the answer is dear.
    turn: Option<Turn>,
}

enum State {
    Asked(Pin<Box<dyn Future<Output = Answer> + Send>>),
    Answered(Answer),
    Over,
}

/// All that an answer depends on.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Question {
    /// What is asked.
    pub(super) what: What,
    /// The digest of what it is asked about: of the token, or of a name, a password and what that is compared with.
    pub(super) about: [u8; 32],
    /// By which configuration it is asked.
    pub(super) config: u64,
}

/// What is asked.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    /// The key that the token names.
    Key,
    /// Whether its issuer has other keys than those that did not make its signature.
    OtherKeys,
    /// What its issuer says of the token.
    Token,
    /// Whether a password is right.
    Password,
}

/// What was answered.
pub(super) enum Answer {
    /// Of keys.
    Keys(Look),
    /// Of a token.
    Token(Introspected),
    /// Of a password: whether it is right; `None`: nobody could compare it.
    Password(Option<bool>),
}

impl Waiting {
    /// For the answer to a question, which may take a turn.
    pub(super) fn new(
        question: Question,
        turn: Option<Turn>,
        answer: impl Future<Output = Answer> + Send + 'static,
    ) -> Waiting {
        Waiting { question, state: State::Asked(Box::pin(answer)), turn }
    }

    /// The answer, if it is to this very question.
    pub(super) fn answer(mut self, question: Question) -> Option<Answer> {
        match std::mem::replace(&mut self.state, State::Over) {
            State::Answered(answer) if self.question == question => Some(answer),
            _ => None,
        }
    }

    /// Waits.
    pub async fn end(&mut self) {
        if let State::Asked(asked) = &mut self.state {
            self.state = State::Answered(asked.as_mut().await);
            self.turn = None;
        }
    }
}

/// Who leaves before the answer has their turn until it is there, and what was wrong counts: else strangers could have as much looked at as
/// they like by leaving each time.
impl Drop for Waiting {
    fn drop(&mut self) {
        let state = std::mem::replace(&mut self.state, State::Over);
        let (State::Asked(asked), Some(turn), Ok(here)) = (state, self.turn.take(), Handle::try_current()) else {
            return;
        };
        here.spawn(async move {
            if asked.await.is_no() {
                turn.count();
            }
        });
    }
}

impl Answer {
    /// Whether nobody has what was asked about.
    fn is_no(&self) -> bool {
        matches!(self, Answer::Token(Introspected::Refused(_)) | Answer::Password(Some(false)))
    }
}

/// Without what was asked: there are tokens in it.
impl fmt::Debug for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Waiting")
    }
}
