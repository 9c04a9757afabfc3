//! Names of boot files: which one the boot loader takes, and how often it tried. Pure.
//!
//! Source: UAPI.1 Boot Loader Specification, "Boot counting"; systemd, docs/AUTOMATIC_BOOT_ASSESSMENT.md.

use crate::disk::Slot;

/// How often a new boot file is tried before the one before it is taken again.
pub(crate) const TRIES: u32 = 3;

const PREFIX: &str = "furoshiki-";
const SUFFIX: &str = ".efi";

/// `furoshiki-NUMBER-SLOT[+LEFT[-DONE]].efi`. Of entries that are not bad the loader takes the highest number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BootEntry {
    /// Higher than that of every entry written before.
    pub(crate) number: u32,
    /// The slot whose baseline it starts.
    pub(crate) slot: Slot,
    /// Tries left and done; `None` once a session began on it.
    pub(crate) tries: Option<(u32, u32)>,
}

impl BootEntry {
    /// Reads a file name; `None` when it is not one of ours.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        // FAT does not care about case, and old firmware shouts.
        let name = name.to_ascii_lowercase();
        let rest = name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?;
        let (rest, tries) = match rest.split_once('+') {
            Some((rest, counter)) => {
                let (left, done) = counter.split_once('-').unwrap_or((counter, "0"));
                (rest, Some((left.parse().ok()?, done.parse().ok()?)))
            }
            None => (rest, None),
        };
        let (number, slot) = rest.split_once('-')?;
        let slot = Slot::ALL.into_iter().find(|s| s.name() == slot)?;
        Some(Self {
            number: number.parse().ok()?,
            slot,
            tries,
        })
    }

    /// Its file name.
    pub(crate) fn name(&self) -> String {
        let counter = match self.tries {
            None => String::new(),
            Some((left, 0)) => format!("+{left}"),
            Some((left, done)) => format!("+{left}-{done}"),
        };
        let (number, slot) = (self.number, self.slot.name());
        format!("{PREFIX}{number}-{slot}{counter}{SUFFIX}")
    }

    /// Tried as often as allowed, and no session began.
    pub(crate) fn is_bad(&self) -> bool {
        self.tries.is_some_and(|(left, _)| left == 0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_loaders_counting_is_understood() {
        let entry = |number, slot, tries| {
            Some(BootEntry {
                number,
                slot,
                tries,
            })
        };
        let cases = [
            ("furoshiki-7-b.efi", entry(7, Slot::B, None)),
            ("furoshiki-8-a+3.efi", entry(8, Slot::A, Some((3, 0)))),
            ("furoshiki-8-a+2-1.efi", entry(8, Slot::A, Some((2, 1)))),
            ("FUROSHIKI-8-A+0-3.EFI", entry(8, Slot::A, Some((0, 3)))),
            ("furoshiki-8-c.efi", None),
            ("furoshiki-8-a+.efi", None),
            ("furoshiki--a.efi", None),
            ("other.efi", None),
        ];
        for (name, want) in cases {
            assert_eq!(BootEntry::parse(name), want, "{name}");
        }
        let bad = |name| BootEntry::parse(name).is_some_and(|entry| entry.is_bad());
        assert!(bad("furoshiki-8-a+0-3.efi") && !bad("furoshiki-8-a+1-2.efi"));
        assert!(!bad("furoshiki-8-a.efi"));
    }

    proptest! {
        #[test]
        fn prop_a_name_comes_back(number: u32, a: bool, tries: Option<(u32, u32)>) {
            let slot = if a { Slot::A } else { Slot::B };
            let entry = BootEntry { number, slot, tries };
            prop_assert_eq!(BootEntry::parse(&entry.name()), Some(entry));
        }

        #[test]
        fn prop_no_name_panics(name in ".{0,40}") {
            let _ = BootEntry::parse(&name);
        }
    }
}
