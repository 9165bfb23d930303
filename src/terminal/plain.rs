//! What others say, made fit for a terminal.

/// A text of whoever answered - a gateway, or something else at its address - without characters that could move the cursor here, change
/// what is written elsewhere, or the direction in which a line is read.
pub(super) fn clean(text: &str) -> String {
    text.chars().map(|c| if is_steering(c) { '\u{fffd}' } else { c }).collect()
}

/// JSON in which these characters are escaped: none of them stands outside a text, but for the line feeds between its lines.
pub(super) fn clean_json(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        match c {
            c if c != '\n' && is_steering(c) => out += &format!("\\u{:04x}", u32::from(c)),
            c => out.push(c),
        }
    }
    out
}

/// Control characters, and those that separate lines or turn the direction of a text (Unicode standard annex 9, section 2).
fn is_steering(c: char) -> bool {
    let turns = matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    c.is_control() || turns || matches!(c, '\u{2028}' | '\u{2029}')
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn json_of_a_foreign_server_steers_no_terminal_and_says_the_same() {
        let foreign = "\u{1b}[2J\u{9b}1A\u{7f}\u{202e}gnp\u{2028}\r\n\t\u{0}\u{e9}";
        let answer = serde_json::json!({ "error": foreign, foreign: [foreign] });
        for text in [format!("{answer}\n"), format!("{answer:#}\n")] {
            let shown = clean_json(&text);
            assert!(!shown.chars().any(|c| c != '\n' && is_steering(c)), "{shown:?}");
            assert_eq!(serde_json::from_str::<Value>(&shown).expect("JSON"), answer);
        }
    }

    #[test]
    fn what_a_foreign_server_says_in_a_message_steers_no_terminal() {
        assert_eq!(clean("a\u{1b}]0;x\u{7}b\u{85}\nc"), "a\u{fffd}]0;x\u{fffd}b\u{fffd}\u{fffd}c");
    }
}
