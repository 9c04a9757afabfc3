//! Measurements: `furoshiki-bench` does them and knows its options; here everything it needs is built first.

use std::ffi::OsString;
use std::process::Command;

use anyhow::Result;

use crate::setup::{self, For};
use crate::{build, child, image, paths, peers};

/// Measures. `arguments` are those of `furoshiki-bench`.
///
/// # Errors
/// A step of the set-up or of the measurement.
pub(crate) fn run(arguments: &[OsString]) -> Result<()> {
    let says = |words: &[&str]| {
        arguments
            .iter()
            .any(|word| words.iter().any(|one| word == one))
    };
    if says(&["--help", "-h"]) {
        build::programs()?;
    } else if says(&["snapshot"]) {
        setup::install(For::Measuring)?;
        build::bench_snapshot()?;
        peers::provide(|name| wanted(arguments, name))?;
    } else if says(&["card"]) {
        setup::install(For::Everything)?;
        build::bench_card()?;
    } else if says(&["relay"]) {
        setup::install(For::Checks)?;
        build::bench_site("relay_costs")?;
    } else if says(&["site"]) {
        setup::install(For::Checks)?;
        build::bench_site("people")?;
        peers::servers()?;
    } else {
        setup::install(For::Everything)?;
        image::release("minimal")?;
        if says(&["restore"]) {
            image::release("minimal-rewrite")?;
            build::bench_guest()?;
        }
    }
    let mut bench = Command::new(paths::program("furoshiki-bench"));
    if says(&["relay"]) || says(&["site"]) {
        // Peers come as they are shipped, and so does ours.
        bench.env("FUROSHIKI_SHIPPED", "1");
    }
    child::step("bench", bench.args(arguments))
}

/// Whether `--peers`, when it is there, has this name in its list.
fn wanted(arguments: &[OsString], name: &str) -> bool {
    let mut words = arguments.iter().filter_map(|word| word.to_str());
    let list = words.find_map(|word| match word.strip_prefix("--peers") {
        Some("") => Some(None),
        Some(list) => list.strip_prefix('=').map(Some),
        None => None,
    });
    match list {
        None => true,
        Some(Some(list)) => list.split(',').any(|one| one == name),
        Some(None) => words
            .next()
            .is_none_or(|list| list.split(',').any(|one| one == name)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_peers_asked_for_are_provided() {
        let wants = |line: &str, name| {
            let arguments: Vec<OsString> = line.split(' ').map(OsString::from).collect();
            wanted(&arguments, name)
        };
        assert!(wants("snapshot --scale 1", "rustic"));
        assert!(wants("snapshot --peers bupstash,rustic --runs 3", "rustic"));
        assert!(!wants("snapshot --peers none", "rustic"));
        assert!(!wants("snapshot --peers=tar-zstd3,bupstash", "rustic"));
        assert!(wants("snapshot --peers=rustic", "rustic"));
    }
}
