//! The signature in a PE file. Source: Windows Authenticode Portable Executable Signature Format; PE format,
//! "Attribute Certificate Table".

use std::path::Path;

use goblin::pe::PE;
use sha2::{Digest, Sha256};

use super::{
    SecureBootError,
    der::{self, BIT_STRING, OCTET_STRING, SEQUENCE, context, tlv},
    keys::Signer,
    pkcs7,
};
use crate::files;

/// The table begins and ends at multiples of this.
const ALIGN: usize = 8;
/// Place of the checksum in the optional header.
const CHECKSUM: usize = 64;
/// Place of the table's address and length in the optional header of PE32+: the fifth data directory.
const DIRECTORY: usize = 112 + 4 * 8;

/// Signs the PE file at `path` in place. Out: SHA-256 of what was signed, which is that of the unsigned file.
///
/// # Errors
/// [`SecureBootError`]; the file stays as it was.
pub fn sign(path: &Path, signer: &Signer) -> Result<[u8; 32], SecureBootError> {
    let image = files::read(path)?;
    let refuse = |what: &str| SecureBootError::Pe {
        path: path.display().to_string(),
        what: what.into(),
    };
    let (image, digest) = signed(image, signer).map_err(|error| match error {
        Failed::Pe(what) => refuse(what),
        Failed::Key(error) => error,
    })?;
    files::write(path, &image)?;
    Ok(digest)
}

enum Failed {
    Pe(&'static str),
    Key(SecureBootError),
}

fn signed(mut image: Vec<u8>, signer: &Signer) -> Result<(Vec<u8>, [u8; 32]), Failed> {
    let not_pe = Failed::Pe("it is not a PE32+ file");
    let optional = {
        let Ok(pe) = PE::parse(&image) else {
            return Err(not_pe);
        };
        if !pe.is_64 {
            return Err(not_pe);
        }
        pe.header.dos_header.pe_pointer as usize + 24
    };
    let (checksum, directory) = (optional + CHECKSUM, optional + DIRECTORY);
    if image.get(directory..directory + 8) != Some([0; 8].as_slice()) {
        return Err(Failed::Pe("it is signed already, or too short"));
    }
    // What is hashed ends at a multiple of 8, as firmware will see it.
    image.resize(image.len().next_multiple_of(ALIGN), 0);
    let mut hasher = Sha256::new();
    // All but the checksum and the directory entry that will name the signature.
    for range in [
        0..checksum,
        checksum + 4..directory,
        directory + 8..image.len(),
    ] {
        hasher.update(image.get(range).unwrap_or_default());
    }
    let digest: [u8; 32] = hasher.finalize().into();
    let signature = pkcs7::enveloping(signer, der::oid::SPC_INDIRECT_DATA, &indirect(&digest))
        .map_err(Failed::Key)?;
    let table = (8 + signature.len()).next_multiple_of(ALIGN);
    let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX).to_le_bytes();
    let place = image.len();
    image.extend_from_slice(&number(table));
    image.extend_from_slice(&0x0200_u16.to_le_bytes()); // WIN_CERT_REVISION_2_0
    image.extend_from_slice(&0x0002_u16.to_le_bytes()); // WIN_CERT_TYPE_PKCS_SIGNED_DATA
    image.extend_from_slice(&signature);
    image.resize(place + table, 0);
    let entry = [number(place), number(table)].concat();
    if let Some(room) = image.get_mut(directory..directory + 8) {
        room.copy_from_slice(&entry);
    }
    Ok((image, digest))
}

/// SpcIndirectDataContent: what kind of file it is, and its digest.
fn indirect(digest: &[u8]) -> Vec<u8> {
    // SpcPeImageData: no flags; the file link every signer writes, with an empty name.
    let no_name = tlv(context(2), &[&[0x80, 0x00]]);
    let image = tlv(
        SEQUENCE,
        &[&tlv(BIT_STRING, &[&[0]]), &tlv(context(0), &[&no_name])],
    );
    let kind = tlv(SEQUENCE, &[&der::oid(der::oid::SPC_PE_IMAGE_DATA), &image]);
    let digest = tlv(
        SEQUENCE,
        &[
            &der::algorithm(der::oid::SHA256),
            &tlv(OCTET_STRING, &[digest]),
        ],
    );
    tlv(SEQUENCE, &[&kind, &digest])
}
