//! Entries kept in memory as bytes: a quarter of what they take as values, and any of them soon at hand.

use super::{Entry, decode, encode};
use crate::bytes::{ParseError, Reader};

/// Entries of one block: reading one of them reads those before it in the block.
const BLOCK_ENTRIES: usize = 16;

/// The entries of a manifest that was checked, as bytes.
///
/// For whoever needs few of many entries at a time. Never stored: each block is written like the changes of a delta,
/// hardlinks by the path of their target.
#[derive(Debug)]
pub struct CompactEntries {
    bytes: Vec<u8>,
    /// Where each block begins.
    blocks: Vec<usize>,
    count: usize,
}

impl CompactEntries {
    /// Keeps these entries, in their order.
    ///
    /// # Errors
    /// [`ParseError`]: never for the entries of a [`Manifest`](super::Manifest) that was decoded.
    pub fn new(entries: &[Entry]) -> Result<Self, ParseError> {
        let (mut bytes, mut blocks) = (Vec::new(), Vec::new());
        for block in entries.chunks(BLOCK_ENTRIES) {
            blocks.push(bytes.len());
            encode::put_entries(&mut bytes, block)?;
        }
        bytes.shrink_to_fit();
        Ok(Self {
            bytes,
            blocks,
            count: entries.len(),
        })
    }

    /// In which block the entry with this number lies, and where in it.
    #[must_use]
    pub const fn place(number: usize) -> (usize, usize) {
        (number / BLOCK_ENTRIES, number % BLOCK_ENTRIES)
    }

    /// The entries of a block; none where there is no such block.
    ///
    /// # Errors
    /// [`ParseError`]: never for what [`new`](Self::new) kept.
    pub fn block(&self, number: usize) -> Result<Vec<Entry>, ParseError> {
        let mut entries = Vec::with_capacity(BLOCK_ENTRIES);
        self.read(number, &mut entries)?;
        Ok(entries)
    }

    /// All entries again.
    ///
    /// # Errors
    /// As [`block`](Self::block).
    pub fn all(&self) -> Result<Vec<Entry>, ParseError> {
        let mut entries = Vec::with_capacity(self.count);
        for block in 0..self.blocks.len() {
            self.read(block, &mut entries)?;
        }
        Ok(entries)
    }

    fn read(&self, block: usize, into: &mut Vec<Entry>) -> Result<(), ParseError> {
        let Some(&start) = self.blocks.get(block) else {
            return Ok(());
        };
        let first = block * BLOCK_ENTRIES;
        let mut reader = Reader::new(self.bytes.get(start..).unwrap_or_default());
        let count = self.count.saturating_sub(first).min(BLOCK_ENTRIES);
        decode::entries(&mut reader, count, into)
    }
}
