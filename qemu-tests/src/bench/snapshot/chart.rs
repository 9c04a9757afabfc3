//! Bars for docs/performance.md: an SVG of text and rectangles, readable on light and on dark ground.

use std::fmt::Write as _;

use super::samples::{Samples, Step, What};
use super::tools::OURS;

/// Width of the picture, of the column of names and of the longest bar.
const WIDTH: u32 = 720;
const NAMES: u32 = 130;
const BAR: u32 = 460;
/// Height of a line with a bar, and of a panel's title.
const LINE: u32 = 20;
const TITLE: u32 = 40;

/// Title, step, what, and how many of the unit make one in the picture.
const PANELS: [(&str, Step, What, u32, &str); 4] = [
    (
        "First snapshot, processor time",
        Step::First,
        What::Cpu,
        1000,
        "s",
    ),
    (
        "A day's work, bytes added",
        Step::Day,
        What::Added,
        1_000_000,
        "MB",
    ),
    (
        "Nothing changed, processor time",
        Step::Unchanged,
        What::Cpu,
        1000,
        "s",
    ),
    (
        "Restore to a new ext4, time from start to end",
        Step::Restore,
        What::Wall,
        1000,
        "s",
    ),
];

/// Bars of one kind.
#[derive(Debug)]
pub struct Panel<'a> {
    /// What they show.
    pub title: &'a str,
    /// Whose they are, and how long.
    pub bars: Vec<(&'a str, u64)>,
    /// How many make one in the picture.
    pub divisor: u64,
    /// One of what.
    pub unit: &'a str,
}

/// The picture of `bench snapshot`.
#[must_use]
pub fn draw(samples: &Samples) -> String {
    let panels: Vec<Panel<'_>> = PANELS
        .into_iter()
        .map(|(title, step, what, divisor, unit)| Panel {
            title,
            bars: samples
                .tools(step)
                .into_iter()
                .filter_map(|tool| Some((tool, samples.median(step, tool, what)?)))
                .collect(),
            divisor: u64::from(divisor),
            unit,
        })
        .collect();
    picture("Furoshiki beside backup programs", OURS, panels)
}

/// A picture of panels, the shortest bar of each first; `ours` stands out.
#[must_use]
pub fn picture(label: &str, ours: &str, panels: Vec<Panel<'_>>) -> String {
    let mut body = String::new();
    let mut y = 0;
    for Panel {
        title,
        mut bars,
        divisor,
        unit,
    } in panels
    {
        bars.sort_by_key(|(_, value)| *value);
        y += TITLE;
        line(&mut body, "title", 0, y - 12, title);
        let longest = bars.last().map_or(1, |(_, value)| (*value).max(1));
        for (name, value) in bars {
            let class = if name == ours { "ours" } else { "theirs" };
            let width = u64::from(BAR).saturating_mul(value) / longest;
            let width = u32::try_from(width).unwrap_or(BAR);
            line(&mut body, class, 0, y + 13, name);
            let place = format!("x=\"{NAMES}\" y=\"{}\" height=\"14\"", y + 2);
            body.push_str(&format!(
                "<rect class=\"{class}\" {place} width=\"{}\"/>\n",
                width.max(1)
            ));
            let shown = format!("{} {unit}", decimals(value, divisor));
            line(&mut body, class, NAMES + width + 8, y + 13, &shown);
            y += LINE;
        }
    }
    let height = y + 10;
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" \
         height=\"{height}\" role=\"img\" aria-label=\"{label}\">\n\
         <style>\n\
         text {{ font: 13px sans-serif; fill: #24292f; }}\n\
         text.title {{ font-weight: bold; }}\n\
         text.ours {{ font-weight: bold; }}\n\
         rect.ours {{ fill: #0b6bcb; }}\n\
         rect.theirs {{ fill: #8b949e; }}\n\
         @media (prefers-color-scheme: dark) {{\n\
         text {{ fill: #e6edf3; }}\n\
         rect.ours {{ fill: #58a6ff; }}\n\
         rect.theirs {{ fill: #6e7681; }}\n\
         }}\n\
         </style>\n{body}</svg>\n"
    )
}

fn line(body: &mut String, class: &str, x: u32, y: u32, text: &str) {
    // Names and titles are ours: nothing in them to escape.
    let written = writeln!(
        body,
        "<text class=\"{class}\" x=\"{x}\" y=\"{y}\">{text}</text>"
    );
    written.expect("a string takes every text");
}

/// With two digits after the point.
fn decimals(value: u64, divisor: u64) -> String {
    let hundredths = (value * 100 + divisor / 2) / divisor;
    format!("{}.{:02}", hundredths / 100, hundredths % 100)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::cost::Cost;
    use super::super::samples::Sample;
    use super::*;

    #[test]
    fn the_longest_bar_is_the_slowest_and_ours_stands_out() {
        let mut samples = Samples::default();
        for (tool, ms) in [(OURS, 1230), ("restic", 2460)] {
            let cost = Cost {
                wall: Duration::ZERO,
                cpu: Duration::from_millis(ms),
                peak_bytes: 0,
            };
            let sample = Sample {
                cost,
                added_bytes: 0,
            };
            samples.add(Step::First, tool, sample);
        }
        let picture = draw(&samples);
        assert!(
            picture
                .contains("<rect class=\"ours\" x=\"130\" y=\"42\" height=\"14\" width=\"230\"/>"),
            "{picture}"
        );
        assert!(
            picture.contains(
                "<rect class=\"theirs\" x=\"130\" y=\"62\" height=\"14\" width=\"460\"/>"
            )
        );
        assert!(picture.contains(">1.23 s</text>") && picture.contains(">2.46 s</text>"));
    }
}
