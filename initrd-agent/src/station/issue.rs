//! From an empty card and a name to a card with a key and a registration.
//!
//! Order: everything that is asked, then the key, then the registration on disk, then PIN, PUK and
//! management key. What the escrow holds is on disk before the card needs it.

use std::{
    fs::{self, OpenOptions},
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use card::{
    Card, CardApp as _, CardKey, LastTry, Pin, Puk,
    escrow::{Escrow, RecoveryKey},
    manage::{self, ManageError, ManagementKey},
    reader::FoundCard,
};
use clap::Args;
use site_api::registration::{FORMAT, RegisteredCard, Registration, VERSION, check_name};
use snapshot::{
    id::UserId,
    keys::{SnapshotKeys, UserKey},
    slot::{self, SlotContext},
};

use super::{OldEscrow, StationError, old, prompt, wait_for_card};

/// Number of a user's first key slot.
const FIRST_SLOT: u32 = 1;
/// Epoch of a new user key.
const FIRST_EPOCH: u32 = 1;

/// Options of `card issue`.
#[derive(Debug, Args)]
pub struct IssueArguments {
    /// User name: the account on the PC and at the site.
    #[arg(long, value_name = "NAME")]
    user: String,
    /// Where to write the registration, for `furoshiki-site user add`.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Public recovery key of the organisation (PEM): PUK, management key and user key are sealed
    /// to it inside the registration.
    #[arg(long, value_name = "PEM", conflicts_with = "no_recovery")]
    recovery_key: Option<PathBuf>,
    /// No escrow: the PUK is shown once, and whoever loses the card loses the data.
    #[arg(long)]
    no_recovery: bool,
    /// What people call this card.
    #[arg(long, value_name = "TEXT", default_value = "first card")]
    label: String,
    /// Overwrite the key that is on the card.
    #[arg(long)]
    replace: bool,
    /// For a card that was issued before: its escrow, instead of asking for PUK and management key.
    #[command(flatten)]
    old: OldEscrow,
}

/// What the card gets.
struct New {
    pin: Pin,
    puk: Puk,
    /// `None`: the card keeps the one it has, because nobody could keep another.
    management_key: Option<ManagementKey>,
}

/// What the card has.
struct Old {
    pin: Pin,
    puk: Puk,
    management_key: ManagementKey,
}

/// `card issue`.
pub(super) fn run(arguments: &IssueArguments) -> Result<(), StationError> {
    check_name(&arguments.user)?;
    let recovery = match (&arguments.recovery_key, arguments.no_recovery) {
        (Some(path), _) => Some(RecoveryKey::from_pem(&old::read(path)?)?),
        (None, true) => None,
        (None, false) => return Err(StationError::RecoveryUndecided),
    };
    if arguments.out.exists() {
        return Err(StationError::Exists(arguments.out.clone()));
    }
    let mut card = wait_for_card()?;
    let before = ask_before(arguments, &mut card)?;
    let new = New {
        pin: prompt::new_pin()?,
        puk: Puk::random()?,
        management_key: recovery
            .as_ref()
            .map(|_| ManagementKey::random())
            .transpose()?,
    };

    let user = UserId::new(random()?);
    let user_key = UserKey::generate()?;
    let key = {
        let mut manager = manage::authenticate(&mut card, &before.management_key)?;
        manager.write_chuid_if_absent()?;
        manager.make_key()?
    };
    let escrow = recovery
        .map(|recovery| seal_escrow(&recovery, user, &key, &new, &user_key))
        .transpose()?;
    let registration = registration(arguments, user, &user_key, &key, escrow)?;
    let kept = write_part(&arguments.out, &registration)?;
    hand_over(card, &before, &new, &registration, &user_key).map_err(|source| {
        StationError::HalfIssued {
            kept: kept.clone(),
            source: Box::new(source),
        }
    })?;
    fs::rename(&kept, &arguments.out).map_err(|source| StationError::Write {
        path: arguments.out.clone(),
        source,
    })?;
    tell(arguments, &key, &new);
    Ok(())
}

/// Everything the card's present state asks for. Nothing on the card is changed.
fn ask_before(arguments: &IssueArguments, card: &mut FoundCard) -> Result<Old, StationError> {
    let present = manage::current_card(card)?;
    match present {
        Some(id) if !arguments.replace => return Err(StationError::Occupied(id)),
        _ => {}
    }
    if card.tries_left()? == Some(0) {
        return Err(ManageError::Blocked("PIN").into());
    }
    let escrow = arguments.old.open(card)?;
    let (escrow_puk, escrow_key) = match escrow {
        Some(escrow) => (Some(escrow.puk), Some(escrow.management_key)),
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
    Ok(Old {
        pin,
        puk,
        management_key,
    })
}

/// The factory's management key if the card takes it (cards count no tries here), else the operator's.
fn management_key(card: &mut FoundCard) -> Result<ManagementKey, StationError> {
    let factory = ManagementKey::factory();
    match manage::authenticate(card, &factory) {
        Ok(_) => Ok(factory),
        Err(ManageError::WrongManagementKey) => {
            let typed = prompt::secret("Management key of the card (hex)")?;
            Ok(ManagementKey::typed(&typed)?)
        }
        Err(err) => Err(err.into()),
    }
}

/// The card gets its PIN, PUK and management key, and proves that it opens the user key.
fn hand_over(
    mut card: FoundCard,
    before: &Old,
    new: &New,
    registration: &Registration,
    user_key: &UserKey,
) -> Result<(), StationError> {
    set_pin(&mut card, before, new)?;
    manage::change_puk(&mut card, &before.puk, &new.puk)?;
    if let Some(key) = &new.management_key {
        manage::authenticate(&mut card, &before.management_key)?.set_management_key(key)?;
    }
    let mut card = Card::open(card)?.unlock(&new.pin, LastTry::Keep)?;
    for registered in &registration.cards {
        let bytes = STANDARD
            .decode(&registered.slot_b64)
            .map_err(|err| StationError::Proof(err.into()))?;
        let opened = card.unwrap(&slot::parse(&bytes)?)?;
        if opened.expose() != user_key.expose() {
            return Err(StationError::WrongProof);
        }
    }
    card.lock()?;
    Ok(())
}

/// Sets the new PIN. A card in its factory state may come with another PIN than usual.
fn set_pin(card: &mut FoundCard, before: &Old, new: &New) -> Result<(), StationError> {
    match manage::change_pin(card, &before.pin, &new.pin, LastTry::Keep) {
        Err(ManageError::WrongReference { tries_left, .. })
            if before.pin.same(&Pin::factory()) && tries_left != Some(1) =>
        {
            let pin = Pin::of_any_card(&prompt::secret("Card PIN now (not the factory's)")?)?;
            manage::change_pin(card, &pin, &new.pin, LastTry::Keep)?;
        }
        result => result?,
    }
    Ok(())
}

fn seal_escrow(
    recovery: &RecoveryKey,
    user: UserId,
    key: &CardKey,
    new: &New,
    user_key: &UserKey,
) -> Result<Vec<u8>, StationError> {
    let management_key = new
        .management_key
        .as_ref()
        .ok_or(StationError::RecoveryUndecided)?;
    Ok(recovery.seal(&Escrow {
        user,
        card: key.id(),
        puk: new.puk.copy(),
        management_key: management_key.copy(),
        user_key: UserKey::from_bytes(*user_key.expose()),
    })?)
}

fn registration(
    arguments: &IssueArguments,
    user: UserId,
    user_key: &UserKey,
    key: &CardKey,
    escrow: Option<Vec<u8>>,
) -> Result<Registration, StationError> {
    let context = SlotContext {
        user,
        slot: FIRST_SLOT,
        card: key.id(),
        epoch: FIRST_EPOCH,
    };
    let wrapped = slot::wrap(user_key, key.point(), &context)?;
    let keys = SnapshotKeys::derive(user_key, user, FIRST_EPOCH);
    let registration = Registration {
        format: FORMAT.into(),
        version: VERSION,
        user,
        name: arguments.user.clone(),
        record_public_key: hex::encode(keys.record_public_key()),
        cards: vec![RegisteredCard {
            card: key.id(),
            spki_b64: STANDARD.encode(key.spki()),
            label: arguments.label.clone(),
            slot: FIRST_SLOT,
            epoch: FIRST_EPOCH,
            slot_b64: STANDARD.encode(wrapped),
        }],
        escrow_b64: escrow.map(|bytes| STANDARD.encode(bytes)),
    };
    registration.check()?;
    Ok(registration)
}

/// Writes the registration beside its final name, for the owner only, and down to the disk.
fn write_part(out: &Path, registration: &Registration) -> Result<PathBuf, StationError> {
    let mut part = out.as_os_str().to_owned();
    part.push(".part");
    let part = PathBuf::from(part);
    let json = serde_json::to_string_pretty(registration).expect("a registration is JSON");
    let write = || {
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&part)?;
        file.write_all(json.as_bytes())?;
        file.write_all(b"\n")?;
        file.sync_all()
    };
    match write() {
        Ok(()) => Ok(part),
        Err(source) => Err(StationError::Write { path: part, source }),
    }
}

fn tell(arguments: &IssueArguments, key: &CardKey, new: &New) {
    println!("Card {} is issued to {}.", key.id(), arguments.user);
    println!("Registration: {}", arguments.out.display());
    if new.management_key.is_none() {
        println!("PUK: {}", new.puk.show().as_str());
        println!(
            "Write the PUK down now: it is shown once and kept nowhere. It unblocks the card PIN."
        );
        println!("There is no recovery key: whoever loses this card loses the data.");
    }
}

fn random() -> Result<[u8; 16], getrandom::Error> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes)?;
    Ok(bytes)
}
