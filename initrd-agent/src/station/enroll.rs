//! `card enroll`: a badge that somebody else issued becomes the card of a new user.
//!
//! Nothing is written to it, so no management key is needed, and its other uses go on.

use card::CardKey;
use clap::Args;
use site_api::registration::{Registration, check_name};
use snapshot::slot;

use super::{
    StationError,
    base::Base,
    bench::{Bench, unlock},
    half,
    job::{Job, NewCard},
    say::{Outcome, progress},
};

/// Options of `card enroll`.
#[derive(Debug, Args)]
pub struct EnrollArguments {
    /// User name: the account on the PC and at the site.
    #[arg(long, value_name = "NAME")]
    user: String,
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
    let bench = Bench::connect()?;
    let base = Base::new(&arguments.user)?;
    let outcome = badge(&job, &base, bench.card()?)?;
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
    let key: CardKey = card.key().clone();
    let label = job.new.label.as_deref().unwrap_or("badge");
    let registration = base.with(&key, label, &job.organisation, None)?;
    progress("Proving that the badge opens the user's key");
    let user_key = card.unwrap(&slot::parse(&last_slot(&registration)?)?)?;
    base.check(&user_key)?;
    card.lock()?;
    half::write_registration(&job.new.out, &registration)?;
    Ok(Outcome::of(&registration, key.id(), &job.new.out))
}

fn last_slot(registration: &Registration) -> Result<Vec<u8>, StationError> {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    let last = registration.cards.last();
    let text = last.map(|card| card.slot_b64.as_str()).unwrap_or_default();
    STANDARD
        .decode(text)
        .map_err(|err| StationError::Proof(err.into()))
}
