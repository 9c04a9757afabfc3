//! Bookmark files: what every browser exports (Netscape's HTML), and the JSON of Firefox and Chromium.

use snapshot::settings::{Bookmark, MAX_BOOKMARKS, MAX_DEPTH, MAX_URL_BYTES, pages};

use super::{Reason, Refused, json, netscape, shortened, text};

/// Bookmarks that were read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bookmarks {
    /// In order; empty folders are left out.
    pub bookmarks: Vec<Bookmark>,
    /// Bookmarks, folders not counted.
    pub count: u64,
    /// Left out: scripts, local files, the browser's own searches.
    pub left_out: usize,
}

/// Reads a bookmark file.
///
/// # Errors
/// [`Refused`], with the line.
pub fn read_bookmarks(bytes: &[u8]) -> Result<Bookmarks, Refused> {
    if bytes.starts_with(b"mozLz40\0") {
        return Err(Refused::whole(Reason::Compressed));
    }
    let text = text::decode(bytes)?;
    let start = text.trim_start();
    let tree = if start.starts_with('{') {
        json::read(&text)?
    } else if start.get(..1) == Some("<") {
        netscape::read(&text)?
    } else {
        return Err(Refused::whole(Reason::UnknownFormat));
    };
    let (bookmarks, left_out) = tree.done();
    let count = pages(&bookmarks);
    if count == 0 && left_out == 0 {
        return Err(Refused::whole(Reason::Empty));
    }
    Ok(Bookmarks {
        bookmarks,
        count,
        left_out,
    })
}

/// A tree that grows while a file is read, bounded in depth and number.
pub(super) struct Tree {
    open: Vec<(String, Vec<Bookmark>)>,
    number: usize,
    left_out: usize,
}

impl Tree {
    pub(super) fn new() -> Self {
        Self {
            open: vec![(String::new(), Vec::new())],
            number: 0,
            left_out: 0,
        }
    }

    pub(super) fn enter(&mut self, line: Option<usize>, title: &str) -> Result<(), Refused> {
        if self.open.len() > MAX_DEPTH {
            return Err(Refused {
                line,
                reason: Reason::TooDeep,
            });
        }
        self.count(line)?;
        self.open.push((shortened(&clean(title)), Vec::new()));
        Ok(())
    }

    /// Ends the innermost folder; the outermost stays.
    pub(super) fn leave(&mut self) {
        if self.open.len() < 2 {
            return;
        }
        if let Some((title, children)) = self.open.pop()
            && !children.is_empty()
            && let Some((_, parent)) = self.open.last_mut()
        {
            // Firefox's and Chromium's roots are folders of the browser, not of the user.
            if title.is_empty() {
                parent.extend(children);
            } else {
                parent.push(Bookmark::Folder { title, children });
            }
        }
    }

    pub(super) fn page(
        &mut self,
        line: Option<usize>,
        title: &str,
        url: &str,
    ) -> Result<(), Refused> {
        let url = url.trim();
        let scheme = url
            .split(':')
            .next()
            .unwrap_or_default()
            .to_ascii_lowercase();
        if !["http", "https", "ftp", "mailto"].contains(&scheme.as_str()) {
            self.left_out += 1;
            return Ok(());
        }
        if url.len() > MAX_URL_BYTES || url.chars().any(char::is_control) {
            return Err(Refused {
                line,
                reason: Reason::Address,
            });
        }
        self.count(line)?;
        let title = clean(title);
        let title = if title.is_empty() { url } else { &title };
        let page = Bookmark::Page {
            title: shortened(title),
            url: url.to_owned(),
        };
        if let Some((_, children)) = self.open.last_mut() {
            children.push(page);
        }
        Ok(())
    }

    fn count(&mut self, line: Option<usize>) -> Result<(), Refused> {
        self.number += 1;
        if self.number > MAX_BOOKMARKS {
            return Err(Refused {
                line,
                reason: Reason::TooManyBookmarks,
            });
        }
        Ok(())
    }

    fn done(mut self) -> (Vec<Bookmark>, usize) {
        while self.open.len() > 1 {
            self.leave();
        }
        let bookmarks = self.open.pop().map(|(_, children)| children);
        (bookmarks.unwrap_or_default(), self.left_out)
    }
}

/// A title on one line.
fn clean(title: &str) -> String {
    let letters = title.chars().filter(|letter| !letter.is_control());
    letters.collect::<String>().trim().to_owned()
}
