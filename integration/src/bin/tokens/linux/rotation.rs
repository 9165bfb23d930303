//! What callers with good tokens notice while the keys of their issuer change, a stranger sends tokens with a `kid` that no key has, and the
//! issuer hangs; and how often the gateway asks for the keys.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mock_services::Issuer;
use mock_services::issuer::{Algorithm, Rotation, Wanted};
use serde_json::{Map, json};
use tokio::time::{Instant, sleep};

use super::backend;
use super::connection::bearer;
use super::gateway::Gateway;
use super::pace::{Pace, Tally, steady, strange};
use super::{Options, Outcome};

/// Connections that good tokens are sent over.
const CONNECTIONS: u32 = 16;

/// How many of the last tokens are in use: some of every generation of keys that still holds.
const IN_USE: usize = 100;

/// Seconds after which keys are fetched although nobody asks, at the least.
const REFRESH: u64 = 540;

const CONFIG: &str = r#"
workers = 2
limits = ["1000000000/s"]

[[listener]]
address = "LISTENER"

[admin]
address = "127.0.0.1:0"

[[service]]
name = "user_service"
instances = ["ONE", "TWO"]

[api]
auth = { any = ["rotating"] }

[[issuer]]
name = "rotating"
issuer = "ISSUER"
audience = ["https://api.example.com"]

[log]
access = false
"#;

/// Rotates keys under load, then lets the issuer hang.
///
/// # Errors
/// When good tokens are refused, or the keys are asked for more often than the budget allows.
pub(super) async fn measure(options: &Options, program: &Path) -> Outcome<()> {
    let issuer = Arc::new(Issuer::start(0).await.map_err(|error| error.to_string())?);
    let [one, two] = backend::start().await?;
    let text = CONFIG.replace("ISSUER", issuer.url()).replace("ONE", &one).replace("TWO", &two);
    let tokens = Arc::new(Mutex::new(vec![bearer(&token(&issuer))]));
    let gateway = Gateway::start(program, &text, &first(&tokens)).await?;
    let begun = Instant::now();
    let load = Load { to: gateway.address, rate: options.rate, issuer: &issuer, tokens: &tokens };

    let rotated = rotate(options, &issuer, &tokens);
    let during = load.run(options.every * (options.rotations + 1), options.strange, "stranger", rotated).await?;
    let took = begun.elapsed().as_secs();
    println!("{} rotations in {took} s, keys shown {} s before they sign", options.rotations, options.ahead);
    println!("  good tokens: {}; refused: {}", during.good.words(), during.good.refused());
    println!("  a stranger's: {}", during.strange.words());
    let (asked, budget) = (issuer.asked("/jwks") as u64, 1 + 5 + took / 30 + took / REFRESH);
    println!("  the keys were asked for {asked} times; the start, 5, one in 30 s and the refresh allow {budget}");

    issuer.mock().behave(|behaviour| behaviour.hang = true);
    let hung = load.run(options.hung, options.hung * 10, "later", async { Ok(()) }).await?;
    println!("while the issuer hangs for {} s", options.hung);
    println!("  good tokens: {}; refused: {}", hung.good.words(), hung.good.refused());
    println!("  a stranger's: {}", hung.strange.words());

    let refused = during.good.refused() + hung.good.refused();
    if refused > 0 || asked > budget {
        return Err(format!("{refused} good tokens were refused, and the keys asked for {asked} times of {budget}"));
    }
    Ok(())
}

/// Good tokens and a stranger's, at the same time.
struct Load<'a> {
    to: SocketAddr,
    /// Good tokens a second.
    rate: u32,
    issuer: &'a Arc<Issuer>,
    tokens: &'a Arc<Mutex<Vec<String>>>,
}

/// What they were answered.
struct Answers {
    good: Arc<Tally>,
    strange: Arc<Tally>,
}

impl Load<'_> {
    /// Lasts for so many seconds, while something else goes on. The stranger's `kid`s begin with `prefix`.
    async fn run(
        &self,
        seconds: u32,
        strange_tokens: u32,
        prefix: &'static str,
        meanwhile: impl Future<Output = Outcome<()>>,
    ) -> Outcome<Answers> {
        let time = Duration::from_secs(u64::from(seconds));
        let good = steady(self.to, CONNECTIONS, Pace::over(time, self.rate * seconds), in_turn(self.tokens));
        let stranger = strange(self.to, Pace::over(time, strange_tokens), unknown(self.issuer, prefix));
        let (good, stranger) = (tokio::spawn(good), tokio::spawn(stranger));
        meanwhile.await?;
        let (good, strange) = (good.await, stranger.await);
        Ok(Answers {
            good: good.map_err(|error| error.to_string())?,
            strange: strange.map_err(|error| error.to_string())?,
        })
    }
}

/// New keys, again and again. From each set come tokens that are used at once, beside those of the set before.
async fn rotate(options: &Options, issuer: &Arc<Issuer>, tokens: &Arc<Mutex<Vec<String>>>) -> Outcome<()> {
    let every = Duration::from_secs(u64::from(options.every));
    let ahead = Duration::from_secs(u64::from(options.ahead)).min(every);
    let rotation = |ahead| Rotation { algorithm: None, keep: Algorithm::ALL.len(), ahead };
    for _ in 0..options.rotations {
        sleep(every - ahead).await; // the pace of rotations
        if !ahead.is_zero() {
            new_keys(issuer, rotation(true)).await?;
            sleep(ahead).await; // for so long they are only shown
        }
        new_keys(issuer, rotation(false)).await?;
        let fresh: Vec<_> = (0..IN_USE / 2).map(|_| bearer(&token(issuer))).collect();
        let mut tokens = tokens.lock().expect("no one panics while holding this");
        tokens.extend(fresh);
        let old = tokens.len().saturating_sub(IN_USE);
        tokens.drain(..old);
    }
    Ok(())
}

/// Makes keys off the runtime, which sends requests at its pace meanwhile.
async fn new_keys(issuer: &Arc<Issuer>, rotation: Rotation) -> Outcome<()> {
    let issuer = issuer.clone();
    tokio::task::spawn_blocking(move || issuer.rotate(rotation)).await.map_err(|error| error.to_string()).map(drop)
}

/// A token of the key that signs now, which holds for as long as anybody measures.
fn token(issuer: &Issuer) -> String {
    issuer.token(&Wanted { algorithm: Algorithm::ES256, ..Wanted::with(json!({ "exp": 4_102_444_800_u64 })) })
}

/// Tokens with a `kid` that no key has, each with another.
fn unknown(issuer: &Arc<Issuer>, prefix: &'static str) -> impl Fn(u32) -> String + Send + Sync + 'static {
    let issuer = issuer.clone();
    move |number| {
        let kid = json!(format!("{prefix}-{number}"));
        let header = Map::from_iter([("kid".to_owned(), kid)]);
        let wanted = Wanted { header, algorithm: Algorithm::ES256, forged: true, ..Wanted::default() };
        bearer(&issuer.token(&wanted))
    }
}

fn first(tokens: &Mutex<Vec<String>>) -> String {
    tokens.lock().expect("no one panics while holding this")[0].clone()
}

/// Those that are in use, one after the other.
fn in_turn(tokens: &Arc<Mutex<Vec<String>>>) -> Arc<dyn Fn(u32) -> String + Send + Sync> {
    let tokens = tokens.clone();
    Arc::new(move |number| {
        let tokens = tokens.lock().expect("no one panics while holding this");
        tokens[number as usize % tokens.len()].clone()
    })
}
