//! Which VM tests one run of everything takes: the main job and signing in always, a third of the others by a seed.
//!
//! Each starts several emulated machines, one after another, and all of them together take longer than the rest of a
//! run. `--thorough` takes all; a room and `cargo xtask vm` take those they name.

use std::time::{SystemTime, UNIX_EPOCH};

/// Never left out.
const ALWAYS: [&str; 2] = ["story", "sign_in"];
/// One in so many of the others.
const PART: usize = 3;

/// The seed of `FUROSHIKI_SEED`, or that of the moment.
pub(crate) fn seed() -> String {
    std::env::var("FUROSHIKI_SEED").unwrap_or_else(|_| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        now.map_or(0, |now| now.as_millis()).to_string()
    })
}

/// The tests of a run, in their order.
pub(crate) fn of(mut all: Vec<String>, seed: &str) -> Vec<String> {
    let often = |name: &String| ALWAYS.iter().any(|always| always == name);
    let mut others: Vec<_> = all.iter().filter(|name| !often(name)).cloned().collect();
    others.sort_by_cached_key(|name| rank(name, seed));
    let left_out = others.split_off(others.len().div_ceil(PART));
    all.retain(|name| !left_out.contains(name));
    all
}

/// Any order, another one for each seed: FNV-1a of the seed and the name, once more mixed (the finalizer of `MurmurHash3`).
fn rank(name: &str, seed: &str) -> u64 {
    let bytes = seed.bytes().chain([0]).chain(name.bytes());
    let mut hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash ^ (hash >> 33)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[test]
    fn a_part_of_the_others_and_each_of_them_about_as_often() {
        let all: Vec<String> = ["story", "a", "b", "c", "d", "e", "f", "sign_in"]
            .map(str::to_owned)
            .to_vec();
        let mut taken: HashMap<String, u32> = HashMap::new();
        for seed in 0..1000 {
            let seed = seed.to_string();
            let run = of(all.clone(), &seed);
            assert_eq!(run, of(all.clone(), &seed), "the same seed, the same run");
            assert_eq!(run.len(), 2 + 2);
            assert!(run.is_sorted_by_key(|name| all.iter().position(|one| one == name)));
            for name in run {
                *taken.entry(name).or_default() += 1;
            }
        }
        for name in &all {
            let times = taken.get(name).copied().unwrap_or_default();
            let want = if ALWAYS.contains(&name.as_str()) {
                1000..=1000
            } else {
                260..=410
            };
            assert!(want.contains(&times), "{name}: {times}");
        }
    }
}
