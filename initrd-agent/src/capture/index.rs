//! Every chunk that is stored, found by its id.

use hashbrown::HashTable;
use snapshot::id::ChunkId;

use super::{packs::number, store::Piece};

/// Chunks and where they lie: 28 bytes each, and 5 to 10 for being found.
#[derive(Default)]
pub(super) struct Index {
    chunks: Vec<(ChunkId, Piece)>,
    /// Places in `chunks`.
    table: HashTable<u32>,
}

impl Index {
    pub(super) fn reserve(&mut self, chunks: usize) {
        self.chunks.reserve(chunks);
        let Self {
            chunks: known,
            table,
        } = self;
        table.reserve(chunks, |&at| hash(id_at(known, at)));
    }

    pub(super) fn get(&self, id: ChunkId) -> Option<Piece> {
        let found = self
            .table
            .find(hash(Some(id)), |&at| id_at(&self.chunks, at) == Some(id));
        let (_, piece) = self.chunks.get(*found? as usize)?;
        Some(*piece)
    }

    /// Notes where a chunk lies unless that is known; gives the place that is known from now on.
    pub(super) fn note(&mut self, id: ChunkId, piece: Piece) -> Piece {
        if let Some(known) = self.get(id) {
            return known;
        }
        let at = number(self.chunks.len());
        self.chunks.push((id, piece));
        let Self { chunks, table } = self;
        table.insert_unique(hash(Some(id)), at, |&at| hash(id_at(chunks, at)));
        piece
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &(ChunkId, Piece)> {
        self.chunks.iter()
    }
}

fn id_at(chunks: &[(ChunkId, Piece)], at: u32) -> Option<ChunkId> {
    chunks.get(at as usize).map(|(id, _)| *id)
}

/// Chunk ids are keyed hashes: any eight bytes of one are as good as any other hash of it.
fn hash(id: Option<ChunkId>) -> u64 {
    let first = id.and_then(|id| id.as_bytes().first_chunk::<8>().copied());
    u64::from_le_bytes(first.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_place_of_a_chunk_stays() {
        let mut index = Index::default();
        let piece = |frame| Piece {
            frame,
            offset: 0,
            bytes: 1,
        };
        // Equal first bytes: told apart by the rest.
        let id = |last: u32| {
            let mut bytes = [0; 16];
            bytes[..8].copy_from_slice(&u64::from(last % 7).to_le_bytes());
            bytes[12..].copy_from_slice(&last.to_le_bytes());
            ChunkId::new(bytes)
        };
        for chunk in 0..1000 {
            assert_eq!(index.get(id(chunk)), None);
            assert_eq!(index.note(id(chunk), piece(chunk)), piece(chunk));
        }
        index.reserve(10_000);
        for chunk in 0..1000 {
            assert_eq!(index.note(id(chunk), piece(7777)), piece(chunk));
            assert_eq!(index.get(id(chunk)), Some(piece(chunk)));
        }
        assert_eq!(index.iter().count(), 1000);
    }
}
