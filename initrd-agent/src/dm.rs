//! Device-mapper tables for the session volume (dm-crypt) and the baseline (dm-verity).
//!
//! Source: Linux, Documentation/admin-guide/device-mapper/{dm-crypt,verity}.rst.

use std::path::{Path, PathBuf};

use devicemapper::{DM, DevId, DmError, DmFlags, DmName, DmOptions};

/// Name of the session volume.
pub const SESSION: &str = "furoshiki-session";
/// Name of the verified baseline.
pub const BASELINE: &str = "furoshiki-baseline";
/// Description of the volume key while the kernel takes it over.
pub const KEY_DESCRIPTION: &std::ffi::CStr = c"furoshiki:session";
/// Length of the volume key: two AES-256 keys for XTS, in bytes.
pub const KEY_BYTES: usize = 64;

const SECTOR_BYTES: u64 = 512;

/// A mapping the kernel refused, or a device that does not go.
#[derive(Debug, thiserror::Error)]
#[error("{doing} mapping {name}")]
pub struct MapError {
    doing: &'static str,
    name: String,
    #[source]
    source: Box<DmError>,
}

/// A mapped device. Dropping the value leaves the device: it outlives the initrd.
#[derive(Debug)]
pub struct Mapped {
    name: &'static str,
    node: PathBuf,
}

impl Mapped {
    /// Device node, `/dev/dm-N`.
    #[must_use]
    pub fn node(&self) -> &Path {
        &self.node
    }

    /// Takes the mapping away again.
    ///
    /// # Errors
    /// [`MapError`]: still open somewhere.
    pub fn remove(self) -> Result<(), MapError> {
        remove(self.name)
    }
}

/// Where the hash tree is and what it must come to.
#[derive(Debug, Clone)]
pub struct Verity {
    /// Length of the data, in bytes; the tree follows at once.
    pub data_bytes: u64,
    /// Root hash, hex.
    pub root_hash: String,
    /// Salt, hex.
    pub salt: String,
}

/// Line for a dm-verity table: version 1, data and tree on one device, no superblock.
fn verity_params(device: &Path, verity: &Verity) -> String {
    let blocks = verity.data_bytes / 4096;
    let device = device.display();
    format!(
        "1 {device} {device} 4096 4096 {blocks} {blocks} sha256 {} {}",
        verity.root_hash, verity.salt
    )
}

/// Line for a dm-crypt table: AES-256-XTS in 4 KiB sectors, key taken from the calling thread's keyring.
fn crypt_params(device: &Path) -> String {
    let key = KEY_DESCRIPTION.to_string_lossy();
    format!(
        "aes-xts-plain64 :{KEY_BYTES}:logon:{key} 0 {} 0 2 allow_discards sector_size:4096",
        device.display()
    )
}

/// Maps the baseline partition: reads that do not fit the root hash fail with `EIO`.
///
/// # Errors
/// [`MapError`].
pub fn map_verity(device: &Path, verity: &Verity) -> Result<Mapped, MapError> {
    let params = verity_params(device, verity);
    map(
        BASELINE,
        verity.data_bytes,
        "verity",
        params,
        DmFlags::DM_READONLY,
    )
}

/// Maps the session partition. The key must be in this thread's keyring as [`KEY_DESCRIPTION`].
///
/// # Errors
/// [`MapError`].
pub fn map_crypt(device: &Path, bytes: u64) -> Result<Mapped, MapError> {
    map(
        SESSION,
        bytes / 4096 * 4096,
        "crypt",
        crypt_params(device),
        DmFlags::empty(),
    )
}

fn map(
    name: &'static str,
    bytes: u64,
    target: &str,
    params: String,
    flags: DmFlags,
) -> Result<Mapped, MapError> {
    let error = |doing| {
        move |source| MapError {
            doing,
            name: name.into(),
            source: Box::new(source),
        }
    };
    let dm = DM::new().map_err(error("open device-mapper for"))?;
    let id = DevId::Name(DmName::new(name).map_err(error("name"))?);
    if dm.device_info(&id).is_ok() {
        // Left by an agent that was started again.
        remove(name)?;
    }
    let options = DmOptions::default().set_flags(flags);
    let DevId::Name(dm_name) = id else {
        unreachable!("built as a name three lines above")
    };
    dm.device_create(dm_name, None, options)
        .map_err(error("create"))?;
    let table = [(0, bytes / SECTOR_BYTES, target.to_owned(), params)];
    let started = dm
        .table_load(&id, &table, options)
        .map_err(error("load table of"))
        .and_then(|_| {
            dm.device_suspend(&id, DmOptions::default())
                .map_err(error("start"))
        });
    match started {
        Ok(info) => Ok(Mapped {
            name,
            node: PathBuf::from(format!("/dev/dm-{}", info.device().minor)),
        }),
        Err(error) => {
            // The first error says more than one about a half-made device.
            let _ = dm.device_remove(&id, DmOptions::default());
            Err(error)
        }
    }
}

/// Takes a mapping away by name; retries for some seconds while it is busy.
///
/// # Errors
/// [`MapError`]: it is still open, or was not there.
pub fn remove(name: &str) -> Result<(), MapError> {
    let error = |doing| {
        move |source| MapError {
            doing,
            name: name.into(),
            source: Box::new(source),
        }
    };
    let dm = DM::new().map_err(error("open device-mapper for"))?;
    let id = DevId::Name(DmName::new(name).map_err(error("name"))?);
    dm.device_remove(&id, DmOptions::default())
        .map_err(error("remove"))?;
    Ok(())
}

/// Names of all mappings.
///
/// # Errors
/// [`MapError`].
pub fn list() -> Result<Vec<String>, MapError> {
    let error = |source| MapError {
        doing: "list",
        name: "all".into(),
        source: Box::new(source),
    };
    let dm = DM::new().map_err(error)?;
    let devices = dm.list_devices().map_err(error)?;
    Ok(devices
        .into_iter()
        .map(|(name, _, _)| name.to_string())
        .collect())
}

/// Makes dm-crypt forget its key although the device is still open: every later read or write waits for ever.
///
/// # Errors
/// [`MapError`].
///
/// Source: dm-crypt.rst, message `key wipe`; only a suspended device takes it.
pub fn wipe_key(name: &str) -> Result<(), MapError> {
    let error = |doing| {
        move |source| MapError {
            doing,
            name: name.into(),
            source: Box::new(source),
        }
    };
    let dm = DM::new().map_err(error("open device-mapper for"))?;
    let id = DevId::Name(DmName::new(name).map_err(error("name"))?);
    let suspend = DmFlags::DM_SUSPEND | DmFlags::DM_NOFLUSH | DmFlags::DM_SKIP_LOCKFS;
    dm.device_suspend(&id, DmOptions::default().set_flags(suspend))
        .map_err(error("suspend"))?;
    dm.target_msg(&id, None, "key wipe")
        .map_err(error("wipe the key of"))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_lines_are_what_the_kernel_documents() {
        let verity = Verity {
            data_bytes: 8192,
            root_hash: "aa".into(),
            salt: "bb".into(),
        };
        assert_eq!(
            verity_params(Path::new("/dev/vda2"), &verity),
            "1 /dev/vda2 /dev/vda2 4096 4096 2 2 sha256 aa bb"
        );
        assert_eq!(
            crypt_params(Path::new("/dev/vda4")),
            "aes-xts-plain64 :64:logon:furoshiki:session 0 /dev/vda4 0 2 allow_discards sector_size:4096"
        );
    }
}
