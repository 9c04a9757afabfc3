//! Where figures are collected: medians, a table for people, JSON lines for machines.

use std::time::Duration;

use serde_json::json;

use crate::accel::Accel;
use crate::timeline::{mib, table};

/// What a figure counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Milliseconds.
    Ms,
    /// Microseconds.
    Us,
    /// Bytes.
    Bytes,
    /// Millions of bytes.
    Mb,
    /// Microseconds of processors for a gigabyte.
    CpuPerGb,
    /// How many.
    Count,
    /// Hundredths.
    Percent,
}

impl Unit {
    /// Name in JSON lines.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ms => "ms",
            Self::Us => "us",
            Self::Bytes => "bytes",
            Self::Mb => "MB",
            Self::CpuPerGb => "us/GB",
            Self::Count => "count",
            Self::Percent => "percent",
        }
    }

    /// A value for people.
    #[must_use]
    pub fn shown(self, value: u64) -> String {
        match self {
            Self::Ms => format!("{value} ms"),
            Self::Us => format!(
                "{:.1} ms",
                Duration::from_micros(value).as_secs_f64() * 1000.0
            ),
            Self::Bytes => mib(value),
            Self::Mb => format!("{value} MB"),
            Self::CpuPerGb => format!("{:.3} s/GB", Duration::from_micros(value).as_secs_f64()),
            Self::Count => value.to_string(),
            Self::Percent => format!("{value} %"),
        }
    }
}

/// Whole milliseconds of a duration.
#[must_use]
pub fn ms(took: Duration) -> u64 {
    u64::try_from(took.as_millis()).unwrap_or(u64::MAX)
}

/// One figure, with what it is compared with, over all runs.
#[derive(Debug)]
struct Figure {
    name: String,
    versus: Option<String>,
    unit: Unit,
    ours: Vec<u64>,
    theirs: Vec<u64>,
}

/// The figures of a room, in the order they first came.
#[derive(Debug)]
pub struct Figures {
    bench: String,
    accel: Option<Accel>,
    figures: Vec<Figure>,
}

impl Figures {
    /// No figure yet. `bench` is the room's name in JSON lines; `accel` how guests ran, where there were any.
    #[must_use]
    pub fn new(bench: &str, accel: Option<Accel>) -> Self {
        Self {
            bench: bench.to_owned(),
            accel,
            figures: Vec::new(),
        }
    }

    /// One run's value of a figure that is compared with nothing.
    pub fn measured(&mut self, name: &str, unit: Unit, ours: u64) {
        self.of(name, None, unit).ours.push(ours);
    }

    /// One run's value and that of `versus`, both taken in this run: a busy machine then slows both.
    pub fn compared(&mut self, name: &str, versus: &str, unit: Unit, ours: u64, theirs: u64) {
        let figure = self.of(name, Some(versus), unit);
        figure.ours.push(ours);
        figure.theirs.push(theirs);
    }

    fn of(&mut self, name: &str, versus: Option<&str>, unit: Unit) -> &mut Figure {
        let same = |figure: &Figure| figure.name == name && figure.versus.as_deref() == versus;
        let at = self
            .figures
            .iter()
            .position(same)
            .unwrap_or(self.figures.len());
        if at == self.figures.len() {
            self.figures.push(Figure {
                name: name.to_owned(),
                versus: versus.map(str::to_owned),
                unit,
                ours: Vec::new(),
                theirs: Vec::new(),
            });
        }
        self.figures.get_mut(at).expect("it was pushed just above")
    }

    /// The table for people.
    #[must_use]
    pub fn table(&self) -> String {
        let rows: Vec<Vec<String>> = self.figures.iter().map(Figure::row).collect();
        table(
            &["Figure", "ours (median)", "vs", "theirs", "ratio", "runs"],
            &rows,
        )
    }

    /// One JSON object a line: `bench`, `figure`, `vs`, `ours`, `theirs`, `ratio`, `unit`, `runs`, and `accel` where
    /// guests ran.
    #[must_use]
    pub fn json_lines(&self) -> String {
        let lines = self.figures.iter().map(|figure| {
            let mut line = json!({
                "bench": self.bench,
                "figure": figure.name,
                "vs": figure.versus,
                "ours": median(&figure.ours),
                "theirs": median(&figure.theirs),
                "ratio": figure.ratio(),
                "unit": figure.unit.name(),
                "runs": figure.ours.len(),
            });
            if let (Some(accel), Some(fields)) = (self.accel, line.as_object_mut()) {
                let name = if accel.emulated() { "tcg" } else { "kvm" };
                fields.insert("accel".to_owned(), name.into());
            }
            format!("{line}\n")
        });
        lines.collect()
    }
}

impl Figure {
    fn row(&self) -> Vec<String> {
        let shown = |values: &[u64]| median(values).map(|value| self.unit.shown(value));
        vec![
            self.name.clone(),
            shown(&self.ours).unwrap_or_default(),
            self.versus.clone().unwrap_or_default(),
            shown(&self.theirs).unwrap_or_default(),
            self.ratio()
                .map_or_else(String::new, |ratio| format!("{ratio:.2}")),
            self.ours.len().to_string(),
        ]
    }

    /// Ours by theirs, rounded to thousandths; none where there is nothing to divide by.
    fn ratio(&self) -> Option<f64> {
        let theirs = u128::from(median(&self.theirs)?);
        let thousandths = u128::from(median(&self.ours)?) * 1000 + theirs / 2;
        let thousandths = u32::try_from(thousandths.checked_div(theirs)?).ok()?;
        Some(f64::from(thousandths) / 1000.0)
    }
}

/// The value in the middle; of an even number the upper one. None of none.
#[must_use]
pub fn median(values: &[u64]) -> Option<u64> {
    let mut values = values.to_vec();
    values.sort_unstable();
    values.get(values.len() / 2).copied()
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn figures_are_medians_in_the_order_they_came() {
        let mut figures = Figures::new("boot", Some(Accel::Tcg));
        for (ours, theirs) in [(130, 100), (900, 104), (120, 90)] {
            figures.compared("boot.prompt.wall", "dracut", Unit::Ms, ours, theirs);
        }
        figures.compared("update.bytes", "desync", Unit::Bytes, 5, 0);
        figures.compared("update.bytes", "changed-files", Unit::Bytes, 5, 4);
        figures.measured("wipe", Unit::Ms, 7);
        let lines: Vec<Value> = figures
            .json_lines()
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(
            lines[0],
            json!({
                "bench": "boot", "figure": "boot.prompt.wall", "vs": "dracut", "ours": 130,
                "theirs": 100, "ratio": 1.3, "unit": "ms", "runs": 3, "accel": "tcg",
            })
        );
        assert_eq!(lines[1]["ratio"], Value::Null);
        assert_eq!(lines[2]["vs"], "changed-files");
        assert_eq!(lines[3]["theirs"], Value::Null);
        assert!(figures.table().contains("1.30"), "{}", figures.table());
    }
}
