//! `session-keys`: runs as root in a guest and prints every key of the session in hex, one a line,
//! so that a test can search the world for them. What root in a session can read is in the threat
//! model; that nobody else can is what the test proves.

use anyhow::{Context, Result, anyhow};
use linux_keyutils::{KeyRing, KeyRingIdentifier};

/// The agent's name for them, see keyrings(7).
const NAME: &str = "furoshiki:snapshot-keys";
/// Bytes of a key; a head with version, user and epoch stands before the first.
const KEY_BYTES: usize = 32;
/// Chunk ids, chunker, packs, manifests, records.
const KEYS: usize = 5;

fn main() -> Result<()> {
    let read = || {
        KeyRing::from_special_id(KeyRingIdentifier::User, false)?
            .search(NAME)?
            .read_to_vec()
    };
    let bytes =
        read().map_err(|error| anyhow!("read {NAME} from the kernel keyring: {error:?}"))?;
    let head = bytes
        .len()
        .checked_sub(KEYS * KEY_BYTES)
        .context("fewer bytes than the keys have")?;
    for key in bytes
        .get(head..)
        .unwrap_or_default()
        .chunks_exact(KEY_BYTES)
    {
        println!("{}", hex::encode(key));
    }
    Ok(())
}
