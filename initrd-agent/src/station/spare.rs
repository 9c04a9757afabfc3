//! A further card or a passphrase for somebody who has one: a spare (`add-card`), or one for a lost card (`replace`).

use std::path::PathBuf;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use card::{manage::current_card, reader::FoundCard};
use clap::Args;
use site_api::registration::Registration;
use snapshot::{id::CardId, keys::UserKey, slot};

use super::{
    StationError,
    base::Base,
    bench::{Bench, unlock},
    enroll,
    job::{Job, Making, NewCard},
    passphrase,
    recover::{Opening, escrows, read_registration},
    say::{progress, tell_what_is_protected},
};

/// Options of `card add-card`.
#[derive(Debug, Args)]
pub struct AddCardArguments {
    /// The user's registration so far.
    #[arg(long, value_name = "FILE")]
    registration: PathBuf,
    /// The new card is a badge that somebody else issued: nothing is written to it.
    #[arg(long)]
    badge: bool,
    /// The user types a passphrase, which stands for a card.
    #[arg(long, conflicts_with = "badge")]
    passphrase: bool,
    #[command(flatten)]
    new: NewCard,
    #[command(flatten)]
    making: Making,
    /// Opens the user's key instead of one of the user's cards.
    #[command(flatten)]
    opening: Opening,
}

/// Options of `card replace`.
#[derive(Debug, Args)]
pub struct ReplaceArguments {
    /// Id of the lost card or forgotten passphrase; not needed when the user has only one.
    #[arg(long, value_name = "CARD")]
    lost: Option<CardId>,
    #[command(flatten)]
    add: AddCardArguments,
}

impl AddCardArguments {
    pub(super) const fn json(&self) -> bool {
        self.new.json
    }
}

impl ReplaceArguments {
    pub(super) const fn json(&self) -> bool {
        self.add.new.json
    }
}

/// `card add-card`.
pub(super) fn add_card(arguments: &AddCardArguments) -> Result<(), StationError> {
    run(arguments, None, "is one more card of")
}

/// `card replace`.
pub(super) fn replace(arguments: &ReplaceArguments) -> Result<(), StationError> {
    let registration = read_registration(&arguments.add.registration)?;
    let lost = match (arguments.lost, &registration.cards[..]) {
        (Some(lost), cards) if cards.iter().any(|card| card.card == lost) => lost,
        (Some(lost), _) => return Err(StationError::NotOfTheUser(lost)),
        (None, [only]) => only.card,
        (None, cards) => {
            return Err(StationError::WhichIsLost(
                cards.iter().map(|card| card.card).collect(),
            ));
        }
    };
    run(&arguments.add, Some(lost), "replaces the lost card of")?;
    tell_what_is_protected(lost);
    Ok(())
}

fn run(arguments: &AddCardArguments, lost: Option<CardId>, done: &str) -> Result<(), StationError> {
    let registration = read_registration(&arguments.registration)?;
    let name = registration.name.clone();
    let mut job = Job::prepare(&arguments.new)?;
    let (bench, opening) = (Bench::default(), &arguments.opening);
    if arguments.passphrase {
        passphrase::only_one(&registration, lost)?;
        let card = opening.needs_card().then(|| bench.card()).transpose()?;
        let (user_key, _) = user_key(opening, &bench, &registration, lost, card)?;
        let base = base(&job, registration, user_key, lost)?;
        let outcome = passphrase::add(&job, &base)?;
        outcome.tell(arguments.new.json, done);
        return Ok(());
    }
    let mut known: Vec<CardId> = registration.cards.iter().map(|card| card.card).collect();
    let mut card = bench.card()?;
    if let Some(part) = job.take_part(&arguments.making, &mut card, &name)? {
        let outcome = job.finish(card, part)?;
        outcome.tell(arguments.new.json, done);
        return Ok(());
    }
    let (user_key, operators) = user_key(opening, &bench, &registration, lost, Some(card))?;
    known.extend(operators);
    let base = base(&job, registration, user_key, lost)?;
    let is_new = |id: Option<CardId>| id.is_none_or(|id| !known.contains(&id));
    let bench = if arguments.badge {
        bench
    } else {
        Bench::of_piv()
    };
    let card = new_card(&bench, is_new)?;
    let outcome = if arguments.badge {
        enroll::badge(&job, &base, card)?
    } else {
        job.make(&arguments.making, card, &base, None)?
    };
    outcome.tell(arguments.new.json, done);
    Ok(())
}

/// The user before the new card, without the lost one.
fn base(
    job: &Job<'_>,
    registration: Registration,
    user_key: UserKey,
    lost: Option<CardId>,
) -> Result<Base, StationError> {
    let base = Base::of(registration, user_key)?;
    if base.is_kept() != job.organisation.keeps() {
        return Err(StationError::RecoveryDiffers);
    }
    let Some(lost) = lost else {
        return Ok(base);
    };
    progress("Making another user key");
    base.without(lost)?.in_the_next_epoch(&job.organisation)
}

/// The card that becomes the user's: none that the user has or had, and none of the operators.
fn new_card(
    bench: &Bench,
    is_new: impl Fn(Option<CardId>) -> bool,
) -> Result<FoundCard, StationError> {
    let mut card = bench.card()?;
    if is_new(current_card(&mut card)?) {
        return Ok(card);
    }
    bench.change(card, "the new card", is_new)
}

/// The user's key, from an escrow, from a card of the user that is not lost, or from the passphrase; and the operators'
/// cards that were needed for that. `card`: the one in the reader, where one was waited for.
pub(super) fn user_key(
    opening: &Opening,
    bench: &Bench,
    registration: &Registration,
    lost: Option<CardId>,
    card: Option<FoundCard>,
) -> Result<(UserKey, Vec<CardId>), StationError> {
    if opening.is_by_passphrase() {
        return Ok((passphrase::user_key(registration)?, Vec::new()));
    }
    if let Some(recovery) = opening.recovery() {
        let all = escrows(registration)?;
        // The last one was sealed last: it has the key of the present epoch.
        let sealed = all.last().ok_or_else(|| StationError::NoEscrow {
            card: "of this user".into(),
        })?;
        let (escrow, operators) = recovery.open(bench, sealed, card)?;
        return Ok((escrow.user_key, operators));
    }
    let of_user = |id: Option<CardId>| {
        registration
            .cards
            .iter()
            .any(|card| Some(card.card) == id && Some(card.card) != lost)
    };
    if registration
        .cards
        .iter()
        .all(|card| Some(card.card) == lost)
    {
        return Err(StationError::NoCardLeft);
    }
    let mut card = match card {
        Some(card) => card,
        None => bench.card()?,
    };
    if !of_user(current_card(&mut card)?) {
        card = bench.change(card, "a card the user has", of_user)?;
    }
    let mut card = unlock(card, "the user's card")?;
    let registered = registration.cards.iter().find(|one| one.card == card.id());
    let registered = registered.ok_or_else(|| StationError::NotOfTheUser(card.id()))?;
    let bytes = STANDARD
        .decode(&registered.slot_b64)
        .map_err(|err| StationError::Proof(err.into()))?;
    let user_key = card.unwrap(&slot::parse(&bytes)?)?;
    card.lock()?;
    Ok((user_key, Vec::new()))
}
