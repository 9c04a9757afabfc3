//! Commands to an eMMC.
//!
//! Source: Linux, include/uapi/linux/mmc/ioctl.h, drivers/mmc/core/block.c; JEDEC JESD84-B51, 6.6.9 and 7.4.

use std::{io, os::fd::AsFd, time::Duration};

use rustix::ioctl::{Opcode, ioctl, opcode};

use super::Asking;

/// `MMC_IOC_CMD`.
const MMC_IOC_CMD: Opcode = opcode::read_write::<MmcCommand>(179, 0);
/// `SWITCH`.
const SWITCH: u32 = 6;
/// Access "write byte" to register 165, `SANITIZE_START`, value 1.
const START_SANITIZE: u32 = 3 << 24 | 165 << 16 | 1 << 8;
/// `MMC_RSP_SPI_R1B | MMC_RSP_R1B | MMC_CMD_AC`. Source: Linux, include/linux/mmc/core.h.
const R1B: libc::c_uint = 0x49d;

/// `struct mmc_ioc_cmd`.
#[repr(C)]
#[derive(Default)]
struct MmcCommand {
    write: libc::c_int,
    application: libc::c_int,
    opcode: u32,
    argument: u32,
    response: [u32; 4],
    flags: libc::c_uint,
    block_bytes: libc::c_uint,
    blocks: libc::c_uint,
    pause_min_us: libc::c_uint,
    pause_max_us: libc::c_uint,
    data_timeout_ns: libc::c_uint,
    timeout_ms: libc::c_uint,
    reserved: u32,
    data: u64,
}

/// Removes what the eMMC does not map any more from its cells.
///
/// # Errors
/// `EOPNOTSUPP`: it cannot; `EPERM`: not root, or a partition; `ETIMEDOUT`.
pub fn mmc_sanitize(device: impl AsFd, timeout: Duration) -> io::Result<()> {
    let mut raw = MmcCommand {
        write: 1,
        opcode: SWITCH,
        argument: START_SANITIZE,
        flags: R1B,
        timeout_ms: u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX),
        ..MmcCommand::default()
    };
    // SAFETY: the structure has the kernel's layout (72 bytes) and names no data.
    unsafe { ioctl(device, Asking::<MMC_IOC_CMD, _>(&mut raw)) }?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_structure_is_the_kernel_s() {
        assert_eq!(size_of::<MmcCommand>(), 72);
        assert_eq!(std::mem::offset_of!(MmcCommand, data), 64);
    }
}
