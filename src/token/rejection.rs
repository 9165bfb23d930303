//! Why a token, or the proof beside it, does not count.

use thiserror::Error;

/// Why a token does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
#[error("{}", self.detail())]
pub enum Rejection {
    /// It is longer than 8 KiB.
    TooLong,
    /// It is no JWT (RFC 7519): not three parts, or the first is no JSON object in base64url. It may be an opaque token.
    NotJwt,
    /// It is encrypted (RFC 7516).
    Encrypted,
    /// A part is not base64url in its one form (RFC 7515 section 2), or not the JSON of an object.
    Malformed,
    /// An object has two members of one name (RFC 7515 section 4, RFC 7519 section 4).
    Duplicate,
    /// Its header has `crit`, `b64` or `zip`, none of which is understood here (RFC 7515 section 4.1.11, RFC 7797).
    Critical,
    /// Its payload is another token (RFC 7519 section 5.2).
    Nested,
    /// Nobody signed it: `alg` is `none` or not there.
    Unsigned,
    /// Its `alg` is not one that its issuer's configuration and the type of its key allow.
    Algorithm,
    /// Its `typ` says that it is for something else.
    Typ,
    /// No issuer of the configuration has its `iss`, or it has none.
    UnknownIssuer,
    /// Its `kid` is in none of its issuer's keys.
    UnknownKey,
    /// It has no `kid`, and not exactly one key fits.
    NoKid,
    /// No key of its issuer made its signature.
    Signature,
    /// A registered claim has a value of a type that it cannot have (RFC 7519 section 4.1).
    Claim,
    /// It has no `exp`.
    NoExpiry,
    /// Its `exp` has passed.
    Expired,
    /// Its `nbf` is ahead.
    NotYetValid,
    /// Its `iat` is ahead.
    IssuedAhead,
    /// It is for somebody else: its `aud`.
    Audience,
    /// A claim that its issuer's `require` asks for is not there, or something else.
    Required,
    /// It is an ID token, a refresh token, a logout token or an event: nothing to call an API with.
    Kind,
    /// It is bound to a key (`cnf`, RFC 7800) in a way that is not checked here.
    Bound,
    /// Its issuer demands tokens that are bound to a key, and it is not.
    Unbound,
    /// None of the claims that name the consumer is there.
    NoConsumer,
    /// Its issuer says that it holds no longer, or never did (RFC 7662 section 2.2).
    Inactive,
    /// It was revoked.
    Revoked,
    /// Whether it holds cannot be said, because its issuer cannot be asked.
    IssuerUnavailable,
    /// The proof beside it does not count.
    Proof(ProofFault),
}

/// Why a proof of possession does not count (RFC 9449 section 4.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ProofFault {
    /// There is none.
    Missing,
    /// There is more than one.
    Several,
    /// It is longer than 8 KiB.
    TooLong,
    /// It is no JWT in its one form.
    Malformed,
    /// An object has two members of one name.
    Duplicate,
    /// Its header has `crit`, `b64` or `zip`.
    Critical,
    /// Its `typ` is not `dpop+jwt`.
    Typ,
    /// Its `alg` is `none`, symmetric, unknown, or not one for its key.
    Algorithm,
    /// Its header has no `jwk`.
    NoKey,
    /// Its `jwk` is no public key that can be used: too small, off its curve, of an unknown type.
    Key,
    /// Its `jwk` has private members.
    PrivateKey,
    /// Its key did not make its signature.
    Signature,
    /// Its `jti` is not there, empty, or over 256 bytes.
    Jti,
    /// Its `htm` is not the request's method.
    Method,
    /// Its `htu` is not the request's URI.
    Uri,
    /// Its `iat` is not there, or no number.
    NoTime,
    /// Its `iat` is over 60 s ago.
    Old,
    /// Its `iat` is over 60 s ahead.
    Ahead,
    /// Its `ath` is not the token's digest.
    Token,
    /// Its key is not the one that the token is bound to.
    OtherKey,
    /// It was used before.
    Replayed,
    /// It needs a nonce (RFC 9449 section 9), and has none or an old one.
    Nonce,
}

impl Rejection {
    /// A stable word for log, metrics and problem pages.
    pub fn reason(self) -> &'static str {
        match self {
            Rejection::TooLong => "token_too_long",
            Rejection::NotJwt => "not_a_jwt",
            Rejection::Encrypted => "encrypted_token",
            Rejection::Malformed => "malformed_token",
            Rejection::Duplicate => "duplicate_member",
            Rejection::Critical => "critical_header",
            Rejection::Nested => "nested_token",
            Rejection::Unsigned => "unsigned_token",
            Rejection::Algorithm => "wrong_algorithm",
            Rejection::Typ => "wrong_typ",
            Rejection::UnknownIssuer => "unknown_issuer",
            Rejection::UnknownKey => "unknown_kid",
            Rejection::NoKid => "no_kid",
            Rejection::Signature => "bad_signature",
            Rejection::Claim => "malformed_claim",
            Rejection::NoExpiry => "no_exp",
            Rejection::Expired => "expired",
            Rejection::NotYetValid => "not_yet_valid",
            Rejection::IssuedAhead => "issued_ahead",
            Rejection::Audience => "wrong_audience",
            Rejection::Required => "required_claim",
            Rejection::Kind => "not_an_access_token",
            Rejection::Bound => "bound_token",
            Rejection::Unbound => "unbound_token",
            Rejection::NoConsumer => "no_consumer_claim",
            Rejection::Inactive => "inactive_token",
            Rejection::Revoked => "revoked_token",
            Rejection::IssuerUnavailable => "issuer_unavailable",
            Rejection::Proof(fault) => fault.reason(),
        }
    }

    /// A sentence for the caller, of characters that `error_description` may have (RFC 6750 section 3).
    pub fn detail(self) -> &'static str {
        match self {
            Rejection::TooLong => "The token is longer than 8 KiB",
            Rejection::NotJwt => "The token is not a JWT",
            Rejection::Encrypted => "The token is encrypted, and only signed ones are taken",
            Rejection::Malformed => "A part of the token is not canonical base64url, or not a JSON object",
            Rejection::Duplicate => "The token has two members of one name",
            Rejection::Critical => "The token's header has crit, b64 or zip, which are not taken",
            Rejection::Nested => "The token holds another token",
            Rejection::Unsigned => "The token is not signed",
            Rejection::Algorithm => "The token is signed with an algorithm that its issuer does not use",
            Rejection::Typ => "The token's typ is not that of an access token",
            Rejection::UnknownIssuer => "The token's issuer is not known",
            Rejection::UnknownKey => "The token's kid is not that of a key of its issuer",
            Rejection::NoKid => "The token has no kid, and more than one key fits",
            Rejection::Signature => "The token's signature is wrong",
            Rejection::Claim => "A claim of the token has a value of the wrong type",
            Rejection::NoExpiry => "The token has no exp",
            Rejection::Expired => "The token has expired",
            Rejection::NotYetValid => "The token is not valid yet",
            Rejection::IssuedAhead => "The token was issued in the future",
            Rejection::Audience => "The token is for somebody else",
            Rejection::Required => "The token lacks a claim that is required of its issuer",
            Rejection::Kind => "The token is not an access token",
            Rejection::Bound => "The token is bound to a key in a way that is not supported",
            Rejection::Unbound => "The token must be bound to a key",
            Rejection::NoConsumer => "The token lacks the claim that says who calls",
            Rejection::Inactive => "The token is not active",
            Rejection::Revoked => "The token was revoked",
            Rejection::IssuerUnavailable => "The token's issuer cannot be asked at the moment",
            Rejection::Proof(fault) => fault.detail(),
        }
    }

    /// The status of an answer: 503 where only waiting helps, else 401.
    pub fn status(self) -> u16 {
        if self == Rejection::IssuerUnavailable { 503 } else { 401 }
    }
}

impl ProofFault {
    fn reason(self) -> &'static str {
        match self {
            ProofFault::Missing => "dpop_missing",
            ProofFault::Several => "dpop_several",
            ProofFault::TooLong => "dpop_too_long",
            ProofFault::Malformed => "dpop_malformed",
            ProofFault::Duplicate => "dpop_duplicate_member",
            ProofFault::Critical => "dpop_critical_header",
            ProofFault::Typ => "dpop_wrong_typ",
            ProofFault::Algorithm => "dpop_wrong_algorithm",
            ProofFault::NoKey => "dpop_no_jwk",
            ProofFault::Key => "dpop_bad_jwk",
            ProofFault::PrivateKey => "dpop_private_jwk",
            ProofFault::Signature => "dpop_bad_signature",
            ProofFault::Jti => "dpop_bad_jti",
            ProofFault::Method => "dpop_wrong_htm",
            ProofFault::Uri => "dpop_wrong_htu",
            ProofFault::NoTime => "dpop_no_iat",
            ProofFault::Old => "dpop_old",
            ProofFault::Ahead => "dpop_ahead",
            ProofFault::Token => "dpop_wrong_ath",
            ProofFault::OtherKey => "dpop_wrong_key",
            ProofFault::Replayed => "dpop_replayed",
            ProofFault::Nonce => "dpop_nonce",
        }
    }

    fn detail(self) -> &'static str {
        match self {
            ProofFault::Missing => "The token is bound to a key, and the request has no DPoP proof",
            ProofFault::Several => "The request has more than one DPoP proof",
            ProofFault::TooLong => "The DPoP proof is longer than 8 KiB",
            ProofFault::Malformed => "The DPoP proof is not a JWT",
            ProofFault::Duplicate => "The DPoP proof has two members of one name",
            ProofFault::Critical => "The DPoP proof's header has crit, b64 or zip, which are not taken",
            ProofFault::Typ => "The DPoP proof's typ is not dpop+jwt",
            ProofFault::Algorithm => "The DPoP proof's alg is not an asymmetric one that its key can have",
            ProofFault::NoKey => "The DPoP proof's header has no jwk",
            ProofFault::Key => "The DPoP proof's jwk is not a public key that can be used",
            ProofFault::PrivateKey => "The DPoP proof's jwk has private members",
            ProofFault::Signature => "The DPoP proof's signature is wrong",
            ProofFault::Jti => "The DPoP proof's jti is not a text of 1 to 256 bytes",
            ProofFault::Method => "The DPoP proof's htm is not the request's method",
            ProofFault::Uri => "The DPoP proof's htu is not the request's URI",
            ProofFault::NoTime => "The DPoP proof's iat is not a number",
            ProofFault::Old => "The DPoP proof was made more than 60 s ago",
            ProofFault::Ahead => "The DPoP proof was made in the future",
            ProofFault::Token => "The DPoP proof's ath is not the digest of the token",
            ProofFault::OtherKey => "The DPoP proof's key is not the one that the token is bound to",
            ProofFault::Replayed => "The DPoP proof was used before",
            ProofFault::Nonce => "The DPoP proof needs the nonce that this answer has",
        }
    }
}

impl From<ProofFault> for Rejection {
    fn from(fault: ProofFault) -> Rejection {
        Rejection::Proof(fault)
    }
}
