//! Firmware the kernel looked for and did not find, from its log.
//!
//! Source: Linux `Documentation/ABI/testing/dev-kmsg`, `drivers/base/firmware_loader/main.c`.

use std::{
    fs::OpenOptions,
    io::{self, ErrorKind, Read},
    os::unix::fs::OpenOptionsExt,
};

use rustix::fs::OFlags;

/// The kernel's log, one record a read.
const KMSG: &str = "/dev/kmsg";
/// Longest record (`CONSOLE_EXT_LOG_MAX`), in bytes.
const RECORD_BYTES: usize = 8192;
/// What the loader says, before the name of the file.
const WORDS: [&str; 2] = ["Direct firmware load for ", "firmware: failed to load "];

/// Firmware a device asked for in vain.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Missing {
    /// Address of the device on its bus, as in `0000:02:00.0`.
    pub(super) address: String,
    /// The file, relative to the folder of firmware.
    pub(super) file: String,
}

/// Messages of the kernel so far, without what is before each.
///
/// # Errors
/// Only root may read them.
pub(super) fn messages() -> io::Result<Vec<String>> {
    let mut kmsg = OpenOptions::new()
        .read(true)
        .custom_flags(OFlags::NONBLOCK.bits().cast_signed())
        .open(KMSG)?;
    let mut messages = Vec::new();
    let mut record = [0; RECORD_BYTES];
    loop {
        match kmsg.read(&mut record) {
            Ok(0) => return Ok(messages),
            Ok(length) => {
                let text = String::from_utf8_lossy(record.get(..length).unwrap_or_default());
                if let Some((_, message)) = text.split_once(';') {
                    messages.push(message.lines().next().unwrap_or_default().to_owned());
                }
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(messages),
            // EPIPE: records were overwritten while we read; the next read goes on with the oldest there is.
            Err(error)
                if matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::Interrupted) => {}
            Err(error) => return Err(error),
        }
    }
}

/// What messages say of firmware: `r8169 0000:02:00.0: Direct firmware load for rtl_nic/a.fw failed with error -2`.
/// Each once.
pub(super) fn missing(messages: &[String]) -> Vec<Missing> {
    let mut all: Vec<Missing> = messages.iter().filter_map(|text| of(text)).collect();
    all.sort();
    all.dedup();
    all
}

fn of(message: &str) -> Option<Missing> {
    let (before, after) = WORDS.iter().find_map(|words| message.split_once(words))?;
    // dev_printk: driver, device, colon. The driver's name may have blanks, the device's has none.
    let device = before.trim_end().strip_suffix(':')?;
    Some(Missing {
        address: device.rsplit(' ').next()?.to_owned(),
        file: after.split_whitespace().next()?.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn firmware_that_is_not_there_is_told_once() {
        let lines = [
            "r8169 0000:02:00.0: Direct firmware load for rtl_nic/rtl8168h-2.fw failed with error -2",
            "r8169 0000:02:00.0: firmware: failed to load rtl_nic/rtl8168h-2.fw (-2)",
            "tg3 0000:03:00.0 eth0: link is up",
            "Direct firmware load for nobody failed with error -2",
            "usb 1-3: Direct firmware load for carl9170-1.fw failed with error -2",
            "r8169 0000:02:00.0: Direct firmware load for ",
        ];
        let missing = missing(&lines.map(str::to_owned));
        let told: Vec<_> = missing.iter().map(|m| (&*m.address, &*m.file)).collect();
        assert_eq!(
            told,
            [
                ("0000:02:00.0", "rtl_nic/rtl8168h-2.fw"),
                ("1-3", "carl9170-1.fw")
            ]
        );
    }
}
