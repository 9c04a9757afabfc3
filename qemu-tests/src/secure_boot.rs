//! UEFI variables of a PC whose operator enrolled own Secure Boot keys.
//!
//! The variables OVMF ships are empty; certificates are put into a copy, in the format OVMF keeps them. A platform key
//! there means User Mode, in which OVMF checks signatures.
//! Source: EDK II, `MdeModulePkg/Include/Guid/VariableFormat.h`; UEFI 2.10, 32.4.1.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

/// EFI_GLOBAL_VARIABLE, as it lies in memory.
const GLOBAL: [u8; 16] = [
    0x61, 0xdf, 0xe4, 0x8b, 0xca, 0x93, 0xd2, 0x11, 0xaa, 0x0d, 0x00, 0xe0, 0x98, 0x03, 0x2b, 0x8c,
];
/// EFI_IMAGE_SECURITY_DATABASE_GUID.
const DATABASE: [u8; 16] = [
    0xcb, 0xb2, 0x19, 0xd7, 0x3a, 0x3d, 0x96, 0x45, 0xa3, 0xbc, 0xda, 0xd0, 0x0e, 0x67, 0x65, 0x6f,
];
/// gEfiAuthenticatedVariableGuid: the store's format.
const AUTHENTICATED: [u8; 16] = [
    0x78, 0x2c, 0xf3, 0xaa, 0x7b, 0x94, 0x9a, 0x43, 0xa1, 0x80, 0x2e, 0x14, 0x4e, 0xc3, 0x77, 0x92,
];
/// Length of the firmware volume's header is here, 2 bytes.
const VOLUME_HEADER_LENGTH: usize = 48;
/// Length of the store's own header.
const STORE_HEADER: usize = 28;
/// Every record begins with this.
const START: u16 = 0x55aa;

/// Writes a copy of the variables `empty` to `out` in which the signature lists in the folder `keys` (`PK.esl`,
/// `KEK.esl`, `db.esl`) are enrolled.
///
/// # Errors
/// A file is missing, or the variables are not in the format known here.
pub fn enrol(empty: &Path, keys: &Path, out: &Path) -> Result<()> {
    let mut flash = fs::read(empty).with_context(|| format!("read {}", empty.display()))?;
    let store = usize::from(number(&flash, VOLUME_HEADER_LENGTH)?);
    ensure!(
        flash.get(store..store + AUTHENTICATED.len()) == Some(&AUTHENTICATED),
        "{} keeps no authenticated variables",
        empty.display()
    );
    let mut at = (store + STORE_HEADER).next_multiple_of(4);
    ensure!(
        number(&flash, at)? == 0xffff,
        "{} has variables already",
        empty.display()
    );
    for (name, vendor) in [("PK", GLOBAL), ("KEK", GLOBAL), ("db", DATABASE)] {
        let path = keys.join(format!("{name}.esl"));
        let list = fs::read(&path).with_context(|| format!("read {}", path.display()))?;
        let record = record(name, &vendor, &list)?;
        flash
            .get_mut(at..at + record.len())
            .context("the variables do not fit")?
            .copy_from_slice(&record);
        at = (at + record.len()).next_multiple_of(4);
    }
    fs::write(out, flash).with_context(|| format!("write {}", out.display()))
}

/// AUTHENTICATED_VARIABLE_HEADER, name and data.
fn record(name: &str, vendor: &[u8; 16], data: &[u8]) -> Result<Vec<u8>> {
    let mut text: Vec<u8> = name.encode_utf16().flat_map(u16::to_le_bytes).collect();
    text.extend_from_slice(&[0, 0]);
    let mut record = Vec::new();
    record.extend_from_slice(&START.to_le_bytes());
    record.extend_from_slice(&[0x3f, 0]); // state: added
    record.extend_from_slice(&0x27_u32.to_le_bytes()); // kept, boot, run time, signed by time
    record.extend_from_slice(&0_u64.to_le_bytes()); // no counter
    // Any time: an update must be later.
    record.extend_from_slice(&2020_u16.to_le_bytes());
    record.extend_from_slice(&[1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    record.extend_from_slice(&0_u32.to_le_bytes()); // no public key index
    record.extend_from_slice(&u32::try_from(text.len())?.to_le_bytes());
    record.extend_from_slice(&u32::try_from(data.len())?.to_le_bytes());
    record.extend_from_slice(vendor);
    record.extend_from_slice(&text);
    record.extend_from_slice(data);
    Ok(record)
}

fn number(flash: &[u8], at: usize) -> Result<u16> {
    let bytes = flash
        .get(at..)
        .and_then(|rest| rest.first_chunk())
        .context("the variables are too short")?;
    Ok(u16::from_le_bytes(*bytes))
}
