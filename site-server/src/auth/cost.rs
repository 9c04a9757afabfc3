//! What hashing a password costs, chosen for the machine (RFC 9106 §4; OWASP's smallest advice is the floor).

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::password::{PasswordError, hash};

/// Longest a hash may take on the machine that is calibrated: who signs in waits for it.
const LONGEST: Duration = Duration::from_millis(100);
/// A machine this quick gets more passes once there is memory enough.
const SHORT: Duration = Duration::from_millis(50);
/// Memory to choose from, in KiB. As many hashes run at once as there are cores.
const MEMORIES_KIB: [u32; 7] = [
    19 << 10,
    24 << 10,
    32 << 10,
    46 << 10,
    64 << 10,
    96 << 10,
    128 << 10,
];
/// Most of each that `site.toml` may ask for: a typing error must not stop all sign-ins.
const MOST_MEMORY_KIB: u32 = 1 << 20;
const MOST_PASSES: u32 = 16;
/// Most passes calibration chooses.
const MOST_CALIBRATED_PASSES: u32 = 8;

/// `[passwords]` of `site.toml`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cost {
    /// Memory of one hash, in KiB; at least 19 456.
    pub memory_kib: u32,
    /// Passes over it; at least 2.
    pub passes: u32,
}

impl Default for Cost {
    fn default() -> Self {
        Self {
            memory_kib: 19 << 10,
            passes: 2,
        }
    }
}

impl Cost {
    /// Whether it is the floor.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// Whether it is within the bounds a site takes.
    ///
    /// # Errors
    /// [`PasswordError::Cost`].
    pub fn check(self) -> Result<Self, PasswordError> {
        let floor = Self::default();
        let memory = floor.memory_kib..=MOST_MEMORY_KIB;
        let passes = floor.passes..=MOST_PASSES;
        if memory.contains(&self.memory_kib) && passes.contains(&self.passes) {
            Ok(self)
        } else {
            Err(PasswordError::Cost(self.memory_kib, self.passes))
        }
    }

    /// What this machine hashes in 50 to 100 ms: first more memory, up to 128 MiB, then more passes. Never less than the
    /// floor, however slow the machine is. Takes some seconds.
    ///
    /// # Errors
    /// [`PasswordError::Hash`].
    pub fn calibrate() -> Result<Self, PasswordError> {
        choose(|cost| {
            // The best of three: somebody else may use the machine too.
            let mut best = Duration::MAX;
            for _ in 0..3 {
                let begun = Instant::now();
                hash("a password nobody has", cost)?;
                best = best.min(begun.elapsed());
            }
            Ok(best)
        })
    }
}

fn choose(
    mut takes: impl FnMut(Cost) -> Result<Duration, PasswordError>,
) -> Result<Cost, PasswordError> {
    let mut chosen = (Cost::default(), Duration::MAX);
    for memory_kib in MEMORIES_KIB {
        let cost = Cost {
            memory_kib,
            ..Cost::default()
        };
        let time = takes(cost)?;
        if time > LONGEST {
            return Ok(chosen.0);
        }
        chosen = (cost, time);
    }
    while chosen.1 < SHORT && chosen.0.passes < MOST_CALIBRATED_PASSES {
        let cost = Cost {
            passes: chosen.0.passes + 1,
            ..chosen.0
        };
        let time = takes(cost)?;
        if time > LONGEST {
            break;
        }
        chosen = (cost, time);
    }
    Ok(chosen.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A machine that goes over so many MiB in a millisecond.
    fn machine(mib_per_ms: f64) -> Cost {
        choose(|cost| {
            let mib = f64::from(cost.memory_kib) / 1024.0 * f64::from(cost.passes);
            Ok(Duration::from_secs_f64(mib / mib_per_ms / 1000.0))
        })
        .unwrap()
    }

    #[test]
    fn a_quick_machine_hashes_more_and_a_slow_one_never_less_than_the_floor() {
        for (mib_per_ms, memory_mib, passes) in [
            (0.01, 19, 2),
            (0.38, 19, 2),
            (0.5, 24, 2),
            (1.2, 46, 2),
            (2.0, 96, 2),
            (4.0, 128, 2),
            (10.0, 128, 4),
            (1000.0, 128, 8),
        ] {
            let cost = machine(mib_per_ms);
            assert_eq!(
                (cost.memory_kib >> 10, cost.passes),
                (memory_mib, passes),
                "{mib_per_ms}"
            );
            assert!(cost.check().is_ok());
        }
    }

    #[test]
    fn a_cost_below_the_floor_or_beyond_reason_is_refused() {
        let cost = |memory_kib, passes| Cost { memory_kib, passes };
        for bad in [
            cost(19_455, 2),
            cost(19_456, 1),
            cost(2 << 20, 2),
            cost(19_456, 17),
        ] {
            assert!(bad.check().is_err(), "{bad:?}");
        }
        assert!(cost(19_456, 2).check().is_ok());
    }
}
