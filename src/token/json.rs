//! JSON, read so that two readers cannot find different things in it: no member twice, nothing behind the value, not too deep.

use std::cell::Cell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// How deep arrays and objects may lie in each other. Keycloak's claims, the deepest in use, need five.
const DEPTH: u8 = 32;

/// Why a text was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// It is not the JSON of one object, or of one that lies too deep.
    Malformed,
    /// An object in it has two members of one name.
    Duplicate,
}

/// The object that a text is.
pub(super) fn object(text: &[u8]) -> Result<Map<String, Value>, Fault> {
    let duplicate = Cell::new(false);
    // The whole is checked once, which is faster than each text in it.
    let text = std::str::from_utf8(text).map_err(|_| Fault::Malformed)?;
    let mut reader = serde_json::Deserializer::from_str(text);
    let read = reader.deserialize_map(Within { depth: DEPTH, duplicate: &duplicate });
    match read.and_then(|value| reader.end().map(|()| value)) {
        Ok(Value::Object(members)) => Ok(members),
        _ if duplicate.get() => Err(Fault::Duplicate),
        _ => Err(Fault::Malformed),
    }
}

/// Reads a value that lies within others.
#[derive(Clone, Copy)]
struct Within<'a> {
    /// How many levels may follow.
    depth: u8,
    /// Where it is noted that a member came twice: an error is only a text.
    duplicate: &'a Cell<bool>,
}

impl Within<'_> {
    fn deeper<E: Error>(self) -> Result<Self, E> {
        let depth = self.depth.checked_sub(1).ok_or_else(|| E::custom("it lies too deep"))?;
        Ok(Within { depth, ..self })
    }
}

impl<'de> DeserializeSeed<'de> for Within<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Within<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("no number"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut list = Vec::new();
        while let Some(value) = access.next_element_seed(inner)? {
            list.push(value);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        // A token has a dozen claims, and what lies in them a few.
        let mut members = Map::with_capacity(if self.depth == DEPTH { 16 } else { 0 });
        while let Some(name) = access.next_key::<String>()? {
            let value = access.next_value_seed(inner)?;
            if members.insert(name, value).is_some() {
                self.duplicate.set(true);
                return Err(A::Error::custom("a member stands twice"));
            }
        }
        Ok(Value::Object(members))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_read_as_serde_json_reads_it() {
        let text = r#" {"a": [1, -2, 3.5, 1e3, true, null, "\u00e9\n", {}], "b": {"c": 18446744073709551615}} "#;
        let expected: Value = serde_json::from_str(text).expect("JSON");
        assert_eq!(object(text.as_bytes()).map(Value::Object), Ok(expected));
    }

    #[test]
    fn a_member_that_stands_twice_is_found_wherever_it_is_and_however_it_is_written() {
        for text in [
            r#"{"a":1,"a":1}"#,
            r#"{"a":1,"\u0061":2}"#,
            r#"{"x":{"a":1,"b":2,"a":1}}"#,
            r#"{"x":[{"a":1},{"a":1,"a":1}]}"#,
            r#"{"":1,"":1}"#,
        ] {
            assert_eq!(object(text.as_bytes()), Err(Fault::Duplicate), "{text}");
        }
        assert!(object(r#"{"a":1,"A":1,"x":{"a":1}}"#.as_bytes()).is_ok());
    }

    #[test]
    fn what_is_not_one_object_and_nothing_else_is_refused() {
        for text in [
            &b""[..],
            b"[]",
            b"null",
            b"\"a\"",
            b"1",
            b"{}{}",
            b"{} x",
            b"{\"a\":1,}",
            b"{'a':1}",
            b"{\"a\":01}",
            b"{\"a\":+1}",
            b"{\"a\":NaN}",
            b"{\"a\":1e999}",
            b"{\"a\":\"\xff\"}",
            b"{\"a\":\"\\ud800\"}",
            b"{\"a\":\"\n\"}",
            b"{\"a\":1/**/}",
            b"\xef\xbb\xbf{}",
            b"{\0}",
        ] {
            assert_eq!(object(text), Err(Fault::Malformed), "{}", String::from_utf8_lossy(text));
        }
    }

    #[test]
    fn values_may_lie_thirty_two_deep_and_no_deeper() {
        let nested = |depth: usize| format!("{{\"a\":{}{}}}", "[".repeat(depth - 1), "]".repeat(depth - 1));
        assert!(object(nested(32).as_bytes()).is_ok());
        assert_eq!(object(nested(33).as_bytes()), Err(Fault::Malformed));
        assert_eq!(object(nested(100_000).as_bytes()), Err(Fault::Malformed));
    }
}
