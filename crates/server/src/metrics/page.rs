//! The text format of Prometheus, written line by line.
//!
//! Owns the page while it is written: names with their help and type, samples with labels, histograms. Never decides what
//! is shown.

use std::fmt::{Display, Write};

use metrics_exporter_prometheus::formatting::{sanitize_label_value, write_help_line, write_type_line};

/// Names and values of labels.
pub(super) type Labels<'a> = &'a [(&'a str, &'a str)];

/// A page under way.
pub(super) struct Page {
    text: String,
}

impl Page {
    /// An empty page in memory that may have held another one.
    pub(super) fn new(mut memory: String) -> Page {
        memory.clear();
        Page { text: memory }
    }

    /// Lines that were written elsewhere.
    pub(super) fn append(&mut self, lines: &str) {
        self.text.push_str(lines);
    }

    pub(super) fn into_text(self) -> String {
        self.text
    }

    /// A figure without labels that only grows.
    pub(super) fn counter(&mut self, name: &str, help: &str, value: impl Display) {
        self.begin(name, "counter", help);
        self.sample(name, &[], value);
    }

    /// A figure without labels that goes up and down.
    pub(super) fn gauge(&mut self, name: &str, help: &str, value: impl Display) {
        self.begin(name, "gauge", help);
        self.sample(name, &[], value);
    }

    /// What a name means; its samples follow.
    pub(super) fn begin(&mut self, name: &str, kind: &str, help: &str) {
        write_help_line(&mut self.text, name, None, None, help);
        write_type_line(&mut self.text, name, None, None, kind);
    }

    pub(super) fn sample(&mut self, name: &str, labels: Labels<'_>, value: impl Display) {
        self.line(name, "", labels, None, value);
    }

    /// One series of a histogram: how many samples are at most each bound (as [`written`]), and the sum of all. What is
    /// above the last bound is counted behind it.
    pub(super) fn histogram(
        &mut self,
        name: &str,
        labels: Labels<'_>,
        bounds: &[String],
        counts: &[u64],
        sum: f64,
    ) {
        // Most of a page is such lines: what is the same in all of a series is written once.
        let start = self.text.len();
        self.series(name, "_bucket", labels, Some(("le", &"")));
        let begin = start..self.text.len() - "\"}".len();
        let all: u64 = counts.iter().sum();
        let mut digits = itoa::Buffer::new();
        let mut so_far = 0;
        let bounded = bounds.iter().zip(counts).map(|(bound, count)| {
            so_far += count;
            (bound.as_str(), so_far)
        });
        for (place, (bound, count)) in bounded.chain([("+Inf", all)]).enumerate() {
            match place {
                0 => self.text.truncate(begin.end),
                _ => self.text.extend_from_within(begin.clone()),
            }
            for part in [bound, "\"} ", digits.format(count), "\n"] {
                self.text.push_str(part);
            }
        }
        self.line(name, "_sum", labels, None, sum);
        self.line(name, "_count", labels, None, all);
    }

    /// One series of a summary: values at shares of the samples (0 to 1).
    pub(super) fn summary(
        &mut self,
        name: &str,
        labels: Labels<'_>,
        quantiles: impl Iterator<Item = (f64, f64)>,
        sum: f64,
        count: u64,
    ) {
        for (quantile, value) in quantiles {
            self.line(name, "", labels, Some(("quantile", &quantile)), value);
        }
        self.line(name, "_sum", labels, None, sum);
        self.line(name, "_count", labels, None, count);
    }

    fn line(
        &mut self,
        name: &str,
        suffix: &str,
        labels: Labels<'_>,
        last: Option<(&str, &dyn Display)>,
        value: impl Display,
    ) {
        self.series(name, suffix, labels, last);
        self.write(format_args!(" {value}\n"));
    }

    fn series(&mut self, name: &str, suffix: &str, labels: Labels<'_>, last: Option<(&str, &dyn Display)>) {
        self.text.push_str(name);
        self.text.push_str(suffix);
        let mut separator = '{';
        for (label, value) in labels {
            self.text.push(separator);
            separator = ',';
            self.text.push_str(label);
            self.text.push_str("=\"");
            match value.contains(['"', '\\', '\n']) {
                true => self.text.push_str(&sanitize_label_value(value)),
                false => self.text.push_str(value),
            }
            self.text.push('"');
        }
        if let Some((label, value)) = last {
            self.write(format_args!("{separator}{label}=\"{value}\""));
            separator = ',';
        }
        if separator == ',' {
            self.text.push('}');
        }
    }

    fn write(&mut self, text: std::fmt::Arguments<'_>) {
        self.text.write_fmt(text).expect("writing into a String cannot fail");
    }
}

/// Bounds of a histogram as text.
pub(super) fn written(bounds: impl Iterator<Item = f64>) -> Vec<String> {
    bounds.map(|bound| bound.to_string()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_written_as_prometheus_reads_them() {
        let mut page = Page::new(String::new());
        page.counter("a_total", "What a is.", 3);
        page.begin("b", "gauge", "B.");
        page.sample("b", &[("x", "1"), ("y", "q\"\\")], 0.5);
        page.begin("h", "histogram", "H.");
        page.histogram("h", &[("x", "1")], &written([0.1, 0.2].into_iter()), &[1, 0, 2], 7.5);
        let lines = "# HELP a_total What a is.\n# TYPE a_total counter\na_total 3\n# HELP b B.\n# TYPE b gauge\n\
             b{x=\"1\",y=\"q\\\"\\\\\"} 0.5\n# HELP h H.\n# TYPE h histogram\n\
             h_bucket{x=\"1\",le=\"0.1\"} 1\nh_bucket{x=\"1\",le=\"0.2\"} 1\nh_bucket{x=\"1\",le=\"+Inf\"} 3\n\
             h_sum{x=\"1\"} 7.5\nh_count{x=\"1\"} 3\n";
        assert_eq!(page.into_text(), lines);
    }
}
