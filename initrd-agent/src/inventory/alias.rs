//! Which modules of the kernel know a device: modules.alias.
//!
//! Source: modules.alias(5); Linux `scripts/mod/file2alias.c`.

use std::collections::BTreeSet;

/// Lines of modules.alias that can be read: pattern and module.
#[derive(Debug, Clone, Default)]
pub(super) struct Aliases(Vec<(String, String)>);

impl Aliases {
    /// Reads `alias PATTERN MODULE` lines; others are skipped.
    pub(super) fn parse(text: &str) -> Self {
        let line = |line: &str| {
            let mut words = line.split_whitespace();
            let is_alias = words.next() == Some("alias");
            let (pattern, module) = (words.next()?, words.next()?);
            is_alias.then(|| (pattern.to_owned(), module_name(module)))
        };
        Self(text.lines().filter_map(line).collect())
    }

    /// Modules that know the device, by name.
    pub(super) fn drivers(&self, modalias: &str) -> BTreeSet<String> {
        let matching = |(pattern, _): &&(String, String)| matches(pattern, modalias);
        let found = self.0.iter().filter(matching);
        found.map(|(_, module)| module.clone()).collect()
    }
}

/// Names of modules in modules.dep: `kernel/net/r8169.ko.xz: …` is `r8169`.
pub(super) fn modules(dep: &str) -> BTreeSet<String> {
    let paths = dep.lines().filter_map(|line| line.split_once(':'));
    let files = paths.map(|(path, _)| path.rsplit('/').next().unwrap_or(path));
    let names = files.map(|file| file.split_once(".ko").map_or(file, |(name, _)| name));
    names.map(module_name).collect()
}

/// Dash and underscore are the same to the kernel.
fn module_name(name: &str) -> String {
    name.replace('-', "_")
}

/// fnmatch(3) without flags: `*`, `?`, `[a-c]`. Goes back to the last `*` only, so no pattern takes long.
fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while let Some(&have) = text.get(t) {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, t));
                p += 1;
                continue;
            }
            Some(_) => {
                if let Some(width) = one(pattern.get(p..).unwrap_or_default(), have) {
                    p += width;
                    t += 1;
                    continue;
                }
            }
            None => {}
        }
        let Some((at, from)) = star else { return false };
        star = Some((at, from + 1));
        (p, t) = (at + 1, from + 1);
    }
    pattern.iter().skip(p).all(|byte| *byte == b'*')
}

/// How many bytes of `pattern` stand for the byte `have`; `None`: they do not.
fn one(pattern: &[u8], have: u8) -> Option<usize> {
    match pattern.first()? {
        b'?' => Some(1),
        b'[' => {
            let end = pattern.iter().position(|byte| *byte == b']')?;
            let mut set = pattern.get(1..end)?;
            let mut inside = false;
            while let Some((&first, rest)) = set.split_first() {
                if let [b'-', last, after @ ..] = rest {
                    inside |= (first..=*last).contains(&have);
                    set = after;
                } else {
                    inside |= first == have;
                    set = rest;
                }
            }
            inside.then_some(end + 1)
        }
        byte => (*byte == have).then_some(1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_the_kernel_writes_them() {
        let nic = "pci:v000010ECd00008168sv00001043sd0000859Ebc02sc00i00";
        let cases = [
            ("pci:v000010ECd00008168sv*sd*bc*sc*i*", nic, true),
            ("pci:v000010ECd00008169sv*sd*bc*sc*i*", nic, false),
            ("pci:v*d*sv*sd*bc02sc00i*", nic, true),
            ("pci:v*d*sv*sd*bc02sc00i", nic, false),
            (
                "usb:v0BDAp8153d30[0-2]?dc*",
                "usb:v0BDAp8153d3011dcFF",
                true,
            ),
            (
                "usb:v0BDAp8153d30[0-2]?dc*",
                "usb:v0BDAp8153d3031dcFF",
                false,
            ),
            ("[ac", "a", false),
            ("*", "", true),
            ("", "", true),
            ("", "a", false),
        ];
        for (pattern, text, want) in cases {
            assert_eq!(matches(pattern, text), want, "{pattern} {text}");
        }
    }

    #[test]
    fn a_pattern_of_many_stars_takes_no_time() {
        let pattern = "*a".repeat(40);
        assert!(!matches(&pattern, &"b".repeat(10_000)));
    }

    #[test]
    fn drivers_are_named_as_the_kernel_shows_them() {
        let aliases = Aliases::parse(
            "# Aliases\nalias pci:v00001AF4d*sv*sd*bc*sc*i* virtio-pci\nalias fs-ext4 ext4\nalias cut\n",
        );
        let found = aliases.drivers("pci:v00001AF4d00001041sv00001AF4sd00001100bc02sc00i00");
        assert_eq!(found.into_iter().collect::<Vec<_>>(), ["virtio_pci"]);
        let dep = "kernel/drivers/virtio/virtio-pci.ko: kernel/a.ko\nkernel/b.ko.xz:\nno colon\n";
        assert_eq!(
            modules(dep).into_iter().collect::<Vec<_>>(),
            ["b", "virtio_pci"]
        );
    }
}
