//! The query of a request for a page.

/// A query's parameters.
pub(super) struct Query<'a>(pub(super) &'a str);

impl Query<'_> {
    /// The first value of a name, percent-decoded.
    pub(super) fn get(&self, name: &str) -> Option<String> {
        let mut pairs = self.0.split('&').filter_map(|pair| pair.split_once('='));
        let (_, value) = pairs.find(|(key, _)| *key == name)?;
        Some(percent_encoding::percent_decode_str(value).decode_utf8_lossy().into_owned())
    }

    /// What is wrong with it, for pages that change something: a clear with a misspelt filter, or with one that has no value,
    /// would clear everything.
    pub(super) fn mistake(&self, known: &[&str]) -> Option<String> {
        let all = || known.iter().map(|name| format!("{name}=…")).collect::<Vec<_>>().join(" and ");
        self.0.split('&').filter(|pair| !pair.is_empty()).find_map(|pair| match pair.split_once('=') {
            Some((name, value)) if known.contains(&name) && !value.is_empty() => None,
            _ => Some(format!("`{pair}` is not understood: there are {}", all())),
        })
    }
}
