//! A source tree and the object store of its version control.

use std::io::Write;

use anyhow::{Context, Result};
use flate2::Compression;
use flate2::write::ZlibEncoder;

use super::Scale;
use super::rng::{Rng, Text};
use super::writer::Writer;

pub(super) fn write(writer: &mut Writer, text: &Text, scale: Scale) -> Result<()> {
    let mut rng = Rng::new(writer.seed, "source");
    let rng = &mut rng;
    for number in 0..scale.of(8600) {
        let size = rng.size(3500, 1.1, 40, 200_000);
        let content = text.bytes(rng, size);
        writer.file(
            format!(
                "home/src/project/m{}/d{}/{number}.c",
                number % 37,
                number % 11
            ),
            &content,
            Some(0o644),
        )?;
    }
    for _ in 0..scale.of(1900) {
        let name = hex::encode(rng.bytes(20));
        let (folder, rest) = name.split_at(2);
        let size = rng.size(2500, 1.2, 60, 60_000);
        let mut blob = b"blob ".to_vec();
        blob.extend(text.bytes(rng, size));
        writer.file(
            format!("home/src/project/.git/objects/{folder}/{rest}"),
            &zlib(&blob)?,
            Some(0o444),
        )?;
    }
    let name = hex::encode(rng.bytes(20));
    let mut pack = b"PACK".to_vec();
    pack.extend(rng.bytes(scale.of(26_000_000)));
    writer.file(
        format!("home/src/project/.git/objects/pack/pack-{name}.pack"),
        &pack,
        Some(0o444),
    )?;
    Ok(())
}

/// zlib at its fastest, as git and browsers use it (RFC 1950).
pub(super) fn zlib(content: &[u8]) -> Result<Vec<u8>> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(content).context("compress")?;
    encoder.finish().context("compress")
}
