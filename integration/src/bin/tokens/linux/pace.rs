//! Requests at a fixed rate, whatever becomes of them, and a count of what they were answered.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::connection::Connection;

/// How many requests a stranger sends from one address, before it takes the next.
const FROM_ONE: u32 = 15;

/// What requests were answered: how many by which status; 0 where the connection broke.
#[derive(Debug, Default)]
pub(super) struct Tally {
    answers: Mutex<BTreeMap<u16, u64>>,
}

impl Tally {
    fn add(&self, status: u16) {
        *self.answers.lock().expect("no one panics while holding this").entry(status).or_default() += 1;
    }

    /// How many were not answered with 200.
    pub(super) fn refused(&self) -> u64 {
        let answers = self.answers.lock().expect("no one panics while holding this");
        answers.iter().filter(|(status, _)| **status != 200).map(|(_, count)| count).sum()
    }

    /// All that came, in words.
    pub(super) fn words(&self) -> String {
        let answers = self.answers.lock().expect("no one panics while holding this");
        answers.iter().map(|(status, count)| format!("{count} x {status}")).collect::<Vec<_>>().join(", ")
    }
}

/// When requests are due.
#[derive(Clone, Copy)]
pub(super) struct Pace {
    pub(super) begun: Instant,
    pub(super) every: Duration,
    /// How many.
    pub(super) count: u32,
}

impl Pace {
    /// So many, spread evenly over a time that begins now.
    pub(super) fn over(time: Duration, count: u32) -> Pace {
        Pace { begun: Instant::now(), every: time / count.max(1), count }
    }

    async fn due(self, number: u32) {
        sleep_until(self.begun + self.every * number).await; // requests come at a fixed rate
    }
}

/// Sends requests over so many connections; `field` says for each who sends it. Ends when all are answered.
pub(super) async fn steady(
    to: SocketAddr,
    connections: u32,
    pace: Pace,
    field: Arc<dyn Fn(u32) -> String + Send + Sync>,
) -> Arc<Tally> {
    let tally = Arc::new(Tally::default());
    let tasks: Vec<_> = (0..connections)
        .map(|first| {
            let (tally, field) = (tally.clone(), field.clone());
            tokio::spawn(async move {
                let mut client = None;
                for number in (first..pace.count).step_by(connections as usize) {
                    pace.due(number).await;
                    tally.add(ask(&mut client, to, Ipv4Addr::LOCALHOST.into(), &field(number)).await);
                }
            })
        })
        .collect();
    for task in tasks {
        let _ = task.await;
    }
    tally
}

/// Sends requests from ever new addresses: who tries many tokens from one would be slowed down there. Answers may take a second and do not
/// slow it down.
pub(super) async fn strange(
    to: SocketAddr,
    pace: Pace,
    field: impl Fn(u32) -> String + Send + Sync + 'static,
) -> Arc<Tally> {
    let (tally, field) = (Arc::new(Tally::default()), Arc::new(field));
    // Enough for answers that take two.
    let connections = (2.0 / pace.every.as_secs_f64().max(0.002)).ceil() as u32 + 1;
    let tasks: Vec<_> = (0..connections)
        .map(|first| {
            let (tally, field) = (tally.clone(), field.clone());
            tokio::spawn(async move {
                let mut client = None;
                for (round, number) in (0..).zip((first..pace.count).step_by(connections as usize)) {
                    pace.due(number).await;
                    if round % FROM_ONE == 0 {
                        client = None;
                    }
                    let [_, _, high, low] = (first + round / FROM_ONE * connections).to_be_bytes();
                    tally.add(ask(&mut client, to, Ipv4Addr::new(127, 1, high, low).into(), &field(number)).await);
                }
            })
        })
        .collect();
    for task in tasks {
        let _ = task.await;
    }
    tally
}

/// The status of an answer, over the connection that is there or a new one.
async fn ask(client: &mut Option<Connection>, to: SocketAddr, from: IpAddr, field: &str) -> u16 {
    if client.is_none() {
        *client = Connection::open(to, from).await.ok();
    }
    let Some(connection) = client else { return 0 };
    match connection.ask(field).await {
        Ok(status) => status,
        Err(_) => {
            *client = None;
            0
        }
    }
}
