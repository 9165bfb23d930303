//! Issuers that change a key and not its name.

use super::*;

#[tokio::test(start_paused = true)]
async fn who_comes_with_another_signature_waits_once_for_other_keys_and_is_verified_by_them() {
    let mut stand = Stand::new("{ any = [\"corp\"] }");
    // As if their issuer published them: those that are known here, those that it has by now, and those of somebody else.
    let published = |text: &str| Arc::new(KeySet { secret: false, ..(*secret(&stand.config, text)).clone() });
    let (old, new, wrong) = (published(OTHER), published(SECRET), published("a third secret of thirty-two byte"));
    stand.with(kept(&stand.config, old.clone()));
    let line = bearer(&token(SECRET, &json!({})));
    let refused = Some((401, "bad_signature"));
    let away = Look::Away { retry_after: Duration::from_secs(1) };
    for (look, wanted) in
        [(Look::Unknown, refused), (away, refused), (Look::Known(wrong), refused), (Look::Known(new), None)]
    {
        let mut passed = stand.ask(&[("authorization", &line)]);
        assert!(matches!(passed.step, Step::Wait), "{:?}", passed.step);
        let answer = async {
            let asked = stand.asked.keys.recv().await;
            let Some(Question::Others { place, than, reply }) = asked else { panic!("{asked:?}") };
            assert!(&*place == "corp" && Arc::ptr_eq(&than, &old));
            reply.send(look).expect("somebody waits");
        };
        tokio::join!(Filter::Auth.wait(&mut passed.notes), answer);
        let found = match stand.pass(Filter::Auth, &mut passed) {
            Step::Refuse(refusal) => Some((refusal.status.as_u16(), refusal.reason)),
            Step::Continue => None,
            step => panic!("{step:?}"),
        };
        assert_eq!(found, wanted);
    }
}
