//! What firmware keeps: signature lists, and signed updates of its variables.
//!
//! Source: UEFI 2.10, 8.2.2 (EFI_VARIABLE_AUTHENTICATION_2), 32.4.1 (EFI_SIGNATURE_LIST).

use time::OffsetDateTime;
use uuid::{Uuid, uuid};

use super::{SecureBootError, keys::Signer, pkcs7};

/// EFI_GLOBAL_VARIABLE.
const GLOBAL: Uuid = uuid!("8be4df61-93ca-11d2-aa0d-00e098032b8c");
/// EFI_IMAGE_SECURITY_DATABASE_GUID.
const DATABASE: Uuid = uuid!("d719b2cb-3d3a-4596-a3bc-dad00e67656f");
/// EFI_CERT_X509_GUID.
const X509: Uuid = uuid!("a5c059a1-94e4-4aa7-87b5-ab155c2bf072");
/// EFI_CERT_TYPE_PKCS7_GUID.
const PKCS7: Uuid = uuid!("4aafd29d-68df-49ee-8aa9-347d375665a7");
/// Who put a certificate there: a random id of ours.
const OWNER: Uuid = uuid!("6a1f1f0c-2d5b-4e0b-9c67-0b5c1b6f4d10");
/// Kept, seen at boot and at run time, changed by a newer signed update only.
const ATTRIBUTES: u32 = 0x27;

/// A variable that holds keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Variable {
    /// The platform key: whose PC it is.
    Pk,
    /// Keys that may change db.
    Kek,
    /// Keys that sign what starts.
    Db,
}

impl Variable {
    /// All, in the order of their power. A PC in Setup Mode takes them from the last to the first.
    pub const ALL: [Self; 3] = [Self::Pk, Self::Kek, Self::Db];

    /// Its name in firmware.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pk => "PK",
            Self::Kek => "KEK",
            Self::Db => "db",
        }
    }

    const fn vendor(self) -> Uuid {
        match self {
            Self::Pk | Self::Kek => GLOBAL,
            Self::Db => DATABASE,
        }
    }
}

/// An EFI_SIGNATURE_LIST with one certificate (DER).
pub(super) fn signature_list(certificate: &[u8]) -> Vec<u8> {
    let length = |n: usize| u32::try_from(n).unwrap_or(u32::MAX).to_le_bytes();
    let entry = 16 + certificate.len();
    [
        X509.to_bytes_le().as_slice(),
        &length(28 + entry),
        &length(0),
        &length(entry),
        &OWNER.to_bytes_le(),
        certificate,
    ]
    .concat()
}

/// A signed update that sets `variable` to `list`.
pub(super) fn update(
    variable: Variable,
    list: &[u8],
    now: OffsetDateTime,
    by: &Signer,
) -> Result<Vec<u8>, SecureBootError> {
    let time = efi_time(now);
    let name: Vec<u8> = variable
        .name()
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    let signed = [
        name.as_slice(),
        &variable.vendor().to_bytes_le(),
        &ATTRIBUTES.to_le_bytes(),
        &time,
        list,
    ]
    .concat();
    let signature = pkcs7::detached(by, &signed)?;
    let length = u32::try_from(24 + signature.len()).unwrap_or(u32::MAX);
    Ok([
        time.as_slice(),
        &length.to_le_bytes(),
        &0x0200_u16.to_le_bytes(), // WIN_CERTIFICATE revision
        &0x0ef1_u16.to_le_bytes(), // WIN_CERT_TYPE_EFI_GUID
        &PKCS7.to_bytes_le(),
        &signature,
        list,
    ]
    .concat())
}

/// EFI_TIME in UTC, with the fields that must be zero.
fn efi_time(time: OffsetDateTime) -> [u8; 16] {
    let [low, high] = u16::try_from(time.year()).unwrap_or(1970).to_le_bytes();
    let (month, day) = (u8::from(time.month()), time.day());
    let (hour, minute, second) = (time.hour(), time.minute(), time.second());
    [
        low, high, month, day, hour, minute, second, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    ]
}
