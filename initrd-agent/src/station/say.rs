//! What the operator hears: progress on standard error, the outcome on standard output, as text or JSON.

use std::path::Path;

use serde::{Serialize, Serializer};
use site_api::registration::Registration;
use snapshot::id::{CardId, UserId};
use zeroize::Zeroizing;

use super::finish::Secrets;

/// A card that has become a user's, or is one no more.
#[derive(Serialize)]
pub(super) struct Outcome {
    card: CardId,
    user: UserId,
    name: String,
    registration: String,
    /// Epoch of the user key: one more after each card that was taken away.
    epoch: u32,
    /// All cards of the user now.
    cards: Vec<CardId>,
    /// Only when nobody else keeps it: shown once.
    #[serde(serialize_with = "shown")]
    puk: Option<Zeroizing<String>>,
    /// For the way to the user: shown once.
    #[serde(serialize_with = "shown")]
    transport_pin: Option<Zeroizing<String>>,
    #[serde(skip)]
    kept: bool,
    #[serde(skip)]
    by_passphrase: bool,
}

impl Outcome {
    pub(super) fn of(registration: &Registration, card: CardId, out: &Path) -> Self {
        Self {
            card,
            user: registration.user,
            name: registration.name.clone(),
            registration: out.display().to_string(),
            epoch: registration.epoch(),
            cards: registration.cards.iter().map(|card| card.card).collect(),
            puk: None,
            transport_pin: None,
            kept: registration.escrow_b64.is_some(),
            by_passphrase: false,
        }
    }

    /// The same of a passphrase.
    pub(super) fn by_passphrase(mut self) -> Self {
        self.by_passphrase = true;
        self
    }

    /// Adds what is shown once. `keeps`: an organisation has the PUK, so nobody need see it.
    pub(super) fn with_secrets(mut self, secrets: &Secrets, keeps: bool) -> Self {
        self.puk = (!keeps).then(|| secrets.between.puk.show());
        self.transport_pin = secrets.pin.is_transport().then(|| secrets.pin.show());
        self
    }

    /// Prints it; `done` says in words what happened to the card.
    pub(super) fn tell(&self, json: bool, done: &str) {
        if json {
            print_json(self);
            return;
        }
        let (what, loses) = if self.by_passphrase {
            ("Passphrase", "forgets this passphrase")
        } else {
            ("Card", "loses this card")
        };
        println!("{what} {} {done} {}.", self.card, self.name);
        println!("Registration: {}", self.registration);
        if let Some(pin) = &self.transport_pin {
            println!("Transport PIN: {}", pin.as_str());
            println!("The user must change it at the first sign-in; a PC asks for it.");
        }
        if let Some(puk) = &self.puk {
            println!("PUK: {}", puk.as_str());
            println!(
                "Write the PUK down now: it is shown once and kept nowhere. It unblocks the card PIN."
            );
        }
        if !self.kept {
            println!("There is no recovery key: whoever {loses} loses the data.");
        }
        println!("Give the registration to a site: furoshiki-site user add.");
    }
}

fn shown<S: Serializer>(secret: &Option<Zeroizing<String>>, to: S) -> Result<S::Ok, S::Error> {
    secret.as_ref().map(|secret| secret.as_str()).serialize(to)
}

/// Prints one line for a program.
pub(super) fn print_json(value: &impl Serialize) {
    let line =
        Zeroizing::new(serde_json::to_string(value).expect("ids, numbers and text are JSON"));
    println!("{}", line.as_str());
}

/// What taking a card away protects, and what it does not.
pub(super) fn tell_what_is_protected(card: CardId) {
    eprintln!(
        "Protected from now on, once a site has the registration: every site refuses {card}, and what the user \
         saves from the next session on is sealed with another key that it does not open.\n\
         Not protected: what was saved before. Whoever has the card and its PIN, or knows the passphrase, with a copy of those snapshots and of the \
         old registration can still read them. Sites go on holding them until newer ones have taken their place."
    );
}

/// Says what is done now, since cards are slow.
pub(super) fn progress(doing: &str) {
    eprintln!("{doing} …");
}
