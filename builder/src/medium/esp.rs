//! The FAT file system of a medium: what UEFI firmware looks for.
//!
//! Source: UEFI 2.10, 3.5.1.1 (removable media boot: `\EFI\BOOT\BOOTX64.EFI`), 13.3 (FAT).

use std::io::{self, Cursor, Read, Write};

use fatfs::{
    Date, DateTime, FatType, FileSystem, FormatVolumeOptions, FsOptions, Time, TimeProvider,
    format_volume,
};

use super::{Making, MediumError, dots, shim, site};

/// What firmware starts, where shim does not stand before it.
pub const UKI_PATH: &str = "EFI/BOOT/BOOTX64.EFI";
/// Small clusters, so that the file system is FAT32 (at least 65 525 of them) at any size we write.
const CLUSTER_BYTES: u32 = 512;
/// Least size: FAT32 needs its clusters.
const LEAST_BYTES: u64 = 40 << 20;
/// Space for the file tables and for a site file written later.
const SPARE_BYTES: u64 = 4 << 20;
const MIB: u64 = 1 << 20;

/// The whole file system, a multiple of 1 MiB long.
///
/// # Errors
/// [`MediumError::Fat`], [`MediumError::Site`].
pub(super) fn make(making: &Making<'_>, uki: &[u8]) -> Result<Vec<u8>, MediumError> {
    let shim = making.shim.map(|shim| {
        [
            (shim::SHIM_PATH, shim.shim.as_slice()),
            (shim::MOK_MANAGER_PATH, shim.mok_manager.as_slice()),
        ]
    });
    let files = || {
        let named = making.files.iter().map(|(path, b)| (path.as_str(), &**b));
        shim.into_iter().flatten().chain(named)
    };
    let more: u64 = files().map(|(_, b)| b.len() as u64).sum();
    let content = uki.len() as u64 + more;
    // A FAT32 entry has 4 bytes for each cluster, in two tables.
    let tables = content / u64::from(CLUSTER_BYTES) * 8;
    let bytes = (content + tables + SPARE_BYTES)
        .max(LEAST_BYTES)
        .next_multiple_of(MIB);
    let bytes = usize::try_from(bytes).map_err(|e| fat("make room")(io::Error::other(e)))?;
    let mut disk = Cursor::new(vec![0; bytes]);
    let options = FormatVolumeOptions::new()
        .fat_type(FatType::Fat32)
        .bytes_per_cluster(CLUSTER_BYTES)
        .volume_id(making.fat_serial())
        .volume_label(*b"FUROSHIKI  ");
    format_volume(&mut disk, options).map_err(fat("make the file system"))?;
    {
        let time: &'static FixedTime = Box::leak(Box::new(FixedTime::new(making.build_timestamp)));
        let fs = open(&mut disk, time)?;
        put(&fs, making.uki_path(), uki)?;
        if !making.sites.is_empty() {
            put(&fs, site::PATH, &site::to_json(making.sites)?)?;
        }
        for (path, content) in files() {
            put(&fs, path, content)?;
        }
        fs.unmount().map_err(fat("finish writing"))?;
    }
    let mut disk = disk.into_inner();
    dots::plain(&mut disk);
    Ok(disk)
}

/// Writes the addresses of sites into a finished file system, in place of what was there. The file gets the time of
/// FAT's beginning, so that the same addresses give the same bits.
///
/// # Errors
/// [`MediumError::Fat`], [`MediumError::Site`].
pub fn set_sites(esp: &mut [u8], sites: &[String]) -> Result<(), MediumError> {
    let json = site::to_json(sites)?;
    let time: &'static FixedTime = Box::leak(Box::new(FixedTime::new(0)));
    {
        let mut disk = Cursor::new(&mut *esp);
        let fs = open(&mut disk, time)?;
        put(&fs, site::PATH, &json)?;
        fs.unmount().map_err(fat("finish writing"))?;
    }
    dots::plain(esp);
    Ok(())
}

/// The bytes of one file.
///
/// # Errors
/// [`MediumError::Fat`]: there is none, or no FAT file system.
pub fn read(esp: &mut [u8], path: &str) -> Result<Vec<u8>, MediumError> {
    let mut disk = Cursor::new(esp);
    let fs = FileSystem::new(&mut disk, FsOptions::new().update_accessed_date(false))
        .map_err(fat("find"))?;
    let mut bytes = Vec::new();
    let mut file = fs.root_dir().open_file(path).map_err(fat("open a file"))?;
    file.read_to_end(&mut bytes).map_err(fat("read a file"))?;
    Ok(bytes)
}

fn open<T: fatfs::ReadWriteSeek>(
    disk: T,
    time: &'static FixedTime,
) -> Result<FileSystem<T>, MediumError> {
    let options = FsOptions::new()
        .update_accessed_date(false)
        .time_provider(time);
    FileSystem::new(disk, options).map_err(fat("open what was made"))
}

fn put<T: fatfs::ReadWriteSeek>(
    fs: &FileSystem<T>,
    path: &str,
    content: &[u8],
) -> Result<(), MediumError> {
    let root = fs.root_dir();
    for (at, _) in path.match_indices('/') {
        let folder = path.get(..at).unwrap_or_default();
        root.create_dir(folder).map_err(fat("make a folder"))?;
    }
    let mut file = root.create_file(path).map_err(fat("make a file"))?;
    file.truncate().map_err(fat("empty a file"))?;
    file.write_all(content).map_err(fat("write a file"))?;
    file.flush().map_err(fat("write a file"))
}

fn fat(doing: &'static str) -> impl FnOnce(io::Error) -> MediumError {
    move |source| MediumError::Fat { doing, source }
}

/// The one time every file and folder gets. fatfs keeps its clock for ever, so it is leaked: 16 bytes a medium.
#[derive(Debug)]
struct FixedTime(DateTime);

impl FixedTime {
    /// In UTC; FAT knows the years from 1980 to 2107.
    fn new(seconds: i64) -> Self {
        let from = time::macros::datetime!(1980-01-01 0:00 UTC);
        let to = time::macros::datetime!(2107-12-31 23:59:58 UTC);
        let time = time::OffsetDateTime::from_unix_timestamp(seconds)
            .unwrap_or(from)
            .clamp(from, to);
        Self(DateTime {
            date: Date {
                year: time.year().unsigned_abs().try_into().unwrap_or(1980),
                month: u8::from(time.month()).into(),
                day: time.day().into(),
            },
            time: Time {
                hour: time.hour().into(),
                min: time.minute().into(),
                sec: time.second().into(),
                millis: 0,
            },
        })
    }
}

impl TimeProvider for FixedTime {
    fn get_current_date(&self) -> Date {
        self.0.date
    }

    fn get_current_date_time(&self) -> DateTime {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use snapshot::id::BaselineId;

    use super::*;
    use crate::command::Tree;

    #[test]
    fn the_same_input_gives_the_same_file_system_and_sites_can_be_set_later() {
        let tools = Tree::new("/nowhere".into());
        let making = Making {
            uki: "unused".as_ref(),
            baseline: BaselineId::new([7; 32]),
            build_timestamp: 1_700_000_000,
            sites: &["https://one.example".into()],
            files: &[("loader/keys/auto/db.auth".into(), vec![9; 700])],
            shim: None,
            tools: &tools,
        };
        let uki = vec![5; 3_000_001];
        let mut first = make(&making, &uki).unwrap();
        assert_eq!(first, make(&making, &uki).unwrap());
        assert_eq!(first.len() as u64 % MIB, 0);
        assert_eq!(read(&mut first, UKI_PATH).unwrap(), uki);
        assert_eq!(
            read(&mut first, "loader/keys/auto/db.auth").unwrap(),
            [9; 700]
        );
        let before = read(&mut first, site::PATH).unwrap();
        set_sites(&mut first, &["https://two.example".into()]).unwrap();
        let after = read(&mut first, site::PATH).unwrap();
        assert!(before != after && String::from_utf8(after).unwrap().contains("two.example"));
        assert_eq!(read(&mut first, UKI_PATH).unwrap(), uki);

        let shim = shim::Shim {
            shim: vec![1; 900_000],
            mok_manager: vec![2; 800_000],
        };
        let through = Making {
            shim: Some(&shim),
            ..making
        };
        let mut second = make(&through, &uki).unwrap();
        // A second opinion; it says nothing of long names before dots unless it is asked to be verbose.
        for (name, bytes) in [("first", &first), ("second", &second)] {
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(file.path(), bytes).unwrap();
            let check = std::process::Command::new("/usr/sbin/fsck.fat")
                .args(["-n", "-v"])
                .arg(file.path())
                .output()
                .unwrap();
            let said = String::from_utf8_lossy(&check.stdout).into_owned();
            assert!(check.status.success(), "{name}: {said}");
            assert!(
                !said.contains("Renamed") && !said.contains("Expected"),
                "{said}"
            );
        }
        for (path, content) in [
            (shim::SHIM_PATH, &shim.shim),
            (shim::MOK_MANAGER_PATH, &shim.mok_manager),
            (shim::UKI_PATH, &uki),
        ] {
            assert_eq!(&read(&mut second, path).unwrap(), content, "{path}");
        }
    }
}
