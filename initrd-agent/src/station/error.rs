//! Why the station stopped.

use std::{io, path::PathBuf};

use card::{
    CardError, PinError, PinFormatError,
    escrow::EscrowError,
    manage::{ManageError, ManagementKeyFormatError, half::HalfError},
    reader::ReaderError,
    unwrap::UnwrapError,
};
use site_api::registration::RegistrationError;
use snapshot::{
    ParseError,
    chain::ChainError,
    id::CardId,
    keys::RandomError,
    slot::{PassphraseError, PassphraseFormatError, SlotError},
};

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
    /// The PIN did not unlock the card.
    #[error(transparent)]
    Pin(#[from] PinError),
    /// The card did not unwrap what was wrapped to it.
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
    /// A card that nobody took out.
    #[error("no card was taken out of reader {0:?}")]
    NotTakenOut(String),
    /// The PUK has no tries left.
    #[error(
        "the PUK of the card is blocked too: nothing unblocks this card; erase it with its maker's tool, \
         then give the user another one (card replace)"
    )]
    PukBlocked,
    /// Not decided whether the organisation can help when the card is lost.
    #[error(
        "say --recovery-key FILE (PUK, management key and user key are sealed to it), \
         or --no-recovery (whoever loses this card loses the data)"
    )]
    RecoveryUndecided,
    /// Three recovery keys.
    #[error("an escrow is for one operator or for two: say --recovery-key once or twice")]
    TooManyOperators,
    /// An escrow for two operators and one key.
    #[error(
        "the escrow is for two operators: say --recovery-secret twice, the first one's key first"
    )]
    SecondOperator,
    /// One of two options that need each other.
    #[error("say --registration FILE together with --recovery-secret PEM or --recovery-card")]
    RegistrationAndRecovery,
    /// The user's other cards are kept, or not.
    #[error(
        "the registration has an escrow and the new card would have none, or the other way round: \
         say --recovery-key FILE or --no-recovery as for the cards before"
    )]
    RecoveryDiffers,
    /// The escrow was made for a badge.
    #[error("the escrow has no PUK: somebody else issued this badge and has it")]
    NoPukInEscrow,
    /// The escrow or the card opened something else.
    #[error("the user key that was opened is not the one of this registration")]
    OtherUserKey,
    /// The chain to earlier epochs does not lead there.
    #[error("open the keys of the user's earlier epochs with the chain in the registration")]
    Chain(#[from] ChainError),
    /// A registration that names one card and holds the key of another.
    #[error(
        "the registration has another public key for card {0} than the card's own; nothing is sealed to it"
    )]
    OtherPublicKey(CardId),
    /// A card that is not in the registration.
    #[error("card {0} is not one of this user's")]
    NotOfTheUser(CardId),
    /// More than one card and none named.
    #[error(
        "the user has {} cards; say --lost CARD: {}",
        .0.len(),
        .0.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    )]
    WhichIsLost(Vec<CardId>),
    /// Nothing is left that opens the user's key.
    #[error("the user has no other card: say --recovery-secret PEM or --recovery-card")]
    NoCardLeft,
    /// A second passphrase.
    #[error(
        "the user has a passphrase already ({0}); put another in its place: card replace --lost {0} --passphrase"
    )]
    HasPassphrase(CardId),
    /// No passphrase opens the user's key.
    #[error(
        "the user has no passphrase: say --recovery-secret PEM or --recovery-card, or put in a card of the user"
    )]
    NoPassphrase,
    /// Another one was typed.
    #[error("the passphrase is not the user's")]
    WrongPassphrase,
    /// A passphrase that is none.
    #[error(transparent)]
    PassphraseFormat(#[from] PassphraseFormatError),
    /// A passphrase that gives no key or opens nothing.
    #[error(transparent)]
    Passphrase(#[from] PassphraseError),
    /// A user without a card could never come back.
    #[error(
        "card {0} is the user's only card: give another one (card replace), or delete the user at a site \
         (furoshiki-site user remove)"
    )]
    LastCard(CardId),
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
    /// A file that is too large to be what it should be.
    #[error("{} is too large to be a key or a registration", .0.display())]
    LargeFile(PathBuf),
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
    #[error(
        "the card is half issued; put it in and say the same command again, it goes on from {}",
        kept.display()
    )]
    HalfIssued {
        /// The registration so far.
        kept: PathBuf,
        /// Where it stopped.
        #[source]
        source: Box<StationError>,
    },
    /// A half-issued card, but not this one.
    #[error(
        "{} is of card {card} for {name}, which is half issued; put that one in to finish it, \
         or say --start-over to give it up",
        part.display()
    )]
    HalfOther {
        /// The file.
        part: PathBuf,
        /// The card it is of.
        card: CardId,
        /// The user it is for.
        name: String,
    },
    /// What a half-issued card still has to get.
    #[error(transparent)]
    Half(#[from] HalfError),
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

impl From<UnwrapError> for StationError {
    fn from(err: UnwrapError) -> Self {
        Self::Proof(Box::new(err))
    }
}
