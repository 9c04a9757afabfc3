//! What the console writes → rows of text, as a small terminal. Pure.

/// Columns of a row; kana and kanji take two.
const COLUMNS: usize = 80;
/// The same beside a code.
const COLUMNS_BESIDE_CODE: usize = 62;
/// Rows of the theme, `LINES` in furoshiki.script.
pub(super) const ROWS: usize = 22;
/// Lines kept: a page of them and those that may scroll away.
const MAX_LINES: usize = 2 * ROWS;
/// Characters of a line; the rest is not shown.
const MAX_CHARS: usize = 600;
/// Begins what is no text.
const ESCAPE: char = '\x1b';
/// After [`ESCAPE`]: the text of a code follows, up to [`END_OF_CODE`].
const CODE: char = ']';
const END_OF_CODE: char = '\x07';

/// Written to a splash's console, shows `text` as a code; without text, takes the code away.
pub(in crate::screen) fn code_sequence(text: &str) -> String {
    format!("{ESCAPE}{CODE}{text}{END_OF_CODE}")
}

/// A page of text and the code beside it.
#[derive(Debug, Default)]
pub(super) struct Page {
    lines: Vec<Vec<char>>,
    line: Vec<char>,
    cursor: usize,
    code: String,
    state: State,
    /// Bytes of a character whose end is still to come.
    bytes: Vec<u8>,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Text,
    Return,
    Escape,
    Control,
    Code(String),
}

impl Page {
    /// Takes what was written. Bytes that are not UTF-8 are shown as nothing.
    pub(super) fn write(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        let bytes = std::mem::take(&mut self.bytes);
        let mut chunks = bytes.utf8_chunks().peekable();
        while let Some(chunk) = chunks.next() {
            chunk.valid().chars().for_each(|c| self.take(c));
            if chunks.peek().is_none() && chunk.invalid().len() < 4 {
                // May be the beginning of a character.
                self.bytes = chunk.invalid().to_vec();
            }
        }
    }

    fn take(&mut self, c: char) {
        match std::mem::take(&mut self.state) {
            State::Return if c == '\n' => self.end_line(),
            State::Return => {
                // Whatever comes is drawn over the line.
                self.line.clear();
                self.cursor = 0;
                self.take(c);
            }
            State::Escape if c == '[' => self.state = State::Control,
            State::Escape if c == CODE => self.state = State::Code(String::new()),
            State::Escape => {}
            State::Control if ('\x40'..='\x7e').contains(&c) => {}
            State::Control => self.state = State::Control,
            State::Code(code) if c == END_OF_CODE => self.code = code,
            State::Code(mut code) => {
                if code.len() < MAX_CHARS {
                    code.push(c);
                }
                self.state = State::Code(code);
            }
            State::Text => match c {
                '\r' => self.state = State::Return,
                '\n' => self.end_line(),
                ESCAPE => self.state = State::Escape,
                '\x08' => self.cursor = self.cursor.saturating_sub(1),
                c if c.is_control() => {}
                c => self.put(c),
            },
        }
    }

    fn put(&mut self, c: char) {
        let end = self.line.len();
        match self.line.get_mut(self.cursor) {
            Some(place) => *place = c,
            None if end < MAX_CHARS => self.line.push(c),
            None => return,
        }
        self.cursor += 1;
    }

    fn end_line(&mut self) {
        self.lines.push(std::mem::take(&mut self.line));
        self.cursor = 0;
        if self.lines.len() > MAX_LINES {
            self.lines.remove(0);
        }
    }

    /// The last rows, as many as are on the screen.
    pub(super) fn rows(&self) -> Vec<String> {
        let room = match self.code.is_empty() {
            true => COLUMNS,
            false => COLUMNS_BESIDE_CODE,
        };
        let lines = self.lines.iter().chain(Some(&self.line));
        let mut rows: Vec<String> = lines.flat_map(|line| wrap(line, room)).collect();
        rows.drain(..rows.len().saturating_sub(ROWS));
        rows.resize(ROWS, String::new());
        rows
    }

    /// Text of the code to be shown; empty: none.
    pub(super) fn code(&self) -> &str {
        &self.code
    }
}

/// A line as rows. Words of Latin letters stay whole where they can.
fn wrap(line: &[char], room: usize) -> Vec<String> {
    let mut rows = Vec::new();
    let mut row = String::new();
    let mut columns = 0;
    for c in line.iter().copied() {
        let wide = if c.is_ascii() { 1 } else { 2 };
        if columns + wide > room && c == ' ' {
            rows.push(std::mem::take(&mut row));
            columns = 0;
            continue;
        }
        if columns + wide > room {
            let word = row.rfind(' ').map_or(row.len(), |space| space + 1);
            let is_word = row.get(word..).is_some_and(str::is_ascii);
            let rest = match is_word {
                true => row.split_off(word),
                false => String::new(),
            };
            columns = rest.len();
            rows.push(std::mem::replace(&mut row, rest));
        }
        row.push(c);
        columns += wide;
    }
    rows.push(row);
    rows
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shown(text: &str) -> Vec<String> {
        let mut page = Page::default();
        page.write(text.as_bytes());
        let mut rows = page.rows();
        while rows.pop_if(|row| row.is_empty()).is_some() {}
        rows
    }

    #[test]
    fn a_page_shows_what_a_terminal_would() {
        let cases: [(&str, &[&str]); 6] = [
            ("one\r\ntwo", &["one", "two"]),
            ("\r\x1b[K[##] 10 %\r\x1b[K[###] 20 %", &["[###] 20 %"]),
            (
                "\r\x1b[Kover\r\n名前: 太郎\x08 \x08",
                &["over", "名前: 太 "],
            ),
            ("\r\x1b[K\r\n\x1b[1mbold", &["", "bold"]),
            ("a\x1b]FUROSHIKI SITE-DOWN\x07b", &["ab"]),
            ("\x08\x08x", &["x"]),
        ];
        for (text, want) in cases {
            assert_eq!(shown(text), want, "{text:?}");
        }
    }

    #[test]
    fn words_stay_whole_and_kanji_break_anywhere() {
        let words = format!("{} word", "x".repeat(77));
        assert_eq!(shown(&words), ["x".repeat(77) + " ", "word".into()]);
        let fits = format!("{} word", "x".repeat(80));
        assert_eq!(shown(&fits), ["x".repeat(80), "word".into()]);
        assert_eq!(shown(&"字".repeat(41)), ["字".repeat(40), "字".into()]);
        assert_eq!(shown(&"x".repeat(81)), ["x".repeat(80), "x".into()]);
    }

    #[test]
    fn a_code_stays_until_it_is_taken_away() {
        let mut page = Page::default();
        page.write(code_sequence("FUROSHIKI RESTORE-WRITE PC").as_bytes());
        page.write(b"more");
        assert_eq!(page.code(), "FUROSHIKI RESTORE-WRITE PC");
        page.write("\n".as_bytes());
        page.write("字".repeat(40).as_bytes());
        let beside = page.rows().into_iter().map(|row| row.chars().count());
        assert_eq!(beside.max(), Some(31), "nothing is below the code");
        page.write(code_sequence("").as_bytes());
        assert_eq!(page.code(), "");
    }

    #[test]
    fn a_character_may_come_in_pieces() {
        let mut page = Page::default();
        for byte in "暗証\r\n".bytes() {
            page.write(&[byte]);
        }
        assert_eq!(page.rows().first().unwrap(), "暗証");
    }

    proptest! {
        #[test]
        fn no_bytes_panic_and_every_row_fits(parts in proptest::collection::vec(any::<Vec<u8>>(), 0..40)) {
            let mut page = Page::default();
            for part in parts {
                page.write(&part);
                prop_assert!(page.bytes.len() < 4);
            }
            let rows = page.rows();
            prop_assert_eq!(rows.len(), ROWS);
            for row in rows {
                prop_assert!(row.chars().count() <= COLUMNS);
            }
        }
    }
}
