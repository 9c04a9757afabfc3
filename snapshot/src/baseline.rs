//! The signed description of a baseline: what a PC is restored to, and what a diff lies on.
//!
//! Source: docs/formats/baseline.md; dm-verity, Linux `Documentation/admin-guide/device-mapper/verity.rst`;
//! Ed25519, RFC 8032.

use serde::{Deserialize, Serialize};

use crate::{
    id::{BaselineId, Digest, RootHash, VeritySalt},
    keys,
};

/// Value of [`BaselineManifest::format`].
pub const FORMAT: &str = "furoshiki-baseline";
/// Version this program reads and writes.
pub const VERSION: u32 = 1;
/// Size of a block of the image and of its verity tree, in bytes.
pub const BLOCK_BYTES: u64 = 4096;
/// Longest `manifest.json`, in bytes.
pub const MAX_BYTES: usize = 64 << 10;

/// `manifest.json` of a release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BaselineManifest {
    /// Always [`FORMAT`].
    pub format: String,
    /// Always [`VERSION`].
    pub version: u32,
    /// Features without which the rest cannot be understood; none in version 1.
    pub incompatible: Vec<String>,
    /// The baseline's id, see [`baseline_id`].
    pub baseline: BaselineId,
    /// Name of the recipe.
    pub name: String,
    /// Build timestamp, seconds since 1970; no file of the baseline is younger (patent part 23).
    pub build_timestamp: i64,
    /// Once this baseline has run, whoever knows it takes none of the same name built before this, seconds since
    /// 1970; at most `build_timestamp`.
    pub minimum_build_timestamp: i64,
    /// Debian suite.
    pub suite: String,
    /// Debian architecture.
    pub architecture: String,
    /// `uname -r` of its kernel.
    pub kernel_release: String,
    /// Kernel command line in the UKI.
    pub cmdline: String,
    /// How a PC gets from the image to the system that runs.
    pub restore: Restore,
    /// The image with its verity tree.
    pub image: Image,
    /// What is started from the ESP, a medium or the network.
    pub boot: Boot,
    /// BLAKE3 of the lock file it was built from.
    pub lock_blake3: Digest,
    /// What is in the tree.
    pub files: Files,
}

/// How a PC gets from the image to the system that runs. A snapshot is the same in both ways.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Restore {
    /// The image is erofs and runs where it is, each block checked when it is read, below an overlay.
    #[default]
    Verified,
    /// The image is ext4 with the tree in its folder `root`, and at every boot all of it is written to the session's
    /// volume (patent part 10).
    Rewrite,
}

/// The file system image followed by its hash tree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Image {
    /// File name in the release.
    pub file: String,
    /// Length of data and tree together, in bytes.
    pub bytes: u64,
    /// BLAKE3 of all of it.
    pub blake3: Digest,
    /// Length of the file system, where the tree begins, in bytes.
    pub data_bytes: u64,
    /// dm-verity root hash (SHA-256).
    pub root_hash: RootHash,
    /// dm-verity salt.
    pub salt: VeritySalt,
    /// Always [`BLOCK_BYTES`].
    pub block_bytes: u64,
    /// The list of its chunks, see [`crate::image_index`].
    pub index: BootFile,
}

/// What boots the baseline.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Boot {
    /// Unified kernel image.
    pub uki: BootFile,
    /// Kernel alone.
    pub kernel: BootFile,
    /// Initrd alone.
    pub initrd: BootFile,
    /// Boot loader for the ESP of a PC's own disk.
    pub loader: BootFile,
}

/// One file of a release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BootFile {
    /// File name in the release.
    pub file: String,
    /// Length in bytes.
    pub bytes: u64,
    /// BLAKE3 of it.
    pub blake3: Digest,
}

/// Size of a tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Files {
    /// Number of files, directories, links.
    pub entries: u64,
    /// Bytes in its files.
    pub bytes: u64,
}

/// Why bytes are not a baseline manifest.
#[derive(Debug, thiserror::Error)]
pub enum BaselineError {
    /// Altered, or made by someone else.
    #[error("the baseline manifest is not signed by the release key this PC trusts")]
    WrongSignature,
    /// Longer than [`MAX_BYTES`].
    #[error("the baseline manifest has {have} bytes, at most {MAX_BYTES} are allowed")]
    TooLarge {
        /// Its length in bytes.
        have: usize,
    },
    /// Not JSON, or not these fields.
    #[error("read the baseline manifest")]
    Json(#[source] serde_json::Error),
    /// A field breaks a rule.
    #[error("{field} of the baseline manifest: {rule}")]
    Invalid {
        /// The field.
        field: &'static str,
        /// The rule it breaks.
        rule: &'static str,
    },
}

/// The id of a baseline: what dm-verity proves, with its name and build timestamp.
///
/// BLAKE3 in key derivation mode over root hash, salt, data length and time (64 bits, little-endian) and name.
#[must_use]
pub fn baseline_id(
    root_hash: &RootHash,
    salt: &VeritySalt,
    data_bytes: u64,
    build_timestamp: i64,
    name: &str,
) -> BaselineId {
    let mut hasher = blake3::Hasher::new_derive_key("furoshiki baseline v1");
    hasher.update(root_hash.as_bytes());
    hasher.update(salt.as_bytes());
    hasher.update(&data_bytes.to_le_bytes());
    hasher.update(&build_timestamp.to_le_bytes());
    hasher.update(name.as_bytes());
    BaselineId::new(*hasher.finalize().as_bytes())
}

/// Signs the bytes of `manifest.json` with the release key.
#[must_use]
pub fn sign(manifest_json: &[u8], release_seed: &[u8; 32]) -> [u8; 64] {
    keys::sign(release_seed, manifest_json)
}

/// The public half of a release key.
#[must_use]
pub fn release_public_key(release_seed: &[u8; 32]) -> [u8; 32] {
    keys::public_key(release_seed)
}

/// Verifies the signature, then reads the manifest and checks its rules, the baseline id among them.
///
/// # Errors
/// [`BaselineError`]: what is wrong; nothing of an unsigned manifest is read.
pub fn verify(
    manifest_json: &[u8],
    signature: &[u8; 64],
    release_public_key: &[u8; 32],
) -> Result<BaselineManifest, BaselineError> {
    if !keys::signed_by(release_public_key, manifest_json, signature) {
        return Err(BaselineError::WrongSignature);
    }
    parse_unverified(manifest_json)
}

/// Reads a manifest and checks its rules **without a signature**: for a site that only stores it.
///
/// # Errors
/// [`BaselineError`]: what is wrong.
pub fn parse_unverified(manifest_json: &[u8]) -> Result<BaselineManifest, BaselineError> {
    if manifest_json.len() > MAX_BYTES {
        return Err(BaselineError::TooLarge {
            have: manifest_json.len(),
        });
    }
    let manifest: BaselineManifest =
        serde_json::from_slice(manifest_json).map_err(BaselineError::Json)?;
    manifest.check()?;
    Ok(manifest)
}

impl BaselineManifest {
    /// The bytes of `manifest.json`: indented, fields in order, one line feed at the end.
    ///
    /// # Errors
    /// [`BaselineError::Invalid`]: a field breaks a rule, so no program would read it.
    pub fn to_json(&self) -> Result<Vec<u8>, BaselineError> {
        self.check()?;
        let mut json = serde_json::to_vec_pretty(self).map_err(BaselineError::Json)?;
        json.push(b'\n');
        Ok(json)
    }

    fn check(&self) -> Result<(), BaselineError> {
        let rule = |field, kept, rule| {
            if kept {
                Ok(())
            } else {
                Err(BaselineError::Invalid { field, rule })
            }
        };
        let image = &self.image;
        rule("format", self.format == FORMAT, "it is furoshiki-baseline")?;
        rule(
            "version",
            self.version == VERSION,
            "this program reads version 1; use a newer program",
        )?;
        rule(
            "incompatible",
            self.incompatible.is_empty(),
            "this program knows no such feature; use a newer one",
        )?;
        rule(
            "name",
            plain_name(&self.name),
            "letters, digits, dot, dash and underscore, at most 64",
        )?;
        rule(
            "build_timestamp",
            self.build_timestamp > 0,
            "it is after 1970",
        )?;
        rule(
            "minimum_build_timestamp",
            (0..=self.build_timestamp).contains(&self.minimum_build_timestamp),
            "it is after 1970 and not after the build timestamp",
        )?;
        rule(
            "image.block_bytes",
            image.block_bytes == BLOCK_BYTES,
            "it is 4096",
        )?;
        rule(
            "image.data_bytes",
            image.data_bytes > 0 && image.data_bytes.is_multiple_of(BLOCK_BYTES),
            "whole blocks",
        )?;
        rule(
            "image.bytes",
            image.bytes.is_multiple_of(BLOCK_BYTES),
            "whole blocks",
        )?;
        rule(
            "image.bytes",
            image.bytes > image.data_bytes,
            "the hash tree follows the data",
        )?;
        let boot = &self.boot;
        for file in [
            &image.file,
            &image.index.file,
            &boot.uki.file,
            &boot.kernel.file,
            &boot.initrd.file,
            &boot.loader.file,
        ] {
            rule(
                "file",
                plain_name(file),
                "letters, digits, dot, dash and underscore, at most 64",
            )?;
        }
        let id = baseline_id(
            &image.root_hash,
            &image.salt,
            image.data_bytes,
            self.build_timestamp,
            &self.name,
        );
        rule(
            "baseline",
            self.baseline == id,
            "it is the id of this root hash, salt, length, time and name",
        )
    }
}

/// Longest name of a baseline, in bytes.
pub const MAX_NAME_BYTES: usize = 64;

/// Whether `name` is safe as a file name and readable on a screen.
pub(crate) fn plain_name(name: &str) -> bool {
    (1..=MAX_NAME_BYTES).contains(&name.len())
        && !name.starts_with('.')
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b".-_".contains(&b))
}

#[cfg(test)]
pub(crate) use tests::manifest as example;

#[cfg(test)]
mod tests {
    use super::*;

    pub(crate) fn manifest() -> BaselineManifest {
        let file = |file: &str| BootFile {
            file: file.into(),
            bytes: 1,
            blake3: Digest::new([1; 32]),
        };
        let (root_hash, salt) = (RootHash::new([2; 32]), VeritySalt::new([3; 32]));
        BaselineManifest {
            format: FORMAT.into(),
            version: VERSION,
            incompatible: vec![],
            baseline: baseline_id(&root_hash, &salt, 8192, 1_700_000_000, "minimal"),
            name: "minimal".into(),
            build_timestamp: 1_700_000_000,
            minimum_build_timestamp: 1_690_000_000,
            suite: "trixie".into(),
            architecture: "amd64".into(),
            kernel_release: "6.12.0-amd64".into(),
            cmdline: "console=ttyS0".into(),
            restore: Restore::Verified,
            image: Image {
                file: "baseline.img".into(),
                bytes: 12288,
                blake3: Digest::new([4; 32]),
                data_bytes: 8192,
                root_hash,
                salt,
                block_bytes: BLOCK_BYTES,
                index: file("baseline.index"),
            },
            boot: Boot {
                uki: file("furoshiki.efi"),
                kernel: file("vmlinuz"),
                initrd: file("initrd.img"),
                loader: file("systemd-bootx64.efi"),
            },
            lock_blake3: Digest::new([5; 32]),
            files: Files {
                entries: 1,
                bytes: 2,
            },
        }
    }

    #[test]
    fn a_signed_manifest_comes_back() {
        let json = manifest().to_json().unwrap();
        let signature = sign(&json, &[7; 32]);
        assert_eq!(
            verify(&json, &signature, &release_public_key(&[7; 32])).unwrap(),
            manifest()
        );
        let other = release_public_key(&[8; 32]);
        assert!(matches!(
            verify(&json, &signature, &other),
            Err(BaselineError::WrongSignature)
        ));
        let mut bad = json;
        bad[30] ^= 1;
        let public = release_public_key(&[7; 32]);
        assert!(matches!(
            verify(&bad, &signature, &public),
            Err(BaselineError::WrongSignature)
        ));
    }

    #[test]
    fn manifests_that_break_a_rule_are_refused() {
        type Spoil = fn(&mut BaselineManifest);
        let cases: [(&str, Spoil); 12] = [
            ("format", |m| m.format = "x".into()),
            ("version", |m| m.version = 2),
            ("incompatible", |m| m.incompatible.push("x".into())),
            ("name", |m| m.name = "a/b".into()),
            ("build_timestamp", |m| m.build_timestamp = 0),
            ("minimum_build_timestamp", |m| {
                m.minimum_build_timestamp = m.build_timestamp + 1;
            }),
            ("minimum_build_timestamp", |m| {
                m.minimum_build_timestamp = -1;
            }),
            ("image.block_bytes", |m| m.image.block_bytes = 512),
            ("image.data_bytes", |m| m.image.data_bytes = 8193),
            ("image.bytes", |m| m.image.bytes = 8192),
            ("file", |m| m.boot.uki.file = "../furoshiki.efi".into()),
            ("baseline", |m| m.build_timestamp += 1),
        ];
        for (name, spoil) in cases {
            let mut bad = manifest();
            spoil(&mut bad);
            let json = serde_json::to_vec(&bad).unwrap();
            match parse_unverified(&json) {
                Err(BaselineError::Invalid { field, .. }) => assert_eq!(field, name),
                other => panic!("{name}: {other:?}"),
            }
        }
        let text = String::from_utf8(manifest().to_json().unwrap()).unwrap();
        let unknown = text.replacen("\"format\"", "\"odd\": 1, \"format\"", 1);
        assert!(matches!(
            parse_unverified(unknown.as_bytes()),
            Err(BaselineError::Json(_))
        ));
    }
}
