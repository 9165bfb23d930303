//! Whether two URIs are the same, as proofs are compared with requests (RFC 9449 section 4.3, RFC 3986 sections 6.2.2 and 6.2.3).

use http::Uri;

/// Whether both are the same URI of HTTP, whatever their queries and fragments are.
pub(super) fn same(claimed: &str, called: &str) -> bool {
    canonical(claimed).is_some_and(|claimed| Some(claimed) == canonical(called))
}

/// Scheme, host, port and path in their one form; `None`: it is no absolute URI of HTTP.
fn canonical(written: &str) -> Option<(String, String, u16, String)> {
    let end = written.find(['?', '#']).unwrap_or(written.len());
    let uri: Uri = written[..end].parse().ok()?;
    let scheme = uri.scheme_str()?.to_ascii_lowercase();
    let port = match &*scheme {
        "https" => 443,
        "http" => 80,
        _ => return None,
    };
    let authority = uri.authority().filter(|authority| !authority.as_str().contains('@'))?;
    let port = match authority.port() {
        Some(port) => port.as_str().parse().ok()?,
        None => port,
    };
    Some((scheme, authority.host().to_ascii_lowercase(), port, without_dots(&decoded(uri.path()))))
}

/// A path in which no character is encoded that need not be, and the digits of all others are capitals.
fn decoded(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    let mut rest = path;
    while let Some(at) = rest.find('%') {
        out.push_str(&rest[..at]);
        let digits = rest.get(at + 1..at + 3).filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
        let Some(digits) = digits else {
            out.push('%');
            rest = &rest[at + 1..];
            continue;
        };
        match u8::from_str_radix(digits, 16) {
            Ok(byte) if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) => out.push(char::from(byte)),
            _ => out.extend(['%'].into_iter().chain(digits.to_ascii_uppercase().chars())),
        }
        rest = &rest[at + 3..];
    }
    out + rest
}

/// A path without the segments `.` and `..` (RFC 3986 section 5.2.4).
fn without_dots(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let mut segments = path.strip_prefix('/').unwrap_or(path).split('/').peekable();
    while let Some(segment) = segments.next() {
        let dots = matches!(segment, "." | "..");
        if segment == ".." {
            kept.pop();
        }
        if !dots {
            kept.push(segment);
        } else if segments.peek().is_none() {
            kept.push("");
        }
    }
    format!("/{}", kept.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uris_that_differ_only_in_how_they_are_written_are_the_same() {
        for (a, b) in [
            ("https://api.example.com/orders", "https://api.example.com/orders"),
            ("HTTPS://API.example.COM/orders", "https://api.example.com/orders"),
            ("https://api.example.com:443/orders", "https://api.example.com/orders"),
            ("http://api.example.com:80/", "http://api.example.com"),
            ("https://api.example.com/orders?a=b", "https://api.example.com/orders?c=d"),
            ("https://api.example.com/orders#top", "https://api.example.com/orders"),
            ("https://api.example.com?x", "https://api.example.com/"),
            ("https://api.example.com/%7Ejoe/%2f", "https://api.example.com/~joe/%2F"),
            ("https://api.example.com/a/./b/../c", "https://api.example.com/a/c"),
            ("https://api.example.com/a/%2E%2e/b/", "https://api.example.com/b/"),
            ("https://api.example.com/a/..", "https://api.example.com/"),
            ("https://[::1]:8443/a", "https://[::1]:8443/a"),
        ] {
            assert!(same(a, b), "{a} {b}");
        }
    }

    #[test]
    fn uris_that_lead_elsewhere_are_not_the_same() {
        for (a, b) in [
            ("http://api.example.com/orders", "https://api.example.com/orders"),
            ("https://api.example.com:8443/orders", "https://api.example.com/orders"),
            ("https://api.example.com.evil.example/orders", "https://api.example.com/orders"),
            ("https://api.example.com/orders/", "https://api.example.com/orders"),
            ("https://api.example.com/Orders", "https://api.example.com/orders"),
            ("https://api.example.com//orders", "https://api.example.com/orders"),
            ("https://api.example.com/a%2Fb", "https://api.example.com/a/b"),
            ("https://api.example.com@evil.example/orders", "https://api.example.com/orders"),
            ("https://user@api.example.com/orders", "https://api.example.com/orders"),
            ("/orders", "https://api.example.com/orders"),
            ("api.example.com/orders", "https://api.example.com/orders"),
            ("", ""),
            ("ftp://api.example.com/", "ftp://api.example.com/"),
            ("https://api.example.com/ orders", "https://api.example.com/orders"),
        ] {
            assert!(!same(a, b), "{a} {b}");
        }
    }
}
