//! The issuing station: `furoshiki-agent card …`, run by an operator, without a network.
//!
//! An empty card and a name go in; a card with a key and a registration for the site come out.
//!
//! Secrets come from the terminal without echo, or from standard input one line each in the order
//! of the prompts; never from arguments, never into a log. docs/formats/card.md says what is written
//! to a card.

mod change;
mod info;
mod issue;
mod old;
pub(crate) mod prompt;

use std::{io, path::PathBuf, time::Duration};

use card::{
    CardError, PinFormatError,
    escrow::EscrowError,
    manage::{ManageError, ManagementKeyFormatError},
    reader::{FoundCard, ReaderError, Readers},
    unwrap::UnwrapError,
    verify::NotUnlocked,
};
use clap::Subcommand;
use site_api::registration::RegistrationError;
use snapshot::{ParseError, id::CardId, keys::RandomError, slot::SlotError};

pub use self::{info::InfoArguments, issue::IssueArguments, old::OldEscrow};

/// How long the operator may take to put a card into the reader.
const CARD_PATIENCE: Duration = Duration::from_secs(60);

/// What an operator does with a card.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make a key on an empty card and write the registration of its user.
    Issue(IssueArguments),
    /// Say what card is in the reader and how many tries its PIN has left.
    Info(InfoArguments),
    /// Replace the card PIN; asks for the old one.
    ChangePin,
    /// Give a blocked card PIN a new value, by the PUK.
    Unblock {
        /// Take the PUK from an escrow instead of asking for it.
        #[command(flatten)]
        escrow: OldEscrow,
    },
}

/// Why the station stopped. What was done to the card until then is said where it matters.
#[derive(Debug, thiserror::Error)]
pub enum StationError {
    /// No card.
    #[error("find a card")]
    Reader(#[from] ReaderError),
    /// The card did not work.
    #[error(transparent)]
    Card(#[from] CardError),
    /// The card did not obey.
    #[error(transparent)]
    Manage(#[from] ManageError),
    /// The card did not take the new PIN or did not unwrap what was wrapped to it.
    #[error("prove that the issued card opens the user's key")]
    Proof(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The card unwrapped something else.
    #[error("the issued card opens another key than was wrapped to it; do not hand it out")]
    WrongProof,
    /// The slot is taken.
    #[error(
        "the card already has a key ({0}); with --replace it is lost for ever, and what is wrapped to it too"
    )]
    Occupied(CardId),
    /// Not decided whether the organisation can help when the card is lost.
    #[error(
        "say --recovery-key FILE (PUK, management key and user key are sealed to it), \
         or --no-recovery (whoever loses this card loses the data)"
    )]
    RecoveryUndecided,
    /// A PIN or PUK that is none.
    #[error(transparent)]
    PinFormat(#[from] PinFormatError),
    /// A management key that is none.
    #[error(transparent)]
    ManagementKeyFormat(#[from] ManagementKeyFormatError),
    /// Both entries of a new secret differ.
    #[error("the two entries of the {0} differ")]
    EntriesDiffer(&'static str),
    /// The operator did not type yes.
    #[error("stopped: {0}")]
    Stopped(&'static str),
    /// No answer to a prompt.
    #[error("read the answer to {prompt:?}")]
    Prompt {
        /// What was asked.
        prompt: String,
        /// What went wrong.
        #[source]
        source: io::Error,
    },
    /// A file that does not read.
    #[error("read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The registration is there already.
    #[error("{} exists; a registration is never overwritten", .0.display())]
    Exists(PathBuf),
    /// A file that does not write.
    #[error("write {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A card that is changed, but not yet to the end.
    #[error("the card is half issued; its registration with the escrow is kept in {}", kept.display())]
    HalfIssued {
        /// The registration so far.
        kept: PathBuf,
        /// Where it stopped.
        #[source]
        source: Box<StationError>,
    },
    /// A name that cannot be one, or a registration that is none.
    #[error(transparent)]
    Registration(#[from] RegistrationError),
    /// A file that is no registration.
    #[error("read the registration in {}", path.display())]
    NotARegistration {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The registration has no escrow, or not of this card.
    #[error("the registration holds no escrow of card {card}")]
    NoEscrow {
        /// The card in the reader, when it has a key.
        card: String,
    },
    /// Recovery key or escrow.
    #[error(transparent)]
    Escrow(#[from] EscrowError),
    /// The user key could not be wrapped.
    #[error("wrap the user key to the card")]
    Wrap(#[from] SlotError),
    /// A slot of our own that does not parse.
    #[error("read back the key slot")]
    Slot(#[from] ParseError),
    /// No randomness.
    #[error(transparent)]
    Random(#[from] RandomError),
    /// No randomness.
    #[error("get random bytes from the system")]
    NoRandom(#[from] getrandom::Error),
}

impl From<Box<NotUnlocked>> for StationError {
    fn from(err: Box<NotUnlocked>) -> Self {
        Self::Proof(Box::new(err.error))
    }
}

impl From<UnwrapError> for StationError {
    fn from(err: UnwrapError) -> Self {
        Self::Proof(Box::new(err))
    }
}

/// Runs one of the operator's commands.
///
/// # Errors
/// [`StationError`].
pub fn run(command: &Command) -> Result<(), StationError> {
    crate::harden::harden();
    match command {
        Command::Issue(arguments) => issue::run(arguments),
        Command::Info(arguments) => info::run(arguments),
        Command::ChangePin => change::change_pin(),
        Command::Unblock { escrow } => change::unblock(escrow),
    }
}

/// Waits for the one card, saying on standard error what is missing.
fn wait_for_card() -> Result<FoundCard, StationError> {
    let readers = Readers::connect()?;
    let card = readers.wait_for_card(CARD_PATIENCE, |missing| {
        eprintln!("{}: waiting", chain(missing));
    })?;
    Ok(card)
}

/// The whole chain of an error, as `{:#}` of anyhow has it.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        text = format!("{text}: {error}");
        next = error.source();
    }
    text
}
