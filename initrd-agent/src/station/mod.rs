//! The issuing station: `furoshiki-agent card …`, run by an operator, without a network.
//!
//! An empty card and a name go in; a card with a key and a registration for the site come out.
//!
//! Secrets come from the terminal without echo, or from standard input one line each in the order
//! of the prompts; never from arguments, never into a log. docs/formats/card.md says what is written
//! to a card, docs/operation.md how an operator works with it.

mod base;
mod bench;
mod change;
mod enroll;
mod error;
mod failure;
mod finish;
mod half;
mod info;
mod issue;
mod job;
mod passphrase;
pub(crate) mod prompt;
mod recover;
mod revoke;
mod say;
mod spare;

use clap::Subcommand;

pub(crate) use self::base::{Base, Opens, Organisation};

pub use self::{
    change::{ChangePinArguments, UnblockArguments},
    enroll::EnrollArguments,
    error::StationError,
    info::InfoArguments,
    issue::IssueArguments,
    job::{Making, NewCard},
    recover::{OldEscrow, Opening, Recovery},
    revoke::RevokeArguments,
    spare::{AddCardArguments, ReplaceArguments},
};

/// What an operator does with a card.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make a key on an empty card and write the registration of its user.
    ///
    /// Stopped in the middle, say the same again: the card is finished, or with --start-over begun anew.
    Issue(IssueArguments),
    /// Register a badge that somebody else issued, to which nothing is written, or a passphrase.
    Enroll(EnrollArguments),
    /// Say what card is in the reader and how many tries its PIN has left, or what opens a user's key.
    Info(InfoArguments),
    /// Replace the card PIN; asks for the old one.
    ChangePin(ChangePinArguments),
    /// Give a blocked card PIN a new value, by the PUK.
    Unblock(UnblockArguments),
    /// Give a user one more card, a spare, or a passphrase.
    ///
    /// The user's key comes from a card or passphrase the user has, or from the escrow.
    AddCard(AddCardArguments),
    /// Give a user another card or passphrase for a lost one, which is refused from then on.
    Replace(ReplaceArguments),
    /// Take a card or passphrase away from a user: every site refuses it, and it does not open what is saved from then on.
    ///
    /// Needs another card of the user, or the recovery key.
    Revoke(RevokeArguments),
}

impl Command {
    /// Whether a program reads the outcome.
    const fn json(&self) -> bool {
        match self {
            Self::Issue(arguments) => arguments.json(),
            Self::Enroll(arguments) => arguments.json(),
            Self::Info(arguments) => arguments.json,
            Self::ChangePin(arguments) => arguments.json,
            Self::Unblock(arguments) => arguments.json,
            Self::AddCard(arguments) => arguments.json(),
            Self::Replace(arguments) => arguments.json(),
            Self::Revoke(arguments) => arguments.json,
        }
    }
}

/// Runs one of the operator's commands. For a program, what stops it is told on standard output too.
///
/// # Errors
/// [`StationError`].
pub fn run(command: &Command) -> Result<(), StationError> {
    crate::harden::harden();
    let outcome = dispatch(command);
    if let Err(error) = &outcome
        && command.json()
    {
        failure::tell(error);
    }
    outcome
}

fn dispatch(command: &Command) -> Result<(), StationError> {
    match command {
        Command::Issue(arguments) => issue::run(arguments),
        Command::Enroll(arguments) => enroll::run(arguments),
        Command::Info(arguments) => info::run(arguments),
        Command::ChangePin(arguments) => change::change_pin(arguments),
        Command::Unblock(arguments) => change::unblock(arguments),
        Command::AddCard(arguments) => spare::add_card(arguments),
        Command::Replace(arguments) => spare::replace(arguments),
        Command::Revoke(arguments) => revoke::run(arguments),
    }
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
