//! The hash tree of dm-verity, made from the data: it need not travel, and its root proves all of the data.
//!
//! Source: Linux `Documentation/admin-guide/device-mapper/verity.rst`, hash type 1 (salt first), SHA-256, blocks of
//! 4096 bytes, no superblock; the same bytes that `veritysetup format` writes.

use sha2::{Digest as _, Sha256};

use crate::{
    baseline::BLOCK_BYTES,
    id::{RootHash, VeritySalt},
    image_index::BLOCK,
};

const HASH_BYTES: usize = 32;

/// Takes the data block by block.
#[derive(Debug)]
pub struct Tree {
    salt: VeritySalt,
    hashes: Vec<u8>,
}

impl Tree {
    /// The tree of an image with this salt.
    #[must_use]
    pub const fn new(salt: VeritySalt) -> Self {
        Self {
            salt,
            hashes: Vec::new(),
        }
    }

    /// Takes the next blocks: a multiple of [`BLOCK_BYTES`].
    pub fn blocks(&mut self, data: &[u8]) {
        debug_assert_eq!(data.len() as u64 % BLOCK_BYTES, 0);
        hash_blocks(&self.salt, data, &mut self.hashes);
    }

    /// The bytes of the tree, its top level first, and its root hash.
    #[must_use]
    pub fn finish(self) -> (Vec<u8>, RootHash) {
        let mut levels = Vec::new();
        let mut level = self.hashes;
        while level.len() > HASH_BYTES {
            level.resize(level.len().next_multiple_of(BLOCK), 0);
            let mut above = Vec::new();
            hash_blocks(&self.salt, &level, &mut above);
            levels.push(std::mem::replace(&mut level, above));
        }
        levels.reverse();
        let mut root = [0; HASH_BYTES];
        if level.len() == HASH_BYTES {
            root.copy_from_slice(&level);
        }
        (levels.concat(), RootHash::new(root))
    }
}

fn hash_blocks(salt: &VeritySalt, data: &[u8], out: &mut Vec<u8>) {
    let salted = Sha256::new().chain_update(salt.as_bytes());
    for block in data.chunks(BLOCK) {
        out.extend_from_slice(&salted.clone().chain_update(block).finalize());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image_index::tests::noise;

    /// `veritysetup format --no-superblock --hash=sha256 --format=1 --salt=07…` of `noise(3, blocks)`:
    /// root hash and BLAKE3 of the tree.
    #[test]
    fn the_tree_is_what_veritysetup_writes() {
        for (blocks, root, tree) in VERITYSETUP {
            let mut made = Tree::new(VeritySalt::new([7; 32]));
            noise(3, blocks)
                .chunks(5 * BLOCK)
                .for_each(|data| made.blocks(data));
            let (bytes, have) = made.finish();
            assert_eq!(have.to_string(), root, "{blocks} blocks");
            assert_eq!(blake3::hash(&bytes).to_string(), tree, "{blocks} blocks");
        }
    }

    const VERITYSETUP: [(usize, &str, &str); 4] = [
        (
            2,
            "0dc054e723198159eefffd3e9c190834d1b489150fbf84ef72e5e83b14729a32",
            "a8be8abad5b66efad525b6d7d1829b55472a9fbb97217aad564ba8d3f0f750ec",
        ),
        (
            128,
            "f0d478c399417607b72c8630aed921825b94481b72e97bc0526ffa777c1d945c",
            "7baf67945273106ac86d35dea9e205dd3356475f87fedd0cc85a4100e19ca6eb",
        ),
        (
            129,
            "43df032dd1955904b375f5d1893f248e5d9fb50e9c7943310f7f3bdad3c52dcd",
            "a936cc9e4de0063ca9064d8ba58c1f9edb21648997912b84afc4226280888e24",
        ),
        (
            16500,
            "eac80e4244821467fc574349e44bd48424118bf30cc7ff1a2096633445b0dd5d",
            "5eb14eaa90ba781e68927be75958aed9028a5bfbafb11624c402109edc236529",
        ),
    ];
}
