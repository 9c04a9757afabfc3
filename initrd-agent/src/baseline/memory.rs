//! The baseline in memory: fetched at every boot, read whole through dm-verity as on a disk.

use super::prove::Proof;
use super::{Baseline, RestoreError, Source, fetch, io, open_for_writing, prove};
use crate::disk::{Memory, Restored, Wiped};

impl Memory<Wiped> {
    /// Fetches the baseline and reads all of it through dm-verity.
    ///
    /// # Errors
    /// [`RestoreError`].
    pub fn restore(self, source: &Source) -> Result<(Memory<Restored>, Baseline), RestoreError> {
        let device = self.baseline().to_owned();
        let written_bytes = {
            let target = open_for_writing(&device).map_err(io("open", &device))?;
            fetch::whole(source, &target, &device)?
        };
        let mut read_bytes = 0;
        match prove(source, &device, &mut read_bytes)? {
            Proof::Altered(bad) => Err(RestoreError::DiskLies {
                device,
                at: bad.first().copied().unwrap_or(0) << 20,
            }),
            Proof::Good(mapped) => Ok((
                self.restored(),
                Baseline {
                    mapped,
                    written_bytes,
                    read_bytes,
                },
            )),
        }
    }
}
