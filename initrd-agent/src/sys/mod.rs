//! The system calls no safe crate wraps. All unsafe code of the workspace is in this room.
#![allow(
    unsafe_code,
    reason = "ioctls of block devices, keyboards and screens and add_key(2) have no safe wrapper; each block says why it is sound"
)]

mod mmc;
mod scsi;
mod terminal;

use std::{ffi::CStr, io, os::fd::AsFd};

use rustix::ioctl::{
    Getter, IntegerSetter, Ioctl, IoctlOutput, NoArg, Opcode, Setter, ioctl, opcode,
};

pub use self::{
    mmc::mmc_sanitize,
    scsi::{ScsiAnswer, ScsiData, scsi_command},
    terminal::{allow_switching, forbid_switching, show_terminal, shown_terminal},
};

/// `BLKRRPART`: read the partition table again. Source: Linux, include/uapi/linux/fs.h.
const BLKRRPART: Opcode = opcode::none(0x12, 95);
/// `BLKDISCARD`: `uint64_t[2]` start and length in bytes.
const BLKDISCARD: Opcode = opcode::none(0x12, 119);
/// `BLKZEROOUT`: `uint64_t[2]` start and length in bytes.
const BLKZEROOUT: Opcode = opcode::none(0x12, 127);
/// `BLKGETSIZE64`: size of the device in bytes.
const BLKGETSIZE64: Opcode = opcode::read::<usize>(0x12, 114);

/// `BLKSSZGET`: length of a logical sector in bytes.
const BLKSSZGET: Opcode = opcode::none(0x12, 104);

/// Length of a logical sector of a block device in bytes.
///
/// # Errors
/// The kernel's answer; `ENOTTY` when it is no block device.
pub fn sector_bytes(device: impl AsFd) -> io::Result<u64> {
    // SAFETY: BLKSSZGET writes one int to the address given, which `Getter` provides.
    let bytes = unsafe { ioctl(device, Getter::<BLKSSZGET, libc::c_int>::new()) }?;
    u64::try_from(bytes).map_err(io::Error::other)
}

/// `KDSKBENT`: `struct kbentry`, one key of one table. Source: Linux, include/uapi/linux/kd.h.
const KDSKBENT: Opcode = 0x4b47;

/// What a key gives on every virtual terminal: `table` is the set of modifiers held, `index` the key.
///
/// # Errors
/// `EINVAL`: no such table, key or value; `EPERM`: not root; `ENOTTY`: not a virtual terminal.
pub fn set_key(terminal: impl AsFd, table: u8, index: u8, value: u16) -> io::Result<()> {
    let [low, high] = value.to_ne_bytes();
    // SAFETY: KDSKBENT reads a struct of two u8 and one u16 from the address given; these four bytes are one.
    unsafe {
        ioctl(
            terminal,
            Setter::<KDSKBENT, [u8; 4]>::new([table, index, low, high]),
        )
    }?;
    Ok(())
}

/// `KDSETMODE`, and its two modes. Source: Linux, include/uapi/linux/kd.h; ioctl_console(2).
const KDSETMODE: Opcode = 0x4b3a;
const KD_TEXT: usize = 0;
const KD_GRAPHICS: usize = 1;

/// Whether the kernel draws a virtual terminal; it keeps what is written to it, and reads its keyboard, in any case.
///
/// # Errors
/// `EPERM`: not root; `ENOTTY`: not a virtual terminal.
pub fn set_console_drawn(terminal: impl AsFd, drawn: bool) -> io::Result<()> {
    let mode = if drawn { KD_TEXT } else { KD_GRAPHICS };
    // SAFETY: KDSETMODE takes its argument by value, so the kernel reads and writes no memory of ours.
    unsafe { ioctl(terminal, IntegerSetter::<KDSETMODE>::new_usize(mode)) }?;
    Ok(())
}

/// `EXT4_IOC_RESIZE_FS`: the wanted length in blocks. Source: Linux, fs/ext4/ext4.h.
const EXT4_IOC_RESIZE_FS: Opcode = opcode::write::<u64>(b'f', 16);

/// Lets a mounted ext4 file system grow to `blocks` blocks of its own size.
///
/// # Errors
/// The kernel's answer; `EPERM` when it was mounted with errors.
pub fn grow_ext4(root: impl AsFd, blocks: u64) -> io::Result<()> {
    // SAFETY: EXT4_IOC_RESIZE_FS reads one u64 from the address given, which `Setter` provides.
    unsafe { ioctl(root, Setter::<EXT4_IOC_RESIZE_FS, u64>::new(blocks)) }?;
    Ok(())
}

/// Size of a block device in bytes.
///
/// # Errors
/// The kernel's answer; `ENOTTY` when it is no block device.
pub fn block_size_bytes(device: impl AsFd) -> io::Result<u64> {
    // SAFETY: BLKGETSIZE64 writes one u64 to the address given, which `Getter` provides.
    let bytes = unsafe { ioctl(device, Getter::<BLKGETSIZE64, u64>::new()) }?;
    Ok(bytes)
}

/// Makes the kernel read the partition table again.
///
/// # Errors
/// `EBUSY` while a partition is open.
pub fn reread_partitions(device: impl AsFd) -> io::Result<()> {
    // SAFETY: BLKRRPART takes no argument and touches no memory of ours.
    unsafe { ioctl(device, NoArg::<BLKRRPART>::new()) }?;
    Ok(())
}

/// Tells the disk that `bytes` from `start` hold nothing.
///
/// What a later read returns is the disk's choice.
///
/// # Errors
/// `EOPNOTSUPP` when the disk cannot, `EINVAL` when the range is not aligned to sectors.
pub fn discard(device: impl AsFd, start: u64, bytes: u64) -> io::Result<()> {
    // SAFETY: BLKDISCARD reads two u64 from the address given; `Setter` passes that of the array.
    unsafe { ioctl(device, Setter::<BLKDISCARD, [u64; 2]>::new([start, bytes])) }?;
    Ok(())
}

/// Makes `bytes` from `start` read as zeroes, by the fastest way the disk has.
///
/// # Errors
/// `EIO` of the disk, `EINVAL` when the range is not aligned to sectors.
pub fn zero_out(device: impl AsFd, start: u64, bytes: u64) -> io::Result<()> {
    // SAFETY: BLKZEROOUT reads two u64 from the address given; `Setter` passes that of the array.
    unsafe { ioctl(device, Setter::<BLKZEROOUT, [u64; 2]>::new([start, bytes])) }?;
    Ok(())
}

/// Lets this thread make files with exactly the mode it asks for, whatever the umask of the process.
///
/// The thread has a working directory and a root of its own from then on; so use a thread that ends.
///
/// # Errors
/// The kernel's answer; the umask is as it was.
///
/// Source: unshare(2), `CLONE_FS`; umask(2).
pub fn make_files_with_their_mode() -> io::Result<()> {
    // SAFETY: CLONE_FS gives this thread its own umask, root and working directory; the table of open files, of which
    // other threads rely on being shared, is not touched.
    unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::FS) }?;
    rustix::process::umask(rustix::fs::Mode::empty());
    Ok(())
}

/// Makes the allocator give every block of 1 MiB or more back to the kernel when it is freed.
///
/// By itself glibc stops doing so after the first such block was freed; packs and frames then leave holes that
/// nothing fills: a quarter of the memory of a long save. Does nothing where the allocator refuses.
///
/// Source: mallopt(3), `M_MMAP_THRESHOLD`.
pub fn give_back_large_blocks() {
    // SAFETY: sets a number of the allocator, which takes its own lock; no memory is handed over.
    unsafe { libc::mallopt(libc::M_MMAP_THRESHOLD, 1 << 20) };
}

/// Gives the kernel back what was freed and lies between what is still used.
///
/// Source: `malloc_trim(3)`.
pub fn give_back_freed_memory() {
    // SAFETY: the allocator takes its own locks; only pages of freed blocks are given back.
    unsafe { libc::malloc_trim(0) };
}

/// Serial number of a key in the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogonKey(libc::c_long);

/// Puts a key of type `logon` into this thread's keyring: the kernel can use it, nobody can read it back.
///
/// The keyring, and with it the key, dies with the thread.
///
/// # Errors
/// The kernel's answer, for instance `EDQUOT`.
///
/// Source: add_key(2), keyrings(7); Linux, Documentation/admin-guide/device-mapper/dm-crypt.rst.
pub fn add_logon_key(description: &CStr, secret: &[u8]) -> io::Result<LogonKey> {
    /// `KEY_SPEC_THREAD_KEYRING`, Linux, include/uapi/linux/keyctl.h.
    const THREAD_KEYRING: libc::c_int = -1;
    // SAFETY: both strings end in NUL; `secret` is readable for the length given; the kernel copies all of it.
    let id = unsafe {
        libc::syscall(
            libc::SYS_add_key,
            c"logon".as_ptr(),
            description.as_ptr(),
            secret.as_ptr(),
            secret.len(),
            THREAD_KEYRING,
        )
    };
    if id < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(LogonKey(id))
    }
}

/// Makes a key useless at once.
///
/// # Errors
/// The kernel's answer; the key then still dies with its thread.
///
/// Source: keyctl_revoke(3).
pub fn revoke_key(key: LogonKey) -> io::Result<()> {
    /// `KEYCTL_REVOKE`, Linux, include/uapi/linux/keyctl.h.
    const REVOKE: libc::c_int = 3;
    // SAFETY: KEYCTL_REVOKE takes a serial number and no pointer.
    let done = unsafe { libc::syscall(libc::SYS_keyctl, REVOKE, key.0) };
    if done < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// `NVME_IOCTL_ID`: the namespace id of a block device. Source: Linux, include/uapi/linux/nvme_ioctl.h.
const NVME_IOCTL_ID: Opcode = opcode::none(b'N', 0x40);
/// `NVME_IOCTL_ADMIN_CMD`.
const NVME_IOCTL_ADMIN_CMD: Opcode = opcode::read_write::<NvmeCommand>(b'N', 0x41);

/// `struct nvme_passthru_cmd`.
#[repr(C)]
#[derive(Debug, Default)]
struct NvmeCommand {
    opcode: u8,
    flags: u8,
    reserved: u16,
    namespace: u32,
    cdw2: u32,
    cdw3: u32,
    metadata: u64,
    address: u64,
    metadata_bytes: u32,
    data_bytes: u32,
    cdw10: u32,
    cdw11: u32,
    cdw12: u32,
    cdw13: u32,
    cdw14: u32,
    cdw15: u32,
    timeout_ms: u32,
    result: u32,
}

/// An admin command to an NVMe controller.
#[derive(Debug, Clone, Default)]
pub struct NvmeAdmin {
    /// Opcode.
    pub opcode: u8,
    /// Namespace id, 0 for none, `u32::MAX` for all.
    pub namespace: u32,
    /// Command dword 10.
    pub cdw10: u32,
    /// The controller is reset when it does not answer within this.
    pub timeout: std::time::Duration,
}

/// Namespace id of an NVMe block device.
///
/// # Errors
/// `ENOTTY`: it is none.
pub fn nvme_namespace(device: impl AsFd) -> io::Result<u32> {
    // SAFETY: NVME_IOCTL_ID takes no argument, touches no memory of ours, and answers with the id.
    let id = unsafe { ioctl(device, Answer::<NVME_IOCTL_ID>) }?;
    u32::try_from(id).map_err(io::Error::other)
}

/// Sends an admin command; `data` takes what the controller gives.
///
/// # Errors
/// `ENOTTY`: it is no NVMe device. `EINVAL`, `EACCES`: kernel or controller refuse. A status of the controller is an
/// error with its number.
pub fn nvme_admin(device: impl AsFd, command: &NvmeAdmin, data: &mut [u8]) -> io::Result<()> {
    let mut raw = NvmeCommand {
        opcode: command.opcode,
        namespace: command.namespace,
        address: data.as_mut_ptr() as u64,
        data_bytes: u32::try_from(data.len()).map_err(io::Error::other)?,
        cdw10: command.cdw10,
        timeout_ms: u32::try_from(command.timeout.as_millis()).unwrap_or(u32::MAX),
        ..NvmeCommand::default()
    };
    // SAFETY: the structure has the kernel's layout; `address` is valid for writes of `data_bytes` until the call
    // returns, and only commands that read from the controller are sent with data.
    let status = unsafe { ioctl(device, Asking::<NVME_IOCTL_ADMIN_CMD, _>(&mut raw)) }?;
    if status == 0 {
        Ok(())
    } else {
        Err(io::Error::other(format!("NVMe status {status:#x}")))
    }
}

/// An ioctl without argument whose return value is the answer.
struct Answer<const OPCODE: Opcode>;

// SAFETY: passes no pointer.
unsafe impl<const OPCODE: Opcode> Ioctl for Answer<OPCODE> {
    type Output = libc::c_int;
    const IS_MUTATING: bool = false;

    fn opcode(&self) -> Opcode {
        OPCODE
    }

    fn as_ptr(&mut self) -> *mut libc::c_void {
        std::ptr::null_mut()
    }

    unsafe fn output_from_ptr(
        out: IoctlOutput,
        _: *mut libc::c_void,
    ) -> rustix::io::Result<Self::Output> {
        Ok(out)
    }
}

/// An ioctl that reads and writes a structure, whose return value is the answer too.
struct Asking<'a, const OPCODE: Opcode, T>(&'a mut T);

// SAFETY: the pointer is to a live T for the length of the call.
unsafe impl<const OPCODE: Opcode, T> Ioctl for Asking<'_, OPCODE, T> {
    type Output = libc::c_int;
    const IS_MUTATING: bool = true;

    fn opcode(&self) -> Opcode {
        OPCODE
    }

    fn as_ptr(&mut self) -> *mut libc::c_void {
        std::ptr::from_mut(self.0).cast()
    }

    unsafe fn output_from_ptr(
        out: IoctlOutput,
        _: *mut libc::c_void,
    ) -> rustix::io::Result<Self::Output> {
        Ok(out)
    }
}

/// `LOOP_CTL_GET_FREE`: number of a free loop device, made if there is none. Source: Linux, include/uapi/linux/loop.h.
const LOOP_CTL_GET_FREE: Opcode = 0x4C82;
/// `LOOP_CONFIGURE`: attach and set up in one step, since Linux 5.8.
const LOOP_CONFIGURE: Opcode = 0x4C0A;

/// `struct loop_config` with the `struct loop_info64` in it; zeroes mean the defaults.
#[repr(C)]
struct LoopConfig {
    fd: u32,
    block_bytes: u32,
    info: [u64; 29],
    reserved: [u64; 8],
}

/// Number of a loop device that is free; another process may be quicker.
///
/// # Errors
/// The kernel's answer.
pub fn free_loop(control: impl AsFd) -> io::Result<u32> {
    // SAFETY: LOOP_CTL_GET_FREE takes no argument, touches no memory of ours, and answers with the number.
    let number = unsafe { ioctl(control, Answer::<LOOP_CTL_GET_FREE>) }?;
    u32::try_from(number).map_err(io::Error::other)
}

/// Attaches `file` to a loop device with sectors of `block_bytes`. The device keeps the file open.
///
/// # Errors
/// `EBUSY`: it is not free.
pub fn attach_loop(device: impl AsFd, file: impl AsFd, block_bytes: u32) -> io::Result<()> {
    let fd = std::os::fd::AsRawFd::as_raw_fd(&file.as_fd());
    let config = LoopConfig {
        fd: u32::try_from(fd).map_err(io::Error::other)?,
        block_bytes,
        info: [0; 29],
        reserved: [0; 8],
    };
    // SAFETY: the structure has the kernel's layout (304 bytes); the kernel reads it and keeps nothing of it.
    unsafe { ioctl(device, Setter::<LOOP_CONFIGURE, LoopConfig>::new(config)) }?;
    Ok(())
}
