//! Which session may move the head, decided without I/O.

use site_api::lease::Lease;
use snapshot::id::SiteId;

/// What orders sessions of one user: the higher fence number, of two given away by sites that could not reach each other
/// the higher site.
#[must_use]
pub fn rank(lease: &Lease) -> (u64, SiteId) {
    (lease.fence, lease.site)
}

/// Whether some session of the user that took over fences this one off. Those that ended count too: what was fenced off
/// stays so.
#[must_use]
pub fn is_fenced(own: &Lease, all: &[Lease]) -> bool {
    all.iter()
        .any(|other| other.took_over && rank(other) > rank(own))
}

/// The fence number of the next session or take-over.
#[must_use]
pub fn next(all: &[Lease]) -> u64 {
    let highest = all.iter().map(|lease| lease.fence).max().unwrap_or(0);
    highest.saturating_add(1)
}

/// Whether a snapshot that comes without its user must wait: somebody who took over works on at another PC, and it
/// would pull the head from under him.
#[must_use]
pub fn delivery_waits(pc: &str, alive: &[Lease]) -> bool {
    alive.iter().any(|lease| lease.took_over && lease.pc != pc)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use snapshot::id::UserId;

    use super::*;

    fn lease(fence: u64, site: u8, took_over: bool) -> Lease {
        Lease {
            user: UserId::new([1; 16]),
            site: SiteId::new([site; 16]),
            pc: format!("pc-{site}"),
            since_ms: 0,
            expires_ms: 0,
            fence,
            took_over,
        }
    }

    #[test]
    fn only_a_take_over_above_it_fences_a_session_off() {
        let own = lease(5, 1, false);
        let cases = [
            ("alone", vec![], false),
            (
                "another, later, that asks for nothing",
                vec![lease(6, 1, false)],
                false,
            ),
            ("a later one that took over", vec![lease(6, 1, true)], true),
            (
                "an earlier one that took over",
                vec![lease(4, 2, true)],
                false,
            ),
            (
                "the same number at a higher site",
                vec![lease(5, 2, true)],
                true,
            ),
            (
                "the same number at a lower site",
                vec![lease(5, 0, true)],
                false,
            ),
            ("itself", vec![lease(5, 1, true)], false),
        ];
        for (what, all, fenced) in cases {
            assert_eq!(is_fenced(&own, &all), fenced, "{what}");
        }
    }

    #[test]
    fn a_delivery_waits_only_for_who_took_over_at_another_pc() {
        assert!(!delivery_waits("pc-1", &[]));
        assert!(!delivery_waits("pc-1", &[lease(9, 2, false)]));
        assert!(!delivery_waits("pc-2", &[lease(9, 2, true)]));
        assert!(delivery_waits("pc-1", &[lease(9, 2, true)]));
    }

    fn leases() -> impl Strategy<Value = Vec<Lease>> {
        let one = (1..9_u64, 0..4_u8, any::<bool>());
        proptest::collection::vec(
            one.prop_map(|(fence, site, took)| lease(fence, site, took)),
            1..9,
        )
    }

    proptest! {
        #[test]
        fn who_takes_over_last_is_the_only_one_left(mut all in leases(), site in 0..4_u8) {
            let last = lease(next(&all), site, true);
            all.push(last.clone());
            prop_assert!(!is_fenced(&last, &all));
            for other in all.iter().filter(|other| **other != last) {
                prop_assert!(is_fenced(other, &all));
            }
        }

        #[test]
        fn what_is_fenced_off_stays_so_whatever_comes_later(all in leases(), more in leases()) {
            let both: Vec<_> = all.iter().chain(&more).cloned().collect();
            for own in &all {
                if is_fenced(own, &all) {
                    prop_assert!(is_fenced(own, &both));
                }
            }
        }

        #[test]
        fn the_order_in_which_sites_hear_of_leases_does_not_matter(all in leases(), own in leases()) {
            let mut turned = all.clone();
            turned.reverse();
            for own in &own {
                prop_assert_eq!(is_fenced(own, &all), is_fenced(own, &turned));
            }
        }

        #[test]
        fn some_session_can_always_go_on(all in leases()) {
            prop_assert!(all.iter().any(|own| !is_fenced(own, &all)));
        }
    }
}
