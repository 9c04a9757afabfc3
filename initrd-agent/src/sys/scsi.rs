//! SCSI commands to a block device, past its file system and cache.
//!
//! Source: Linux, include/scsi/sg.h; <https://sg.danny.cz/sg/sg_io.html>.

use std::{io, os::fd::AsFd, time::Duration};

use rustix::ioctl::{Opcode, ioctl};

use super::Asking;

/// `SG_IO`.
const SG_IO: Opcode = 0x2285;
/// Length of the sense data asked for: room for every descriptor SAT gives.
const SENSE_BYTES: usize = 64;

/// `struct sg_io_hdr` on 64 bits.
#[repr(C)]
struct SgIo {
    interface: libc::c_int,
    direction: libc::c_int,
    command_bytes: u8,
    sense_room: u8,
    pieces: u16,
    data_bytes: u32,
    data: u64,
    command: u64,
    sense: u64,
    timeout_ms: u32,
    flags: u32,
    pack_id: libc::c_int,
    user: u64,
    status: u8,
    masked_status: u8,
    message_status: u8,
    sense_bytes: u8,
    host_status: u16,
    driver_status: u16,
    residue: libc::c_int,
    duration_ms: u32,
    info: u32,
}

/// What goes with a command.
#[derive(Debug)]
pub enum ScsiData<'a> {
    /// Nothing.
    None,
    /// The disk fills it.
    In(&'a mut [u8]),
    /// The disk gets it.
    Out(&'a [u8]),
}

/// What a disk answered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ScsiAnswer {
    /// SAM status: 0 good, 2 check condition.
    pub status: u8,
    /// Sense data, as long as the disk made it.
    pub sense: Vec<u8>,
}

/// Sends a command and waits for its end.
///
/// # Errors
/// `ENOTTY`: it takes no SCSI commands; `EPERM`: not root; the adapter's status as an error with its number, above all
/// when the disk does not answer within `timeout`. A disk that says no is an answer, not an error.
pub fn scsi_command(
    device: impl AsFd,
    command: &[u8],
    data: ScsiData<'_>,
    timeout: Duration,
) -> io::Result<ScsiAnswer> {
    let mut sense = [0_u8; SENSE_BYTES];
    // SG_DXFER_NONE, SG_DXFER_FROM_DEV, SG_DXFER_TO_DEV.
    let (direction, address, length) = match data {
        ScsiData::None => (-1, 0, 0),
        ScsiData::In(bytes) => (-3, bytes.as_mut_ptr() as u64, bytes.len()),
        ScsiData::Out(bytes) => (-2, bytes.as_ptr() as u64, bytes.len()),
    };
    let mut raw = SgIo {
        interface: libc::c_int::from(b'S'),
        direction,
        command_bytes: u8::try_from(command.len()).map_err(io::Error::other)?,
        sense_room: u8::try_from(SENSE_BYTES).map_err(io::Error::other)?,
        pieces: 0,
        data_bytes: u32::try_from(length).map_err(io::Error::other)?,
        data: address,
        command: command.as_ptr() as u64,
        sense: sense.as_mut_ptr() as u64,
        timeout_ms: u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX),
        flags: 0,
        pack_id: 0,
        user: 0,
        status: 0,
        masked_status: 0,
        message_status: 0,
        sense_bytes: 0,
        host_status: 0,
        driver_status: 0,
        residue: 0,
        duration_ms: 0,
        info: 0,
    };
    // SAFETY: the structure has the kernel's layout (88 bytes); command, sense and data live until the call returns,
    // have the lengths given, and the direction says what the kernel may do to the data.
    unsafe { ioctl(device, Asking::<SG_IO, _>(&mut raw)) }?;
    if raw.host_status != 0 {
        return Err(io::Error::other(format!(
            "the disk did not answer, status {:#x} of its adapter",
            raw.host_status
        )));
    }
    let length = usize::from(raw.sense_bytes).min(SENSE_BYTES);
    Ok(ScsiAnswer {
        status: raw.status,
        sense: sense.get(..length).unwrap_or_default().to_vec(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_structure_is_the_kernel_s() {
        assert_eq!(size_of::<SgIo>(), 88);
        assert_eq!(std::mem::offset_of!(SgIo, data), 16);
        assert_eq!(std::mem::offset_of!(SgIo, timeout_ms), 40);
        assert_eq!(std::mem::offset_of!(SgIo, status), 64);
        assert_eq!(std::mem::offset_of!(SgIo, host_status), 68);
    }

    #[test]
    fn what_is_no_disk_takes_no_commands() {
        let file = tempfile::tempfile().unwrap();
        let none = Duration::from_secs(1);
        assert!(scsi_command(&file, &[0; 6], ScsiData::None, none).is_err());
    }
}
