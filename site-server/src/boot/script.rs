//! `boot.ipxe`: what iPXE does once it runs, on BIOS and UEFI alike.

use snapshot::id::ReleaseId;

/// A command line that an iPXE script cannot carry.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the manifest's command line has {0:?}, which means something to iPXE; build the recipe without it"
)]
pub(super) struct NotForIpxe(&'static str);

/// The script for a release with this fixed command line.
///
/// Names in it are relative to the script's own address, so it is the same by whatever name a PC reached the site.
/// BIOS loads kernel and initrd; UEFI starts the unified kernel image, which the firmware checks under Secure Boot.
/// iPXE always hands over load options, beginning with the image's name, and without Secure Boot the stub takes them
/// instead of its own command line (systemd/systemd#35608): so they have the same words.
/// Source: <https://ipxe.org/scripting>, <https://ipxe.org/cfg/platform>.
pub(super) fn ipxe(release: ReleaseId, cmdline: &str) -> Result<String, NotForIpxe> {
    // Expansions, line ends and command separators of iPXE's parser.
    for mark in ["${", "\n", "\r", "||", "&&", "\0"] {
        if cmdline.contains(mark) {
            return Err(NotForIpxe(mark));
        }
    }
    Ok(format!(
        "#!ipxe\n\
         # Furoshiki release {release}\n\
         iseq ${{platform}} efi && goto uefi ||\n\
         kernel {release}/vmlinuz initrd=initrd.img {cmdline}\n\
         initrd {release}/initrd.img\n\
         boot\n\
         :uefi\n\
         chain {release}/furoshiki.efi {cmdline}\n"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernel_and_initrd_are_of_one_release_and_the_command_line_is_whole() {
        let release = ReleaseId::new([0xab; 32]);
        let text = ipxe(release, "quiet furoshiki.baseline=00").unwrap();
        assert!(text.starts_with("#!ipxe\n"), "{text}");
        let kernel = format!(
            "\nkernel {release}/vmlinuz initrd=initrd.img quiet furoshiki.baseline=00\ninitrd {release}/initrd.img\n"
        );
        assert!(text.contains(&kernel), "{text}");
        let uki = format!("\nchain {release}/furoshiki.efi quiet furoshiki.baseline=00\n");
        assert!(text.ends_with(&uki), "{text}");
    }

    #[test]
    fn a_command_line_cannot_become_script() {
        for bad in ["a ${net0/ip}", "a\nshell", "a || shell", "a && shell"] {
            assert!(ipxe(ReleaseId::new([1; 32]), bad).is_err(), "{bad:?}");
        }
    }
}
