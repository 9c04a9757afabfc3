//! User dictionaries. The format is found as Mozc's own importer finds it, by the first line that says something.

use snapshot::settings::{MAX_TEXT_BYTES, MAX_WORDS, Word};

use super::{MAX_FILE_BYTES, Reason, Refused, plist, pos, shortened, text};

/// Which program wrote a dictionary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DictionaryKind {
    /// Mozc, Google IME: lines of reading, word, part of speech, remark with tabs between.
    Mozc,
    /// MS-IME: the same after a line `!Microsoft IME Dictionary Tool`.
    MsIme,
    /// ATOK: the same after a line `!!ATOK_TANGO_TEXT_HEADER_1` or `!!DICUT11`.
    Atok,
    /// Kotoeri: `"reading","word","part of speech"`.
    Kotoeri,
    /// Gboard: shortcut, word, language after a line `# Gboard Dictionary version:1`.
    Gboard,
    /// macOS text replacements: a property list of `phrase` and `shortcut`.
    Mac,
}

/// A dictionary that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dictionary {
    /// Who wrote it.
    pub kind: DictionaryKind,
    /// Its words, in order, none twice.
    pub words: Vec<Word>,
    /// How many of them have a part of speech that is not known; they are nouns now.
    pub unknown_pos: usize,
}

/// Reads a dictionary in any of the formats, in UTF-8, UTF-16 with byte order mark, or Shift_JIS.
///
/// # Errors
/// [`Refused`], with the line.
pub fn read_dictionary(bytes: &[u8]) -> Result<Dictionary, Refused> {
    if bytes.starts_with(b"bplist") {
        if bytes.len() > MAX_FILE_BYTES {
            return Err(Refused::whole(Reason::TooLarge));
        }
        return plist::read(bytes);
    }
    let text = text::decode(bytes)?;
    if text.trim_start().starts_with("<?xml") || text.trim_start().starts_with("<plist") {
        return plist::read(text.as_bytes());
    }
    let Some(kind) = kind_of(&text) else {
        return Err(Refused::whole(Reason::UnknownFormat));
    };
    let mut words = Words::new(kind);
    for (number, line) in text::lines(&text) {
        if skipped(kind, line) {
            continue;
        }
        let fields = match kind {
            DictionaryKind::Kotoeri => quoted(line),
            _ => line.split('\t').map(str::to_owned).collect(),
        };
        let [reading, word, rest @ ..] = fields.as_slice() else {
            return Err(Refused::at(number, Reason::Columns));
        };
        let (named, comment) = match kind {
            // The third column is a language.
            DictionaryKind::Gboard => ("", ""),
            DictionaryKind::Kotoeri if rest.is_empty() => {
                return Err(Refused::at(number, Reason::Columns));
            }
            _ => (
                rest.first().map_or("", String::as_str),
                rest.get(1).map_or("", String::as_str),
            ),
        };
        if rest.is_empty() && kind != DictionaryKind::Gboard {
            return Err(Refused::at(number, Reason::Columns));
        }
        words.add(Some(number), (reading, word), named, comment)?;
    }
    words.done()
}

/// What is collected from a file.
pub(super) struct Words {
    dictionary: Dictionary,
    seen: std::collections::HashSet<(String, String, &'static str)>,
}

impl Words {
    pub(super) fn new(kind: DictionaryKind) -> Self {
        Self {
            dictionary: Dictionary {
                kind,
                words: Vec::new(),
                unknown_pos: 0,
            },
            seen: std::collections::HashSet::new(),
        }
    }

    pub(super) fn add(
        &mut self,
        line: Option<usize>,
        (reading, word): (&str, &str),
        named: &str,
        comment: &str,
    ) -> Result<(), Refused> {
        let refuse = |reason| Refused { line, reason };
        let good = |text: &str| {
            !text.is_empty() && text.len() <= MAX_TEXT_BYTES && !text.chars().any(char::is_control)
        };
        let reading = hiragana(reading.trim());
        let word = word.trim();
        if !good(&reading) {
            return Err(refuse(Reason::Reading));
        }
        if !good(word) {
            return Err(refuse(Reason::Word));
        }
        let (pos, known) = pos::normal(named);
        if !self.seen.insert((reading.clone(), word.to_owned(), pos)) {
            return Ok(());
        }
        if self.dictionary.words.len() >= MAX_WORDS {
            return Err(refuse(Reason::TooManyWords));
        }
        self.dictionary.unknown_pos += usize::from(!known);
        let comment: String = comment
            .trim()
            .chars()
            .filter(|letter| !letter.is_control())
            .collect();
        self.dictionary.words.push(Word {
            reading,
            word: word.to_owned(),
            pos: pos.to_owned(),
            comment: shortened(&comment),
        });
        Ok(())
    }

    pub(super) fn done(self) -> Result<Dictionary, Refused> {
        if self.dictionary.words.is_empty() {
            return Err(Refused::whole(Reason::Empty));
        }
        Ok(self.dictionary)
    }
}

fn kind_of(text: &str) -> Option<DictionaryKind> {
    for (_, line) in text::lines(text) {
        let lower = line.trim_end().to_ascii_lowercase();
        if lower.starts_with("!microsoft ime") {
            return Some(DictionaryKind::MsIme);
        }
        if lower.starts_with("!!dicut") || lower.starts_with("!!atok_tango_text_header") {
            return Some(DictionaryKind::Atok);
        }
        if lower.starts_with("# gboard dictionary version:1") {
            return Some(DictionaryKind::Gboard);
        }
        if lower.starts_with('"') && !lower.contains('\t') && quoted(line).len() >= 3 {
            return Some(DictionaryKind::Kotoeri);
        }
        if lower.starts_with('#') || lower.contains('\t') {
            return Some(DictionaryKind::Mozc);
        }
        if !lower.trim().is_empty() && !lower.starts_with("//") {
            return None;
        }
    }
    None
}

fn skipped(kind: DictionaryKind, line: &str) -> bool {
    if line.trim().is_empty() {
        return true;
    }
    match kind {
        DictionaryKind::Mozc | DictionaryKind::Gboard => line.starts_with('#'),
        DictionaryKind::MsIme | DictionaryKind::Atok => line.starts_with('!'),
        DictionaryKind::Kotoeri => line.starts_with("//"),
        DictionaryKind::Mac => false,
    }
}

/// The fields of `"a","b","c"`, a doubled quote for one. Empty when the line is something else.
fn quoted(line: &str) -> Vec<String> {
    let mut fields = Vec::new();
    let mut letters = line.trim().chars().peekable();
    loop {
        if letters.next() != Some('"') {
            return Vec::new();
        }
        let mut field = String::new();
        loop {
            match letters.next() {
                Some('"') if letters.peek() == Some(&'"') => {
                    letters.next();
                    field.push('"');
                }
                Some('"') => break,
                Some(letter) => field.push(letter),
                None => return Vec::new(),
            }
        }
        fields.push(field);
        match letters.next() {
            None => return fields,
            Some(',') => {}
            Some(_) => return Vec::new(),
        }
    }
}

/// Full-width katakana as hiragana: what input methods want of a reading.
fn hiragana(reading: &str) -> String {
    let letter = |letter: char| match letter {
        'ァ'..='ヶ' => char::from_u32(letter as u32 - 0x60).unwrap_or(letter),
        _ => letter,
    };
    reading.chars().map(letter).collect()
}
