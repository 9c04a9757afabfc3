//! Packs being filled, and where every frame came to lie.
//!
//! Two packs are open at once: what has no room in one has it in the other, and noise, which costs nothing to cut,
//! fills what text leaves (docs/formats/pack.md §length).

use snapshot::{
    frame::Frame, id::ObjectId, keys::SnapshotKeys, manifest::Ref, pack::PackWriter, record,
};

use super::{error::CaptureError, pushing::Spare, store::Piece};

/// Packs being filled at once.
const OPEN_PACKS: usize = 2;

/// Where a frame lies: the pack's number counts the earlier packs first, then the new ones.
#[derive(Debug, Clone, Copy)]
struct Place {
    pack: u32,
    frame: u32,
    /// Where it was cut to fill the pack: from this offset on it is the frame of that number.
    cut: Option<(u32, u32)>,
}

/// A pack being filled.
pub(super) struct OpenPack {
    pub(super) number: u32,
    pub(super) writer: PackWriter,
}

/// All packs and frames of a capture.
#[derive(Default)]
pub(super) struct Packs {
    open: Vec<OpenPack>,
    /// By frame number.
    places: Vec<Option<Place>>,
    /// By pack number; `None` while it is not finished.
    names: Vec<Option<(ObjectId, u64)>>,
}

impl Packs {
    /// Begins with packs an earlier capture stored.
    pub(super) fn after(earlier: &[(ObjectId, u64)]) -> Self {
        Self {
            names: earlier.iter().copied().map(Some).collect(),
            ..Self::default()
        }
    }

    /// Notes a frame an earlier capture stored; gives its number.
    pub(super) fn earlier_frame(&mut self, pack: u32, frame: u32) -> u32 {
        let cut = None;
        self.places.push(Some(Place { pack, frame, cut }));
        number(self.places.len() - 1)
    }

    /// How many frame numbers are given.
    pub(super) fn frames(&self) -> u32 {
        number(self.places.len())
    }

    /// Whether a frame of so many stored bytes and chunks has room somewhere.
    pub(super) fn has_room(&self, stored: usize, chunks: usize) -> bool {
        let room = |pack: &OpenPack| stored <= pack.writer.room(chunks);
        self.open.len() < OPEN_PACKS || self.open.iter().any(room)
    }

    /// Seals frame number `frame` whole into the fullest pack that has room for it, or into a new one; `false`: there
    /// is no room, and enough packs are open.
    pub(super) fn append(
        &mut self,
        keys: &SnapshotKeys,
        frame: u32,
        coded: &Frame<'_>,
        spare: &Spare,
    ) -> Result<bool, CaptureError> {
        self.open.sort_unstable_by_key(|pack| pack.writer.room(0));
        let mut open = self.open.iter_mut();
        let mut placed = open.find_map(|pack| Some((pack.number, pack.writer.append(coded)?)));
        if placed.is_none() && self.open.len() < OPEN_PACKS {
            let mut pack = self.begin(keys, spare)?;
            placed = pack.writer.append(coded).map(|frame| (pack.number, frame));
            self.open.push(pack);
        }
        if let Some((pack, within)) = placed {
            self.note(frame, pack, within, None);
        }
        Ok(placed.is_some())
    }

    fn begin(&mut self, keys: &SnapshotKeys, spare: &Spare) -> Result<OpenPack, CaptureError> {
        if self.names.len() >= record::MAX_PACKS {
            return Err(CaptureError::TooMany {
                what: "packs",
                limit: record::MAX_PACKS,
            });
        }
        let number = number(self.names.len());
        self.names.push(None);
        let writer = PackWriter::within(keys, spare.take())?;
        Ok(OpenPack { number, writer })
    }

    /// Notes where a frame lies; `cut`: only up to this offset, from there on it is the frame of that number.
    pub(super) fn note(&mut self, frame: u32, pack: u32, within: u32, cut: Option<(u32, u32)>) {
        let at = frame as usize;
        if self.places.len() <= at {
            self.places.resize(at + 1, None);
        }
        if let Some(place) = self.places.get_mut(at) {
            let frame = within;
            *place = Some(Place { pack, frame, cut });
        }
    }

    /// Takes the fullest pack, to fill and finish it; `None`: no pack is open.
    pub(super) fn take_fullest(&mut self) -> Option<OpenPack> {
        let open = self.open.iter().enumerate();
        let (at, _) = open.min_by_key(|(_, pack)| pack.writer.room(0))?;
        Some(self.open.swap_remove(at))
    }

    /// Names a pack that is finished.
    pub(super) fn name(&mut self, pack: u32, name: (ObjectId, u64)) {
        if let Some(slot) = self.names.get_mut(pack as usize) {
            *slot = Some(name);
        }
    }

    /// When every pack is finished.
    pub(super) fn placed(self) -> Placed {
        Placed {
            places: self.places,
            names: self.names,
        }
    }
}

/// Where everything lies, when all is sealed.
pub(super) struct Placed {
    places: Vec<Option<Place>>,
    names: Vec<Option<(ObjectId, u64)>>,
}

impl Placed {
    /// Where a piece lies: in one run, or in more where its frame was cut. Packs count as in [`Self::name`].
    pub(super) fn runs(&self, piece: Piece, mut each: impl FnMut(Ref)) {
        let Piece {
            mut frame,
            mut offset,
            bytes: mut left,
        } = piece;
        while left > 0 {
            let place = self.place(frame);
            match place.cut {
                Some((cut, rest)) if offset >= cut => (frame, offset) = (rest, offset - cut),
                cut => {
                    let bytes = cut.map_or(left, |(cut, _)| left.min(cut - offset));
                    each(Ref::Data {
                        pack: place.pack,
                        frame: place.frame,
                        offset,
                        bytes,
                    });
                    (offset, left) = (offset + bytes, left - bytes);
                }
            }
        }
    }

    fn place(&self, frame: u32) -> Place {
        let place = self.places.get(frame as usize).copied().flatten();
        place.expect("every frame was placed before the store was finished")
    }

    /// The name and size of a pack.
    pub(super) fn name(&self, pack: u32) -> (ObjectId, u64) {
        let name = self.names.get(pack as usize).copied().flatten();
        name.expect("every pack was handed over before the store was finished")
    }

    /// How many packs there are, the earlier ones counted.
    pub(super) fn packs(&self) -> usize {
        self.names.len()
    }
}

/// A number of things this program keeps in memory one by one.
pub(super) fn number(count: usize) -> u32 {
    u32::try_from(count).expect("fewer than four thousand million of anything are kept in memory")
}
