//! Counts tests by what `cargo test` says.

use anyhow::{Context, Result};

/// Tests counted.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tally {
    /// That passed.
    pub(crate) passed: u64,
    /// That failed.
    pub(crate) failed: u64,
}

impl Tally {
    /// Takes one line of output; anything but a result line counts for nothing.
    pub(crate) fn take(&mut self, line: &str) -> Result<()> {
        let Some((_, rest)) = line.split_once("test result: ") else {
            return Ok(());
        };
        let number = |what: &str| -> Result<u64> {
            rest.split([';', '.'])
                .find_map(|part| part.trim().strip_suffix(what))
                .and_then(|count| count.trim().parse().ok())
                .with_context(|| format!("no count of {what} in: {line}"))
        };
        self.passed += number("passed")?;
        self.failed += number("failed")?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn result_lines_add_up_and_others_do_not_count() {
        let mut tally = Tally::default();
        for line in [
            "running 3 tests",
            "test result: ok. 17 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.53s",
            "test result: FAILED. 2 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s",
        ] {
            tally.take(line).unwrap();
        }
        assert_eq!(
            tally,
            Tally {
                passed: 19,
                failed: 1
            }
        );
        assert!(tally.take("test result: something new").is_err());
    }
}
