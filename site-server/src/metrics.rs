//! Everything a site counts, as Prometheus text, version 0.0.4.

use std::{fmt::Write as _, time::Instant};

use crate::{app::Site, store::StoreError};

/// What the counters of the database count.
const HELP: [(&str, &str); 11] = [
    (
        "furoshiki_relay_requests_total",
        "Requests between sites that moved snapshots.",
    ),
    (
        "furoshiki_mirroring_bytes_total",
        "Bytes that copying everything to every site would have moved.",
    ),
    (
        "furoshiki_mirroring_requests_total",
        "Requests that copying everything to every site would have needed.",
    ),
    (
        "furoshiki_object_store_capability",
        "What the place of objects does beyond what a site needs: 1 or 0.",
    ),
    (
        "furoshiki_object_bytes_received_total",
        "Object bytes pushed by PCs.",
    ),
    (
        "furoshiki_object_bytes_sent_total",
        "Object bytes pulled by PCs.",
    ),
    (
        "furoshiki_records_received_total",
        "User and head records taken from other sites.",
    ),
    (
        "furoshiki_relay_bytes_received_total",
        "Object and record bytes taken from other sites.",
    ),
    (
        "furoshiki_relay_bytes_sent_total",
        "Object and record bytes given to other sites.",
    ),
    (
        "furoshiki_release_bytes_sent_total",
        "Bytes of release files sent.",
    ),
    (
        "furoshiki_stored_object_bytes",
        "Sealed bytes that are stored now.",
    ),
];

/// Renders counters of the database; one that does not end in `_total` is a gauge.
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
            let help = HELP.iter().find(|(known, _)| *known == family);
            let help = help.map_or("A value of the site.", |(_, help)| help);
            let _ = writeln!(text, "# HELP {family} {help}\n# TYPE {family} {kind}");
        }
        let _ = writeln!(text, "{name} {value}");
        last = family;
    }
    text
}

/// One name with its help and its values by label.
fn gauge(text: &mut String, (name, help): (&str, &str), values: &[(String, f64)]) {
    // Writing to a String cannot fail.
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} gauge");
    for (labels, value) in values {
        let _ = writeln!(text, "{name}{labels} {value}");
    }
}

/// What is looked up when somebody asks.
pub(crate) async fn of_the_moment(site: &Site) -> Result<String, StoreError> {
    let mut text = String::new();
    let mut one = |name: (&str, &str), value: f64| {
        gauge(&mut text, name, &[(String::new(), value)]);
    };
    let begun = Instant::now();
    let waiting = site.store.outbox_by_site().await?;
    one(
        (
            "furoshiki_database_answer_seconds",
            "How long the database took to answer just now.",
        ),
        begun.elapsed().as_secs_f64(),
    );
    let begun = Instant::now();
    let answered = site.store.objects_answer().await;
    let took = answered.map_or(f64::NAN, |()| begun.elapsed().as_secs_f64());
    one(
        (
            "furoshiki_objects_answer_seconds",
            "How long the folder or bucket of objects took to answer just now; NaN: it did not.",
        ),
        took,
    );
    if let Ok(disk) = rustix::fs::statvfs(site.layout.root()) {
        one(
            (
                "furoshiki_disk_free_bytes",
                "Free on the disk of the data folder.",
            ),
            float(disk.f_bavail.saturating_mul(disk.f_frsize)),
        );
        one(
            (
                "furoshiki_disk_bytes",
                "Size of the disk of the data folder.",
            ),
            float(disk.f_blocks.saturating_mul(disk.f_frsize)),
        );
    }
    if let Some(expires) = site.tls.identity().expires_s() {
        one(
            (
                "furoshiki_certificate_expiry_seconds",
                "When the site's certificate ends, seconds since 1970.",
            ),
            float(u64::try_from(expires).unwrap_or(0)),
        );
    }
    let version = format!("{{version=\"{}\"}}", env!("CARGO_PKG_VERSION"));
    gauge(
        &mut text,
        ("furoshiki_build_info", "Which program this is; always 1."),
        &[(version, 1.0)],
    );
    let waiting: Vec<_> = waiting
        .into_iter()
        .map(|(site, rows)| (format!("{{site=\"{site}\"}}"), float(rows)))
        .collect();
    gauge(
        &mut text,
        (
            "furoshiki_outbox_waiting",
            "Changes another site was not told yet.",
        ),
        &waiting,
    );
    let relays: Vec<_> = site
        .store
        .relays_by_state()
        .await?
        .into_iter()
        .map(|(state, rows)| (format!("{{state=\"{state}\"}}"), float(rows)))
        .collect();
    gauge(
        &mut text,
        ("furoshiki_relays", "Snapshots on their way here, by state."),
        &relays,
    );
    Ok(text)
}

/// Whole up to 2^53, which no disk reaches.
#[expect(
    clippy::cast_precision_loss,
    reason = "Prometheus knows no other numbers"
)]
const fn float(value: u64) -> f64 {
    value as f64
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
        for want in [
            "# TYPE a_total counter\na_total 3\n",
            "# TYPE b_bytes gauge\nb_bytes{of=\"x\"} 4\nb_bytes{of=\"y\"} 5\n",
        ] {
            assert!(text.contains(want), "{text}");
        }
    }
}
