//! Which disk is taken, decided on what was seen. Pure.

use std::path::{Path, PathBuf};

use super::{Layout, LayoutError};

/// What a disk carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// Zeroes wherever we looked.
    Blank,
    /// Our partitions.
    Ours(Layout),
    /// Something else: nobody but a person may decide that it goes.
    Foreign,
    /// It does not read, for this reason.
    Unreadable(String),
}

/// A disk as it was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// Device node.
    pub path: PathBuf,
    /// Length in bytes.
    pub bytes: u64,
    /// A stick, a card: never taken.
    pub removable: bool,
    /// Plugged in from outside: taken only when the command line names it.
    pub on_usb: bool,
    /// Write-protected: never taken.
    pub read_only: bool,
    /// Mounted, or part of something.
    pub in_use: bool,
    /// What it carries.
    pub content: Content,
}

/// What to do about disks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Choice {
    /// Reuse our own partitions.
    Reuse(PathBuf, Layout),
    /// Blank: take it without asking.
    Take(PathBuf, Layout),
    /// Foreign data: a person must type ERASE first.
    Ask(PathBuf, Layout),
    /// Nothing to take, with the reason for each disk seen.
    Nothing(Vec<Refused>),
}

/// A disk that is not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// Device node and reason.
    pub why: String,
    /// Whether it is part of the PC, not a stick or card that somebody put in.
    pub built_in: bool,
}

/// Chooses: ours, else blank, else foreign; in each class the first by name. Of two disks that are both ours the
/// other stays as it is: what its outbox holds leaves when the PC is started with that one.
///
/// `only` leaves out every other disk. `image_bytes` is the length of the baseline with its tree; a layout of
/// ours that is too small for it counts as foreign, because re-making it loses what its outbox holds.
#[must_use]
pub fn choose(probes: &[Probe], image_bytes: u64, only: Option<&Path>) -> Choice {
    let mut best: Option<(u8, Choice)> = None;
    let mut refused = Vec::new();
    let mut sorted: Vec<_> = probes.iter().collect();
    sorted.sort_by(|a, b| a.path.cmp(&b.path));
    for probe in sorted {
        match consider(probe, image_bytes, only) {
            Ok((rank, choice)) => {
                if best.as_ref().is_none_or(|(best, _)| rank < *best) {
                    best = Some((rank, choice));
                }
            }
            Err(reason) => refused.push(Refused {
                why: format!("{}: {reason}", probe.path.display()),
                built_in: !probe.removable && !probe.on_usb,
            }),
        }
    }
    best.map_or(Choice::Nothing(refused), |(_, choice)| choice)
}

fn consider(probe: &Probe, image_bytes: u64, only: Option<&Path>) -> Result<(u8, Choice), String> {
    if only.is_some_and(|only| only != probe.path) {
        return Err("not the disk of the command line".into());
    }
    if probe.removable {
        return Err("removable".into());
    }
    if probe.on_usb && only.is_none() {
        return Err("on USB, and the command line does not name it".into());
    }
    if let Content::Unreadable(why) = &probe.content {
        return Err(format!("does not read: {why}"));
    }
    if probe.read_only {
        return Err("read-only".into());
    }
    if probe.in_use {
        return Err("in use".into());
    }
    let path = probe.path.clone();
    let plan = || Layout::plan(probe.bytes, image_bytes).map_err(|e: LayoutError| e.to_string());
    match &probe.content {
        Content::Ours(layout) if layout.holds(image_bytes) => {
            Ok((0, Choice::Reuse(path, layout.clone())))
        }
        Content::Blank => Ok((1, Choice::Take(path, plan()?))),
        // Unreadable ones went above.
        Content::Ours(_) | Content::Foreign | Content::Unreadable(_) => {
            Ok((2, Choice::Ask(path, plan()?)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IMAGE: u64 = 300 << 20;

    fn probe(name: &str, bytes: u64, content: Content) -> Probe {
        let path = Path::new("/dev").join(name);
        Probe {
            path,
            bytes,
            removable: false,
            on_usb: false,
            read_only: false,
            in_use: false,
            content,
        }
    }

    fn named(choice: &Choice) -> String {
        match choice {
            Choice::Reuse(path, _) => format!("reuse {}", path.display()),
            Choice::Take(path, _) => format!("take {}", path.display()),
            Choice::Ask(path, _) => format!("ask {}", path.display()),
            Choice::Nothing(refused) => {
                let why: Vec<_> = refused.iter().map(|r| r.why.as_str()).collect();
                why.join("; ")
            }
        }
    }

    #[test]
    fn the_disk_that_costs_nobody_anything_is_taken() {
        let big = 8 << 30;
        let ours = || Content::Ours(Layout::plan(big, IMAGE).unwrap());
        let small_ours = || Content::Ours(Layout::plan(big, 10 << 20).unwrap());
        let blank = |name| probe(name, big, Content::Blank);
        let cases: Vec<(Vec<Probe>, &str)> = vec![
            (vec![], ""),
            (vec![blank("vda")], "take /dev/vda"),
            (vec![blank("vdb"), blank("vda")], "take /dev/vda"),
            (
                vec![blank("vda"), probe("vdb", big, ours())],
                "reuse /dev/vdb",
            ),
            (
                vec![probe("vda", big, Content::Foreign), blank("vdb")],
                "take /dev/vdb",
            ),
            (vec![probe("vda", big, Content::Foreign)], "ask /dev/vda"),
            (vec![probe("vda", big, small_ours())], "ask /dev/vda"),
            (
                vec![Probe {
                    read_only: true,
                    ..blank("vda")
                }],
                "/dev/vda: read-only",
            ),
            (
                vec![Probe {
                    removable: true,
                    ..blank("sdb")
                }],
                "/dev/sdb: removable",
            ),
            (
                vec![Probe {
                    in_use: true,
                    ..blank("sda")
                }],
                "/dev/sda: in use",
            ),
            (
                vec![Probe {
                    on_usb: true,
                    ..probe("sdb", big, ours())
                }],
                "/dev/sdb: on USB, and the command line does not name it",
            ),
            (
                vec![probe(
                    "sda",
                    big,
                    Content::Unreadable("Input/output error".into()),
                )],
                "/dev/sda: does not read: Input/output error",
            ),
            (
                vec![probe("vdb", big, ours()), probe("vda", big, ours())],
                "reuse /dev/vda",
            ),
            (
                vec![probe("vda", 64 << 20, Content::Blank)],
                "/dev/vda: the disk has 64 MiB, at least 2694 MiB are needed",
            ),
        ];
        for (probes, want) in cases {
            assert_eq!(named(&choose(&probes, IMAGE, None)), want, "{probes:?}");
        }
        let two = [blank("vda"), blank("vdb")];
        assert_eq!(
            named(&choose(&two, IMAGE, Some(Path::new("/dev/vdb")))),
            "take /dev/vdb"
        );
        let usb = Probe {
            on_usb: true,
            ..blank("sdb")
        };
        let only = Some(Path::new("/dev/sdb"));
        assert_eq!(named(&choose(&[usb], IMAGE, only)), "take /dev/sdb");
    }
}
