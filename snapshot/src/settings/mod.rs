//! What a user registers in the portal: mail, input method and dictionary, browser and bookmarks.
//!
//! Three parts, each sealed for itself, so that one can be replaced without the others: nobody but the card can read
//! them back. The site knows a user's parts by version, date and [`Summary`] alone.
//!
//! Source: docs/formats/settings.md; patent JP 2002-140295 §0079 to §0085.

mod sealed;

use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

pub use sealed::{
    CONTEXT_BYTES, CardKey, Context, INFO, MAX_SEALED_BYTES, OpenError, SealError, SealedSettings,
    seal,
};

/// The value of `format` in the plain document.
pub const FORMAT: &str = "furoshiki-settings";
/// The version of the plain document this crate reads and writes.
pub const VERSION: u32 = 1;
/// Largest plain document, in bytes.
pub const MAX_PLAIN_BYTES: usize = 3 << 20;
/// Most words of a dictionary.
pub const MAX_WORDS: usize = 50_000;
/// Most bookmarks and folders.
pub const MAX_BOOKMARKS: usize = 20_000;
/// Deepest folder in a folder.
pub const MAX_DEPTH: usize = 32;
/// Longest reading, word, remark or title, in bytes of UTF-8.
pub const MAX_TEXT_BYTES: usize = 300;
/// Longest address of a bookmark, in bytes.
pub const MAX_URL_BYTES: usize = 8 << 10;

/// One of the three parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Part {
    /// Mail program, servers, account.
    Mail,
    /// Input method, keyboard, dictionary.
    Input,
    /// Browser, bookmarks.
    Browser,
}

impl Part {
    /// All of them, in the order of the form.
    pub const ALL: [Self; 3] = [Self::Mail, Self::Input, Self::Browser];

    /// Its name in paths, columns and JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Mail => "mail",
            Self::Input => "input",
            Self::Browser => "browser",
        }
    }

    /// The part of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|part| part.name() == name)
    }
}

/// How a connection to a mail server is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Zeroize)]
#[serde(rename_all = "lowercase")]
pub enum Security {
    /// TLS from the first byte (RFC 8314).
    Tls,
    /// TLS after STARTTLS, or nothing.
    Starttls,
    /// None: a server in the same building.
    None,
}

/// How mail is fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Zeroize)]
#[serde(rename_all = "lowercase")]
pub enum Incoming {
    /// RFC 9051.
    Imap,
    /// RFC 1939, as the patent has it.
    Pop3,
}

/// A mail server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Zeroize)]
pub struct Server {
    /// Host name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// TLS.
    pub security: Security,
}

/// Mail: nothing of it but `program` when that is `none`. The password is never registered; the program asks once.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
pub struct Mail {
    /// `thunderbird` or `none`; an unknown one counts as `none`.
    pub program: String,
    /// Name in sent mail.
    pub display_name: String,
    /// Mail address.
    pub address: String,
    /// How mail is fetched.
    pub incoming: Incoming,
    /// Where from.
    pub incoming_server: Server,
    /// Where it is sent through.
    pub smtp_server: Server,
    /// Name of the account at both servers.
    pub account: String,
}

/// A word of the user's dictionary.
#[derive(
    Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, Zeroize, ZeroizeOnDrop,
)]
pub struct Word {
    /// How it is typed, in hiragana.
    pub reading: String,
    /// What it becomes.
    pub word: String,
    /// Part of speech by Mozc's Japanese name.
    pub pos: String,
    /// A remark.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub comment: String,
}

/// Input method, keyboard, dictionary.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
pub struct Input {
    /// `mozc`, `anthy`, `skk` or `none`; an unknown one counts as `none`.
    pub engine: String,
    /// XKB layout: `jp`, `us`, …
    pub keyboard: String,
    /// Language of the desktop: `ja` or `en`.
    pub language: String,
    /// The user's words.
    pub words: Vec<Word>,
}

/// A bookmark or a folder of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
#[serde(untagged)]
pub enum Bookmark {
    /// A page.
    Page {
        /// Its title.
        title: String,
        /// Its address: http, https, ftp or mailto.
        url: String,
    },
    /// A folder.
    Folder {
        /// Its title.
        title: String,
        /// What is in it, in order.
        children: Vec<Bookmark>,
    },
}

/// Browser, bookmarks.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
pub struct Browser {
    /// `firefox`, `chromium` or `none`; an unknown one counts as `none`.
    pub program: String,
    /// Bookmarks, in order.
    pub bookmarks: Vec<Bookmark>,
}

/// The settings of one part. No `Debug`: a mail account belongs into no log.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "part", rename_all = "lowercase")]
pub enum Settings {
    /// Mail.
    Mail(Mail),
    /// Input method and dictionary.
    Input(Input),
    /// Browser and bookmarks.
    Browser(Browser),
}

/// What a site may know of sealed settings: numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// Words of the dictionary.
    #[serde(default)]
    pub words: u64,
    /// Bookmarks, folders not counted.
    #[serde(default)]
    pub bookmarks: u64,
}

/// Why a plain document is not one.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// Not its JSON.
    #[error("read the settings: not the JSON of version {VERSION}")]
    Json(#[source] serde_json::Error),
    /// Something else, or a later version.
    #[error("settings have format {format:?} version {version}, want {FORMAT:?} version {VERSION}")]
    Format {
        /// What it says it is.
        format: String,
        /// Its version.
        version: u32,
    },
    /// Too much of something.
    #[error("settings have too many or too long {0}")]
    TooLarge(&'static str),
}

#[derive(Serialize, Deserialize)]
struct Document<S> {
    format: String,
    version: u32,
    settings: S,
}

impl Settings {
    /// Which part they are.
    #[must_use]
    pub const fn part(&self) -> Part {
        match self {
            Self::Mail(_) => Part::Mail,
            Self::Input(_) => Part::Input,
            Self::Browser(_) => Part::Browser,
        }
    }

    /// What may be told of them.
    #[must_use]
    pub fn summary(&self) -> Summary {
        match self {
            Self::Mail(_) => Summary::default(),
            Self::Input(input) => Summary {
                words: input.words.len() as u64,
                ..Summary::default()
            },
            Self::Browser(browser) => Summary {
                bookmarks: pages(&browser.bookmarks),
                ..Summary::default()
            },
        }
    }

    /// The plain document.
    ///
    /// # Errors
    /// [`SettingsError::TooLarge`].
    pub fn to_json(&self) -> Result<Zeroizing<Vec<u8>>, SettingsError> {
        self.check()?;
        let document = Document {
            format: FORMAT.to_owned(),
            version: VERSION,
            settings: self,
        };
        let json = serde_json::to_vec(&document).map_err(SettingsError::Json)?;
        let json = Zeroizing::new(json);
        if json.len() > MAX_PLAIN_BYTES {
            return Err(SettingsError::TooLarge("bytes"));
        }
        Ok(json)
    }

    /// Reads a plain document. Members it does not know are ignored.
    ///
    /// # Errors
    /// [`SettingsError`].
    pub fn from_json(json: &[u8]) -> Result<Self, SettingsError> {
        if json.len() > MAX_PLAIN_BYTES {
            return Err(SettingsError::TooLarge("bytes"));
        }
        let head: Document<serde::de::IgnoredAny> =
            serde_json::from_slice(json).map_err(SettingsError::Json)?;
        if head.format != FORMAT || head.version != VERSION {
            return Err(SettingsError::Format {
                format: head.format,
                version: head.version,
            });
        }
        let document: Document<Self> = serde_json::from_slice(json).map_err(SettingsError::Json)?;
        document.settings.check()?;
        Ok(document.settings)
    }

    fn check(&self) -> Result<(), SettingsError> {
        match self {
            Self::Mail(mail) => {
                let texts = [
                    &mail.program,
                    &mail.display_name,
                    &mail.address,
                    &mail.incoming_server.host,
                    &mail.smtp_server.host,
                    &mail.account,
                ];
                if texts.iter().any(|text| text.len() > MAX_TEXT_BYTES) {
                    return Err(SettingsError::TooLarge("texts"));
                }
            }
            Self::Input(input) => {
                if input.words.len() > MAX_WORDS {
                    return Err(SettingsError::TooLarge("words"));
                }
                let long = |word: &Word| {
                    [&word.reading, &word.word, &word.pos, &word.comment]
                        .iter()
                        .any(|text| text.len() > MAX_TEXT_BYTES)
                };
                if input.words.iter().any(long) {
                    return Err(SettingsError::TooLarge("words"));
                }
            }
            Self::Browser(browser) => {
                let mut left = MAX_BOOKMARKS;
                check_bookmarks(&browser.bookmarks, 0, &mut left)?;
            }
        }
        Ok(())
    }
}

fn check_bookmarks(
    bookmarks: &[Bookmark],
    depth: usize,
    left: &mut usize,
) -> Result<(), SettingsError> {
    let too_large = || SettingsError::TooLarge("bookmarks");
    for bookmark in bookmarks {
        *left = left.checked_sub(1).ok_or_else(too_large)?;
        match bookmark {
            Bookmark::Page { title, url } => {
                if title.len() > MAX_TEXT_BYTES || url.len() > MAX_URL_BYTES {
                    return Err(too_large());
                }
            }
            Bookmark::Folder { title, children } => {
                if title.len() > MAX_TEXT_BYTES || depth >= MAX_DEPTH {
                    return Err(too_large());
                }
                check_bookmarks(children, depth + 1, left)?;
            }
        }
    }
    Ok(())
}

/// Bookmarks, folders not counted.
#[must_use]
pub fn pages(bookmarks: &[Bookmark]) -> u64 {
    bookmarks.iter().fold(0, |sum: u64, bookmark| {
        sum.saturating_add(match bookmark {
            Bookmark::Page { .. } => 1,
            Bookmark::Folder { children, .. } => pages(children),
        })
    })
}
