//! A dated, signed list of what a snapshot needs.
//!
//! A site reads it without a key: whose it is, what it follows, and which objects it must keep and
//! relay. The user's programs verify the signature and the chain of previous records.
//!
//! Source: docs/formats/record.md; Ed25519, RFC 8032.

use std::collections::HashSet;

use crate::{
    bytes::{ParseError, Reader, put_head_with, put_varint},
    id::{BaselineId, ObjectId, RecordId, UserId},
    keys::{SnapshotKeys, signed_by},
};

/// Most manifests a record lists: a base and its deltas.
pub const MAX_MANIFESTS: usize = 17;
/// Most packs a record lists: at 8 MiB each, half a tebibyte.
pub const MAX_PACKS: usize = 65_536;
/// Longest name of a PC, in bytes.
pub const MAX_PC_BYTES: usize = 64;
/// Longest encoded record, in bytes.
pub const MAX_BYTES: usize = 1024 + (MAX_MANIFESTS + MAX_PACKS) * LISTED_BYTES;

const LISTED_BYTES: usize = 32 + 8;
const MAGIC: &str = "FKRC";
const WHAT: &str = "record";
/// Put before the signed bytes, so that no other signature of the key is one of a record.
const DOMAIN: &[u8] = b"furoshiki record v1\0";
/// Incompatible feature: packs of earlier epochs are among those listed, and the earliest is named.
const MIXED: u16 = 1;

/// What a snapshot is made of. Times are UTC.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Whose snapshot it is.
    pub user: UserId,
    /// Epoch of the keys that signed it and sealed its manifests.
    pub epoch: u32,
    /// Earliest epoch in which one of its packs was sealed; `epoch` when all are of the present one.
    pub oldest: u32,
    /// 1 for the user's first snapshot, then one more each time.
    pub seq: u64,
    /// The record before this one; `None` exactly when `seq` is 1.
    pub previous: Option<RecordId>,
    /// The baseline the diff lies on.
    pub baseline: BaselineId,
    /// Build timestamp of that baseline, seconds since 1970 (patent part 23).
    pub build_timestamp: i64,
    /// When it was made by the PC's clock, milliseconds since 1970.
    pub created_ms: i64,
    /// Name of the PC that made it, at most [`MAX_PC_BYTES`], no control characters.
    pub pc: String,
    /// Sealed manifests, base first, with their sizes in bytes.
    pub manifests: Vec<(ObjectId, u64)>,
    /// Every pack the manifests refer to, with its size in bytes; none twice.
    pub packs: Vec<(ObjectId, u64)>,
}

/// A record with its signature, as it is stored and sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedRecord {
    bytes: Vec<u8>,
    id: RecordId,
}

impl SignedRecord {
    /// The encoded record with its signature.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The encoded record with its signature.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// Its name.
    #[must_use]
    pub const fn id(&self) -> RecordId {
        self.id
    }
}

/// Why bytes are not a record of this user.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// Not the bytes of a record.
    #[error("read the record")]
    Parse(#[from] ParseError),
    /// Altered, or another user's.
    #[error("the record is not signed by this user's key")]
    WrongSignature,
    /// The keys at hand are another user's or another epoch's.
    #[error("the record names another user or epoch than the keys that should sign it")]
    WrongKeys,
    /// The keys at hand are not those of its epoch.
    #[error(
        "the record was signed in epoch {signed}, the keys at hand are those of epochs {oldest} to {ours}"
    )]
    OtherEpoch {
        /// Its epoch.
        signed: u32,
        /// The keys' present epoch.
        ours: u32,
        /// The earliest they verify.
        oldest: u32,
    },
}

impl Record {
    /// Encodes and signs.
    ///
    /// # Errors
    /// [`RecordError::WrongKeys`]: `keys` are not those of the record's user and epoch;
    /// [`RecordError::Parse`]: a field breaks a rule of the format, for example a name too long.
    pub fn sign(&self, keys: &SnapshotKeys) -> Result<SignedRecord, RecordError> {
        if (self.user, self.epoch) != (keys.user(), keys.epoch()) {
            return Err(RecordError::WrongKeys);
        }
        self.check()?;
        let bytes = sign_unchecked(self, keys);
        let id = RecordId::of(&bytes);
        Ok(SignedRecord { bytes, id })
    }

    /// Bytes of all listed objects together.
    #[must_use]
    pub fn total_bytes(&self) -> u64 {
        self.objects()
            .fold(0, |sum, (_, bytes)| sum.saturating_add(bytes))
    }

    /// All listed objects with their sizes, manifests first.
    pub fn objects(&self) -> impl Iterator<Item = (ObjectId, u64)> + '_ {
        self.manifests.iter().chain(&self.packs).copied()
    }

    fn encode(&self) -> Vec<u8> {
        let listed = self.manifests.len() + self.packs.len();
        let mut out = Vec::with_capacity(256 + listed * LISTED_BYTES);
        let mixed = self.oldest != self.epoch;
        put_head_with(&mut out, if mixed { MIXED } else { 0 }, MAGIC);
        out.extend_from_slice(self.user.as_bytes());
        out.extend_from_slice(&self.epoch.to_le_bytes());
        if mixed {
            out.extend_from_slice(&self.oldest.to_le_bytes());
        }
        out.extend_from_slice(&self.seq.to_le_bytes());
        match &self.previous {
            None => out.push(0),
            Some(previous) => {
                out.push(1);
                out.extend_from_slice(previous.as_bytes());
            }
        }
        out.extend_from_slice(self.baseline.as_bytes());
        out.extend_from_slice(&self.build_timestamp.to_le_bytes());
        out.extend_from_slice(&self.created_ms.to_le_bytes());
        put_varint(&mut out, self.pc.len() as u64);
        out.extend_from_slice(self.pc.as_bytes());
        for list in [&self.manifests, &self.packs] {
            put_varint(&mut out, list.len() as u64);
            for (id, bytes) in list {
                out.extend_from_slice(id.as_bytes());
                out.extend_from_slice(&bytes.to_le_bytes());
            }
        }
        out
    }

    fn check(&self) -> Result<(), ParseError> {
        let too_large = |what, have: usize, limit: usize| {
            if have > limit {
                return Err(ParseError::TooLarge {
                    what,
                    have: have as u64,
                    limit: limit as u64,
                });
            }
            Ok(())
        };
        let rule = |what, kept, rule| {
            if kept {
                Ok(())
            } else {
                Err(ParseError::Invalid { what, rule })
            }
        };
        too_large("length of the PC's name", self.pc.len(), MAX_PC_BYTES)?;
        too_large("number of manifests", self.manifests.len(), MAX_MANIFESTS)?;
        too_large("number of packs", self.packs.len(), MAX_PACKS)?;
        rule(
            "PC's name",
            !self.pc.chars().any(char::is_control),
            "it has no control characters",
        )?;
        rule(
            "earliest epoch",
            self.oldest <= self.epoch,
            "it is not after the record's own",
        )?;
        rule("sequence number", self.seq > 0, "it begins at 1")?;
        rule(
            "previous record",
            (self.seq == 1) == self.previous.is_none(),
            "the first record alone has none",
        )?;
        rule(
            "manifests",
            !self.manifests.is_empty(),
            "there is at least one",
        )?;
        let mut seen = HashSet::with_capacity(self.manifests.len() + self.packs.len());
        rule(
            "listed objects",
            self.objects().all(|(id, _)| seen.insert(id)),
            "none is listed twice",
        )
    }
}

pub(crate) fn sign_unchecked(record: &Record, keys: &SnapshotKeys) -> Vec<u8> {
    let mut bytes = record.encode();
    let signature = keys.sign_record(&message(&bytes));
    bytes.extend_from_slice(&signature);
    bytes
}

/// Reads a record and verifies that `record_public_key` signed it.
///
/// # Errors
/// [`RecordError::Parse`]: not a record; [`RecordError::WrongSignature`]: altered or another's.
pub fn verify(bytes: &[u8], record_public_key: &[u8; 32]) -> Result<Record, RecordError> {
    let record = parse_unverified(bytes)?;
    match bytes.split_last_chunk::<64>() {
        Some((body, signature)) if signed_by(record_public_key, &message(body), signature) => {
            Ok(record)
        }
        _ => Err(RecordError::WrongSignature),
    }
}

/// Reads a record and verifies that the user of `keys` signed it, in this epoch or an earlier one.
///
/// # Errors
/// [`RecordError`]; [`RecordError::OtherEpoch`]: the keys are not those of its epoch.
pub fn verify_own(bytes: &[u8], keys: &SnapshotKeys) -> Result<Record, RecordError> {
    let signed = parse_unverified(bytes)?.epoch;
    let key = keys
        .record_public_key_of(signed)
        .ok_or(RecordError::OtherEpoch {
            signed,
            ours: keys.epoch(),
            oldest: keys.oldest(),
        })?;
    let record = verify(bytes, &key)?;
    if record.user == keys.user() {
        Ok(record)
    } else {
        Err(RecordError::WrongSignature)
    }
}

/// Reads a record **without verifying its signature**: for showing what a site claims to have.
///
/// # Errors
/// [`ParseError`]: not the bytes of a record.
pub fn parse_unverified(bytes: &[u8]) -> Result<Record, ParseError> {
    if bytes.len() > MAX_BYTES {
        return Err(ParseError::TooLarge {
            what: WHAT,
            have: bytes.len() as u64,
            limit: MAX_BYTES as u64,
        });
    }
    let mut reader = Reader::new(bytes);
    let features = reader.head_with(MIXED, MAGIC, WHAT)?;
    let user = UserId::new(reader.array("user id")?);
    let epoch = reader.u32("epoch")?;
    let oldest = if features.incompatible == MIXED {
        let oldest = reader.u32("earliest epoch")?;
        if oldest >= epoch {
            return Err(ParseError::Invalid {
                what: "earliest epoch",
                rule: "it is named when it is before the record's own",
            });
        }
        oldest
    } else {
        epoch
    };
    let seq = reader.u64("sequence number")?;
    let previous = match reader.u8("previous record")? {
        0 => None,
        1 => Some(RecordId::new(reader.array("previous record")?)),
        _ => {
            return Err(ParseError::Invalid {
                what: "previous record",
                rule: "its flag is 0 or 1",
            });
        }
    };
    let baseline = BaselineId::new(reader.array("baseline id")?);
    let build_timestamp = reader.i64("build timestamp")?;
    let created_ms = reader.i64("time")?;
    let pc_bytes = reader.size(MAX_PC_BYTES, "length of the PC's name")?;
    let pc = std::str::from_utf8(reader.take(pc_bytes, "PC's name")?)
        .map_err(|_| ParseError::Invalid {
            what: "PC's name",
            rule: "it is UTF-8",
        })?
        .to_owned();
    let manifests = listed(&mut reader, MAX_MANIFESTS, "manifests")?;
    let packs = listed(&mut reader, MAX_PACKS, "packs")?;
    reader.take(64, "signature")?;
    reader.end("the signature")?;
    let record = Record {
        user,
        epoch,
        oldest,
        seq,
        previous,
        baseline,
        build_timestamp,
        created_ms,
        pc,
        manifests,
        packs,
    };
    record.check()?;
    Ok(record)
}

fn listed(
    reader: &mut Reader<'_>,
    limit: usize,
    what: &'static str,
) -> Result<Vec<(ObjectId, u64)>, ParseError> {
    let count = reader.count(limit, LISTED_BYTES, what)?;
    (0..count)
        .map(|_| Ok((ObjectId::new(reader.array(what)?), reader.u64(what)?)))
        .collect()
}

fn message(body: &[u8]) -> Vec<u8> {
    [DOMAIN, body].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::UserKey;

    fn keys() -> SnapshotKeys {
        SnapshotKeys::derive(&UserKey::from_bytes([1; 32]), UserId::new([2; 16]), 1)
    }

    fn record() -> Record {
        Record {
            user: UserId::new([2; 16]),
            epoch: 1,
            oldest: 1,
            seq: 2,
            previous: Some(RecordId::new([3; 32])),
            baseline: BaselineId::new([4; 32]),
            build_timestamp: 1_700_000_000,
            created_ms: 1_700_000_123_456,
            pc: "PC 4, 図書館".into(),
            manifests: vec![(ObjectId::new([5; 32]), 4096)],
            packs: vec![
                (ObjectId::new([6; 32]), 8 << 20),
                (ObjectId::new([7; 32]), 65_536),
            ],
        }
    }

    #[test]
    fn a_signed_record_comes_back() {
        let signed = record().sign(&keys()).unwrap();
        let public = keys().record_public_key();
        assert_eq!(verify(signed.as_bytes(), &public).unwrap(), record());
        assert_eq!(signed.id(), RecordId::of(signed.as_bytes()));
        assert_eq!(record().total_bytes(), 4096 + (8 << 20) + 65_536);
    }

    #[test]
    fn any_flipped_bit_is_refused() {
        let signed = record().sign(&keys()).unwrap();
        let public = keys().record_public_key();
        for bit in 0..signed.as_bytes().len() * 8 {
            let mut bad = signed.as_bytes().to_vec();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(verify(&bad, &public).is_err(), "bit {bit}");
        }
        for len in 0..signed.as_bytes().len() {
            assert!(
                parse_unverified(&signed.as_bytes()[..len]).is_err(),
                "{len}"
            );
        }
    }

    #[test]
    fn a_record_with_packs_of_earlier_epochs_names_the_earliest() {
        let user = UserId::new([2; 16]);
        let new = SnapshotKeys::derive(&UserKey::from_bytes([4; 32]), user, 3);
        let mixed = Record {
            epoch: 3,
            ..record()
        };
        let signed = mixed.sign(&new).unwrap();
        let public = new.record_public_key();
        assert_eq!(verify(signed.as_bytes(), &public).unwrap(), mixed);
        // Whoever knows no such records refuses it: the first incompatible bit.
        assert_eq!(signed.as_bytes()[6], 1);
        let whole = Record { oldest: 3, ..mixed };
        let whole = whole.sign(&new).unwrap();
        assert_eq!(whole.as_bytes().len() + 4, signed.as_bytes().len());
        assert_eq!(whole.as_bytes()[6], 0);

        assert!(verify_own(signed.as_bytes(), &new).is_ok());
        let refused = verify_own(record().sign(&keys()).unwrap().as_bytes(), &new);
        assert!(matches!(
            refused,
            Err(RecordError::OtherEpoch {
                signed: 1,
                ours: 3,
                oldest: 3
            })
        ));
        let mut both = SnapshotKeys::derive(&UserKey::from_bytes([4; 32]), user, 3);
        both.add_earlier(&UserKey::from_bytes([1; 32]), 1);
        assert!(verify_own(record().sign(&keys()).unwrap().as_bytes(), &both).is_ok());
    }

    #[test]
    fn records_that_break_a_rule_are_not_signed() {
        type Spoil = fn(&mut Record);
        let cases: [(&str, Spoil); 8] = [
            ("pack of a later epoch", |r| r.oldest = 2),
            ("first with a previous", |r| r.seq = 1),
            ("zero", |r| r.seq = 0),
            ("no previous", |r| r.previous = None),
            ("long name", |r| r.pc = "x".repeat(65)),
            ("control character", |r| r.pc = "a\nb".into()),
            ("no manifest", |r| r.manifests.clear()),
            ("pack twice", |r| r.packs.push((ObjectId::new([6; 32]), 1))),
        ];
        for (why, spoil) in cases {
            let mut bad = record();
            spoil(&mut bad);
            assert!(
                matches!(bad.sign(&keys()), Err(RecordError::Parse(_))),
                "{why}"
            );
        }
        let other = SnapshotKeys::derive(&UserKey::from_bytes([1; 32]), UserId::new([9; 16]), 1);
        assert!(matches!(record().sign(&other), Err(RecordError::WrongKeys)));
    }
}
