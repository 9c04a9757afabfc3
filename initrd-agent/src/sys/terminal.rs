//! Which virtual terminal is shown, and whether that may change.
//!
//! Source: Linux, include/uapi/linux/vt.h; ioctl_console(2).

use std::{io, os::fd::AsFd};

use rustix::ioctl::{Getter, IntegerSetter, NoArg, Opcode, ioctl};

/// `VT_GETSTATE`: `struct vt_stat`, three u16, the first of them the terminal that is shown.
const VT_GETSTATE: Opcode = 0x5603;
/// `VT_ACTIVATE`: shows the terminal with this number, when whoever draws on the shown one lets go of it.
const VT_ACTIVATE: Opcode = 0x5606;
/// `VT_LOCKSWITCH`: the shown terminal stays, whatever keys are pressed.
const VT_LOCKSWITCH: Opcode = 0x560b;
/// `VT_UNLOCKSWITCH`: the end of that.
const VT_UNLOCKSWITCH: Opcode = 0x560c;

/// Number of the virtual terminal that is shown.
///
/// # Errors
/// `ENOTTY`: not a virtual terminal.
pub fn shown_terminal(terminal: impl AsFd) -> io::Result<u16> {
    // SAFETY: VT_GETSTATE writes a struct of three u16 to the address given, which `Getter` provides.
    let [shown, _, _] = unsafe { ioctl(terminal, Getter::<VT_GETSTATE, [u16; 3]>::new()) }?;
    Ok(shown)
}

/// Asks for another virtual terminal to be shown. It comes when whoever draws on the shown one lets go of it.
///
/// # Errors
/// `EPERM`: not root; `ENXIO`: no such terminal; `ENOTTY`: not a virtual terminal.
pub fn show_terminal(terminal: impl AsFd, number: u16) -> io::Result<()> {
    // SAFETY: VT_ACTIVATE takes its argument by value, so the kernel reads and writes no memory of ours.
    unsafe {
        ioctl(
            terminal,
            IntegerSetter::<VT_ACTIVATE>::new_usize(usize::from(number)),
        )
    }?;
    Ok(())
}

/// The virtual terminal that is shown stays, until [`allow_switching`].
///
/// # Errors
/// `EPERM`: not root; `ENOTTY`: not a virtual terminal.
pub fn forbid_switching(terminal: impl AsFd) -> io::Result<()> {
    // SAFETY: VT_LOCKSWITCH takes no argument and touches no memory of ours.
    unsafe { ioctl(terminal, NoArg::<VT_LOCKSWITCH>::new()) }?;
    Ok(())
}

/// Other virtual terminals may be shown again.
///
/// # Errors
/// `EPERM`: not root; `ENOTTY`: not a virtual terminal.
pub fn allow_switching(terminal: impl AsFd) -> io::Result<()> {
    // SAFETY: VT_UNLOCKSWITCH takes no argument and touches no memory of ours.
    unsafe { ioctl(terminal, NoArg::<VT_UNLOCKSWITCH>::new()) }?;
    Ok(())
}
