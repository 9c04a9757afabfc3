//! SECURITY ERASE UNIT: a disk does it only with a password set, and stays locked when the power goes meanwhile.
//!
//! The password is public and always the same, so whoever meets such a disk can unlock it: we at the next boot, anybody
//! else with `hdparm --security-unlock furoshiki`.
//!
//! Source: ACS-4, 4.20 (states), 7.37 to 7.42 (commands).

use std::{fs::File, io, time::Duration};

use super::{
    identify::Identify,
    port::{BLOCK_BYTES, Data, Port, SHORT, Task},
};

const SET_PASSWORD: u8 = 0xf1;
const UNLOCK: u8 = 0xf2;
const ERASE_PREPARE: u8 = 0xf3;
const ERASE_UNIT: u8 = 0xf4;
const DISABLE_PASSWORD: u8 = 0xf6;

/// The user password while a disk erases itself. No secret.
pub(super) const PASSWORD: [u8; 32] = *b"furoshiki\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
/// What is longer is not begun: somebody waits.
const LONGEST: Duration = Duration::from_secs(30 * 60);
/// Disks are slower than they say.
const GRACE: u32 = 4;

fn task(command: u8, timeout: Duration) -> Task {
    Task {
        command,
        timeout,
        ..Task::default()
    }
}

/// A command that shows the user password; `mode` is bit 1 of its first word.
fn with_password(port: &impl Port, command: u8, mode: bool, timeout: Duration) -> io::Result<()> {
    let mut block = [0; BLOCK_BYTES];
    let (head, rest) = block.split_at_mut(2);
    head.copy_from_slice(&[u8::from(mode) << 1, 0]);
    if let Some(place) = rest.get_mut(..PASSWORD.len()) {
        place.copy_from_slice(&PASSWORD);
    }
    port.send(&task(command, timeout), Data::Out(&block))?;
    Ok(())
}

/// Erases the whole disk. Afterwards no password is set.
///
/// # Errors
/// Firmware froze the disk, it has somebody's password, it would take too long: then nothing was changed. Or the disk's
/// answer; the password is taken away again where the disk lets us.
pub(super) fn erase(port: &impl Port, enhanced: bool) -> io::Result<()> {
    let state = Identify::ask(port)?;
    let takes = if enhanced {
        state.enhanced_takes
    } else {
        state.normal_takes
    };
    let takes = takes.ok_or_else(|| io::Error::other("the disk does not say how long it takes"))?;
    if state.frozen {
        return Err(io::Error::other("firmware froze the disk's security"));
    }
    // Ours may stand there since an agent that was stopped in the middle.
    if state.enabled && with_password(port, DISABLE_PASSWORD, false, SHORT).is_err() {
        return Err(io::Error::other("the disk has somebody's password"));
    }
    if takes > LONGEST {
        return Err(io::Error::other(format!(
            "it would take {} minutes",
            takes.as_secs() / 60
        )));
    }
    with_password(port, SET_PASSWORD, false, SHORT)?;
    let erased = port
        .send(&task(ERASE_PREPARE, SHORT), Data::None)
        .and_then(|_| with_password(port, ERASE_UNIT, enhanced, takes * GRACE));
    if erased.is_err() {
        // A disk that still erases, or is gone, does not take this; the next boot tries again.
        if let Err(error) = with_password(port, DISABLE_PASSWORD, false, SHORT) {
            tracing::warn!(%error, "ATA disk keeps its password until the next boot");
        }
    }
    erased
}

/// What a password means for a disk that does not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lock {
    /// None is in the way.
    Open,
    /// It was ours and is gone.
    Ours,
    /// It is somebody else's.
    Foreign,
}

/// Takes our password away from a disk whose erasing was cut off. Counts as one try with a foreign one: a disk lets
/// five pass between power-ons.
///
/// # Errors
/// It does not answer, or is frozen.
pub(crate) fn unlock(disk: &File) -> io::Result<Lock> {
    unlock_at(&disk)
}

/// Whether a password is in the way, without trying one.
///
/// # Errors
/// It does not answer.
pub(crate) fn lock(disk: &File) -> io::Result<Lock> {
    let locked = Identify::ask(&disk)?.locked;
    Ok(if locked { Lock::Foreign } else { Lock::Open })
}

fn unlock_at(port: &impl Port) -> io::Result<Lock> {
    let state = Identify::ask(port)?;
    if !state.locked {
        return Ok(Lock::Open);
    }
    if with_password(port, UNLOCK, false, SHORT).is_err() {
        return Ok(Lock::Foreign);
    }
    with_password(port, DISABLE_PASSWORD, false, SHORT)?;
    Ok(Lock::Ours)
}

#[cfg(test)]
mod tests {
    use super::{super::simulated::Simulated, *};

    #[test]
    fn the_disk_is_erased_and_has_no_password() {
        for enhanced in [false, true] {
            let disk = Simulated::default();
            erase(&&disk, enhanced).unwrap();
            assert!(disk.is_erased() && !disk.has_password());
        }
    }

    #[test]
    fn whenever_the_power_goes_the_next_boot_can_use_the_disk() {
        for after in 0..8 {
            let disk = Simulated::default();
            disk.cut_after(after);
            let whole = erase(&&disk, true).is_ok();
            disk.power_on();
            let lock = unlock_at(&&disk).unwrap();
            assert_ne!(lock, Lock::Foreign, "cut after {after}");
            assert!(
                !disk.is_locked() && !disk.has_password(),
                "cut after {after}"
            );
            // What was there is either all there or not: nobody believes a half.
            assert!(!whole || disk.is_erased());
            erase(&&disk, true).unwrap();
            assert!(disk.is_erased());
        }
    }

    #[test]
    fn a_frozen_disk_a_foreign_password_and_a_slow_disk_are_left_alone() {
        let frozen = Simulated::default();
        frozen.freeze();
        let slow = Simulated {
            units: 255,
            ..Simulated::default()
        };
        let foreign = Simulated::default();
        foreign.set_foreign_password();
        for (disk, why) in [
            (&frozen, "froze"),
            (&slow, "510 minutes"),
            (&foreign, "password"),
        ] {
            let error = erase(&disk, false).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
            assert!(!disk.is_erased());
        }
        let ours = Simulated::default();
        with_password(&&ours, SET_PASSWORD, false, SHORT).unwrap();
        erase(&&ours, false).unwrap();
        assert!(ours.is_erased() && !ours.has_password());
        foreign.power_on();
        assert_eq!(unlock_at(&&foreign).unwrap(), Lock::Foreign);
        assert!(foreign.is_locked());
        assert_eq!(unlock_at(&&frozen).unwrap(), Lock::Open);
    }

    #[test]
    fn an_erase_that_fails_leaves_no_password() {
        let disk = Simulated {
            breaks: true,
            ..Simulated::default()
        };
        assert!(erase(&&disk, false).is_err());
        assert!(!disk.has_password() && !disk.is_erased());
    }
}
