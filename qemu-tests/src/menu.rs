//! Menus that programs of the firmware's time draw on the serial line, as a person uses them.
//!
//! The line under the cursor is drawn on black, the others on blue.
//! Source: rhboot/shim, `lib/console.c`; ECMA-48, 8.3.117 (colours).

use anyhow::{Result, bail};
use memchr::memmem;

use crate::console::Console;
use crate::wait::{self, Deadline};

const ON_BLACK: &[u8] = b"\x1b[40m\x1b[";
/// Begins a page: its frame is drawn from the upper left corner. Moving the cursor draws the box again, no frame.
const PAGE: &[u8] = b"\x1b[01;01H";
/// The vertical line of a box in code page 437.
const BORDER: u8 = 0xb3;
const DOWN: &str = "\x1b[B";
const ENTER: &str = "\r";

/// A menu, and how much of the screen's output was before it.
#[derive(Debug)]
pub struct Menu<'c> {
    console: &'c mut Console,
    before: usize,
    /// Something was chosen, so what comes is another page.
    turned: bool,
}

impl<'c> Menu<'c> {
    /// What is drawn now and from now on.
    pub fn new(console: &'c mut Console) -> Self {
        Self {
            console,
            before: 0,
            turned: true,
        }
    }

    /// Moves the cursor to `item` and chooses it.
    ///
    /// # Errors
    /// It is not there, or no menu is.
    pub fn choose(&mut self, item: &str, deadline: Deadline) -> Result<()> {
        let mut seen: Vec<String> = Vec::new();
        loop {
            let Some(here) = self.drawn(deadline)? else {
                bail!("no menu with {item:?}; it had {seen:?}");
            };
            if here == item {
                return self.press(ENTER);
            }
            if seen.contains(&here) {
                bail!("the menu has {seen:?} and no {item:?}");
            }
            seen.push(here);
            self.press(DOWN)?;
        }
    }

    /// Presses any key when the screen shows `text`.
    ///
    /// # Errors
    /// It does not come.
    pub fn any_key(&mut self, text: &str, deadline: Deadline) -> Result<()> {
        self.console.expect_text(text, deadline)?;
        self.press(ENTER)
    }

    fn press(&mut self, key: &str) -> Result<()> {
        self.turned = key == ENTER;
        self.before = self.console.bytes().len();
        self.console.press(key)
    }

    /// The item under the cursor, once the screen is at rest.
    fn drawn(&self, deadline: Deadline) -> Result<Option<String>> {
        let mut length = 0;
        while !deadline.passed() {
            let bytes = self.console.bytes();
            let since = bytes.get(self.before..).unwrap_or_default();
            let item = match memmem::rfind(since, PAGE) {
                Some(page) => under_cursor(since.get(page..).unwrap_or_default()),
                None if self.turned => None,
                None => under_cursor(since),
            };
            if item.is_some() && bytes.len() == length {
                return Ok(item);
            }
            length = bytes.len();
            wait::pause(deadline)?;
        }
        Ok(None)
    }
}

/// What was drawn on black last, inside a box.
fn under_cursor(drawn: &[u8]) -> Option<String> {
    let mut found = None;
    for at in memmem::find_iter(drawn, ON_BLACK) {
        let rest = drawn.get(at + ON_BLACK.len()..).unwrap_or_default();
        let place = rest.iter().position(|byte| *byte == b'H');
        let line = place
            .and_then(|end| rest.get(end + 1..))
            .unwrap_or_default();
        let Some((&BORDER, text)) = line.split_first() else {
            continue;
        };
        if let Some(end) = text.iter().position(|byte| *byte == BORDER) {
            let text = String::from_utf8_lossy(text.get(..end).unwrap_or_default());
            found = Some(text.trim().to_owned());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_on_black_is_under_the_cursor() {
        let blue = b"\x1b[37m\x1b[44m\x1b[14;40H\xb3 No  \xb3";
        let black = b"\x1b[37m\x1b[40m\x1b[15;40H\xb3 Yes \xb3\x1b[0m";
        let both = [&blue[..], &black[..]].concat();
        assert_eq!(under_cursor(&both).as_deref(), Some("Yes"));
        assert_eq!(under_cursor(blue), None);
        assert_eq!(under_cursor(b"\x1b[40m\x1b[15;40H\xb3 Ye"), None);
        assert_eq!(under_cursor(b"\x1b[40m\x1b["), None);
    }
}
