//! From an empty card and a user to a card with a key and a registration.
//!
//! Order: everything that is asked; the key; what it takes to finish, on disk; only then the card's
//! certificate, PIN, PUK and management key. Whoever stops in between finds the card empty, or
//! finishes with `FILE.part` and the PIN: no card ends with secrets that nobody has.

use std::path::PathBuf;

use card::{
    CardApp as _, Pin, Puk,
    app::CardError,
    escrow::{Escrow, RecoveryKey},
    manage::{
        self, ManageError, ManagementKey,
        half::{self, Between, HalfError},
    },
    reader::FoundCard,
};
use clap::Args;
use snapshot::id::CardId;

use super::{
    StationError,
    base::{Base, Opens, Organisation},
    finish::{self, Secrets},
    half::{self as part, Part},
    prompt,
    recover::read,
    say::{Outcome, progress},
};

/// What the new card and its registration shall be.
#[derive(Debug, Args)]
pub struct NewCard {
    /// Where to write the registration, for `furoshiki-site user add`.
    #[arg(long, value_name = "FILE")]
    pub(super) out: PathBuf,
    /// Public recovery key of the organisation (PEM): PUK, management key and user key are sealed
    /// to it inside the registration. Twice: two operators must open them together.
    #[arg(long, value_name = "PEM", conflicts_with = "no_recovery")]
    recovery_key: Vec<PathBuf>,
    /// No escrow: the PUK is shown once, and whoever loses the card loses the data.
    #[arg(long)]
    no_recovery: bool,
    /// What people call this card.
    #[arg(long, value_name = "TEXT")]
    pub(super) label: Option<String>,
    /// Print one line of JSON instead of text.
    #[arg(long)]
    pub(super) json: bool,
}

/// How the card itself is made.
#[derive(Debug, Args)]
pub struct Making {
    /// Overwrite the key that is on the card.
    #[arg(long)]
    replace: bool,
    /// Give up a half-issued card: forget FILE.part and begin again.
    #[arg(long)]
    start_over: bool,
    /// Make a PIN for the way to the user, who must change it at the first sign-in, and show it once.
    #[arg(long)]
    transport_pin: bool,
}

/// An order that was checked before any card was touched.
pub(super) struct Job<'a> {
    pub(super) new: &'a NewCard,
    pub(super) organisation: Organisation,
    part: Option<Part>,
}

impl<'a> Job<'a> {
    /// Reads recovery keys and looks whether an earlier try left something.
    pub(super) fn prepare(new: &'a NewCard) -> Result<Self, StationError> {
        if new.recovery_key.is_empty() && !new.no_recovery {
            return Err(StationError::RecoveryUndecided);
        }
        let organisation = organisation(&new.recovery_key)?;
        if new.out.exists() {
            // Stopped after the last step of all: the card is issued, only the part was left.
            if Part::read(&new.out)?.is_some() {
                part::remove(&new.out)?;
            }
            return Err(StationError::Exists(new.out.clone()));
        }
        Ok(Self {
            new,
            organisation,
            part: Part::read(&new.out)?,
        })
    }

    /// What an earlier try left of the card in the reader, if it shall be finished.
    ///
    /// # Errors
    /// [`StationError::HalfOther`]: it is of another card or user.
    pub(super) fn take_part(
        &mut self,
        making: &Making,
        card: &mut FoundCard,
        name: &str,
    ) -> Result<Option<Part>, StationError> {
        let Some(part) = self.part.take() else {
            return Ok(None);
        };
        if making.start_over {
            self.part = Some(part);
            return Ok(None);
        }
        // A card that shows no key may be the one: whether it has that key is found out with its PIN.
        let present = manage::current_card(card)?;
        if present.is_none_or(|id| id == part.card) && part.registration.name == name {
            return Ok(Some(part));
        }
        Err(self.other(part))
    }

    fn other(&self, part: Part) -> StationError {
        StationError::HalfOther {
            part: part::path_for(&self.new.out),
            card: part.card,
            name: part.registration.name,
        }
    }

    /// Makes the card in the reader one of the user of `base`.
    pub(super) fn make(
        mut self,
        making: &Making,
        mut card: FoundCard,
        base: &Base,
        old: Option<Escrow>,
    ) -> Result<Outcome, StationError> {
        let present = manage::current_card(&mut card)?;
        let given_up = self.part.take();
        let (old_pin, old_puk, old_management_key) = match (&given_up, present) {
            (Some(part), Some(id)) if part.card == id => finish::settle(&mut card, part)?,
            (_, Some(id)) if !making.replace => return Err(StationError::Occupied(id)),
            _ => ask_before(&mut card, present, old)?,
        };
        let pin = if making.transport_pin {
            Pin::transport()?
        } else {
            prompt::new_pin()?
        };
        let keeps = self.organisation.keeps();
        let between = Between {
            puk: Puk::random()?,
            management_key: keeps.then(ManagementKey::random).transpose()?,
            old_puk,
            old_management_key,
        };
        if given_up.is_some() {
            part::remove(&self.new.out)?;
        }
        if making.transport_pin {
            eprintln!("Transport PIN: {}", pin.show().as_str());
        }

        progress("Making a key on the card; this may take some seconds");
        let mut manager = manage::authenticate(card.piv()?, &between.old_management_key)?;
        manager.write_chuid_if_absent()?;
        let key = manager.generate()?;
        let label = self.new.label.as_deref().unwrap_or("first card");
        let kept = (&between.puk, between.management_key.as_ref());
        let opens = Opens::Card(&key, Some(kept));
        let registration = base.with(&opens, label, &self.organisation)?;
        let sealed = half::seal(&key, &between)?;
        let part = Part::new(key.id(), &sealed, registration);
        part.write(&self.new.out)?;
        let secrets = Secrets {
            old_pin,
            pin,
            between,
        };
        let result = manager
            .write_certificate(&key)
            .map_err(StationError::from)
            .and_then(|()| finish::hand_over(card, &secrets, &part));
        self.end(result, part, &secrets)
    }

    /// Finishes a card that an earlier try left half-issued.
    pub(super) fn finish(self, mut card: FoundCard, part: Part) -> Result<Outcome, StationError> {
        let is_shown = manage::current_card(&mut card)?.is_some();
        if is_shown {
            eprintln!(
                "This card is half issued to {}: it is finished now.",
                part.registration.name
            );
        } else {
            eprintln!(
                "A card was begun for {}: is it this one?",
                part.registration.name
            );
        }
        let secrets = match finish::recall(&mut card, &part) {
            Err(StationError::Half(
                HalfError::Rejected | HalfError::Card(CardError::Refused { .. }),
            )) if !is_shown => return Err(self.other(part)),
            secrets => secrets?,
        };
        let shown = match is_shown {
            true => Ok(()),
            false => finish::show_key(&mut card, &secrets, &part),
        };
        let result = shown.and_then(|()| finish::hand_over(card, &secrets, &part));
        self.end(result, part, &secrets)
    }

    fn end(
        &self,
        result: Result<(), StationError>,
        part: Part,
        secrets: &Secrets,
    ) -> Result<Outcome, StationError> {
        result.map_err(|source| StationError::HalfIssued {
            kept: part::path_for(&self.new.out),
            source: Box::new(source),
        })?;
        part::complete(&self.new.out, &part.registration)?;
        Ok(Outcome::of(&part.registration, part.card, &self.new.out)
            .with_secrets(secrets, self.organisation.keeps()))
    }
}

/// Whose recovery keys these are; none is nobody's.
pub(super) fn organisation(keys: &[PathBuf]) -> Result<Organisation, StationError> {
    let key = |path| -> Result<_, StationError> { Ok(RecoveryKey::from_pem(&read(path)?)?) };
    Ok(match keys {
        [] => Organisation::Nobody,
        [one] => Organisation::One(key(one)?),
        [first, second] => Organisation::Two(key(first)?, key(second)?),
        _ => return Err(StationError::TooManyOperators),
    })
}

/// Everything the card's present state asks for. Nothing on the card is changed.
fn ask_before(
    card: &mut FoundCard,
    present: Option<CardId>,
    old: Option<Escrow>,
) -> Result<(Pin, Puk, ManagementKey), StationError> {
    if card.tries_left()? == Some(0) {
        return Err(ManageError::Blocked("PIN").into());
    }
    let (escrow_puk, escrow_key) = match old {
        Some(escrow) => (escrow.puk, escrow.management_key),
        None => (None, None),
    };
    let management_key = match escrow_key {
        Some(key) => key,
        None => management_key(card)?,
    };
    // A card nobody issued has the factory's PIN and PUK; trying them on another would cost a try.
    let (pin, puk) = match present {
        None => (Pin::factory(), Puk::factory()),
        Some(_) => (
            Pin::of_any_card(&prompt::secret("Card PIN now")?)?,
            match escrow_puk {
                Some(puk) => puk,
                None => prompt::puk()?,
            },
        ),
    };
    Ok((pin, puk, management_key))
}

/// The factory's management key if the card takes it (cards count no tries here), else the operator's.
fn management_key(card: &mut FoundCard) -> Result<ManagementKey, StationError> {
    let factory = ManagementKey::factory();
    match manage::authenticate(card.piv()?, &factory) {
        Ok(_) => Ok(factory),
        Err(ManageError::WrongManagementKey) => {
            let typed = prompt::secret("Management key of the card (hex)")?;
            Ok(ManagementKey::typed(&typed)?)
        }
        Err(err) => Err(err.into()),
    }
}
