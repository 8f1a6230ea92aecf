// SPDX-License-Identifier: MIT OR Apache-2.0
//! A page of metrics as text, in the format of <https://prometheus.io/docs/specs/om/open_metrics_spec/> or of
//! <https://prometheus.io/docs/instrumenting/exposition_formats/>.
#![forbid(unsafe_code)]

use std::fmt::{Display, Write as _};

/// Format of the page.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Format {
    /// For clients that accept it.
    OpenMetrics,
    /// For all other clients. A counter has its `_total` in `TYPE` and `HELP` too, and there is no end
    /// marker.
    Classic,
}

/// Type of a metric.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// A value that may decrease.
    Gauge,
    /// A value that never decreases.
    Counter,
    /// Counts of values by size.
    Histogram,
}

/// Size of a part, in bytes.
const PART: usize = 256 << 10;

/// A page being written. It is sent in parts, while the rest is written.
pub struct Page<S> {
    format: Format,
    text: String,
    /// Name of the metric's samples.
    name: String,
    send: S,
}

impl<S: FnMut(String)> Page<S> {
    /// Creates an empty page, which passes its parts to `send`.
    pub fn new(format: Format, send: S) -> Self {
        Self { format, text: String::with_capacity(PART), name: String::new(), send }
    }

    /// Begins a metric; its samples follow.
    pub fn metric(&mut self, kind: Kind, name: impl Display, help: &str) -> &mut Self {
        let (kind, total) = match kind {
            Kind::Gauge => ("gauge", ""),
            Kind::Counter => ("counter", "_total"),
            Kind::Histogram => ("histogram", ""),
        };
        let head = if self.format == Format::Classic { total } else { "" };
        let _infallible = write!(self.text, "# HELP {name}{head} {help}.\n# TYPE {name}{head} {kind}\n");
        self.name = format!("{name}{total}");
        self
    }

    /// Writes a sample: its labels as in the page, with braces, and its value.
    pub fn sample(&mut self, labels: &str, value: u64) {
        self.text.push_str(&self.name);
        self.text.push_str(labels);
        self.text.push(' ');
        push_number(&mut self.text, value);
        self.end_line();
    }

    /// Writes a sample that is not a whole number.
    pub fn fraction(&mut self, value: f64) {
        let _infallible = write!(self.text, "{} {value:?}", self.name);
        self.end_line();
    }

    /// Writes a histogram with one label: the upper bound of each bucket and its count, which is not cumulative; the
    /// count of larger values; and the sum of all values.
    pub fn histogram(
        &mut self,
        (label, value): (&str, &str),
        buckets: impl Iterator<Item = (f64, u64)>,
        larger: u64,
        sum: f64,
    ) {
        let mut total = 0;
        let bounds = buckets.map(|(bound, count)| (format!("{bound:?}"), count));
        for (bound, count) in bounds.chain([("+Inf".to_owned(), larger)]) {
            total += count;
            let labels = labels(&[(label, value), ("le", &bound)]);
            let _infallible = write!(self.text, "{}_bucket{labels} {total}", self.name);
            self.end_line();
        }
        let labels = labels(&[(label, value)]);
        let _infallible = write!(self.text, "{}_count{labels} {total}", self.name);
        self.end_line();
        let _infallible = write!(self.text, "{}_sum{labels} {sum:?}", self.name);
        self.end_line();
    }

    fn end_line(&mut self) {
        self.text.push('\n');
        // The longest line is far shorter than the remaining capacity.
        if self.text.len() > PART - PART / 8 {
            let text = std::mem::replace(&mut self.text, String::with_capacity(PART));
            (self.send)(text);
        }
    }

    /// Ends the page.
    pub fn end(mut self) {
        if self.format == Format::OpenMetrics {
            self.text.push_str("# EOF\n");
        }
        (self.send)(self.text);
    }
}

/// Returns labels as in a page.
#[must_use]
pub fn labels(pairs: &[(&str, &str)]) -> String {
    let mut text = String::from("{");
    for (number, (name, value)) in pairs.iter().enumerate() {
        let comma = if number > 0 { "," } else { "" };
        let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        let _infallible = write!(text, "{comma}{name}=\"{value}\"");
    }
    text.push('}');
    text
}

/// Writes a number. This is several times as fast as `write!`; most numbers of a large page are short.
fn push_number(text: &mut String, mut number: u64) {
    let mut digits = [0_u8; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    text.extend(digits[at..].iter().map(|digit| char::from(*digit)));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(format: Format) -> String {
        let mut all = String::new();
        let mut page = Page::new(format, |part: String| all.push_str(&part));
        page.metric(Kind::Counter, "a_b", "Help for it").sample("{x=\"y\"}", 5);
        page.metric(Kind::Gauge, "g", "More").sample("", u64::MAX);
        page.metric(Kind::Gauge, "f_seconds", "Time").fraction(0.0);
        page.end();
        all
    }

    #[test]
    fn the_classic_format_names_counters_by_their_samples() {
        assert_eq!(
            written(Format::OpenMetrics),
            "# HELP a_b Help for it.\n# TYPE a_b counter\na_b_total{x=\"y\"} 5\n\
             # HELP g More.\n# TYPE g gauge\ng 18446744073709551615\n\
             # HELP f_seconds Time.\n# TYPE f_seconds gauge\nf_seconds 0.0\n# EOF\n"
        );
        assert_eq!(
            written(Format::Classic),
            "# HELP a_b_total Help for it.\n# TYPE a_b_total counter\na_b_total{x=\"y\"} 5\n\
             # HELP g More.\n# TYPE g gauge\ng 18446744073709551615\n\
             # HELP f_seconds Time.\n# TYPE f_seconds gauge\nf_seconds 0.0\n"
        );
    }

    #[test]
    fn numbers_are_what_they_are_in_decimal() {
        for number in [0, 9, 10, 99, 100, 1_234_567_890, u64::MAX] {
            let mut text = String::new();
            push_number(&mut text, number);
            assert_eq!(text, number.to_string());
        }
    }

    #[test]
    fn values_of_labels_are_escaped() {
        assert_eq!(labels(&[("a", "x\"y\\z\n"), ("b", "")]), "{a=\"x\\\"y\\\\z\\n\",b=\"\"}");
    }

    #[test]
    fn buckets_of_a_histogram_are_cumulative() {
        let mut text = String::new();
        let mut page = Page::new(Format::OpenMetrics, |part: String| text.push_str(&part));
        page.metric(Kind::Histogram, "h_seconds", "Times");
        page.histogram(("name", "a"), [(0.0005, 3), (1.0, 2)].into_iter(), 4, 9.5);
        page.end();
        assert_eq!(
            text,
            "# HELP h_seconds Times.\n# TYPE h_seconds histogram\n\
             h_seconds_bucket{name=\"a\",le=\"0.0005\"} 3\nh_seconds_bucket{name=\"a\",le=\"1.0\"} 5\n\
             h_seconds_bucket{name=\"a\",le=\"+Inf\"} 9\nh_seconds_count{name=\"a\"} 9\n\
             h_seconds_sum{name=\"a\"} 9.5\n# EOF\n"
        );
    }

    #[test]
    fn a_large_page_comes_in_parts() {
        let mut parts = Vec::new();
        let mut page = Page::new(Format::Classic, |part: String| parts.push(part));
        page.metric(Kind::Gauge, "many", "Many");
        (0..100_000).for_each(|number| page.sample("{label=\"of a certain length\"}", number));
        page.end();
        assert!(parts.len() > 2 && parts.iter().all(|part| part.len() <= PART), "{}", parts.len());
        assert_eq!(parts.concat().lines().count(), 100_002);
    }
}
