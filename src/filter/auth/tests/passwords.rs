//! Names and passwords at the filter: an answer counts for what was compared, whatever the configuration has become meanwhile.

use argon2::password_hash::{PasswordHasher, SaltString};
use argon2::{Algorithm, Argon2, Params, Version};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::*;
use crate::filter::auth::passwords;
use crate::io::Door;

/// `argon2id` of a password, cheaper than the configuration allows.
fn hash(password: &str) -> String {
    let params = Params::new(8, 1, 1, None).expect("costs");
    let salt = SaltString::from_b64("c2FsdHNhbHRzYWx0").expect("a salt");
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    argon2.hash_password(password.as_bytes(), &salt).expect("a hash").to_string()
}

/// One worker of a gateway that loads one configuration after another.
struct Stand {
    shared: Arc<Shared>,
    local: Local,
    client: Client,
    head: Parts,
    auth: Auth,
}

impl Stand {
    fn new(hashes: &[(&str, &str)]) -> Stand {
        let shared = Arc::new(Shared::new(None, Counts::new(1)));
        let at = |port| std::net::SocketAddr::from(([10, 0, 0, 1], port));
        let client = Client::new(at(1), at(2), Door::Public, &[].into());
        let head = http::Request::new(()).into_parts().0;
        let auth = Stand::auth(hashes, 1, &shared);
        Stand { shared, local: Local::new(WorkerId(0)), client, head, auth }
    }

    /// Loads the next configuration, in which these names have these hashes.
    fn reload(&mut self, hashes: &[(&str, &str)]) {
        self.auth = Stand::auth(hashes, self.auth.version.config + 1, &self.shared);
    }

    fn auth(hashes: &[(&str, &str)], version: u64, shared: &Arc<Shared>) -> Auth {
        let consumer = |(name, hash): &(&str, &str)| config::Consumer {
            name: (*name).into(),
            keys: Vec::new(),
            password: Some(config::PasswordHash((*hash).to_owned())),
            admin: false,
            operator: false,
            plan: None,
        };
        let config = Config { version, consumers: hashes.iter().map(consumer).collect(), ..config::for_tests() };
        Auth::new(&config, &Arc::default(), shared)
    }

    /// What a name and a password get: a name, a reason, or nothing as yet.
    fn check(&self, sent: &str, waiting: &mut Option<Box<Waiting>>) -> Option<Result<String, &'static str>> {
        let (head, client, local) = (&self.head, &self.client, &self.local);
        let (address, began) = (client.ip(), Instant::now());
        let named = Named::default();
        let mut asking = Asking { head, client, address, began, waiting, local, for_admin: false, named };
        match passwords::check(&self.auth, STANDARD.encode(sent).as_bytes(), &mut asking) {
            Ok(consumer) => Some(Ok(consumer.name.to_string())),
            Err(Halt::Denied(denied)) => Some(Err(denied.reason())),
            Err(Halt::Wait) => None,
        }
    }

    /// The same at its end, which must take as many comparisons as this.
    async fn compare(
        &self,
        times: usize,
        sent: &str,
        waiting: &mut Option<Box<Waiting>>,
    ) -> Result<String, &'static str> {
        for _ in 0..times {
            assert_eq!(self.check(sent, waiting), None, "{sent} must be compared");
            waiting.as_mut().expect("it waits").end().await;
        }
        self.check(sent, waiting).expect("it is compared")
    }
}

#[tokio::test]
async fn an_answer_about_a_password_counts_for_no_other_one() {
    let (right, other) = (hash("right"), hash("other"));
    let mut stand = Stand::new(&[("shop", &right)]);
    let waiting = &mut None;
    assert_eq!(stand.check("shop:right", waiting), None);
    waiting.as_mut().expect("it waits").end().await;
    stand.reload(&[("shop", &other)]);
    assert_eq!(
        stand.compare(1, "shop:right", waiting).await,
        Err("wrong_password"),
        "it was right for the hash before"
    );

    assert_eq!(stand.check("shop:other", waiting), None);
    waiting.as_mut().expect("it waits").end().await;
    assert_eq!(stand.compare(1, "shop:another", waiting).await, Err("wrong_password"));
    assert_eq!(stand.compare(1, "shop:other", waiting).await, Ok("shop".into()));
}

#[tokio::test]
async fn an_unknown_name_gets_nothing_by_the_password_of_another_even_if_it_becomes_known() {
    let (right, other) = (hash("right"), hash("other"));
    let mut stand = Stand::new(&[("shop", &right)]);
    let waiting = &mut None;
    assert_eq!(stand.compare(1, "late:right", waiting).await, Err("wrong_password"));
    assert_eq!(stand.check("late:right", waiting), None);
    waiting.as_mut().expect("it waits").end().await;
    stand.reload(&[("shop", &right), ("late", &other)]);
    assert_eq!(stand.compare(1, "late:right", waiting).await, Err("wrong_password"), "its own is another");
    assert_eq!(stand.compare(1, "late:other", waiting).await, Ok("late".into()));
}

#[tokio::test]
async fn a_reload_that_changes_something_else_forgets_no_password_and_one_that_changes_it_does() {
    let (right, other) = (hash("right"), hash("other"));
    let mut stand = Stand::new(&[("shop", &right)]);
    let waiting = &mut None;
    assert_eq!(stand.compare(1, "shop:right", waiting).await, Ok("shop".into()));
    stand.reload(&[("shop", &right), ("late", &other)]);
    assert_eq!(stand.compare(1, "late:other", waiting).await, Ok("late".into()));
    assert_eq!(stand.compare(0, "shop:right", waiting).await, Ok("shop".into()), "it is known again");
    stand.reload(&[("shop", &other)]);
    assert_eq!(stand.compare(1, "shop:right", waiting).await, Err("wrong_password"));
    stand.reload(&[("late", &other)]);
    assert_eq!(stand.compare(1, "shop:right", waiting).await, Err("wrong_password"), "nobody has this name");
}

#[tokio::test]
async fn where_no_more_passwords_are_remembered_one_makes_room_and_not_all() {
    let (right, waiting) = (hash("right"), &mut None);
    let names: Vec<_> = (0..=passwords::MOST).map(|number| format!("n{number}")).collect();
    let hashes: Vec<_> = names.iter().map(|name| (name.as_str(), right.as_str())).collect();
    let stand = Stand::new(&hashes);
    for name in &names {
        assert_eq!(stand.compare(1, &format!("{name}:right"), waiting).await, Ok(name.clone()));
    }
    let forgotten = names.iter().filter(|name| stand.check(&format!("{name}:right"), &mut None).is_none());
    assert_eq!(forgotten.count(), 1);
}
