//! Hosts, path patterns and templates, from their text; each error says what to write instead.

use std::net::Ipv6Addr;

use crate::config::routes::{Host, Pattern, Piece, Segment, Template};

/// The most parameters that a pattern may have: a request keeps their places in an array of this size.
const PARAMETERS: usize = 8;

/// `shop.example.com`, `*.example.com`, `[2001:db8::1]`; without a port, in any case.
pub(super) fn host(text: &str) -> Result<Host, String> {
    let lower = text.to_ascii_lowercase();
    let (below, name) = match lower.strip_prefix("*.") {
        Some(rest) => (true, rest),
        None => (false, lower.as_str()),
    };
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
    };
    if let Some(inner) = name.strip_prefix('[') {
        let address = inner.strip_suffix(']').and_then(|inner| inner.parse::<Ipv6Addr>().ok()).filter(|_| !below);
        let address =
            address.ok_or_else(|| format!("`{text}` is not an IPv6 address: write e.g. \"[2001:db8::1]\""))?;
        return Ok(Host::Exact(format!("[{address}]").into()));
    }
    if name.contains(':') {
        return Err(format!("`{text}` has a port or a scheme: write the name alone, any port counts"));
    }
    if name.contains('*') {
        return Err(format!("`{text}`: * stands only for what is below a name: write \"*.example.com\""));
    }
    if !name.trim_end_matches('.').split('.').all(label) {
        return Err(format!("`{text}` is not a host name: write e.g. \"shop.example.com\" or \"*.example.com\""));
    }
    let name = name.trim_end_matches('.').into();
    Ok(if below { Host::Below(name) } else { Host::Exact(name) })
}

/// Exactly this path, without parameters.
pub(super) fn exact(text: &str) -> Result<Pattern, String> {
    let segments = literal(text)?.into_iter().map(Segment::Literal).collect();
    Ok(Pattern { segments, below: false, rest: None })
}

/// A path and everything below it, by segments: `/orders` holds `/orders` and `/orders/1`, not `/orders-old`.
pub(super) fn prefix(text: &str) -> Result<Pattern, String> {
    if text != "/" && text.ends_with('/') {
        return Err(format!("`{text}` counts by whole segments: write \"{}\"", text.trim_end_matches('/')));
    }
    let segments = if text == "/" { Vec::new() } else { literal(text)? };
    Ok(Pattern { segments: segments.into_iter().map(Segment::Literal).collect(), below: true, rest: None })
}

/// `/orders/{id}`; a last segment `{*rest}` is everything below.
pub(super) fn pattern(text: &str) -> Result<Pattern, String> {
    let mut found = Pattern { segments: Vec::new(), below: false, rest: None };
    let mut names: Vec<&str> = Vec::new();
    let Some(path) = text.strip_prefix('/') else { return Err(no_slash(text)) };
    let parts: Vec<_> = path.split('/').collect();
    for (index, part) in parts.iter().enumerate() {
        let Some(name) = part.strip_prefix('{').and_then(|part| part.strip_suffix('}')) else {
            found.segments.push(Segment::Literal(segment(part)?));
            continue;
        };
        let tail = name.strip_prefix('*');
        let bare = tail.unwrap_or(name);
        if bare.is_empty() || !bare.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
            return Err(format!("`{part}`: a parameter's name is letters, digits and _: write e.g. {{id}}"));
        }
        if names.contains(&bare) {
            return Err(format!("has the parameter `{bare}` twice: give each its own name"));
        }
        names.push(bare);
        match tail {
            Some(_) if index + 1 < parts.len() => {
                return Err(format!("`{part}` holds everything below: it comes last"));
            }
            Some(_) => (found.below, found.rest) = (true, Some(bare.into())),
            None => found.segments.push(Segment::Parameter(bare.into())),
        }
    }
    if names.len() > PARAMETERS {
        return Err(format!("has more than {PARAMETERS} parameters"));
    }
    Ok(found)
}

/// A template: a text with parameters of a pattern in it, and `{path}` and `{host}` of the request.
pub(super) fn template(text: &str, of: &Pattern) -> Result<Template, String> {
    let names: Vec<&str> = parameters(of).collect();
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        if !before.is_empty() {
            pieces.push(Piece::Text(before.to_owned()));
        }
        let Some((name, after)) = after.split_once('}') else { return Err(format!("`{text}`: a {{ is not closed")) };
        let bare = name.strip_prefix('*').unwrap_or(name);
        let found = names.iter().position(|known| *known == bare).map(Piece::Parameter);
        pieces.push(match (found, bare) {
            (Some(piece), _) => piece,
            (None, _) if of.rest.as_deref() == Some(bare) => Piece::Rest,
            (None, "path") => Piece::Path,
            (None, "host") => Piece::Host,
            (None, _) => {
                let mut all: Vec<_> = names.iter().copied().chain(of.rest.as_deref()).collect();
                all.extend(["path", "host"]);
                return Err(format!("`{{{name}}}` is not in the route's path; there are: {}", all.join(", ")));
            }
        });
        rest = after;
    }
    if rest.contains('}') {
        return Err(format!("`{text}`: a }} is not opened"));
    }
    if !rest.is_empty() {
        pieces.push(Piece::Text(rest.to_owned()));
    }
    Ok(Template(pieces))
}

/// A template of a path: what stands between its parameters must have the form of any other path.
pub(super) fn rewritten(text: &str, of: &Pattern) -> Result<Template, String> {
    let template = template(text, of)?;
    let plain: String = template.0.iter().map(|piece| if let Piece::Text(text) = piece { text } else { "x" }).collect();
    plain.split('/').try_for_each(|part| segment(part).map(|_| ()))?;
    Ok(template)
}

/// The names of a pattern's parameters, in order; that of the rest is not among them.
pub(super) fn parameters(of: &Pattern) -> impl Iterator<Item = &str> {
    of.segments.iter().filter_map(|segment| match segment {
        Segment::Parameter(name) => Some(&**name),
        Segment::Literal(_) => None,
    })
}

/// The segments of a path without parameters.
fn literal(text: &str) -> Result<Vec<Box<str>>, String> {
    let Some(path) = text.strip_prefix('/') else { return Err(no_slash(text)) };
    path.split('/').map(segment).collect()
}

fn no_slash(text: &str) -> String {
    format!("`{text}` does not begin with /: write \"/{text}\"")
}

/// One segment, which must have the canonical form in which routes see the paths of requests: else it would never match.
pub(super) fn segment(text: &str) -> Result<Box<str>, String> {
    let bytes = text.as_bytes();
    if matches!(text, "." | "..") {
        return Err(format!("`{text}` is never in a path that reaches a route: requests with it are refused"));
    }
    for (at, &b) in bytes.iter().enumerate() {
        match b {
            b'{' | b'}' => {
                return Err(format!(
                    "`{text}` has a parameter: write pattern instead, with {{name}} as a whole segment"
                ));
            }
            b'*' => {
                return Err(format!(
                    "`{text}`: * is not understood here: write prefix, or {{*rest}} at the end of a pattern"
                ));
            }
            b'%' => {
                let hex = bytes.get(at + 1..at + 3).and_then(|pair| std::str::from_utf8(pair).ok());
                let code = hex.and_then(|hex| u8::from_str_radix(hex, 16).ok());
                let upper = hex.is_some_and(|hex| hex.to_ascii_uppercase() == hex);
                match code {
                    None => return Err(format!("`{text}` has a percent-encoding that is none")),
                    Some(0 | b'/' | b'\\' | b';') => {
                        return Err(format!("`{text}`: requests with this encoding are refused"));
                    }
                    Some(code) if code.is_ascii_alphanumeric() || matches!(code, b'-' | b'.' | b'_' | b'~') => {
                        return Err(format!(
                            "`{text}` encodes `{}`: write it as it is, requests are compared decoded",
                            code as char
                        ));
                    }
                    Some(_) if !upper => return Err(format!("`{text}`: write percent-encodings in upper case")),
                    Some(_) => {}
                }
            }
            b'?' | b'#' => {
                return Err(format!(
                    "`{text}` has a `{}`: a path ends before it (there is query = {{ … }})",
                    b as char
                ));
            }
            b if !b.is_ascii_graphic() || b == b'\\' => {
                return Err(format!(
                    "`{text}` has a character that a request's path must percent-encode: write it so here too"
                ));
            }
            _ => {}
        }
    }
    Ok(text.into())
}
