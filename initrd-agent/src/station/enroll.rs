//! `card enroll`: a badge that somebody else issued becomes the card of a new user, or a passphrase stands for one.
//!
//! Nothing is written to a badge, so no management key is needed, and its other uses go on.

use clap::Args;
use site_api::registration::{Registration, check_name};
use snapshot::slot;

use super::{
    StationError,
    base::{Base, Opens},
    bench::{Bench, unlock},
    half,
    job::{Job, NewCard},
    passphrase,
    say::{Outcome, progress},
};

/// Options of `card enroll`.
#[derive(Debug, Args)]
pub struct EnrollArguments {
    /// User name: the account on the PC and at the site.
    #[arg(long, value_name = "NAME")]
    user: String,
    /// The user types a passphrase and needs no card.
    #[arg(long)]
    passphrase: bool,
    #[command(flatten)]
    new: NewCard,
}

impl EnrollArguments {
    pub(super) const fn json(&self) -> bool {
        self.new.json
    }
}

/// `card enroll`.
pub(super) fn run(arguments: &EnrollArguments) -> Result<(), StationError> {
    check_name(&arguments.user)?;
    let job = Job::prepare(&arguments.new)?;
    let base = Base::new(&arguments.user)?;
    let outcome = if arguments.passphrase {
        passphrase::add(&job, &base)?
    } else {
        badge(&job, &base, Bench::default().card()?)?
    };
    outcome.tell(arguments.new.json, "is enrolled for");
    Ok(())
}

/// Adds the badge in the reader to the user of `base` and writes the registration.
pub(super) fn badge(
    job: &Job<'_>,
    base: &Base,
    card: card::reader::FoundCard,
) -> Result<Outcome, StationError> {
    let mut card = unlock(card, "the badge")?;
    let key = card.key().clone();
    let label = job.new.label.as_deref().unwrap_or("badge");
    let registration = base.with(&Opens::Card(&key, None), label, &job.organisation)?;
    progress("Proving that the badge opens the user's key");
    let user_key = card.unwrap(&slot::parse(&last_slot(&registration)?)?)?;
    base.check(&user_key)?;
    card.lock()?;
    half::write_registration(&job.new.out, &registration)?;
    Ok(Outcome::of(&registration, key.id(), &job.new.out))
}

/// The slot that was added last.
pub(super) fn last_slot(registration: &Registration) -> Result<Vec<u8>, StationError> {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    let last = registration.cards.last();
    let text = last.map(|card| card.slot_b64.as_str()).unwrap_or_default();
    STANDARD
        .decode(text)
        .map_err(|err| StationError::Proof(err.into()))
}
