//! Who vouches for callers, and what routes demand of them.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use http::HeaderName;
use serde_json::Value;

use super::Secret;

/// An issuer of tokens: `[[issuer]]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Issuer {
    /// The name by which routes, logs and admin call it.
    pub name: Arc<str>,
    /// What its tokens say in `iss` (RFC 7519 section 4.1.1).
    pub iss: Iss,
    /// Where its keys come from.
    pub keys: Keys,
    /// Further origins (`https://host:port`) at which what discovery names may lie.
    pub keys_origin: Vec<String>,
    /// What its tokens must be for (RFC 7519 section 4.1.3).
    pub audience: Audience,
    /// What those must be for that open `/admin`: empty where none do.
    pub admin_audience: Vec<Arc<str>>,
    /// Claims that must be so.
    pub require: Vec<Demanded>,
    /// The media types that its tokens must have in `typ`, in lower case and without `application/`; none: `jwt` and `at+jwt` are taken,
    /// and so is a token without one.
    pub typ: Vec<String>,
    /// The algorithms that its tokens may be signed with; `None`: those that its keys allow.
    pub algorithms: Option<Vec<Algorithm>>,
    /// How far clocks may differ.
    pub leeway: Duration,
    /// The claims that name the consumer; the first that is there counts.
    pub consumer: Vec<ClaimPath>,
    /// The claim that names the consumer's tenant.
    pub tenant: Option<ClaimPath>,
    /// The claims with scopes: a text with spaces between them, or a list. The first that is there counts.
    pub scopes_from: Vec<ClaimPath>,
    /// The plan of its consumers.
    pub plan: Option<PlanOf>,
    /// Who may see `/admin`.
    pub admin: Option<Demanded>,
    /// Who may steer the gateway.
    pub operator: Option<Demanded>,
    /// Claims that instances get to see, each in a header field of its own.
    pub forward: Vec<(ClaimPath, HeaderName)>,
    /// Where tokens that are no JWT are asked about.
    pub opaque: Option<Introspection>,
    /// Whether its tokens may be, or must be, bound to a key of the client's (RFC 9449).
    pub dpop: Dpop,
}

impl Issuer {
    /// Whether it names who may see `/admin`.
    pub fn opens_admin(&self) -> bool {
        self.admin.is_some() || self.operator.is_some()
    }
}

/// What tokens say in `iss`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Iss {
    /// Exactly this.
    Exact(Arc<str>),
    /// `before`, one of `values`, `after`: an issuer with a name for each tenant.
    Pattern {
        /// What stands before the tenant.
        before: Arc<str>,
        /// What stands behind it.
        after: Arc<str>,
        /// The tenants.
        values: Vec<Arc<str>>,
    },
}

/// Where an issuer's keys come from.
#[derive(Clone, Debug, PartialEq)]
pub enum Keys {
    /// The place that its metadata names, `ISSUER/.well-known/openid-configuration` (OpenID Connect Discovery 1.0, section 4).
    Discovery,
    /// This URL, which answers a JWK Set (RFC 7517 section 5).
    Url(String),
    /// A file with a JWK Set; it is read again when it changes.
    File(PathBuf),
    /// One secret for signing and verifying: HS256, HS384, HS512, and no other.
    Secret(Secret, Encoding),
}

/// How the bytes of a secret are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// As a text: its own bytes.
    Text,
    /// In base64, with either alphabet (RFC 4648 sections 4 and 5), with or without padding.
    Base64,
}

impl Encoding {
    /// The bytes that a text stands for. Tools break long lines of base64, so that white space in it says nothing.
    ///
    /// # Errors
    /// When it is no base64.
    pub fn bytes(self, written: &str) -> Result<Vec<u8>, String> {
        const EITHER: GeneralPurpose = GeneralPurpose::new(
            &STANDARD,
            GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
        );
        let in_standard = |byte: u8| match byte {
            b'-' => b'+',
            b'_' => b'/',
            other => other,
        };
        match self {
            Encoding::Text => Ok(written.as_bytes().to_vec()),
            Encoding::Base64 => {
                let digits = written.bytes().filter(|byte| !byte.is_ascii_whitespace()).map(in_standard);
                EITHER.decode(digits.collect::<Vec<_>>()).map_err(|_| "the secret is no base64".to_owned())
            }
        }
    }
}

/// What tokens must be for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Audience {
    /// One of these.
    OneOf(Vec<Arc<str>>),
    /// Nobody looks: tokens of this issuer have none, and `require` says of which client they must be.
    Unchecked,
}

/// The way to a claim: the names of members from the outermost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimPath(pub Vec<Arc<str>>);

/// A demand on a claim.
#[derive(Clone, Debug, PartialEq)]
pub struct Demanded {
    /// Which claim.
    pub claim: ClaimPath,
    /// What it must be.
    pub condition: Condition,
}

/// What a claim must be.
#[derive(Clone, Debug, PartialEq)]
pub enum Condition {
    /// One of these texts, numbers or booleans.
    OneOf(Vec<Value>),
    /// A list that has this member, or this alone.
    Has(Value),
}

/// The plan of a consumer that comes from a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PlanOf {
    /// This one.
    Always(Arc<str>),
    /// By the value of a claim.
    Claim {
        /// Which claim.
        claim: ClaimPath,
        /// Values, each with its plan.
        map: Vec<(Arc<str>, Arc<str>)>,
        /// That of any other value.
        other: Option<Arc<str>>,
    },
}

/// Introspection (RFC 7662).
#[derive(Clone, Debug, PartialEq)]
pub struct Introspection {
    /// The endpoint.
    pub url: String,
    /// As which client the gateway asks.
    pub client: String,
    /// Its secret.
    pub secret: Secret,
    /// How long an answer holds; one that says `active: false` holds 5 s at most.
    pub remember: Duration,
}

/// Whether tokens are bound to a key of the client's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dpop {
    /// A token that is bound is refused, because nobody would check it.
    Off,
    /// A token may be bound; then a proof is demanded.
    Accept,
    /// Each token must be bound.
    Require,
}

/// A signature algorithm (RFC 7518 section 3.1, RFC 8037 section 3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Algorithm {
    /// HMAC with SHA-256.
    HS256,
    /// HMAC with SHA-384.
    HS384,
    /// HMAC with SHA-512.
    HS512,
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    RS256,
    /// RSASSA-PKCS1-v1_5 with SHA-384.
    RS384,
    /// RSASSA-PKCS1-v1_5 with SHA-512.
    RS512,
    /// RSASSA-PSS with SHA-256.
    PS256,
    /// RSASSA-PSS with SHA-384.
    PS384,
    /// RSASSA-PSS with SHA-512.
    PS512,
    /// ECDSA on P-256.
    ES256,
    /// ECDSA on P-384.
    ES384,
    /// Ed25519.
    EdDSA,
}

/// What a route demands of its callers.
#[derive(Clone, Debug, PartialEq)]
pub struct Demand {
    /// The credentials that count.
    pub methods: Methods,
    /// Who sends none of them is anonymous; who sends a wrong one is refused all the same.
    pub optional: bool,
    /// Scopes that a token must have, each of them.
    pub scopes: Vec<String>,
    /// What tokens must be for here: one of these; none: whatever their issuer allows.
    pub audience: Vec<Arc<str>>,
    /// Claims that must be so.
    pub claims: Vec<Demanded>,
    /// A cookie that may carry a token.
    pub cookie: Option<Cookie>,
    /// Instances get the credential, too.
    pub pass: bool,
}

/// The credentials that count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Methods {
    /// One of them.
    Any(Vec<Method>),
    /// Each of them.
    All(Vec<Method>),
}

/// A kind of credential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Method {
    /// An API key of a consumer.
    Key,
    /// A consumer's name and password (RFC 7617).
    Basic,
    /// A token of the issuer of this name.
    Issuer(Arc<str>),
}

/// A cookie that may carry a token: for WebSockets of browsers, which cannot send header fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cookie {
    /// Its name.
    pub name: String,
    /// The origins whose pages may use it: others could make a browser send it (RFC 6455 section 10.2).
    pub origins: Vec<String>,
}
