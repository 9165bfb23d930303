//! Value -> text.

use super::Value;

/// The value as JSON without white space, or `None` if that has more than `most` bytes. Numbers have the digits with which
/// they were read, members their order; of strings only the value is kept, not which characters were escaped.
#[must_use]
pub fn write(value: &Value, most: usize) -> Option<Vec<u8>> {
    let mut text = Vec::new();
    append(value, most, &mut text).then_some(text)
}

/// Whether there is room; otherwise nothing that matters is in `text`. Values share contents: a small one can have a long text,
/// which is why its length is looked at after each value.
fn append(value: &Value, most: usize, text: &mut Vec<u8>) -> bool {
    match value {
        Value::Null => text.extend(b"null"),
        Value::Bool(true) => text.extend(b"true"),
        Value::Bool(false) => text.extend(b"false"),
        Value::Number(number) => text.extend(number.as_str().as_bytes()),
        Value::String(string) => append_string(string, text),
        Value::Array(elements) => {
            text.push(b'[');
            for (place, element) in elements.iter().enumerate() {
                if place > 0 {
                    text.push(b',');
                }
                if !append(element, most, text) {
                    return false;
                }
            }
            text.push(b']');
        }
        Value::Object(members) => {
            text.push(b'{');
            for (place, (name, member)) in members.iter().enumerate() {
                if place > 0 {
                    text.push(b',');
                }
                append_string(name, text);
                text.push(b':');
                if !append(member, most, text) {
                    return false;
                }
            }
            text.push(b'}');
        }
    }
    text.len() <= most
}

/// Most strings need no escape, which is told for many bytes at once. The writer of hifijson leaves some control characters as
/// they are (0x14 to 0x1f), which is no JSON.
fn append_string(string: &str, text: &mut Vec<u8>) {
    let plain = |byte: &u8| *byte >= 0x20 && *byte != b'"' && *byte != b'\\';
    if string.as_bytes().iter().fold(true, |all, byte| all & plain(byte)) {
        text.push(b'"');
        text.extend(string.as_bytes());
        text.push(b'"');
        return;
    }
    serde_json::to_writer(text, string).expect("a string is JSON, and memory takes it");
}
