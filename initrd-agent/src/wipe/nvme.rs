//! NVMe: what a controller can erase by itself, and asking it to.
//!
//! Source: NVM Express Base Specification 2.0c, Identify (5.17), Format NVM (5.14), Sanitize (5.24), Sanitize Status
//! log page (5.16.1.25).

use std::{
    fs::File,
    io,
    time::{Duration, Instant},
};

use site_api::wipe::Asked;

use crate::{
    clock,
    sys::{self, NvmeAdmin},
};

const IDENTIFY: u8 = 0x06;
const GET_LOG_PAGE: u8 = 0x02;
const FORMAT: u8 = 0x80;
const SANITIZE: u8 = 0x84;
/// Length of every Identify structure, in bytes.
const IDENTIFY_BYTES: usize = 4096;
/// A format or sanitize that is not done by then is told as failed; a sanitize goes on in the disk.
const PATIENCE: Duration = Duration::from_secs(2 * 3600);

/// What a controller says of itself, as far as erasing goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Controller {
    /// OACS bit 1: Format NVM is there.
    format: bool,
    /// FNA bit 0 or 1: formatting one namespace formats or erases all.
    format_hits_all: bool,
    /// FNA bit 2: cryptographic erase by Format.
    format_crypto: bool,
    /// SANICAP bit 0.
    sanitize_crypto: bool,
    /// SANICAP bit 1.
    sanitize_block: bool,
}

impl Controller {
    /// Reads an Identify Controller structure. `None`: it is too short.
    pub(super) fn parse(identify: &[u8]) -> Option<Self> {
        let byte = |at: usize| identify.get(at).copied();
        let (oacs, fna, sanicap) = (byte(256)?, byte(524)?, byte(328)?);
        Some(Self {
            format: oacs & 2 != 0,
            format_hits_all: fna & 3 != 0,
            format_crypto: fna & 4 != 0,
            sanitize_crypto: sanicap & 1 != 0,
            sanitize_block: sanicap & 2 != 0,
        })
    }

    /// What to ask of it to erase one of its `namespaces`, best first: all else belongs to somebody else.
    ///
    /// Sanitize reaches every namespace of the subsystem and spare cells too; Format reaches what it says it does.
    pub(super) fn ways(self, namespaces: usize) -> Vec<Asked> {
        let alone = namespaces == 1;
        let format = self.format && (alone || !self.format_hits_all);
        let all = [
            (alone && self.sanitize_crypto, Asked::NvmeSanitizeCrypto),
            (alone && self.sanitize_block, Asked::NvmeSanitizeBlock),
            (format && self.format_crypto, Asked::NvmeFormatCrypto),
            (format, Asked::NvmeFormat),
        ];
        all.into_iter()
            .filter_map(|(can, asked)| can.then_some(asked))
            .collect()
    }
}

/// Number of namespaces in an Active Namespace ID list: ids in rising order until the first zero.
pub(super) fn count_namespaces(list: &[u8]) -> usize {
    let (ids, _) = list.as_chunks::<4>();
    ids.iter()
        .take_while(|id| u32::from_le_bytes(**id) != 0)
        .count()
}

/// Data and metadata format in use, bits 3:0 and 4 of FLBAS, as Format NVM wants them in its command.
fn format_in_use(namespace: &[u8]) -> Option<u32> {
    // FLBAS bits 6:5 have the upper half of the format number, Format NVM bits 13:12.
    let flbas = u32::from(*namespace.get(26)?);
    // DPS: protection type in bits 2:0, place in bit 3.
    let dps = u32::from(*namespace.get(29)?);
    Some(
        (flbas & 0xf)
            | (flbas >> 4 & 1) << 4
            | (dps & 7) << 5
            | (dps >> 3 & 1) << 8
            | (flbas >> 5 & 3) << 12,
    )
}

/// State of a sanitize.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sanitize {
    /// Done, well.
    Done,
    /// So far, of 65 536.
    Running(u16),
    /// The disk gave up.
    Failed,
    /// There was none.
    Never,
}

/// Reads a Sanitize Status log page. `None`: it is too short.
fn sanitize_state(page: &[u8]) -> Option<Sanitize> {
    let [p0, p1, s0, _, ..] = page else {
        return None;
    };
    Some(match s0 & 7 {
        0 => Sanitize::Never,
        1 | 4 => Sanitize::Done,
        2 => Sanitize::Running(u16::from_le_bytes([*p0, *p1])),
        _ => Sanitize::Failed,
    })
}

fn identify(disk: &File, cns: u32, namespace: u32) -> io::Result<Vec<u8>> {
    let mut data = vec![0; IDENTIFY_BYTES];
    let command = NvmeAdmin {
        opcode: IDENTIFY,
        namespace,
        cdw10: cns,
        timeout: Duration::from_secs(10),
    };
    sys::nvme_admin(disk, &command, &mut data)?;
    Ok(data)
}

/// An NVMe namespace that can be asked.
pub(super) struct Nvme<'d> {
    disk: &'d File,
    namespace: u32,
    /// What it can do, best first.
    pub(super) ways: Vec<Asked>,
}

impl<'d> Nvme<'d> {
    /// Asks the controller what it can do for this namespace.
    ///
    /// # Errors
    /// The disk does not answer.
    pub(super) fn ask(disk: &'d File) -> io::Result<Self> {
        let namespace = sys::nvme_namespace(disk)?;
        let controller =
            Controller::parse(&identify(disk, 1, 0)?).ok_or(io::ErrorKind::InvalidData)?;
        let namespaces = count_namespaces(&identify(disk, 2, 0)?);
        Ok(Self {
            disk,
            namespace,
            ways: controller.ways(namespaces),
        })
    }

    /// Does one of the ways; `progress` hears how far it is, in 65 536ths.
    ///
    /// # Errors
    /// The disk's answer. A sanitize that was begun goes on in the disk, over a power cut too.
    pub(super) fn erase(&self, way: Asked, progress: &mut dyn FnMut(u16)) -> io::Result<()> {
        match way {
            Asked::NvmeSanitizeBlock => self.sanitize(2, progress),
            Asked::NvmeSanitizeCrypto => self.sanitize(4, progress),
            Asked::NvmeFormat => self.format(1),
            Asked::NvmeFormatCrypto => self.format(2),
            _ => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    fn format(&self, secure_erase: u32) -> io::Result<()> {
        let namespace = identify(self.disk, 0, self.namespace)?;
        let as_it_is = format_in_use(&namespace).ok_or(io::ErrorKind::InvalidData)?;
        let command = NvmeAdmin {
            opcode: FORMAT,
            namespace: self.namespace,
            cdw10: as_it_is | secure_erase << 9,
            timeout: PATIENCE,
        };
        sys::nvme_admin(self.disk, &command, &mut [])
    }

    fn sanitize(&self, action: u32, progress: &mut dyn FnMut(u16)) -> io::Result<()> {
        let command = NvmeAdmin {
            opcode: SANITIZE,
            // The whole subsystem.
            namespace: 0,
            cdw10: action,
            timeout: Duration::from_secs(60),
        };
        sys::nvme_admin(self.disk, &command, &mut [])?;
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            match self.sanitize_status()? {
                Sanitize::Done => return Ok(()),
                Sanitize::Running(done) => progress(done),
                Sanitize::Failed => return Err(io::Error::other("the disk gave the sanitize up")),
                Sanitize::Never => return Err(io::Error::other("the disk forgot the sanitize")),
            }
            clock::pause(Duration::from_secs(1));
        }
        Err(io::ErrorKind::TimedOut.into())
    }

    fn sanitize_status(&self) -> io::Result<Sanitize> {
        let mut page = vec![0; 512];
        let command = NvmeAdmin {
            opcode: GET_LOG_PAGE,
            namespace: u32::MAX,
            // Number of dwords less one, log page 0x81.
            cdw10: (512 / 4 - 1) << 16 | 0x81,
            timeout: Duration::from_secs(10),
        };
        sys::nvme_admin(self.disk, &command, &mut page)?;
        sanitize_state(&page).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn controller(oacs: u8, fna: u8, sanicap: u8) -> Controller {
        let mut identify = vec![0; IDENTIFY_BYTES];
        identify[256] = oacs;
        identify[524] = fna;
        identify[328] = sanicap;
        Controller::parse(&identify).unwrap()
    }

    #[test]
    fn the_best_way_that_harms_no_other_namespace_is_first() {
        use Asked::{
            NvmeFormat as Format, NvmeFormatCrypto as FormatCrypto, NvmeSanitizeBlock as Block,
            NvmeSanitizeCrypto as Crypto,
        };
        type Case = ((u8, u8, u8), usize, &'static [Asked]);
        let cases: [Case; 7] = [
            ((0, 0, 0), 1, &[]),
            ((2, 0, 0), 1, &[Format]),
            ((2, 4, 0), 1, &[FormatCrypto, Format]),
            ((2, 4, 3), 1, &[Crypto, Block, FormatCrypto, Format]),
            ((2, 4, 3), 2, &[FormatCrypto, Format]),
            ((2, 1, 3), 2, &[]),
            ((2, 2, 3), 0, &[]),
        ];
        for ((oacs, fna, sanicap), namespaces, want) in cases {
            let ways = controller(oacs, fna, sanicap).ways(namespaces);
            assert_eq!(ways, want, "{oacs} {fna} {sanicap}, {namespaces}");
        }
    }

    #[test]
    fn a_format_keeps_the_sectors_there_are() {
        let mut namespace = vec![0; IDENTIFY_BYTES];
        namespace[26] = 0b0011_0010;
        namespace[29] = 0b1001;
        assert_eq!(
            format_in_use(&namespace),
            Some(0x1000 | 0x100 | 0x20 | 0x10 | 2)
        );
    }

    #[test]
    fn a_sanitize_is_followed_to_its_end() {
        let cases = [
            ([0, 0, 0, 0], Sanitize::Never),
            ([0xff, 0x7f, 2, 0], Sanitize::Running(0x7fff)),
            ([0xff, 0xff, 1, 1], Sanitize::Done),
            ([0, 0, 3, 0], Sanitize::Failed),
        ];
        for (page, want) in cases {
            assert_eq!(sanitize_state(&page), Some(want));
        }
        assert_eq!(sanitize_state(&[0; 3]), None);
    }

    proptest! {
        #[test]
        fn prop_what_a_disk_says_never_panics(data in prop::collection::vec(any::<u8>(), 0..4200)) {
            let ways = Controller::parse(&data).map(|c| c.ways(count_namespaces(&data)));
            prop_assert_eq!(ways.is_some(), data.len() > 524);
            prop_assert!(count_namespaces(&data) <= 1050);
            let _ = (format_in_use(&data), sanitize_state(&data));
        }
    }
}
