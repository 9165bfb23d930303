//! URLs of the file: of issuers, which nobody on the way may answer for, and of the gateway itself.

use std::net::IpAddr;

use http::Uri;

use crate::config::file::Section;

/// `public_url = "https://api.example.com"`.
pub(super) fn public_url(root: &Section<'_>) -> Option<String> {
    let written = root.text("public_url")?;
    root.convert("public_url", &written, origin)
}

/// A URL that nobody on the way can read or answer: https, but for this machine.
pub(super) fn safe(text: &str) -> Result<(), String> {
    let url: Option<Uri> = text.parse().ok();
    let host = url.as_ref().and_then(Uri::host).filter(|host| !host.is_empty());
    let (Some(url), Some(host)) = (&url, host) else {
        return Err(format!("`{text}` is not a URL: write e.g. \"https://login.example.com\""));
    };
    if url.authority().is_some_and(|authority| authority.as_str().contains('@')) || text.contains('#') {
        return Err("has a user, a password or a fragment: remove it".to_owned());
    }
    let ip = host.trim_matches(['[', ']']).parse::<IpAddr>();
    let loopback = host.eq_ignore_ascii_case("localhost") || ip.is_ok_and(|ip| ip.to_canonical().is_loopback());
    match url.scheme_str() {
        Some("https") => Ok(()),
        Some("http") if loopback => Ok(()),
        _ => Err(format!(
            "`{text}` is not https://: whoever is on the way could answer it (only loopback may go without)"
        )),
    }
}

/// An origin: scheme, host and perhaps a port.
pub(super) fn origin(text: &str) -> Result<String, String> {
    safe(text)?;
    let text = text.strip_suffix('/').unwrap_or(text);
    match text.split_once("://") {
        Some((_, host)) if !host.contains(['/', '?']) => Ok(text.to_ascii_lowercase()),
        _ => Err(format!("`{text}` has a path: write the scheme, the host and perhaps a port alone")),
    }
}
