//! Tokens by form: parts, base64url, JSON, sizes.

use super::mint::{parts, token};
use super::{Row, fails, holds};
use crate::token::Rejection::{Duplicate, Encrypted, Malformed, NotJwt, Signature, TooLong};

pub(super) fn rows() -> Vec<Row> {
    [counts(), base64(), json(), sizes()].into_iter().flatten().collect()
}

/// How many parts.
fn counts() -> Vec<Row> {
    vec![
        fails("nothing", token().sent(|_| String::new()), NotJwt),
        fails("two dots", token().sent(|_| "..".to_owned()), NotJwt),
        fails("an opaque token", token().sent(|_| "2YotnFZFEjr1zCsicMWpAA".to_owned()), NotJwt),
        fails("an opaque token with two dots", token().sent(|_| "ya29.a0AfH6SM.BqX".to_owned()), NotJwt),
        fails("one part", token().sent(|token| parts(&token)[0].to_owned()), NotJwt),
        fails("two parts", token().sent(|token| format!("{}.{}", parts(&token)[0], parts(&token)[1])), NotJwt),
        fails("four parts", token().sent(|token| token + ".AAAA"), NotJwt),
        fails("four parts, the last one empty", token().sent(|token| token + "."), NotJwt),
        fails("five parts, as encrypted ones have", token().sent(|token| token + ".AAAA.AAAA"), Encrypted),
        fails("five parts, of RFC 7516", token().sent(|_| JWE.to_owned()), Encrypted),
        fails("six parts", token().sent(|token| token + ".AAAA.AAAA.AAAA"), NotJwt),
        fails("a dot before it", token().sent(|token| format!(".{token}")), NotJwt),
        fails("no header", token().sent(|token| format!(".{}.{}", parts(&token)[1], parts(&token)[2])), NotJwt),
        fails("no payload", token().sent(|token| format!("{}..{}", parts(&token)[0], parts(&token)[2])), Malformed),
        fails("the JSON form of a token (RFC 7515 section 7.2)", token().sent(as_json), NotJwt),
        fails("two tokens", token().sent(|token| format!("{token},{token}")), Encrypted),
    ]
}

/// RFC 7516, appendix A.1, with its content cut short.
const JWE: &str = "eyJhbGciOiJSU0EtT0FFUCIsImVuYyI6IkEyNTZHQ00ifQ.OKOawDo13gRp2ojaHV7LFpZcgV7T6DVZ.48V1_ALb6US04U3b.\
    5eym8TW_c8SuK0ltJ3rpYIzOeDQz7TALvtu6UG9oMo4vpzs9tX_EFShS8iB7j6ji.XFBoMYUZodetZdvTiFvSkQ";

fn as_json(token: String) -> String {
    let [header, payload, signature] = parts(&token);
    format!(r#"{{"payload":"{payload}","protected":"{header}","signature":"{signature}"}}"#)
}

/// Texts that a lax reader takes for the same token: whoever remembers or revokes tokens by their text would be led round.
fn base64() -> Vec<Row> {
    vec![
        fails("white space before it", token().sent(|token| format!(" {token}")), NotJwt),
        fails("white space behind it", token().sent(|token| format!("{token} ")), Malformed),
        fails("a line's end behind it", token().sent(|token| format!("{token}\n")), Malformed),
        fails("a line's end in its header", token().sent(|token| format!("{}\n{}", &token[..8], &token[8..])), NotJwt),
        fails("a line's end in its payload", token().sent(|token| token.replacen('.', ".\n", 1)), Malformed),
        fails("padding behind the header", token().header("pad", "").sent(padded_header), NotJwt),
        fails("padding behind the payload", token().sent(padded_payload), Malformed),
        fails("padding behind the signature", token().sent(|token| format!("{token}==")), Malformed),
        fails("bits at the end of the signature that say nothing", token().sent(trailing_bit), Malformed),
        fails("two bytes more behind the signature", token().sent(|token| format!("{token}AA")), Signature),
        fails("the alphabet of base64", token().claim("x", "\u{3ff}\u{3ff}\u{3ff}?>~").sent(other_alphabet), Malformed),
        fails("a percent sign", token().sent(|token| token.replacen('.', "%2E", 1)), NotJwt),
        fails("a zero behind it", token().sent(|token| format!("{token}\0")), Malformed),
        fails("quotes around it", token().sent(|token| format!("\"{token}\"")), NotJwt),
        fails("a scheme before it", token().sent(|token| format!("Bearer {token}")), NotJwt),
    ]
}

fn padded_header(token: String) -> String {
    token.replacen('.', "=.", 1)
}

fn padded_payload(token: String) -> String {
    let [header, payload, signature] = parts(&token);
    format!("{header}.{payload}=.{signature}")
}

/// Of 256 bytes the last character has four bits that stand for nothing.
fn trailing_bit(token: String) -> String {
    let (rest, last) = token.split_at(token.len() - 1);
    let next = match last {
        "A" => "B",
        "Q" => "R",
        "g" => "h",
        _ => "x",
    };
    format!("{rest}{next}")
}

fn other_alphabet(token: String) -> String {
    let [header, payload, signature] = parts(&token);
    format!("{header}.{}+/.{signature}", &payload[..payload.len() / 4 * 4 - 2])
}

/// The payload's JSON.
fn json() -> Vec<Row> {
    let deep = |levels: usize| format!(",\"deep\":{}{}", "[".repeat(levels), "]".repeat(levels));
    vec![
        fails("a claim twice", token().payload_end(r#","sub":"root""#), Duplicate),
        fails("a claim twice, once escaped", token().payload_end(r#","\u0073ub":"root""#), Duplicate),
        fails("a member twice, deep inside", token().payload_end(r#","a":[{"b":{"c":1,"c":2}}]"#), Duplicate),
        fails("a payload that is a list", token().payload_text("[]"), Malformed),
        fails("a payload that is a text", token().payload_text("\"ada\""), Malformed),
        fails("a payload that is no JSON", token().payload_text("sub=ada"), Malformed),
        fails("an empty payload", token().payload_text(""), Malformed),
        fails("a payload with something behind it", token().payload_text("{}{}"), Malformed),
        fails("a payload with a comma too many", token().payload_end(","), Malformed),
        fails("a payload with a comment", token().payload_end("/* */"), Malformed),
        fails("a payload that is not UTF-8", token().payload_text(b"{\"sub\":\"\xff\"}"), Malformed),
        fails("a payload in UTF-16", token().payload_text(b"{\0}\0"), Malformed),
        fails("a payload with a byte order mark", token().payload_text(b"\xef\xbb\xbf{}"), Malformed),
        fails("half of a surrogate pair", token().payload_end(r#","x":"\ud83d""#), Malformed),
        fails("a number that no number can be", token().payload_end(",\"x\":1e999"), Malformed),
        holds("characters beyond ASCII", token().claim("name", "Åsa 🙂")),
        holds("claims that lie deep", token().payload_end(&deep(31))),
        fails("claims that lie too deep", token().payload_end(&deep(32)), Malformed),
        fails("claims that lie deeper than a stack", token().payload_end(&deep(2_500)), Malformed),
        holds("a payload with white space", token().payload_end(" \n\t ")),
    ]
}

/// 8 KiB, and no byte more.
fn sizes() -> Vec<Row> {
    // Three bytes of a claim are four of the token; the others fill up to the length.
    let of = |length: usize| {
        let token = |claim: usize, header: usize| token().claim("x", "x".repeat(claim)).header("y", "y".repeat(header));
        let (claims, headers) = (5_000..6_000, 0..4);
        let pairs = claims.flat_map(|claim| headers.clone().map(move |header| (claim, header)));
        let fits = |(claim, header): &(usize, usize)| token(*claim, *header).length() == length;
        let (claim, header) = pairs.into_iter().find(fits).expect("a length that a token can have");
        token(claim, header)
    };
    vec![
        holds("8,192 bytes", of(8_192)),
        fails("8,193 bytes", of(8_193), TooLong),
        fails("a megabyte of letters", token().sent(|_| "a".repeat(1 << 20)), TooLong),
        fails("a megabyte of dots", token().sent(|_| ".".repeat(1 << 20)), TooLong),
    ]
}
