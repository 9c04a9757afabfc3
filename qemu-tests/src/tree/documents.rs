//! Office documents (zip archives), PDF, notes, a table of numbers, pictures, downloads.

use std::io::{Cursor, Write};

use anyhow::{Context, Result};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use super::Scale;
use super::rng::{Rng, Text};
use super::writer::Writer;

pub(super) fn write(writer: &mut Writer, text: &Text, scale: Scale) -> Result<()> {
    let mut rng = Rng::new(writer.seed, "documents");
    let rng = &mut rng;
    for number in 0..scale.of(150) {
        let size = rng.size(160_000, 1.3, 10_000, 5_000_000);
        let kind = rng
            .pick(&["docx", "xlsx", "odt", "pptx"])
            .copied()
            .unwrap_or("odt");
        let name = format!(
            "home/Documents/{}/{} {number}.{kind}",
            text.nth(number % 23),
            text.words(rng, 2, " ")
        );
        let document = office(text, rng, size)?;
        writer.file(name, &document, None)?;
    }
    for number in 0..scale.of(60) {
        let size = rng.size(220_000, 1.0, 9000, 4_000_000);
        let mut pdf = b"%PDF-1.7\n".to_vec();
        pdf.extend(rng.bytes(size));
        writer.file(format!("home/Documents/pdf/{number:03}.pdf"), &pdf, None)?;
    }
    for number in 0..scale.of(240) {
        let size = rng.size(2500, 1.2, 20, 90_000);
        let note = text.bytes(rng, size);
        writer.file(
            format!(
                "home/Documents/notes/{}/{number}.txt",
                text.nth(number % 40)
            ),
            &note,
            None,
        )?;
    }
    let numbers: String = (0..scale.of(260_000))
        .map(|row| {
            format!(
                "{row},{},{}.{:04},{}\n",
                text.word(rng),
                rng.below(80),
                rng.below(10_000),
                rng.below(1 << 16)
            )
        })
        .collect();
    writer.file(
        "home/Documents/data/measurements.csv",
        numbers.as_bytes(),
        None,
    )?;
    for number in 0..scale.of(68) {
        let size = rng.between(1_000_000, 5_000_000);
        let mut picture = vec![0xFF, 0xD8, 0xFF, 0xE1];
        picture.extend(rng.bytes(size));
        writer.file(
            format!(
                "home/Pictures/2025/{:02}/IMG_{}.JPG",
                number / 20 + 1,
                4000 + number
            ),
            &picture,
            None,
        )?;
    }
    for (number, bytes) in [48_000_000, 22_000_000, 11_000_000].into_iter().enumerate() {
        let installer = rng.bytes(scale.of(bytes));
        writer.file(
            format!("home/Downloads/installer-{number}.run"),
            &installer,
            Some(0o755),
        )?;
    }
    Ok(())
}

/// A third of it text that compresses, the rest a picture that does not.
fn office(text: &Text, rng: &mut Rng, size: u64) -> Result<Vec<u8>> {
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    let packed = SimpleFileOptions::default().compression_method(CompressionMethod::Deflated);
    let stored = packed.compression_method(CompressionMethod::Stored);
    let parts = [
        ("[Content_Types].xml", packed, b"<Types/>".repeat(20)),
        (
            "word/document.xml",
            packed,
            text.bytes(rng, (size / 3).max(2000)),
        ),
        (
            "word/media/image1.png",
            stored,
            rng.bytes((size - size / 9).max(500)),
        ),
    ];
    for (name, options, content) in parts {
        archive
            .start_file(name, options)
            .with_context(|| format!("begin {name}"))?;
        archive
            .write_all(&content)
            .with_context(|| format!("write {name}"))?;
    }
    Ok(archive
        .finish()
        .context("finish an office document")?
        .into_inner())
}
