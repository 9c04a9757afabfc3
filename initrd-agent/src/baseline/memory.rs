//! The baseline in memory: fetched at every boot, read whole through dm-verity as on a disk.

use super::prove::Proof;
use super::{Baseline, RestoreError, Source, fetch, fill, io, prove, slots::open_for_writing};
use crate::disk::{Memory, Restored, Wiped};
use crate::screen::Label;

impl Memory<Wiped> {
    /// Fetches the baseline and reads all of it through dm-verity.
    ///
    /// # Errors
    /// [`RestoreError`].
    pub fn restore(self, source: &Source) -> Result<(Memory<Restored>, Baseline), RestoreError> {
        let device = self.baseline().to_owned();
        let image = &source.manifest.manifest().image;
        let (index, _, received) = fetch::index(source, None)?;
        let filled = {
            let target = open_for_writing(&device).map_err(io("open", &device))?;
            let mut progress = source.screen.progress(Label::Restore, image.data_bytes);
            let fetch = &mut |want: &_, bytes, have: &_, had: &_| {
                fetch::chunks(source, want, bytes, have, had)
            };
            fill::fill(image, &index, &target, &[], fetch, &mut progress)
                .map_err(|error| error.at(&device, |what| source.altered(what)))?
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
                    slot: None,
                    written_bytes: filled.written_bytes,
                    received_bytes: filled.received_bytes + received,
                    read_bytes,
                },
            )),
        }
    }
}
