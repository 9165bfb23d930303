//! What hyper's own client makes of the same answers.

use http::HeaderValue;
use http::header::CONNECTION;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;

use super::corpus::{self, Case};
use super::*;

/// The same as [`ours`], of hyper's client.
pub(super) fn theirs(method: &Method, pieces: &[&[u8]], closes: bool) -> Outcome {
    let (client, server) = tokio::io::duplex(PIPE);
    let (hand, mut feed) = (Hand::default(), Feed::new(server, pieces, closes));
    let shaken = at_once(http1::handshake::<_, http_body_util::Empty<Bytes>>(TokioIo::new(client)));
    let (mut sender, connection) = shaken.expect("a connection that said nothing");
    let mut connection = Some(Box::pin(connection.with_upgrades()));
    let mut serve = move |cx: &mut Context<'_>| {
        if connection.as_mut().is_some_and(|connection| connection.as_mut().poll(cx).is_ready()) {
            connection = None;
        }
    };
    let request = http::Request::builder().method(method).uri("/").body(http_body_util::Empty::new());
    let mut send = pin!(sender.send_request(request.expect("a request")));
    let sent = feed.drive(&hand, |cx| {
        serve(cx);
        send.as_mut().poll(cx)
    });
    let mut response = match sent {
        Some(Ok(response)) => response,
        Some(Err(_)) => return Outcome::without(Told::Failed),
        None => return Outcome::without(Told::Waits),
    };
    hop_heard(response.headers_mut());
    let head = head_of(&response);
    let (mut reading, mut body) = (Reading::default(), response.into_body());
    let end = feed.drive(&hand, |cx| {
        serve(cx);
        reading.poll(|| http_body::Body::poll_frame(Pin::new(&mut body), cx))
    });
    while feed.next() {}
    hand.until_stalled(|cx| {
        serve(cx);
        Poll::<()>::Pending
    });
    let end = end.unwrap_or(End::Waits);
    Outcome { head, body: reading.body, trailers: reading.trailers, end, reusable: sender.is_ready() }
}

/// Without the values of `Connection` that are about nothing but it: ours are not passed on.
fn hop_heard(headers: &mut HeaderMap) {
    let of_hop = |option: &str| ["keep-alive", "close"].contains(&option.trim().to_ascii_lowercase().as_str());
    let passed = |value: &HeaderValue| !value.to_str().is_ok_and(|value| value.split(',').all(of_hop));
    let values: Vec<_> = headers.get_all(CONNECTION).iter().filter(|value| passed(value)).cloned().collect();
    headers.remove(CONNECTION);
    for value in values {
        headers.append(CONNECTION, value);
    }
}

/// The corpus, whole, with the connection left open and closed after it; what differs does so for a reason that it says.
#[test]
fn it_reads_every_answer_as_hyper_does_or_says_why_not() {
    let mut wrong = Vec::new();
    for Case { name, method, bytes, differs } in corpus::all() {
        let told = |closes| (ours(&method, &[&bytes], closes).tell(), theirs(&method, &[&bytes], closes).tell());
        let both = [told(false), told(true)];
        if differs.is_some() && both.iter().all(|(ours, theirs)| ours == theirs) {
            wrong.push(format!("{name} does not differ"));
        }
        for (closes, (ours, theirs)) in both.iter().enumerate() {
            let expected = differs.as_ref().map_or(&**theirs, |differs| differs.ours[closes]);
            if ours != expected {
                wrong.push(format!(
                    "{name} ({closes})\n  ours:     {ours}\n  hyper's:  {theirs}\n  expected: {expected}"
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{} answers:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn the_corpus_is_large_its_names_are_unique_and_each_difference_has_a_reason() {
    let cases = corpus::all();
    let names: std::collections::BTreeSet<_> = cases.iter().map(|case| case.name.as_str()).collect();
    assert!(cases.len() >= 60 && names.len() == cases.len(), "{} cases, {} names", cases.len(), names.len());
    assert!(cases.iter().filter_map(|case| case.differs.as_ref()).all(|differs| differs.why.ends_with('.')));
}
