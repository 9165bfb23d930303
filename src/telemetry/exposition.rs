//! Prometheus's text format 0.0.4: <https://prometheus.io/docs/instrumenting/exposition_formats/>. It is written here because the
//! crates that are maintained write OpenMetrics, whose counters a reader of the older format takes for untyped.

use std::fmt::{Display, Write};

use super::metrics::{BOUNDS, Histogram};

/// The `Content-Type` of a page in this format.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What a metric is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It only grows; its name ends in `_total`.
    Counter,
    /// It goes up and down.
    Gauge,
    /// Buckets, a sum and a count; its name ends in its unit.
    Histogram,
}

/// A page of metrics, as far as it is written.
#[derive(Debug, Default)]
pub struct Exposition(String);

/// One metric of a page, whose samples differ by their labels.
#[derive(Debug)]
pub struct Family<'a> {
    out: &'a mut String,
    name: &'a str,
}

impl Exposition {
    /// Begins a metric. All its samples must follow before the next metric begins.
    pub fn family<'a>(&'a mut self, name: &'a str, kind: Kind, help: &str) -> Family<'a> {
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        let out = &mut self.0;
        let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
        Family { out, name }
    }

    /// A whole metric that has one sample, without labels.
    pub fn single(&mut self, name: &str, kind: Kind, help: &str, value: impl Display) {
        self.family(name, kind, help).sample(&[], value);
    }

    /// The page.
    pub fn text(self) -> String {
        self.0
    }
}

impl Family<'_> {
    /// One value.
    pub fn sample(&mut self, labels: &[(&str, &str)], value: impl Display) {
        self.line("", labels, None, value);
    }

    /// One histogram.
    pub fn histogram(&mut self, labels: &[(&str, &str)], histogram: &Histogram) {
        let mut below = 0;
        for (bound, count) in BOUNDS.iter().zip(&histogram.counts) {
            below += count;
            self.line("_bucket", labels, Some(&bound.to_string()), below);
        }
        let count = histogram.count();
        self.line("_bucket", labels, Some("+Inf"), count);
        self.line("_sum", labels, None, histogram.sum);
        self.line("_count", labels, None, count);
    }

    fn line(&mut self, suffix: &str, labels: &[(&str, &str)], bound: Option<&str>, value: impl Display) {
        let _ = write!(self.out, "{}{suffix}", self.name);
        let bound = bound.map(|bound| ("le", bound));
        let mut before = '{';
        for (name, value) in labels.iter().copied().chain(bound) {
            self.out.push(before);
            let _ = write!(self.out, "{name}=\"");
            escape(self.out, value);
            self.out.push('"');
            before = ',';
        }
        if before == ',' {
            self.out.push('}');
        }
        let _ = writeln!(self.out, " {value}");
    }
}

fn escape(out: &mut String, text: &str) {
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            c => out.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_escaped_and_buckets_add_up() {
        let mut page = Exposition::default();
        page.family("a_total", Kind::Counter, "A.").sample(&[("x", "q\"\\\n"), ("y", "z")], 3);
        let mut histogram = Histogram { sum: 1.5, ..Histogram::default() };
        (histogram.counts[0], histogram.counts[1], histogram.counts[15]) = (2, 1, 1);
        page.family("b_seconds", Kind::Histogram, "B.").histogram(&[("x", "y")], &histogram);
        let text = page.text();
        assert!(text.starts_with("# HELP a_total A.\n# TYPE a_total counter\na_total{x=\"q\\\"\\\\\\n\",y=\"z\"} 3\n"));
        assert!(text.contains("b_seconds_bucket{x=\"y\",le=\"0.001\"} 2\nb_seconds_bucket{x=\"y\",le=\"0.0025\"} 3\n"));
        let end = "b_seconds_bucket{x=\"y\",le=\"60\"} 3\nb_seconds_bucket{x=\"y\",le=\"+Inf\"} 4\n\
                   b_seconds_sum{x=\"y\"} 1.5\nb_seconds_count{x=\"y\"} 4\n";
        assert!(text.ends_with(end), "{text}");
    }
}
