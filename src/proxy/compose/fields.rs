//! What a client chooses of an answer: `?fields=id,buyer.name`.

use crate::shape::{Object, Value};

/// How many members one can choose, and how deep these can lie.
const MOST: (usize, usize) = (64, 8);

/// Members by their names, each with what is wanted of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Fields(Vec<(Box<str>, Fields)>);

impl Fields {
    /// Reads a choice: names with dots between those that lie in each other, and commas between choices. `None` where it is none, or too
    /// long.
    pub(super) fn parse(text: &str) -> Option<Fields> {
        let mut fields = Fields::default();
        for (count, path) in text.split(',').enumerate() {
            let names: Vec<_> = path.split('.').collect();
            if count >= MOST.0 || names.len() > MOST.1 || names.iter().any(|name| name.is_empty()) {
                return None;
            }
            fields.add(&names);
        }
        Some(fields)
    }

    /// Adds a choice. Who wants all of a member gets it, whatever else was chosen of it.
    fn add(&mut self, path: &[&str]) {
        let Some((first, rest)) = path.split_first() else { return self.0.clear() };
        match self.0.iter_mut().find(|(name, _)| **name == **first) {
            Some((_, own)) if own.0.is_empty() => {}
            Some((_, own)) => own.add(rest),
            None => {
                let mut own = Fields::default();
                own.add(rest);
                self.0.push(((*first).into(), own));
            }
        }
    }

    /// Whether anything of a member is chosen.
    pub(super) fn choose(&self, name: &str) -> bool {
        self.0.iter().any(|(own, _)| **own == *name)
    }

    /// What is chosen of a value: members of objects, also of those in lists. What is neither stays whole.
    pub(super) fn of(&self, value: &Value) -> Value {
        match value {
            _ if self.0.is_empty() => value.clone(),
            Value::Array(elements) => elements.iter().map(|element| self.of(element)).collect(),
            Value::Object(members) => {
                let chosen = members.iter().filter_map(|(name, member)| {
                    let (_, own) = self.0.iter().find(|(own, _)| **own == **name)?;
                    Some((name.clone(), own.of(member)))
                });
                chosen.collect::<Object>().into()
            }
            other => other.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shape;

    fn chosen(fields: &str, json: &str) -> String {
        let value = shape::read(json.as_bytes()).expect("JSON");
        let chosen = Fields::parse(fields).expect("fields").of(&value);
        String::from_utf8(shape::write(&chosen, 1000).expect("it is short")).expect("UTF-8")
    }

    #[test]
    fn a_choice_keeps_the_members_that_it_names_in_the_order_of_the_answer_also_within_lists() {
        let json = r#"{"id":1,"buyer":{"name":"Ada","mail":"a"},"items":[{"n":1,"m":2},{"m":3},7],"x":null}"#;
        for (fields, wanted) in [
            ("id", r#"{"id":1}"#),
            ("buyer.name,id", r#"{"id":1,"buyer":{"name":"Ada"}}"#),
            ("items.n", r#"{"items":[{"n":1},{},7]}"#),
            ("buyer.name,buyer", r#"{"buyer":{"name":"Ada","mail":"a"}}"#),
            ("buyer,buyer.name", r#"{"buyer":{"name":"Ada","mail":"a"}}"#),
            ("buyer.mail,buyer.name", r#"{"buyer":{"name":"Ada","mail":"a"}}"#),
            ("none,x.y", r#"{"x":null}"#),
        ] {
            assert_eq!(chosen(fields, json), wanted, "{fields}");
        }
    }

    #[test]
    fn what_is_no_choice_or_too_long_is_refused() {
        let many = vec!["a"; 65].join(",");
        for odd in ["", ",", "a,", "a..b", ".a", "a.", "a.b.c.d.e.f.g.h.i", &many] {
            assert_eq!(Fields::parse(odd), None, "{odd}");
        }
    }
}
