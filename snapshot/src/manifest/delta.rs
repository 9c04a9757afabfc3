//! A manifest told by what changed since the one before.
//!
//! A day changes few entries of many. A snapshot's manifests are a base, which stands alone, and deltas that follow one
//! another; together they say what one manifest would.
//!
//! Source: docs/formats/manifest.md §delta.

use std::{cmp::Ordering, collections::HashMap};

use super::{Entry, EntryKind, Manifest, Ref, check, decode, encode};
use crate::{
    bytes::ParseError,
    id::{BaselineId, ObjectId},
};

/// What leads from one manifest to the next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delta {
    /// The sealed manifest, base or delta, it follows.
    pub follows: ObjectId,
    /// The baseline the tree lies on now.
    pub baseline: BaselineId,
    /// Its name.
    pub baseline_name: String,
    /// Which packs of the manifest before are still needed, in their order.
    pub kept_packs: Vec<KeptPacks>,
    /// Packs that come after those.
    pub new_packs: Vec<(ObjectId, u64)>,
    /// Sorted by path, none twice. Runs of their files count packs as the new manifest does.
    pub changes: Vec<Change>,
}

/// A run of packs of the manifest before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeptPacks {
    /// How many are left out first; only of the first run it may be none.
    pub left_out: u32,
    /// How many are kept then, at least one.
    pub kept: u32,
}

/// What happens at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// The entry is gone.
    Remove(Vec<u8>),
    /// The entry is new, or is now this.
    Put(Entry),
}

impl Change {
    /// Where.
    #[must_use]
    pub fn path(&self) -> &[u8] {
        match self {
            Self::Remove(path) => path,
            Self::Put(entry) => &entry.path,
        }
    }
}

impl Delta {
    /// What leads from `old`, sealed as `follows`, to `new`.
    ///
    /// `None`: the packs of `new` are not some of `old` in their order and then others; seal a base.
    #[must_use]
    pub fn between(old: &Manifest, new: &Manifest, follows: ObjectId) -> Option<Self> {
        let places: HashMap<_, _> = (0u32..)
            .zip(&old.packs)
            .map(|(n, pack)| (pack, n))
            .collect();
        let mut kept = Vec::new();
        let mut packs = new.packs.iter().peekable();
        while let Some(place) = packs.peek().and_then(|pack| places.get(pack)) {
            kept.push(*place);
            packs.next();
        }
        let new_packs: Vec<_> = packs.copied().collect();
        if !kept.is_sorted_by(|a, b| a < b) || new_packs.iter().any(|p| places.contains_key(p)) {
            return None;
        }
        let kept_packs = runs(&kept);
        let numbers = Numbers::new(&kept_packs, old.packs.len())?;
        let changes = changes(&old.entries, &new.entries, &numbers);
        Some(Self {
            follows,
            baseline: new.baseline,
            baseline_name: new.baseline_name.clone(),
            kept_packs,
            new_packs,
            changes,
        })
    }

    /// Changes the manifest before into the next.
    ///
    /// # Errors
    /// [`ParseError`]: the delta does not fit it, or what comes out breaks a rule.
    pub fn apply(self, old: Manifest) -> Result<Manifest, ParseError> {
        let numbers = Numbers::new(&self.kept_packs, old.packs.len()).ok_or(KEPT)?;
        let mut packs: Vec<_> = (old.packs.into_iter().zip(&numbers.0))
            .filter_map(|(pack, number)| number.is_some().then_some(pack))
            .collect();
        packs.extend(self.new_packs);
        let entries = merge(old.entries, self.changes, &numbers)?;
        let manifest = Manifest {
            baseline: self.baseline,
            baseline_name: self.baseline_name,
            packs,
            entries,
        };
        check::check(&manifest)?;
        Ok(manifest)
    }

    /// The delta's bytes, before compression and sealing.
    ///
    /// # Errors
    /// [`ParseError`]: too long.
    pub fn encode(&self) -> Result<Vec<u8>, ParseError> {
        encode::encode_delta(self)
    }

    /// Reads what [`encode`](Self::encode) wrote. What the changes mean is checked by [`apply`](Self::apply).
    ///
    /// # Errors
    /// [`ParseError`]: what is wrong.
    pub fn decode(bytes: &[u8]) -> Result<Self, ParseError> {
        decode::decode_delta(bytes)
    }
}

const KEPT: ParseError = ParseError::Invalid {
    what: "kept packs",
    rule: "they are runs of at least one, with some left out between, of the packs before",
};

/// Which numbers the packs of the manifest before have now.
struct Numbers(Vec<Option<u32>>);

impl Numbers {
    /// `None`: the runs are not those of so many packs.
    fn new(kept: &[KeptPacks], packs: usize) -> Option<Self> {
        let mut numbers = Vec::new();
        let mut next = 0u32;
        for (place, run) in kept.iter().enumerate() {
            let (left_out, kept) = (run.left_out as usize, run.kept as usize);
            if kept == 0 || (left_out == 0 && place > 0) || numbers.len() + left_out + kept > packs
            {
                return None;
            }
            numbers.resize(numbers.len() + left_out, None);
            numbers.extend((next..).take(kept).map(Some));
            next = next.checked_add(run.kept)?;
        }
        numbers.resize(packs, None);
        Some(Self(numbers))
    }

    fn of(&self, pack: u32) -> Option<u32> {
        self.0.get(pack as usize).copied().flatten()
    }

    /// Whether `new` is `old` with its packs' new numbers.
    fn same(&self, old: &Entry, new: &Entry) -> bool {
        let (EntryKind::File(was), EntryKind::File(is)) = (&old.kind, &new.kind) else {
            return old == new;
        };
        let run = |(was, is): (&Ref, &Ref)| match (*was, *is) {
            (
                Ref::Data {
                    pack,
                    frame,
                    offset,
                    bytes,
                },
                Ref::Data {
                    pack: now,
                    frame: f,
                    offset: o,
                    bytes: b,
                },
            ) => self.of(pack) == Some(now) && (frame, offset, bytes) == (f, o, b),
            (was, is) => was == is,
        };
        (old.path == new.path && old.meta == new.meta)
            && (was.size, was.torn, was.refs.len()) == (is.size, is.torn, is.refs.len())
            && was.refs.iter().zip(&is.refs).all(run)
    }

    /// Gives the packs of an entry their new numbers.
    fn renumber(&self, entry: &mut Entry) -> Result<(), ParseError> {
        let EntryKind::File(data) = &mut entry.kind else {
            return Ok(());
        };
        for run in &mut data.refs {
            if let Ref::Data { pack, .. } = run {
                *pack = self.of(*pack).ok_or(ParseError::Invalid {
                    what: "entry that did not change",
                    rule: "its packs are kept",
                })?;
            }
        }
        Ok(())
    }
}

fn runs(kept: &[u32]) -> Vec<KeptPacks> {
    let mut runs: Vec<KeptPacks> = Vec::new();
    let mut next = 0;
    for place in kept {
        match runs.last_mut() {
            Some(last) if *place == next => last.kept += 1,
            _ => runs.push(KeptPacks {
                left_out: place - next,
                kept: 1,
            }),
        }
        next = place + 1;
    }
    runs
}

fn changes(old: &[Entry], new: &[Entry], numbers: &Numbers) -> Vec<Change> {
    let mut changes = Vec::new();
    let (mut old, mut new) = (old.iter().peekable(), new.iter().peekable());
    loop {
        let order = match (old.peek(), new.peek()) {
            (None, None) => return changes,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(was), Some(is)) => was.path.cmp(&is.path),
        };
        let was = if order.is_le() { old.next() } else { None };
        let is = if order.is_ge() { new.next() } else { None };
        match (was, is) {
            (Some(was), Some(is)) if numbers.same(was, is) => {}
            (_, Some(is)) => changes.push(Change::Put(is.clone())),
            (Some(was), None) => changes.push(Change::Remove(was.path.clone())),
            (None, None) => {}
        }
    }
}

/// Both are sorted. Changes that are not are found by the check of what comes out, or here.
fn merge(
    old: Vec<Entry>,
    changes: Vec<Change>,
    numbers: &Numbers,
) -> Result<Vec<Entry>, ParseError> {
    let sorted = changes.is_sorted_by(|a, b| a.path() < b.path());
    if !sorted {
        return Err(ParseError::Invalid {
            what: "changes",
            rule: "they are sorted by path, none twice",
        });
    }
    let mut entries = Vec::with_capacity(old.len() + changes.len());
    let mut changes = changes.into_iter().peekable();
    let put = |entries: &mut Vec<Entry>, change| match change {
        Change::Put(entry) => {
            entries.push(entry);
            Ok(())
        }
        Change::Remove(_) => Err(ParseError::Invalid {
            what: "removed entry",
            rule: "it was there",
        }),
    };
    for mut entry in old {
        while let Some(change) = changes.next_if(|change| *change.path() < *entry.path) {
            put(&mut entries, change)?;
        }
        match changes.next_if(|change| change.path() == entry.path) {
            Some(Change::Put(new)) => entries.push(new),
            Some(Change::Remove(_)) => {}
            None => {
                numbers.renumber(&mut entry)?;
                entries.push(entry);
            }
        }
    }
    changes.try_for_each(|change| put(&mut entries, change))?;
    Ok(entries)
}
