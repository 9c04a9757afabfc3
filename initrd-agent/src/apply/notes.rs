//! What an apply keeps of a manifest while packs fill its memory: entries as bytes, and a file for where chunks lie.

use std::{
    fs::File,
    io::{self, BufReader, BufWriter, Read as _, Seek as _},
};

use rustix::fs::{Mode, OFlags};
use snapshot::{
    ParseError,
    manifest::{CompactEntries, Entry},
};

use crate::capture::{
    state::{CHUNK_BYTES, Known},
    tree::Roots,
};

/// How much of the file is read or written at once, in bytes.
const BUFFER_BYTES: usize = 64 << 10;

/// Gives entries by their numbers; those of the block asked for last are at hand.
pub(super) struct Lookup<'a> {
    entries: &'a CompactEntries,
    open: Option<(usize, Vec<Entry>)>,
}

impl<'a> Lookup<'a> {
    pub(super) const fn new(entries: &'a CompactEntries) -> Self {
        Self {
            entries,
            open: None,
        }
    }

    /// The entry with this number.
    pub(super) fn entry(&mut self, number: u32) -> Result<Option<&Entry>, ParseError> {
        let (block, place) = CompactEntries::place(number as usize);
        let entries = match self.open.take() {
            Some((open, entries)) if open == block => entries,
            _ => self.entries.block(block)?,
        };
        let (_, entries) = self.open.insert((block, entries));
        Ok(entries.get(place))
    }
}

/// Where the chunks of the packs lie, in a file without a name beside the tree: it is gone with the apply.
pub(super) struct Chunks {
    file: BufWriter<File>,
    count: usize,
}

impl Chunks {
    pub(super) fn new(roots: &Roots) -> io::Result<Self> {
        let flags = OFlags::TMPFILE | OFlags::RDWR;
        let file = roots.open_at(b"home", flags, Mode::RUSR | Mode::WUSR)?;
        Ok(Self {
            file: BufWriter::with_capacity(BUFFER_BYTES, file.into()),
            count: 0,
        })
    }

    pub(super) fn add(&mut self, chunks: impl Iterator<Item = Known>) -> io::Result<()> {
        for chunk in chunks {
            chunk.write(&mut self.file)?;
            self.count += 1;
        }
        Ok(())
    }

    /// All of them, in the order they were added.
    pub(super) fn read(self) -> io::Result<Vec<Known>> {
        let mut file = self.file.into_inner()?;
        file.rewind()?;
        let mut file = BufReader::with_capacity(BUFFER_BYTES, file);
        let mut chunks = Vec::with_capacity(self.count);
        for _ in 0..self.count {
            let mut bytes = [0; CHUNK_BYTES];
            file.read_exact(&mut bytes)?;
            chunks.push(Known::read(&bytes));
        }
        Ok(chunks)
    }
}
