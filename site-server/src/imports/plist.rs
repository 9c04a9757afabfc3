//! Text replacements as a Mac exports them: a property list of dictionaries with `phrase` and `shortcut`.

use std::io::Cursor;

use ::plist::Value;

use super::{
    Reason, Refused,
    dictionary::{Dictionary, DictionaryKind, Words},
};

/// Reads a property list, XML or binary.
pub(super) fn read(bytes: &[u8]) -> Result<Dictionary, Refused> {
    let value = Value::from_reader(Cursor::new(bytes)).map_err(|error| {
        // The crate says where in words alone: "… (line 3, column 5)" or "(offset 17)".
        let told = error.to_string();
        let number = |mark: &str| {
            let rest = told.split_once(mark)?.1;
            let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
            digits.parse::<usize>().ok()
        };
        let line = number("line ").or_else(|| {
            let before = bytes.get(..number("offset ")?)?;
            Some(before.split(|byte| *byte == b'\n').count())
        });
        Refused {
            line,
            reason: Reason::Syntax,
        }
    })?;
    let Value::Array(entries) = value else {
        return Err(Refused::whole(Reason::UnknownFormat));
    };
    let mut words = Words::new(DictionaryKind::Mac);
    for (number, entry) in (1..).zip(&entries) {
        let text = |key: &str| entry.as_dictionary()?.get(key)?.as_string();
        let (Some(phrase), Some(shortcut)) = (text("phrase"), text("shortcut")) else {
            return Err(Refused::at(number, Reason::Columns));
        };
        // A replacement may be a whole address with line ends; a word is one line.
        let phrase = phrase.replace(['\r', '\n', '\t'], " ");
        words.add(Some(number), (shortcut, &phrase), "短縮よみ", "")?;
    }
    words.done()
}
