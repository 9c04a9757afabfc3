//! A further card for somebody who has one: a spare (`add-card`), or one for a lost card (`replace`).

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
    recover::{Recovery, escrows, read_registration},
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
    #[command(flatten)]
    new: NewCard,
    #[command(flatten)]
    making: Making,
    /// Opens the user's key instead of one of the user's cards.
    #[command(flatten)]
    recovery: Recovery,
}

/// Options of `card replace`.
#[derive(Debug, Args)]
pub struct ReplaceArguments {
    /// Id of the lost card; not needed when the user has only one.
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
    let bench = Bench::connect()?;
    let mut known: Vec<CardId> = registration.cards.iter().map(|card| card.card).collect();
    let mut card = bench.card()?;
    if let Some(part) = job.take_part(&arguments.making, &mut card, &name)? {
        let outcome = job.finish(card, part)?;
        outcome.tell(arguments.new.json, done);
        return Ok(());
    }
    let (user_key, operators) = user_key(&arguments.recovery, &bench, &registration, lost, card)?;
    known.extend(operators);
    let mut base = Base::of(registration, user_key)?;
    if base.is_kept() != job.organisation.keeps() {
        return Err(StationError::RecoveryDiffers);
    }
    if let Some(lost) = lost {
        progress("Making another user key");
        base = base.without(lost)?.in_the_next_epoch(&job.organisation)?;
    }
    let is_new = |id: Option<CardId>| id.is_none_or(|id| !known.contains(&id));
    let bench = if arguments.badge {
        bench
    } else {
        Bench::connect_piv()?
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

/// The user's key, from an escrow or from a card of the user that is not lost; and the operators'
/// cards that were needed for that.
pub(super) fn user_key(
    recovery: &Recovery,
    bench: &Bench,
    registration: &Registration,
    lost: Option<CardId>,
    mut card: FoundCard,
) -> Result<(UserKey, Vec<CardId>), StationError> {
    if recovery.is_named() {
        let all = escrows(registration)?;
        // The last one was sealed last: it has the key of the present epoch.
        let sealed = all.last().ok_or_else(|| StationError::NoEscrow {
            card: "of this user".into(),
        })?;
        let (escrow, operators) = recovery.open(bench, sealed, Some(card))?;
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
