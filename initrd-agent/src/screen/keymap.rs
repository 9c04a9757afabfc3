//! The layout of the keyboard: a compiled keymap of the initrd, given to the kernel before the first prompt.
//!
//! The kernel has one keymap for all virtual terminals and keeps it over switch-root, so that the session's text
//! console has the same layout. Format (that of `loadkeys --bkeymap` and BusyBox's `loadkmap`): `bkeymap`; 256 bytes,
//! one for each table, 1 where the file has it; then 128 little-endian values for each of those.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use crate::{paths, sys};

/// First bytes of a compiled keymap.
const MAGIC: &[u8] = b"bkeymap";
/// Tables a file may have, one for each set of pressed modifiers. Source: Linux, `MAX_NR_KEYMAPS`.
const TABLES: usize = 256;
/// Keys of a table.
const KEYS: usize = 128;
/// Bytes of a value.
const VALUE_BYTES: usize = 2;

/// Why the keyboard keeps the kernel's layout (us).
#[derive(Debug, thiserror::Error)]
pub enum KeymapError {
    /// The initrd has no such layout.
    #[error("read keymap {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Not a compiled keymap.
    #[error("read keymap {name}: not a whole compiled keymap")]
    Malformed {
        /// The layout.
        name: String,
    },
    /// No keyboard driver, or it does not take a value.
    #[error("load keymap {name} into the kernel")]
    Load {
        /// The layout.
        name: String,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// One key of one table, and what it gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Key {
    table: u8,
    index: u8,
    value: u16,
}

/// Loads the layout `name` of the initrd for every virtual terminal.
///
/// # Errors
/// [`KeymapError`]; keys loaded so far stay.
pub fn load(name: &str) -> Result<(), KeymapError> {
    let path = Path::new(paths::KEYMAPS).join(format!("{name}.bmap"));
    let bytes = fs::read(&path).map_err(|source| KeymapError::Read {
        path: path.clone(),
        source,
    })?;
    let keys = parse(&bytes).ok_or_else(|| KeymapError::Malformed { name: name.into() })?;
    let failed = |source| KeymapError::Load {
        name: name.into(),
        source,
    };
    let terminal = fs::File::open("/dev/tty0").map_err(failed)?;
    for key in keys {
        sys::set_key(&terminal, key.table, key.index, key.value).map_err(failed)?;
    }
    Ok(())
}

fn parse(bytes: &[u8]) -> Option<Vec<Key>> {
    let (flags, mut rest) = bytes.strip_prefix(MAGIC)?.split_at_checked(TABLES)?;
    let mut keys = Vec::new();
    for (table, flag) in (0..=u8::MAX).zip(flags) {
        match flag {
            0 => continue,
            1 => {}
            _ => return None,
        }
        let (values, after) = rest.split_at_checked(KEYS * VALUE_BYTES)?;
        rest = after;
        for (index, value) in (0..).zip(values.chunks_exact(VALUE_BYTES)) {
            let value = u16::from_le_bytes(value.try_into().ok()?);
            keys.push(Key {
                table,
                index,
                value,
            });
        }
    }
    rest.is_empty().then_some(keys)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn file(tables: &[u8]) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend((0..=u8::MAX).map(|table| u8::from(tables.contains(&table))));
        for table in tables {
            bytes.extend((0..128_u16).flat_map(|key| (u16::from(*table) << 8 | key).to_le_bytes()));
        }
        bytes
    }

    #[test]
    fn every_key_of_every_table_is_read() {
        let keys = parse(&file(&[0, 1, 8])).unwrap();
        assert_eq!(keys.len(), 3 * 128);
        let last = Key {
            table: 8,
            index: 127,
            value: 0x87f,
        };
        assert_eq!(keys.last(), Some(&last));
    }

    #[test]
    fn a_torn_or_foreign_file_is_no_keymap() {
        let whole = file(&[0, 1]);
        let longer = [whole.as_slice(), &[0]].concat();
        for bad in [
            &whole[..whole.len() - 1],
            &whole[..100],
            &longer,
            b"",
            b"keymap",
        ] {
            assert_eq!(parse(bad), None);
        }
    }

    proptest! {
        #[test]
        fn prop_no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
            let _ = parse(&bytes);
            let _ = parse(&[MAGIC, &bytes].concat());
        }
    }
}
