//! Tokens by signature: made by somebody else, for something else, in another form.

use super::keys::{OTHER_P256, OTHER_RSA, P256};
use super::mint::{Mint, parts, token};
use super::{Row, fails, holds};
use crate::token::Rejection::{Malformed, Signature, UnknownKey};

pub(super) fn rows() -> Vec<Row> {
    vec![
        fails("a stranger's RSA key under the name of ours", token().by(&OTHER_RSA, "RS256", "rsa"), Signature),
        fails("a stranger's EC key under the name of ours", token().by(&OTHER_P256, "ES256", "p256"), Signature),
        fails("a stranger's key under a name of its own", token().by(&OTHER_RSA, "RS256", "other"), UnknownKey),
        fails("our key under a name that nobody has", token().header("kid", "nobody"), UnknownKey),
        fails("a name that differs in case", token().header("kid", "RSA"), UnknownKey),
        fails("a name that is empty", token().header("kid", ""), UnknownKey),
        fails("a name that is a path", token().header("kid", "../../../../dev/null"), UnknownKey),
        fails("a name that is a query", token().header("kid", "rsa' UNION SELECT 'secret"), UnknownKey),
        fails("a name with a zero behind it", token().header("kid", "rsa\0"), UnknownKey),
        fails("the payload changed afterwards", token().sent(another_payload), Signature),
        fails("the header changed afterwards", token().sent(another_header), Signature),
        fails("the signature of another token", token().sent(another_signature), Signature),
        fails("a bit of the signature changed", token().resigned(another_bit), Signature),
        fails("the signature a byte shorter", token().resigned(|signature| signature[1..].to_vec()), Signature),
        fails("the signature a byte longer", token().resigned(|signature| [&[0], &signature[..]].concat()), Signature),
        fails("an ECDSA signature of zeros", ecdsa(|_| vec![0; 64]), Signature),
        fails("an ECDSA signature of the curve's order", ecdsa(|_| [ORDER, ORDER].concat()), Signature),
        fails("an ECDSA signature as ASN.1", ecdsa(|fixed| asn1(&fixed)), Signature),
        fails("an ECDSA signature with zeros before its halves", ecdsa(|fixed| padded(&fixed)), Signature),
        fails("an ECDSA signature of one half", ecdsa(|fixed| fixed[..32].to_vec()), Signature),
        holds("the other half of ECDSA's pair, which is as good", ecdsa(|fixed| mirrored(&fixed))),
        fails("a signature that is no base64url", token().sent(|token| token + "!"), Malformed),
    ]
}

/// The order of P-256's group.
const ORDER: [u8; 32] = [
    0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xbc, 0xe6, 0xfa, 0xad, 0xa7,
    0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
];

fn another_payload(sent: String) -> String {
    let other = token().claim("sub", "grace").token();
    format!("{}.{}.{}", parts(&sent)[0], parts(&other)[1], parts(&sent)[2])
}

fn another_header(sent: String) -> String {
    let other = token().header("more", 1).token();
    format!("{}.{}.{}", parts(&other)[0], parts(&sent)[1], parts(&sent)[2])
}

fn another_signature(sent: String) -> String {
    let other = token().claim("sub", "grace").token();
    format!("{}.{}.{}", parts(&sent)[0], parts(&sent)[1], parts(&other)[2])
}

fn another_bit(mut signature: Vec<u8>) -> Vec<u8> {
    signature[17] ^= 1;
    signature
}

/// A token on P-256 whose signature is written otherwise.
fn ecdsa(bend: fn(Vec<u8>) -> Vec<u8>) -> Mint {
    token().by(&P256, "ES256", "p256").resigned(bend)
}

/// The form that X.509 has, where JOSE has two numbers of fixed length (RFC 7518 section 3.4).
fn asn1(fixed: &[u8]) -> Vec<u8> {
    let integer = |half: &[u8]| {
        let zeros = half.iter().take_while(|byte| **byte == 0).count();
        let sign: &[u8] = if half[zeros] >= 0x80 { &[0] } else { &[] };
        let number = [sign, &half[zeros..]].concat();
        [&[2, number.len() as u8], &number[..]].concat()
    };
    let both = [integer(&fixed[..32]), integer(&fixed[32..])].concat();
    [&[0x30, both.len() as u8], &both[..]].concat()
}

fn padded(fixed: &[u8]) -> Vec<u8> {
    [&[0], &fixed[..32], &[0], &fixed[32..]].concat()
}

/// r and n - s in place of r and s: ECDSA verifies both, so that no digest of a token may say that it was not seen before.
fn mirrored(fixed: &[u8]) -> Vec<u8> {
    let mut borrow = 0;
    let mut other = [0; 32];
    for at in (0..32).rev() {
        let difference = i16::from(ORDER[at]) - i16::from(fixed[32 + at]) - borrow;
        borrow = i16::from(difference < 0);
        other[at] = (difference & 0xff) as u8;
    }
    [&fixed[..32], &other].concat()
}
