//! Reading every block through dm-verity.

use std::{fs::File, io, os::unix::fs::FileExt};

use rustix::fs::{Advice, fadvise};

use crate::{dm::Mapped, screen::Progress};

const MIB: u64 = 1 << 20;

/// What reading everything showed.
#[derive(Debug)]
pub(super) enum Proof {
    /// Every block fits the root hash; the mapping stays.
    Good(Mapped),
    /// These MiB hold a block that does not, in order; the mapping is gone.
    Altered(Vec<u64>),
}

/// Reads `bytes` of the mapped device. dm-verity answers `EIO` for a block that does not fit.
pub(super) fn read_all(mapped: Mapped, bytes: u64, progress: &mut Progress) -> io::Result<Proof> {
    let bad = {
        let device = File::open(mapped.node())?;
        if let Err(error) = fadvise(&device, 0, None, Advice::Sequential) {
            tracing::info!(%error, "no read-ahead hint; slower, not wrong");
        }
        bad_mibs(bytes, |buffer, place| {
            progress.set(place);
            device.read_exact_at(buffer, place)
        })?
    };
    progress.set(bytes);
    if bad.is_empty() {
        return Ok(Proof::Good(mapped));
    }
    mapped.remove().map_err(io::Error::other)?;
    Ok(Proof::Altered(bad))
}

/// Reads MiB by MiB; those that answer `EIO` are the bad ones.
fn bad_mibs(
    bytes: u64,
    mut read: impl FnMut(&mut [u8], u64) -> io::Result<()>,
) -> io::Result<Vec<u64>> {
    let mut buffer = vec![0; 1 << 20];
    let mut bad = Vec::new();
    for mib in 0..bytes.div_ceil(MIB) {
        let place = mib * MIB;
        let want = usize::try_from(MIB.min(bytes - place)).unwrap_or(0);
        match read(buffer.get_mut(..want).unwrap_or_default(), place) {
            Ok(()) => {}
            Err(e) if e.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error()) => {
                bad.push(mib)
            }
            Err(e) => return Err(e),
        }
    }
    Ok(bad)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bad_place_is_found_and_other_errors_end_the_reading() {
        let eio = || io::Error::from_raw_os_error(rustix::io::Errno::IO.raw_os_error());
        let mut lengths = Vec::new();
        let bad = bad_mibs(3 * MIB + 4096, |buffer, place| {
            lengths.push(buffer.len());
            if place == MIB || place == 3 * MIB {
                Err(eio())
            } else {
                Ok(())
            }
        });
        assert_eq!(bad.unwrap(), [1, 3]);
        assert_eq!(lengths, [1 << 20, 1 << 20, 1 << 20, 4096]);
        assert!(bad_mibs(MIB, |_, _| Err(io::ErrorKind::PermissionDenied.into())).is_err());
    }
}
