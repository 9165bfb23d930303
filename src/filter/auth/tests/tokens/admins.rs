//! Who comes to `/admin` by a token.

use super::*;

/// What an operator's request for a page becomes: whether they are an admin, a reason, or nothing as yet.
fn of(
    stand: &Stand,
    line: (&'static str, &str),
    waiting: &mut Option<Box<Waiting>>,
) -> Option<Result<bool, &'static str>> {
    let head = Stand::head(&[line]);
    let found = stand.filters.auth.of_admin(&head, (&stand.client, stand.client.ip()), &stand.local, waiting);
    found.map(|found| found.map(|caller| caller.consumer.roles.admin)).map_err(|refusal| refusal.reason).transpose()
}

#[test]
fn admins_come_by_a_token_that_is_for_admin_or_by_a_key() {
    let stand = Stand::new("true");
    let of = |line: (&'static str, &str)| of(&stand, line, &mut None);
    let admin = bearer(&token(SECRET, &json!({ "role": "admin", "aud": "gateway" })));
    assert_eq!(of(("authorization", &admin)), Some(Ok(true)));
    assert_eq!(of(("authorization", &bearer(&token(SECRET, &json!({ "aud": "gateway" }))))), Some(Ok(false)));
    assert_eq!(of(("x-api-key", "right")), Some(Ok(false)));
    let elsewhere = bearer(&token(SECRET, &json!({ "role": "admin" })));
    assert_eq!(of(("authorization", &elsewhere)), Some(Err("wrong_audience")), "it is for routes alone");
    let foreign = bearer(&token(SECRET, &json!({ "iss": "https://c.example", "role": "admin", "aud": "gateway" })));
    assert_eq!(of(("authorization", &foreign)), Some(Err("unknown_issuer")));
}

#[test]
fn a_token_that_is_for_admin_alone_opens_no_route_also_when_it_is_remembered() {
    let stand = Stand::new("{ any = [\"corp\"] }");
    let (admin, both) = (json!({ "role": "admin", "aud": "gateway" }), json!({ "aud": ["api", "gateway"] }));
    let (admin, both) = (bearer(&token(SECRET, &admin)), bearer(&token(SECRET, &both)));
    assert_eq!(stand.reason(&[("authorization", &admin)]), (401, "wrong_audience"));
    assert_eq!(of(&stand, ("authorization", &admin), &mut None), Some(Ok(true)));
    assert_eq!(stand.reason(&[("authorization", &admin)]), (401, "wrong_audience"));
    assert_eq!(stand.reason(&[("authorization", &both)]), (200, ""));
    assert_eq!(of(&stand, ("authorization", &both), &mut None), Some(Ok(false)));
}

#[tokio::test(start_paused = true)]
async fn an_operator_with_an_opaque_token_waits_until_its_issuer_has_answered() {
    let mut stand = Stand::new("true");
    let says = json!({ "active": true, "sub": "carol", "aud": "gateway", "role": "operator", "exp": in_seconds(60) });
    let issuer = stand.config.issuers[1].clone();
    let claims = Claims::introspected(says.to_string().as_bytes(), &issuer, std::time::SystemTime::now());
    let claims = Arc::new(claims.expect("it holds"));
    let waiting = &mut None;
    assert_eq!(of(&stand, ("authorization", "Bearer abc"), waiting), None);
    let answer = async {
        let about = stand.asked.tokens.recv().await.expect("a question");
        let until = Instant::now() + Duration::from_secs(30);
        about.reply.send(Introspected::Active { claims, until }).expect("somebody waits");
    };
    tokio::join!(waiting.as_mut().expect("it waits").end(), answer);
    let head = Stand::head(&[("authorization", "Bearer abc")]);
    let found = stand.filters.auth.of_admin(&head, (&stand.client, stand.client.ip()), &stand.local, waiting);
    let Caller { consumer: found, issuer } = found.expect("it holds").expect("it is answered");
    assert_eq!((&*found.name, issuer.as_deref()), ("carol", Some("opaque")));
    assert_eq!(found.roles, Roles { admin: false, operator: true });
}
