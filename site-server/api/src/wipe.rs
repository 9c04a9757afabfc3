//! What a PC says it did to its disk. The page of the format is `docs/formats/wipe-record.md`.

use serde::{Deserialize, Serialize};
use snapshot::id::BaselineId;

/// The version written here.
pub const FORMAT: u32 = 1;
/// Longest record as JSON, in bytes.
pub const MAX_BYTES: usize = 16 << 10;
/// Most steps of a record.
pub const MAX_STEPS: usize = 16;
/// Longest text in a record, in bytes.
pub const MAX_TEXT_BYTES: usize = 256;

/// One wipe: what was asked of a disk, what it answered, what reading back proved. A PC's own claim.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct WipeRecord {
    /// [`FORMAT`].
    pub format: u32,
    /// Name of the PC.
    pub pc: String,
    /// Random id of this power-on, 32 hex digits: the records of one boot belong together.
    pub boot: String,
    /// When by the PC's clock.
    pub at_ms: i64,
    /// At which end of a session.
    pub moment: Moment,
    /// Version of the agent.
    pub agent: String,
    /// The baseline of this boot.
    pub baseline: BaselineId,
    /// The disk.
    pub disk: DiskInfo,
    /// What stood there before.
    pub before: Before,
    /// What was done, in order.
    pub steps: Vec<Step>,
}

/// When in the life of a session a wipe happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Moment {
    /// Before anybody signs in.
    Boot,
    /// After the system ended.
    PowerOff,
}

/// What stands on a disk before it is wiped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Before {
    /// Our own partitions: the session partition is wiped, the outbox stays.
    Ours,
    /// Nothing.
    Blank,
    /// Foreign data that a person gave up by typing ERASE.
    GivenUp,
}

/// A disk as it names itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct DiskInfo {
    /// Its kind.
    pub class: DiskClass,
    /// Model, empty when it gives none.
    pub model: String,
    /// Serial number, empty when it gives none.
    pub serial: String,
    /// Length in bytes.
    pub bytes: u64,
    /// Length of a logical sector in bytes.
    pub sector_bytes: u64,
}

/// Kind of a disk, by the bus it is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum DiskClass {
    /// NVM Express.
    Nvme,
    /// SATA or PATA.
    Ata,
    /// Soldered eMMC.
    Emmc,
    /// A virtual machine's.
    Virtio,
    /// On USB.
    Usb,
    /// Another SCSI disk.
    Scsi,
    /// No disk: the PC's memory.
    Memory,
    /// Anything else.
    Other,
}

/// One thing that was done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// What was asked.
    pub asked: Asked,
    /// Whether the answer was yes.
    pub done: bool,
    /// The answer in words: `done`, or the error of disk or kernel.
    pub answer: String,
    /// Bytes it was done to.
    pub bytes: u64,
    /// Bytes there were.
    pub of_bytes: u64,
    /// What reading back showed; `None` where nothing was read.
    pub proof: Option<Proof>,
}

/// What may be asked of a disk or of the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Asked {
    /// The kernel forgets the key of the session volume.
    ForgetKey,
    /// The disk is told that the blocks hold nothing (TRIM, UNMAP, Deallocate).
    Discard,
    /// The blocks shall read as zeroes, by the fastest way the disk has.
    ZeroOut,
    /// Zeroes are written over both ends.
    OverwriteEnds,
    /// Random bytes are written over everything.
    Overwrite,
    /// NVMe Format, user data erase.
    NvmeFormat,
    /// NVMe Format, cryptographic erase.
    NvmeFormatCrypto,
    /// NVMe Sanitize, block erase.
    NvmeSanitizeBlock,
    /// NVMe Sanitize, cryptographic erase.
    NvmeSanitizeCrypto,
    /// ATA SANITIZE DEVICE, BLOCK ERASE EXT.
    AtaSanitizeBlock,
    /// ATA SANITIZE DEVICE, CRYPTO SCRAMBLE EXT.
    AtaSanitizeCrypto,
    /// ATA SECURITY ERASE UNIT, normal mode.
    AtaSecureErase,
    /// ATA SECURITY ERASE UNIT, enhanced mode.
    AtaSecureEraseEnhanced,
    /// eMMC SANITIZE: what was discarded goes from the cells too.
    EmmcSanitize,
}

/// Samples read back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Proof {
    /// Places of 4 KiB that were read.
    pub samples: u32,
    /// How many were as they should be: zeroes, or after [`Asked::Overwrite`] what was written.
    pub good: u32,
}

impl Proof {
    /// Whether every sample was as it should be.
    #[must_use]
    pub const fn is_whole(self) -> bool {
        self.samples > 0 && self.good == self.samples
    }
}

/// A record that breaks a rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a wipe record {0}")]
pub struct WipeRecordError(&'static str);

impl WipeRecord {
    /// Checks what the types cannot.
    ///
    /// # Errors
    /// [`WipeRecordError`]: what is wrong.
    pub fn check(&self) -> Result<(), WipeRecordError> {
        let plain =
            |text: &str| text.len() <= MAX_TEXT_BYTES && !text.chars().any(char::is_control);
        let texts = [&self.pc, &self.agent, &self.disk.model, &self.disk.serial];
        if self.format != FORMAT {
            return Err(WipeRecordError("of another format"));
        }
        if self.pc.is_empty() || !texts.into_iter().all(|text| plain(text)) {
            return Err(WipeRecordError(
                "with a text that is too long or has control characters",
            ));
        }
        let hex = |c: char| matches!(c, '0'..='9' | 'a'..='f');
        if self.boot.len() != 32 || !self.boot.chars().all(hex) {
            return Err(WipeRecordError("whose boot is not 32 hex digits"));
        }
        if self.steps.len() > MAX_STEPS || !self.steps.iter().all(|step| plain(&step.answer)) {
            return Err(WipeRecordError(
                "with too many steps or an answer that is too long",
            ));
        }
        let whole = |step: &Step| {
            step.bytes <= step.of_bytes && step.proof.is_none_or(|p| p.good <= p.samples)
        };
        if !self.steps.iter().all(whole) {
            return Err(WipeRecordError("that counts more than there is"));
        }
        Ok(())
    }
}

/// Text of a disk or a kernel, as a record may hold it.
#[must_use]
pub fn plain(text: &str) -> String {
    let mut out = String::new();
    for c in text.trim().chars().filter(|c| !c.is_control()) {
        if out.len() + c.len_utf8() > MAX_TEXT_BYTES {
            break;
        }
        out.push(c);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const VECTORS: [&str; 3] = [
        include_str!("../testdata/wipe-record/v1/boot-ata.json"),
        include_str!("../testdata/wipe-record/v1/boot-nvme.json"),
        include_str!("../testdata/wipe-record/v1/power-off-virtio.json"),
    ];

    #[test]
    fn vectors_read_check_and_write_back_to_the_same_bytes() {
        for text in VECTORS {
            let record: WipeRecord = serde_json::from_str(text).unwrap();
            record.check().unwrap();
            assert!(text.len() <= MAX_BYTES);
            let again = serde_json::to_string_pretty(&record).unwrap() + "\n";
            assert_eq!(again, text);
        }
    }

    #[test]
    fn a_record_that_breaks_a_rule_is_refused() {
        let good: WipeRecord = serde_json::from_str(VECTORS[0]).unwrap();
        let spoil: [fn(&mut WipeRecord); 7] = [
            |r| r.format = 2,
            |r| r.pc = String::new(),
            |r| r.pc = "a\nb".into(),
            |r| r.disk.model = "x".repeat(MAX_TEXT_BYTES + 1),
            |r| r.boot = "0123".into(),
            |r| r.steps = vec![r.steps[0].clone(); MAX_STEPS + 1],
            |r| r.steps[0].bytes = r.steps[0].of_bytes + 1,
        ];
        for (number, spoil) in spoil.into_iter().enumerate() {
            let mut record = good.clone();
            spoil(&mut record);
            assert!(record.check().is_err(), "rule {number}");
        }
        let unknown = VECTORS[0].replacen("\"pc\"", "\"more\": 1, \"pc\"", 1);
        assert!(serde_json::from_str::<WipeRecord>(&unknown).is_err());
    }

    #[test]
    fn texts_of_disks_become_plain() {
        assert_eq!(plain("  QEMU\tNVMe\n"), "QEMUNVMe");
        let long = plain(&"字".repeat(200));
        assert!(long.len() <= MAX_TEXT_BYTES && long.len() > MAX_TEXT_BYTES - 3);
    }
}
