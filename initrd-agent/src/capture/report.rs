//! What a capture did and what it left out.

use super::error::Place;

/// Counts of a capture, for the user and the log; no names but in the lists.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Entries in the snapshot.
    pub entries: u64,
    /// Bytes of all files in it, holes not counted.
    pub data_bytes: u64,
    /// Entries new since the last capture.
    pub added: u64,
    /// Entries that differ from the last capture.
    pub changed: u64,
    /// Entries gone since the last capture.
    pub removed: u64,
    /// Files read.
    pub files_read: u64,
    /// Bytes read.
    pub bytes_read: u64,
    /// Plain bytes that were in no earlier pack.
    pub new_bytes: u64,
    /// Entries left out by the exclusions.
    pub excluded_entries: u64,
    /// Bytes of files left out by the exclusions.
    pub excluded_bytes: u64,
    /// Sockets left out: they are of a running program.
    pub sockets: u64,
    /// Directories not entered, because another file system is mounted there.
    pub mounts: u64,
    /// Entries gone between looking and reading.
    pub vanished: u64,
    /// Entries whose path is longer than a snapshot can hold (4095 bytes).
    pub too_long: Vec<Place>,
    /// Files that changed while they were read, three times in a row: taken, marked as torn.
    pub torn: Vec<Place>,
}
