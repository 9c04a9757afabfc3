//! Files a user brings along: dictionaries and bookmarks of the programs people have. Bytes in, words and bookmarks out;
//! no I/O, and no bytes panic.
//!
//! A file that is not one is refused whole, with the line and the reason: half a dictionary is found out months later.

mod bookmarks;
mod dictionary;
mod json;
mod netscape;
mod plist;
mod pos;
mod text;

pub use bookmarks::{Bookmarks, read_bookmarks};
pub use dictionary::{Dictionary, DictionaryKind, read_dictionary};

/// Largest dictionary or bookmark file, in bytes.
pub const MAX_FILE_BYTES: usize = 4 << 20;

/// Why a file is not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// The line, from 1; `None` when it is the whole file.
    pub line: Option<usize>,
    /// Why.
    pub reason: Reason,
}

/// What is wrong with a file. Words for people are the page's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// Nothing in it.
    Empty,
    /// Over [`MAX_FILE_BYTES`].
    TooLarge,
    /// Letters that its encoding does not have: a binary file, or one that was damaged.
    NotText,
    /// None of the formats.
    UnknownFormat,
    /// Mozilla's compressed backup.
    Compressed,
    /// A line without reading, word and part of speech.
    Columns,
    /// A reading that is empty, too long or has control characters.
    Reading,
    /// A word that is empty, too long or has control characters.
    Word,
    /// More words than settings hold.
    TooManyWords,
    /// Not the XML or JSON it begins as.
    Syntax,
    /// Folders in folders without end.
    TooDeep,
    /// More bookmarks than settings hold.
    TooManyBookmarks,
    /// An address too long.
    Address,
}

impl Refused {
    const fn whole(reason: Reason) -> Self {
        Self { line: None, reason }
    }

    const fn at(line: usize, reason: Reason) -> Self {
        Self {
            line: Some(line),
            reason,
        }
    }
}

/// A text cut to what settings hold, at a letter.
fn shortened(text: &str) -> String {
    let mut end = text.len().min(snapshot::settings::MAX_TEXT_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests;
