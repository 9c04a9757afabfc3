//! At a desk, with the card: a snapshot out as an ordinary tar, an ordinary tar in as a snapshot.
//!
//! `furoshiki-agent export` and `import` run on any PC with a reader. No secret is an argument: PIN and password are
//! typed, or come line by line in the order of the prompts. Everything said goes to standard error, with `--json` as
//! one object a line; standard output is the tar's.

mod export;
mod import;
mod output;
mod sign_in;
mod terminal;

use std::{io, path::PathBuf, process::ExitCode};

use card::{CardError, PinError, reader::ReaderError};
use clap::{Args, ValueEnum};
use serde_json::json;

use self::terminal::Terminal;
pub use self::{export::ExportArguments, import::ImportArguments};
use crate::{
    apply::ApplyError,
    export::{ExportError, Whiteouts},
    import::ImportError,
    pull::PullError,
    push::PushError,
    screen::{Language, Notice, chain},
    site::{ClientError, SiteError},
};

/// Who does it, and where.
#[derive(Debug, Args)]
struct Who {
    /// Address of a site: https://…
    #[arg(long, value_name = "URL")]
    site: String,
    /// Certificate of the CA of the sites (PEM). Nothing else is trusted.
    #[arg(long, value_name = "FILE")]
    ca: PathBuf,
    /// User name; asked for when it is not given.
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// Sign in with a passphrase instead of a card.
    #[arg(long)]
    with_passphrase: bool,
    /// Say everything as JSON, one object a line.
    #[arg(long)]
    json: bool,
}

/// How a tar says that something of the baseline is deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
enum WhiteoutsArgument {
    /// Character devices 0:0 and `trusted.overlay.opaque`, as overlayfs has them.
    #[default]
    Overlay,
    /// Files named `.wh.NAME` and `.wh..wh..opq`, as container images have them.
    Oci,
}

impl From<WhiteoutsArgument> for Whiteouts {
    fn from(argument: WhiteoutsArgument) -> Self {
        match argument {
            WhiteoutsArgument::Overlay => Self::Overlay,
            WhiteoutsArgument::Oci => Self::Oci,
        }
    }
}

/// Why nothing was exported or imported.
#[derive(Debug, thiserror::Error)]
pub enum DeskError {
    /// No card.
    #[error("find a card")]
    Reader(#[from] ReaderError),
    /// The card does not work.
    #[error(transparent)]
    Card(#[from] CardError),
    /// The PIN.
    #[error(transparent)]
    Pin(#[from] PinError),
    /// Card or site did not sign the user in.
    #[error("{}", told(.0))]
    SignIn(Box<Notice>),
    /// The address is none.
    #[error("{0:?} is not the address of a site; it begins with https://")]
    NotAnAddress(String),
    /// TLS.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The site.
    #[error(transparent)]
    Site(#[from] SiteError),
    /// The newest snapshot cannot be had.
    #[error("find the newest snapshot")]
    Pull(#[from] PullError),
    /// The user never saved anything.
    #[error("nothing of {user} was ever saved, so there is nothing to export")]
    NothingSaved {
        /// Name of the user.
        user: String,
    },
    /// No tar was made.
    #[error("export the snapshot (no file was written)")]
    Export(#[from] ExportError),
    /// The snapshot there is cannot be looked at.
    #[error("look at the newest snapshot (nothing was replaced)")]
    Manifest(#[from] ApplyError),
    /// The tar was not taken.
    #[error("import the tar (nothing was replaced)")]
    Import(#[from] ImportError),
    /// The head did not move.
    #[error("replace the newest snapshot (nothing was replaced)")]
    Push(#[from] PushError),
    /// Somebody was faster.
    #[error(
        "another PC saved meanwhile, and nothing was replaced; import again to replace that too"
    )]
    HeadMoved,
    /// A file that is there is not overwritten.
    #[error("{} exists; say another --output, or move it away", .0.display())]
    Exists(PathBuf),
    /// A tar on a screen helps nobody.
    #[error("a tar is nothing to read: say --output FILE, or lead standard output somewhere")]
    ToTerminal,
    /// A tar nobody types.
    #[error("a tar is nothing to type: say its file, or lead it into standard input")]
    FromTerminal,
    /// A file that does not write.
    #[error("write {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file that does not read.
    #[error("read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// No answer to a question.
    #[error("read the answer to {question:?}")]
    Ask {
        /// What was asked.
        question: String,
        /// Why there is none.
        source: io::Error,
    },
    /// Somebody said no.
    #[error("stopped: {0}")]
    Stopped(&'static str),
    /// It is not known what the tree is to lie on.
    #[error("this is the first snapshot, and the site has {}: say --baseline NAME", releases(.names))]
    WhichBaseline {
        /// Those the site has.
        names: Vec<String>,
    },
}

impl From<Box<card::verify::NotUnlocked>> for DeskError {
    fn from(not: Box<card::verify::NotUnlocked>) -> Self {
        Self::Pin(not.error)
    }
}

impl From<Notice> for DeskError {
    fn from(notice: Notice) -> Self {
        Self::SignIn(Box::new(notice))
    }
}

fn releases(names: &[String]) -> String {
    if names.is_empty() {
        "no release".into()
    } else {
        format!("releases of {}", names.join(", "))
    }
}

/// What, why and what to do, in one line.
fn told(notice: &Notice) -> String {
    let [what, why, _, now] = notice.lines(Language::English);
    format!("{what} {why}. {now}")
}

/// `furoshiki-agent export`.
///
/// # Errors
/// [`DeskError`]; with `--json` it is said as an event instead, and the exit code tells.
pub fn export(arguments: &ExportArguments) -> Result<ExitCode, DeskError> {
    let terminal = Terminal::new(arguments.who.json);
    finish(&terminal, export::run(arguments, &terminal))
}

/// `furoshiki-agent import`.
///
/// # Errors
/// [`DeskError`]; with `--json` it is said as an event instead, and the exit code tells.
pub fn import(arguments: &ImportArguments) -> Result<ExitCode, DeskError> {
    let mut terminal = Terminal::new(arguments.who.json);
    let done = import::run(arguments, &mut terminal);
    finish(&terminal, done)
}

fn finish(terminal: &Terminal, done: Result<(), DeskError>) -> Result<ExitCode, DeskError> {
    match done {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(error) if terminal.is_json() => {
            let text = chain(&error);
            terminal.say("failed", &text, json!({ "why": text }));
            Ok(ExitCode::FAILURE)
        }
        Err(error) => Err(error),
    }
}
