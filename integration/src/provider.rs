//! A certified OpenID provider that nobody here wrote (npm `oidc-provider`), run with Node for one test: `integration/oidc-provider`.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use reqwest::RequestBuilder;
use serde_json::Value;
use tokio::sync::OnceCell;

use crate::process::{Process, not_run, root, said};

/// The oldest Node that it runs with.
const NODE: u32 = 20;

/// A provider on a port of its own, with new keys. Its client is `gateway` with the secret `gateway-secret`.
#[derive(Debug)]
pub struct Provider {
    /// What its tokens say in `iss`; discovery is below it.
    pub url: String,
    http: reqwest::Client,
    _process: Process,
}

/// Why its packages cannot be had, if they cannot; they are installed once for all tests.
static INSTALLED: OnceCell<Result<(), String>> = OnceCell::const_new();

impl Provider {
    /// Starts one, for the test that this thread runs. `None` where this machine cannot run it: then it is said on stderr that this test was
    /// not run, and why.
    ///
    /// # Panics
    /// When it can be run and does not start.
    pub async fn start() -> Option<Provider> {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let installed = INSTALLED.get_or_init(|| async {
            tokio::task::spawn_blocking(install).await.unwrap_or_else(|error| Err(error.to_string()))
        });
        if let Err(why) = installed.await {
            not_run(why);
            return None;
        }
        let mut command = Command::new("node");
        command.arg(folder().join("provider.mjs")).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut process = Process::start("oidc-provider", &mut command).expect("node starts");
        let stdout = process.stdout().expect("stdout is a pipe");
        let first = tokio::task::spawn_blocking(move || BufReader::new(stdout).lines().next());
        let url = first.await.expect("no panic").expect("it prints its URL").expect("its URL is text");
        let builder = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(15));
        Some(Provider { url, http: builder.build().expect("a plain client"), _process: process })
    }

    /// What it answers to a GET, as JSON; null where it is none. The path begins with a slash.
    pub async fn get(&self, path: &str) -> Value {
        self.answer(self.http.get(format!("{}{path}", self.url))).await
    }

    /// What its token endpoint answers: a token for `urn:lictor:RS256`, `:ES256`, `:EdDSA` or `:opaque` with these scopes, bound to the key
    /// of a proof where there is one (RFC 9449 section 5).
    pub async fn token(&self, kind: &str, scope: &str, proof: Option<&str>) -> Value {
        let scope = scope.replace(' ', "+");
        let body = format!("grant_type=client_credentials&resource=urn:lictor:{kind}&scope={scope}");
        let mut request = self.post("/token", body);
        if let Some(proof) = proof {
            request = request.header("DPoP", proof);
        }
        self.answer(request).await
    }

    /// What it says of a token (RFC 7662).
    pub async fn introspect(&self, token: &str) -> Value {
        self.answer(self.post("/token/introspection", format!("token={token}"))).await
    }

    /// Takes a token back (RFC 7009).
    pub async fn revoke(&self, token: &str) {
        self.answer(self.post("/token/revocation", format!("token={token}"))).await;
    }

    /// New keys, beside which so many of the sets before are still shown.
    pub async fn rotate(&self, keep: usize) {
        self.answer(self.http.post(format!("{}/_rotate?keep={keep}", self.url))).await;
    }

    fn post(&self, path: &str, body: String) -> RequestBuilder {
        let request = self.http.post(format!("{}{path}", self.url)).basic_auth("gateway", Some("gateway-secret"));
        request.header("content-type", "application/x-www-form-urlencoded").body(body)
    }

    async fn answer(&self, request: RequestBuilder) -> Value {
        request.send().await.expect("the provider answers").json().await.unwrap_or_default()
    }
}

fn folder() -> PathBuf {
    root().join("integration/oidc-provider")
}

/// Checks that there is Node, and installs the packages that the lockfile names, unless they are there.
fn install() -> Result<(), String> {
    let version = said(Command::new("node").arg("--version")).map_err(|why| format!("there is no Node: {why}"))?;
    let major = version.trim_start_matches('v').split('.').next().and_then(|major| major.parse::<u32>().ok());
    if major.is_none_or(|major| major < NODE) {
        return Err(format!("Node is {}, and has to be {NODE} at least", version.trim()));
    }
    let folder = folder();
    if is_installed(&folder) {
        return Ok(());
    }
    let mut npm = Command::new("npm");
    npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"]).current_dir(&folder);
    said(&mut npm).map_err(|why| format!("npm ci cannot install oidc-provider: {why}")).map(drop)
}

/// Whether the packages are those of the lockfile: npm keeps a copy of what it has installed.
fn is_installed(folder: &Path) -> bool {
    let entry = |file: &str| {
        let lock: Value = serde_json::from_str(&std::fs::read_to_string(folder.join(file)).ok()?).ok()?;
        lock["packages"]["node_modules/oidc-provider"]["integrity"].as_str().map(str::to_owned)
    };
    let wanted = entry("package-lock.json");
    wanted.is_some() && wanted == entry("node_modules/.package-lock.json")
}
