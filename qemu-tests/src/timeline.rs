//! Stages of a boot or a shutdown, as the agent told them.

use std::time::Duration;

use crate::events::Event;

/// One finished stage.
#[derive(Debug, Clone)]
pub struct Stage {
    /// Its name.
    pub name: String,
    /// When it began, milliseconds after the kernel started.
    pub begin_ms: u64,
    /// How long it took.
    pub took: Duration,
    /// Bytes it moved, where it says.
    pub bytes: Option<u64>,
    /// Whether it ended well.
    pub done: bool,
}

/// The stages in the order they ended, with the two the agent cannot time itself: `start`, from
/// the kernel's start to the agent's first word, and `system`, from the handover to the session.
#[must_use]
pub fn stages(events: &[Event]) -> Vec<Stage> {
    let at = |event: &Event| event.t_ms;
    let between = |name: &str, begin_ms: u64, end_ms: u64| Stage {
        name: name.to_owned(),
        begin_ms,
        took: Duration::from_millis(end_ms.saturating_sub(begin_ms)),
        bytes: None,
        done: true,
    };
    let mut stages: Vec<Stage> = events
        .first()
        .map(|first| between("start", 0, at(first)))
        .into_iter()
        .collect();
    stages.extend(told(events));
    let handover = stages.iter().position(|stage| stage.name == "handover");
    let ready = events
        .iter()
        .find(|event| event.event == "session-ready")
        .map(at);
    if let (Some(place), Some(ready)) = (handover, ready)
        && let Some(handover) = stages.get(place)
    {
        let begin =
            handover.begin_ms + u64::try_from(handover.took.as_millis()).unwrap_or(u64::MAX);
        stages.insert(place + 1, between("system", begin, ready));
    }
    stages
}

/// The stages as the agent told them.
fn told(events: &[Event]) -> Vec<Stage> {
    events
        .iter()
        .filter(|event| event.event == "stage" && matches!(event.text("state"), "end" | "failed"))
        .map(|event| {
            let ms = event.number("ms").unwrap_or_default();
            Stage {
                name: event.text("stage").to_owned(),
                begin_ms: event.t_ms.saturating_sub(ms),
                took: Duration::from_millis(ms),
                bytes: event.number("bytes"),
                done: event.text("state") == "end",
            }
        })
        .collect()
}

/// Bytes for people.
#[must_use]
pub fn mib(bytes: u64) -> String {
    // Three digits before the point are exact in thousandths of a MiB.
    let thousandths = u128::from(bytes) * 1000 / (1 << 20);
    format!("{}.{:01} MiB", thousandths / 1000, thousandths % 1000 / 100)
}

/// A duration for people.
#[must_use]
pub fn seconds(took: Duration) -> String {
    format!("{:.1} s", took.as_secs_f64())
}

/// A table with columns as wide as they need to be; the first is left, the others right aligned.
#[must_use]
pub fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let head: Vec<String> = head.iter().map(|cell| (*cell).to_owned()).collect();
    let all = || std::iter::once(&head).chain(rows);
    let widths: Vec<usize> = (0..head.len())
        .map(|column| {
            all()
                .filter_map(|row| row.get(column))
                .map(|cell| cell.chars().count())
                .max()
                .unwrap_or(0)
        })
        .collect();
    let mut text = String::new();
    for (number, row) in all().enumerate() {
        let cells: Vec<String> = row
            .iter()
            .zip(&widths)
            .enumerate()
            .map(|(column, (cell, width))| {
                let width = *width;
                if column == 0 {
                    format!("{cell:<width$}")
                } else {
                    format!("{cell:>width$}")
                }
            })
            .collect();
        text.push_str(cells.join("  ").trim_end());
        text.push('\n');
        if number == 0 {
            let total: usize = widths.iter().sum::<usize>() + 2 * widths.len().saturating_sub(1);
            text.push_str(&"-".repeat(total));
            text.push('\n');
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_come_from_their_ends() {
        let events: Vec<Event> = [
            r#"{"t_ms":100,"event":"stage","stage":"wipe","state":"begin"}"#,
            r#"{"t_ms":350,"event":"stage","stage":"wipe","state":"end","ms":250,"bytes":7}"#,
            r#"{"t_ms":900,"event":"stage","stage":"handover","state":"end","ms":300,"bytes":0}"#,
            r#"{"t_ms":5900,"event":"session-ready"}"#,
        ]
        .iter()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
        let stages = stages(&events);
        assert_eq!(
            (stages[0].name.as_str(), stages[0].took.as_millis()),
            ("start", 100)
        );
        assert_eq!(stages.len(), 4, "{stages:?}");
        let stages = &stages[1..];
        assert_eq!(
            (
                stages[0].begin_ms,
                stages[0].took.as_millis(),
                stages[0].bytes
            ),
            (100, 250, Some(7))
        );
        assert_eq!(
            (stages[2].name.as_str(), stages[2].took.as_millis()),
            ("system", 5000)
        );
    }

    #[test]
    fn bytes_read_well() {
        for (bytes, text) in [
            (0, "0.0 MiB"),
            (1 << 20, "1.0 MiB"),
            (52_900_000, "50.4 MiB"),
        ] {
            assert_eq!(mib(bytes), text);
        }
    }
}
