//! How far a capture or an apply is.

/// What is going on. Several phases overlap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Looking at every entry of the tree; bytes are those of the files that must be read.
    Scan,
    /// Reading, chunking, compressing and sealing; bytes are bytes of files.
    Seal,
    /// Handing sealed objects to the sink; bytes are sealed bytes, the total is not known before.
    Push,
    /// Getting sealed objects from the source; bytes are sealed bytes.
    Fetch,
    /// Writing the tree; bytes are bytes of files.
    Write,
}

/// How far a phase is. A total of 0 is not known yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progressed {
    /// What is going on.
    pub phase: Phase,
    /// Bytes done.
    pub bytes: u64,
    /// Bytes there are.
    pub bytes_total: u64,
    /// Entries, files or objects done.
    pub files: u64,
    /// Entries, files or objects there are.
    pub files_total: u64,
}

/// Is told how far things are, often and from several threads at once, so it must be quick.
pub trait Progress: Sync {
    /// Something was done.
    fn progress(&self, now: Progressed);
}

/// Tells nobody.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoProgress;

impl Progress for NoProgress {
    fn progress(&self, _: Progressed) {}
}
