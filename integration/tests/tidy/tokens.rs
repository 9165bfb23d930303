//! Rust's text as tokens: words and punctuation, without comments, what strings say, and code that only tests have.

/// The tokens of a file, in order. A string is its opening quotation mark; `::`, `->` and `=>` are one token each.
pub(crate) fn tokens(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (kind, length) = next(rest);
        let (token, after) = rest.split_at(length);
        match kind {
            Kind::Nothing => {}
            Kind::Quoted => found.push("\""),
            Kind::Token => found.push(token),
        }
        rest = after;
    }
    without_test_items(&found)
}

/// What the text begins with.
enum Kind {
    /// White space or a comment.
    Nothing,
    /// A string or a character.
    Quoted,
    /// A word, a number, a lifetime or punctuation.
    Token,
}

/// The kind of what the text begins with, and its length in bytes.
fn next(text: &str) -> (Kind, usize) {
    let first = text.chars().next().unwrap_or(' ');
    if first.is_whitespace() {
        return (Kind::Nothing, first.len_utf8());
    }
    if text.starts_with("//") {
        return (Kind::Nothing, text.find('\n').unwrap_or(text.len()));
    }
    if text.starts_with("/*") {
        return (Kind::Nothing, text.find("*/").map_or(text.len(), |end| end + 2));
    }
    if let Some(length) = string(text) {
        return (Kind::Quoted, length);
    }
    if first == '\'' {
        return character_or_lifetime(text);
    }
    let word = text.find(|c: char| !is_of_word(c)).unwrap_or(text.len());
    if word > 0 {
        return (Kind::Token, word);
    }
    let pair = ["::", "->", "=>"].iter().any(|pair| text.starts_with(pair));
    (Kind::Token, if pair { 2 } else { first.len_utf8() })
}

fn is_of_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The length of a string with its prefix (`b`, `r#`, …), if the text begins with one.
fn string(text: &str) -> Option<usize> {
    let prefix = text.find(|c: char| !"brc".contains(c))?;
    let raw = text[..prefix].contains('r');
    let hashes = if raw { text[prefix..].find(|c| c != '#')? } else { 0 };
    let body = prefix + hashes + 1;
    if prefix > 2 || !text[prefix + hashes..].starts_with('"') {
        return None;
    }
    if raw {
        let close = format!("\"{}", "#".repeat(hashes));
        return text[body..].find(&close).map(|at| body + at + close.len());
    }
    let mut escaped = false;
    let end = text[body..].find(|c| {
        let ends = c == '"' && !escaped;
        escaped = c == '\\' && !escaped;
        ends
    });
    end.map(|at| body + at + 1)
}

/// `'a'` and `'\''` are characters, `'a` is a lifetime.
fn character_or_lifetime(text: &str) -> (Kind, usize) {
    let mut inside = text.char_indices().skip(1);
    let first = inside.next().map(|(_, c)| c);
    if first == Some('\\') {
        // What is escaped may be a quotation mark itself.
        inside.next();
        return (Kind::Quoted, inside.find(|(_, c)| *c == '\'').map_or(text.len(), |(at, _)| at + 1));
    }
    match inside.next() {
        Some((at, '\'')) => (Kind::Quoted, at + 1),
        _ => (Kind::Token, 1 + text[1..].find(|c| !is_of_word(c)).unwrap_or(text.len() - 1)),
    }
}

/// Leaves out every item under `#[cfg(test)]`.
fn without_test_items<'a>(all: &[&'a str]) -> Vec<&'a str> {
    const MARK: [&str; 7] = ["#", "[", "cfg", "(", "test", ")", "]"];
    let mut kept = Vec::new();
    let mut at = 0;
    while at < all.len() {
        if all[at..].starts_with(&MARK) {
            at = end_of_item(all, at + MARK.len());
        } else {
            kept.push(all[at]);
            at += 1;
        }
    }
    kept
}

/// The position after an item: after its `;` or its braces.
fn end_of_item(all: &[&str], from: usize) -> usize {
    let mut depth = 0;
    for (at, token) in all.iter().enumerate().skip(from) {
        match *token {
            "{" | "(" | "[" => depth += 1,
            "}" | ")" | "]" => depth -= 1,
            _ => {}
        }
        // A `use` ends with its semicolon only.
        if depth == 0 && (*token == ";" || *token == "}" && all[from] != "use") {
            return at + 1;
        }
    }
    all.len()
}

#[test]
fn comments_strings_and_tests_are_no_tokens() {
    assert_eq!(
        tokens("a::b(\"x::y\", 'c', b'\\'') // d\n/* e */ r#\"f\"g\"# &'h i->j"),
        ["a", "::", "b", "(", "\"", ",", "\"", ",", "b", "\"", ")", "\"", "&", "'h", "i", "->", "j"]
    );
    assert_eq!(
        tokens("#[cfg(test)]\nfn a() -> [u8; 3] { b() }\nc #[cfg(test)] mod tests; d \"\\\"\" e"),
        ["c", "d", "\"", "e"]
    );
    assert_eq!(tokens("#[cfg(test)]\nuse a::{b, c};\nd"), ["d"]);
}
