//! The five partitions of a shared PC. Pure.
//!
//! ```text
//! | GPT | esp | baseline-a | baseline-b | outbox | session ......... | GPT |
//! ```

use std::collections::BTreeMap;

use gpt::{disk::LogicalBlockSize, partition::Partition};
use serde::{Deserialize, Serialize};

const MIB: u64 = 1 << 20;
/// Partitions begin at multiples of this, in bytes.
const ALIGN: u64 = MIB;
/// What the partition table needs at the end of the disk, in bytes (33 sectors of 512 or 5 of 4096, rounded up).
const TAIL: u64 = ALIGN;
/// Two boot files fit, and FAT32 does on sectors of 4096 bytes.
const ESP_BYTES: u64 = 512 * MIB;
const OUTBOX_MIN_BYTES: u64 = 256 * MIB;
const OUTBOX_MAX_BYTES: u64 = 8192 * MIB;
const SESSION_MIN_BYTES: u64 = 1024 * MIB;

/// A partition by what it is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// FAT: boot files and the signed manifests of the baselines in the slots.
    Esp,
    /// A baseline image with its hash tree.
    BaselineA,
    /// Another one: what comes next, or what was before.
    BaselineB,
    /// Sealed snapshots that have not reached a site.
    Outbox,
    /// The session volume under a key that exists in memory only.
    Session,
}

impl Part {
    /// All, in order of their place.
    pub const ALL: [Self; 5] = [
        Self::Esp,
        Self::BaselineA,
        Self::BaselineB,
        Self::Outbox,
        Self::Session,
    ];

    /// Partition number, from 1.
    #[must_use]
    pub const fn number(self) -> u32 {
        match self {
            Self::Esp => 1,
            Self::BaselineA => 2,
            Self::BaselineB => 3,
            Self::Outbox => 4,
            Self::Session => 5,
        }
    }

    /// Partition name in the table.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Esp => "furoshiki-esp",
            Self::BaselineA => "furoshiki-baseline-a",
            Self::BaselineB => "furoshiki-baseline-b",
            Self::Outbox => "furoshiki-outbox",
            Self::Session => "furoshiki-session",
        }
    }

    /// Partition type. All but the ESP are our own random GUIDs: nothing mounts them by type.
    #[must_use]
    pub const fn type_guid(self) -> &'static str {
        match self {
            Self::Esp => "C12A7328-F81F-11D2-BA4B-00A0C93EC93B",
            Self::BaselineA | Self::BaselineB => "6A1F1F0C-2D5B-4E0B-9C67-0B5C1B6F4D01",
            Self::Outbox => "6A1F1F0C-2D5B-4E0B-9C67-0B5C1B6F4D02",
            Self::Session => "6A1F1F0C-2D5B-4E0B-9C67-0B5C1B6F4D03",
        }
    }
}

/// One of the two partitions for baselines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Slot {
    /// The first.
    A,
    /// The second.
    B,
}

impl Slot {
    /// Both, in order of their place.
    pub const ALL: [Self; 2] = [Self::A, Self::B];

    /// Its partition.
    #[must_use]
    pub const fn part(self) -> Part {
        match self {
            Self::A => Part::BaselineA,
            Self::B => Part::BaselineB,
        }
    }

    /// The one it is not.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }

    /// Its letter, in file names and events.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::A => "a",
            Self::B => "b",
        }
    }
}

/// A run of bytes on a disk, whole sectors of either size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// First byte.
    pub start: u64,
    /// Length in bytes.
    pub bytes: u64,
}

/// Where the five partitions are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    spans: [Span; 5],
}

/// A disk that cannot hold the five partitions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the disk has {} MiB, at least {} MiB are needed", have_bytes / MIB, need_bytes / MIB)]
pub struct LayoutError {
    /// Length of the disk.
    pub have_bytes: u64,
    /// What is needed.
    pub need_bytes: u64,
}

impl Layout {
    /// Divides a disk of `disk_bytes` for a baseline of `image_bytes`.
    ///
    /// Each of two baselines gets half as much again as it needs, for the next ones; the outbox an eighth of what is
    /// left, 256 MiB to 8 GiB; the session the rest.
    ///
    /// # Errors
    /// [`LayoutError`]: less than 1 GiB would be left for the session.
    pub fn plan(disk_bytes: u64, image_bytes: u64) -> Result<Self, LayoutError> {
        let baseline_bytes = round_up(image_bytes.saturating_add(image_bytes / 2).max(64 * MIB));
        let fixed = ESP_BYTES
            .saturating_add(baseline_bytes)
            .saturating_add(baseline_bytes)
            .saturating_add(ALIGN + TAIL);
        let need_bytes = fixed
            .saturating_add(OUTBOX_MIN_BYTES)
            .saturating_add(SESSION_MIN_BYTES);
        if disk_bytes < need_bytes {
            return Err(LayoutError {
                have_bytes: disk_bytes,
                need_bytes,
            });
        }
        let free = disk_bytes - fixed;
        let outbox = (free / 8 / MIB * MIB).clamp(OUTBOX_MIN_BYTES, OUTBOX_MAX_BYTES);
        let session = (free - outbox) / MIB * MIB;
        let mut start = ALIGN;
        let lengths = [ESP_BYTES, baseline_bytes, baseline_bytes, outbox, session];
        let spans = lengths.map(|bytes| {
            let span = Span { start, bytes };
            start += bytes;
            span
        });
        Ok(Self { spans })
    }

    /// Recognises our own partition table: numbers, types and names all fit. `sector` is the unit of the table.
    #[must_use]
    pub fn of_table(table: &BTreeMap<u32, Partition>, sector: LogicalBlockSize) -> Option<Self> {
        let span = |part: Part| {
            let entry = table.get(&part.number())?;
            let ours = entry.name == part.label()
                && entry
                    .part_type_guid
                    .guid
                    .to_string()
                    .eq_ignore_ascii_case(part.type_guid());
            let sectors = entry
                .last_lba
                .checked_sub(entry.first_lba)?
                .checked_add(1)?;
            let span = Span {
                start: entry.first_lba.checked_mul(sector.as_u64())?,
                bytes: sectors.checked_mul(sector.as_u64())?,
            };
            ours.then_some(span)
        };
        let used = table.values().filter(|entry| entry.is_used()).count();
        let spans = [
            span(Part::Esp)?,
            span(Part::BaselineA)?,
            span(Part::BaselineB)?,
            span(Part::Outbox)?,
            span(Part::Session)?,
        ];
        let layout = Self { spans };
        (used == spans.len() && layout.is_apart()).then_some(layout)
    }

    /// Whether no two partitions share a byte. In a table somebody else wrote, wiping one could reach another.
    pub(crate) fn is_apart(&self) -> bool {
        let mut spans = self.spans;
        spans.sort_by_key(|span| span.start);
        spans.array_windows().all(|[before, after]| {
            let end = before.start.checked_add(before.bytes);
            end.is_some_and(|end| end <= after.start)
        })
    }

    /// Where one partition is.
    #[must_use]
    pub const fn span(&self, part: Part) -> Span {
        let [esp, baseline_a, baseline_b, outbox, session] = self.spans;
        match part {
            Part::Esp => esp,
            Part::BaselineA => baseline_a,
            Part::BaselineB => baseline_b,
            Part::Outbox => outbox,
            Part::Session => session,
        }
    }

    /// Whether a baseline of this length fits into either slot.
    #[must_use]
    pub const fn holds(&self, image_bytes: u64) -> bool {
        self.span(Part::BaselineA).bytes >= image_bytes
            && self.span(Part::BaselineB).bytes >= image_bytes
    }
}

fn round_up(bytes: u64) -> u64 {
    bytes.div_ceil(MIB).saturating_mul(MIB)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn partitions_follow_one_another_and_end_on_the_disk(disk in 0_u64..1 << 44, image in 4096_u64..1 << 34) {
            let Ok(layout) = Layout::plan(disk, image) else { return Ok(()) };
            let mut next = ALIGN;
            for part in Part::ALL {
                let span = layout.span(part);
                prop_assert_eq!(span.start, next);
                prop_assert_eq!(span.start % ALIGN, 0);
                prop_assert_eq!(span.bytes % ALIGN, 0);
                prop_assert!(span.bytes > 0);
                next += span.bytes;
            }
            prop_assert!(next + 33 * 512 <= disk && next + 5 * 4096 <= disk);
            prop_assert!(layout.holds(image));
            prop_assert!(layout.span(Part::Session).bytes >= SESSION_MIN_BYTES);
        }
    }

    #[test]
    fn a_disk_too_small_says_what_it_needs() {
        let error = Layout::plan(1 << 30, 300 << 20).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the disk has 1024 MiB, at least 2694 MiB are needed"
        );
    }
}
