//! What was measured, and the figures that come of it.

use std::collections::BTreeMap;

use super::cost::Cost;
use super::tools::OURS;
use crate::bench::figures::{Figures, Unit, median, ms};
use crate::timeline::table;

/// What a tool did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// Saved a tree into an empty store.
    First,
    /// Saved it again, unchanged.
    Unchanged,
    /// Saved what a day's work changed.
    Day,
    /// Wrote the newest save to a fresh file system.
    Restore,
    /// Saved what it had just restored. Ours only.
    AfterRestore,
    /// Restored from a site server. Ours only.
    OverHttps,
}

impl Step {
    /// All, in the order of tables.
    pub const ALL: [Self; 6] = [
        Self::First,
        Self::Unchanged,
        Self::Day,
        Self::Restore,
        Self::AfterRestore,
        Self::OverHttps,
    ];

    /// Name in tables.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::First => "first snapshot",
            Self::Unchanged => "nothing changed",
            Self::Day => "a day's work",
            Self::Restore => "restore",
            Self::AfterRestore => "nothing changed after a restore",
            Self::OverHttps => "restore over HTTPS",
        }
    }
}

/// One run of one tool.
#[derive(Debug, Clone, Copy)]
pub struct Sample {
    /// What it cost.
    pub cost: Cost,
    /// Bytes by which the store grew.
    pub added_bytes: u64,
}

/// What is compared.
#[derive(Debug, Clone, Copy)]
pub enum What {
    /// Milliseconds from start to end.
    Wall,
    /// Milliseconds of processors.
    Cpu,
    /// Bytes added to the store.
    Added,
    /// Megabytes of memory at most, begun ones counted.
    Peak,
}

impl What {
    const fn unit(self) -> Unit {
        match self {
            Self::Wall | Self::Cpu => Unit::Ms,
            Self::Added => Unit::Bytes,
            Self::Peak => Unit::Mb,
        }
    }

    /// The value in the unit.
    #[must_use]
    pub fn of(self, sample: &Sample) -> u64 {
        match self {
            Self::Wall => ms(sample.cost.wall),
            Self::Cpu => ms(sample.cost.cpu),
            Self::Added => sample.added_bytes,
            Self::Peak => sample.cost.peak_bytes.div_ceil(1_000_000),
        }
    }
}

/// Figures that compare us with every peer.
const AGAINST_PEERS: [(&str, Step, What); 8] = [
    ("first.cpu", Step::First, What::Cpu),
    ("first.wall", Step::First, What::Wall),
    ("first.bytes", Step::First, What::Added),
    ("day.bytes", Step::Day, What::Added),
    ("day.cpu", Step::Day, What::Cpu),
    ("nochange.cpu", Step::Unchanged, What::Cpu),
    ("apply.wall", Step::Restore, What::Wall),
    ("apply.cpu", Step::Restore, What::Cpu),
];

/// Figures that compare us with ourselves.
const AGAINST_OURSELVES: [(&str, Step, Step, What); 2] = [
    (
        "after-apply.cpu",
        Step::AfterRestore,
        Step::Unchanged,
        What::Cpu,
    ),
    ("apply.https", Step::OverHttps, Step::Restore, What::Wall),
];

/// Figures that have a limit, in MB.
const LIMITS: [(&str, Step, u64); 2] = [
    ("capture.rss", Step::First, 128),
    ("apply.rss", Step::Restore, 64),
];

/// All runs of all tools.
#[derive(Debug, Default)]
pub struct Samples {
    runs: BTreeMap<(Step, &'static str), Vec<Sample>>,
}

impl Samples {
    /// Takes one.
    pub fn add(&mut self, step: Step, tool: &'static str, sample: Sample) {
        self.runs.entry((step, tool)).or_default().push(sample);
    }

    /// Forgets a tool that did not come through.
    pub fn forget(&mut self, tool: &str) {
        self.runs.retain(|(_, name), _| *name != tool);
    }

    /// Values of a step, in the order they were taken.
    #[must_use]
    pub fn values(&self, step: Step, tool: &str, what: What) -> Vec<u64> {
        let runs = self
            .runs
            .iter()
            .find(|((at, name), _)| *at == step && *name == tool);
        runs.map(|(_, samples)| samples.iter().map(|sample| what.of(sample)).collect())
            .unwrap_or_default()
    }

    /// The median of a step.
    #[must_use]
    pub fn median(&self, step: Step, tool: &str, what: What) -> Option<u64> {
        median(&self.values(step, tool, what))
    }

    /// Tools that did a step, in the order of their names.
    #[must_use]
    pub fn tools(&self, step: Step) -> Vec<&'static str> {
        let runs = self.runs.keys().filter(|(at, _)| *at == step);
        runs.map(|(_, tool)| *tool).collect()
    }

    /// The figures, with their names for machines.
    pub fn figures(&self, figures: &mut Figures) {
        let mut compare = |name: &str, versus: &str, what: What, ours: &[u64], theirs: &[u64]| {
            for (ours, theirs) in ours.iter().zip(theirs) {
                figures.compared(name, versus, what.unit(), *ours, *theirs);
            }
        };
        for (name, step, what) in AGAINST_PEERS {
            let ours = self.values(step, OURS, what);
            for peer in self.tools(step).into_iter().filter(|tool| *tool != OURS) {
                compare(name, peer, what, &ours, &self.values(step, peer, what));
            }
        }
        for (name, step, other, what) in AGAINST_OURSELVES {
            let (ours, theirs) = (
                self.values(step, OURS, what),
                self.values(other, OURS, what),
            );
            compare(name, "self", what, &ours, &theirs);
        }
        for (name, step, limit) in LIMITS {
            let ours = self.values(step, OURS, What::Peak);
            let limits = vec![limit; ours.len()];
            compare(name, "limit", What::Peak, &ours, &limits);
        }
    }

    /// Medians of everything, for people; the range of wall time tells how busy the machine was.
    #[must_use]
    pub fn overview(&self) -> String {
        let mut rows = Vec::new();
        for step in Step::ALL {
            let mut tools = self.tools(step);
            tools.sort_by_key(|tool| self.median(step, tool, What::Cpu));
            for tool in tools {
                let walls = self.values(step, tool, What::Wall);
                let shown = |what| {
                    let value = self.median(step, tool, what);
                    value.map_or_else(String::new, |value| what.unit().shown(value))
                };
                let range = (walls.iter().min(), walls.iter().max());
                let range = match range {
                    (Some(low), Some(high)) => format!("{low}-{high}"),
                    _ => String::new(),
                };
                rows.push(vec![
                    step.name().to_owned(),
                    tool.to_owned(),
                    shown(What::Cpu),
                    shown(What::Wall),
                    range,
                    shown(What::Peak),
                    shown(What::Added),
                ]);
            }
        }
        let head = ["What", "who", "CPU", "wall", "from-to", "peak", "added"];
        table(&head, &rows)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::Duration;

    use serde_json::Value;

    use super::*;
    use crate::bench::snapshot::tools::PEERS;

    fn sample(ms: u64, added_bytes: u64) -> Sample {
        Sample {
            cost: Cost {
                wall: Duration::from_millis(ms),
                cpu: Duration::from_millis(2 * ms),
                peak_bytes: 70_000_001,
            },
            added_bytes,
        }
    }

    #[test]
    fn figures_have_the_names_machines_know_and_compare_what_was_done() {
        let mut samples = Samples::default();
        for step in Step::ALL {
            for run in 0..3 {
                samples.add(step, OURS, sample(100 + run, 10));
            }
        }
        for peer in PEERS {
            for step in [Step::First, Step::Restore] {
                samples.add(step, peer.name, sample(200, 20));
            }
            if peer.adds {
                samples.add(Step::Day, peer.name, sample(400, 40));
                samples.add(Step::Unchanged, peer.name, sample(50, 0));
            }
        }
        let mut figures = Figures::new("snapshot", None);
        samples.figures(&mut figures);
        let lines: Vec<Value> = figures
            .json_lines()
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        let of = |field: &str| -> BTreeSet<&str> {
            lines
                .iter()
                .filter_map(|line| line[field].as_str())
                .collect()
        };
        let names = "after-apply.cpu apply.cpu apply.https apply.rss apply.wall capture.rss day.bytes day.cpu \
                     first.bytes first.cpu first.wall nochange.cpu";
        assert_eq!(of("figure"), names.split_whitespace().collect());
        let versus = "bupstash borg casync desync limit restic rustic self tar-zstd3 tar-zstd3-age";
        assert_eq!(of("vs"), versus.split_whitespace().collect());
        let find = |figure: &str, versus: &str| {
            lines
                .iter()
                .find(|line| line["figure"] == figure && line["vs"] == versus)
        };
        let first = find("first.cpu", "bupstash").unwrap();
        assert_eq!(
            (&first["ours"], &first["theirs"]),
            (&200.into(), &400.into())
        );
        assert_eq!(first["bench"], "snapshot");
        assert_eq!(find("day.bytes", "rustic").unwrap()["ratio"], 0.25);
        assert!(find("day.bytes", "tar-zstd3").is_none(), "tar adds nothing");
        let peak = find("capture.rss", "limit").unwrap();
        assert_eq!(
            (&peak["ours"], &peak["theirs"], &peak["unit"], &peak["runs"]),
            (&71.into(), &128.into(), &"MB".into(), &3.into())
        );
    }
}
