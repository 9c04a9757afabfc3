//! A keyboard with a Japanese layout (OADG 109A): which keys a person presses for a text.
//!
//! QEMU presses keys by place; what they give is the guest's keymap. The places of `@ : ; [ ] ^ \ _` and of most
//! shifted digits differ between jp and us, so a text with them arrives whole only where the layout is right.
//! Source: QEMU, qapi/ui.json, `QKeyCode`; names are those of the us layout, plus `ro` and `yen`.

use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::qmp::Qmp;
use crate::wait::{self, Deadline};

/// From one key to the next, as a quick person types.
const BETWEEN_KEYS: Duration = Duration::from_millis(100);

/// Character, key, and whether with shift; letters and digits are themselves.
const KEYS: [(char, &str, bool); 24] = [
    ('@', "bracket_left", false),
    ('[', "bracket_right", false),
    (']', "backslash", false),
    (':', "apostrophe", false),
    (';', "semicolon", false),
    ('^', "equal", false),
    ('-', "minus", false),
    ('\\', "ro", false),
    ('.', "dot", false),
    (',', "comma", false),
    ('/', "slash", false),
    (' ', "spc", false),
    ('!', "1", true),
    ('"', "2", true),
    ('#', "3", true),
    ('$', "4", true),
    ('%', "5", true),
    ('&', "6", true),
    ('\'', "7", true),
    ('(', "8", true),
    (')', "9", true),
    ('=', "minus", true),
    ('+', "semicolon", true),
    ('_', "ro", true),
];

/// Presses and releases the keys for `text`, then Enter.
///
/// # Errors
/// A character is on no key, or QEMU is gone.
pub fn type_line(qmp: &mut Qmp, text: &str) -> Result<()> {
    for c in text.chars() {
        // The board's controller holds five keys; a busy guest takes them as slowly as from a person.
        wait::pause(Deadline::after(BETWEEN_KEYS))?;
        // What is typed is in no error: it may be a PIN.
        let (key, shift) = key_of(c).context("the Japanese keyboard has no key for a character")?;
        press(qmp, &key, shift)?;
    }
    press(qmp, "ret", false)
}

fn key_of(c: char) -> Option<(String, bool)> {
    if c.is_ascii_alphanumeric() {
        return Some((c.to_ascii_lowercase().to_string(), c.is_ascii_uppercase()));
    }
    let (_, key, shift) = KEYS.iter().find(|(has, _, _)| *has == c)?;
    Some(((*key).to_owned(), *shift))
}

fn press(qmp: &mut Qmp, key: &str, shift: bool) -> Result<()> {
    let event = |key: &str, down: bool| json!({ "type": "key", "data": { "down": down, "key": { "type": "qcode", "data": key } } });
    let mut events: Vec<Value> = Vec::new();
    if shift {
        events.push(event("shift", true));
    }
    events.extend([event(key, true), event(key, false)]);
    if shift {
        events.push(event("shift", false));
    }
    qmp.command("input-send-event", &json!({ "events": events }))
        .map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_character_is_on_two_keys() {
        for (at, (c, key, shift)) in KEYS.iter().enumerate() {
            let others = KEYS.iter().skip(at + 1);
            assert!(others.clone().all(|(other, _, _)| other != c), "{c}");
            assert!(
                others.clone().all(|(_, k, s)| (k, s) != (key, shift)),
                "{key}"
            );
        }
        assert_eq!(key_of('A'), Some(("a".into(), true)));
        assert_eq!(key_of('~'), None);
    }
}
