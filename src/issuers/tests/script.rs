//! Issuers as a script: what each URL answers, changed at any time, and when it was asked. There are no sockets, so that paused time passes
//! only when everybody waits.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::issuers::http::{Answer, Failure, Request};

/// What a URL answers.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    /// This, at once.
    Now(Result<Answer, Failure>),
    /// What is said then, after so long.
    After(Duration, Box<Reply>),
    /// Nothing.
    Never,
    /// The gateway panics on it.
    Panic,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Script(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    replies: HashMap<String, Reply>,
    asked: Vec<(Instant, String)>,
}

impl Reply {
    /// A body.
    pub(crate) fn body(text: impl Into<Vec<u8>>) -> Reply {
        Reply::Now(Ok(Answer { body: text.into(), fresh: None }))
    }

    /// A body that holds for so long.
    pub(crate) fn fresh(text: impl Into<Vec<u8>>, seconds: u64) -> Reply {
        Reply::Now(Ok(Answer { body: text.into(), fresh: Some(Duration::from_secs(seconds)) }))
    }

    /// No answer.
    pub(crate) fn away() -> Reply {
        Reply::Now(Err(Failure::away("it answers 500 Internal Server Error")))
    }
}

impl Script {
    /// From now on, a URL answers this.
    pub(crate) fn says(&self, url: &str, reply: Reply) {
        self.0.lock().replies.insert(url.to_owned(), reply);
    }

    /// When a URL was asked.
    pub(crate) fn times(&self, url: &str) -> Vec<Instant> {
        self.0.lock().asked.iter().filter(|(_, asked)| asked == url).map(|(at, _)| *at).collect()
    }

    /// How often.
    pub(crate) fn count(&self, url: &str) -> usize {
        self.times(url).len()
    }

    pub(crate) async fn answer(&self, request: &Request<'_>) -> Result<Answer, Failure> {
        let url = request.url.as_str().to_owned();
        self.0.lock().asked.push((Instant::now(), url.clone()));
        let mut reply = self.reply(&url);
        loop {
            match reply {
                Reply::Now(result) => return result,
                Reply::After(time, then) => {
                    tokio::time::sleep(time).await; // paused time
                    reply = *then;
                }
                Reply::Never => std::future::pending().await,
                Reply::Panic => panic!("on command"),
            }
        }
    }

    fn reply(&self, url: &str) -> Reply {
        let found = self.0.lock().replies.get(url).cloned();
        found.unwrap_or_else(|| Reply::Now(Err(Failure::wrong("it answers 404 Not Found"))))
    }
}
