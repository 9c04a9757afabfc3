//! Counters as Prometheus text, version 0.0.4.

use std::fmt::Write as _;

/// Renders counters; one that does not end in `_total` is a gauge.
#[must_use]
pub(crate) fn render(counters: &[(String, u64)]) -> String {
    let (mut text, mut last) = (String::new(), "");
    for (name, value) in counters {
        let (family, _) = name.split_once('{').unwrap_or((name, ""));
        let kind = if family.ends_with("_total") {
            "counter"
        } else {
            "gauge"
        };
        // Writing to a String cannot fail.
        if family != last {
            let _ = writeln!(text, "# TYPE {family} {kind}");
        }
        let _ = writeln!(text, "{name} {value}");
        last = family;
    }
    text
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_total_is_a_counter_and_a_size_is_a_gauge() {
        let text = super::render(&[
            ("a_total".into(), 3),
            ("b_bytes{of=\"x\"}".into(), 4),
            ("b_bytes{of=\"y\"}".into(), 5),
        ]);
        assert_eq!(
            text,
            "# TYPE a_total counter\na_total 3\n# TYPE b_bytes gauge\nb_bytes{of=\"x\"} 4\nb_bytes{of=\"y\"} 5\n"
        );
    }
}
