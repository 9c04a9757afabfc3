//! Which application of a card we work with.

use snapshot::slot::Encapsulated;
use zeroize::Zeroizing;

use super::Connection;
use crate::{
    apdu::Transport,
    app::{CardApp, CardError, CardKey, Verified},
    openpgp::OpenPgp,
    pin::{Pin, Puk},
    piv::Piv,
};

/// A card in a reader, with one of its applications selected.
pub type FoundCard = Found<Connection>;

/// One of the applications we know.
pub enum Found<T: Transport> {
    /// PIV.
    Piv(Piv<T>),
    /// That of an OpenPGP card.
    OpenPgp(OpenPgp<T>),
}

/// Whether a card may be taken for its OpenPGP application.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    /// Any application that has a key; PIV before OpenPGP, and when neither has one.
    Any,
    /// PIV, with a key or without.
    Piv,
}

impl<T: Transport> Found<T> {
    /// Chooses an application of the card behind `transport`.
    pub(super) fn choose(mut transport: T, wanted: Wanted) -> Result<Self, CardError> {
        let key = Piv::select(&mut transport).map(|mut piv| piv.key());
        let piv = match key {
            Ok(Ok(key)) => return Ok(Self::Piv(Piv::selected(transport, key))),
            Ok(Err(CardError::NoKey)) => Ok(()),
            Ok(Err(error @ CardError::Apdu { .. })) => return Err(error),
            // What is wrong with its certificate is told where the key is read.
            Ok(Err(_)) => return Piv::select(transport).map(Self::Piv),
            Err(error @ CardError::NoPiv(_)) => Err(error),
            Err(error) => return Err(error),
        };
        if wanted == Wanted::Any {
            let key = OpenPgp::select(&mut transport).and_then(|mut card| card.key());
            match (key, &piv) {
                (Ok(key), _) => return Ok(Self::OpenPgp(OpenPgp::selected(transport, key))),
                (Err(error @ CardError::Apdu { .. }), _) => return Err(error),
                // Nothing else is there; what is wrong with it is told where its key is read.
                (Err(error), Err(_)) if !matches!(error, CardError::NoPiv(_)) => {
                    return OpenPgp::select(transport).map(Self::OpenPgp);
                }
                _ => {}
            }
        }
        if let Err(error) = piv {
            let other = wanted == Wanted::Piv && OpenPgp::select(&mut transport).is_ok();
            return Err(if other { CardError::NotPiv } else { error });
        }
        Piv::select(transport).map(Self::Piv)
    }

    /// The PIV application: what can be issued.
    ///
    /// # Errors
    /// [`CardError::NotPiv`].
    pub const fn piv(&mut self) -> Result<&mut Piv<T>, CardError> {
        match self {
            Self::Piv(piv) => Ok(piv),
            Self::OpenPgp(_) => Err(CardError::NotPiv),
        }
    }

    /// What carries the APDUs.
    pub const fn transport(&self) -> &T {
        match self {
            Self::Piv(card) => card.transport(),
            Self::OpenPgp(card) => card.transport(),
        }
    }

    fn app(&mut self) -> &mut dyn CardApp {
        match self {
            Self::Piv(card) => card,
            Self::OpenPgp(card) => card,
        }
    }
}

impl<T: Transport> CardApp for Found<T> {
    fn key(&mut self) -> Result<CardKey, CardError> {
        self.app().key()
    }

    fn older_keys(&mut self) -> Result<Vec<CardKey>, CardError> {
        self.app().older_keys()
    }

    fn tries_left(&mut self) -> Result<Option<u8>, CardError> {
        self.app().tries_left()
    }

    fn verify(&mut self, pin: &Pin) -> Result<Verified, CardError> {
        self.app().verify(pin)
    }

    fn change_pin(&mut self, old: &Pin, new: &Pin) -> Result<Verified, CardError> {
        self.app().change_pin(old, new)
    }

    fn unblock(&mut self, puk: &Puk, new: &Pin) -> Result<Verified, CardError> {
        self.app().unblock(puk, new)
    }

    fn agree(
        &mut self,
        key: &CardKey,
        enc: &Encapsulated,
    ) -> Result<Zeroizing<Vec<u8>>, CardError> {
        self.app().agree(key, enc)
    }

    fn lock(&mut self) -> Result<(), CardError> {
        self.app().lock()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apdu::script::Script;

    const PIV: &str = "00A404000BA000000308000010000100";
    const OPENPGP: &str = "00A4040006D27600012401";
    const CERTIFICATE: &str = "00CB3FFF055C035FC10B";

    fn choose(steps: &[(&str, &str)], wanted: Wanted) -> Result<Found<Script>, CardError> {
        let card = Found::choose(Script::new(steps), wanted);
        if let Ok(card) = &card {
            assert!(card.transport().finished());
        }
        card
    }

    #[test]
    fn an_empty_card_is_a_piv_card_and_one_without_applications_is_none() {
        let both_empty = [
            (PIV, "9000"),
            (CERTIFICATE, "6A82"),
            (OPENPGP, "9000"),
            ("00CA00F900", "6A88"),
            ("00CA006E00", "6E0F730DC20B122B060104019755010501 9000"),
            ("0047810002B800", "6A88"),
            (PIV, "9000"),
        ];
        let card = choose(&both_empty, Wanted::Any).unwrap();
        assert!(matches!(card, Found::Piv(_)));
        let asked_for = [(PIV, "9000"), (CERTIFICATE, "6A82"), (PIV, "9000")];
        let card = choose(&asked_for, Wanted::Piv).unwrap();
        assert!(matches!(card, Found::Piv(_)));
        let neither = [("*", "6A82"); 4];
        let none = choose(&neither, Wanted::Any);
        assert!(matches!(none, Err(CardError::NoPiv(_))));
    }

    #[test]
    fn an_openpgp_card_without_piv_is_one_when_only_its_key_is_wrong() {
        let rsa = "6E0A7308C206010800002000 9000";
        let ask = [
            ("00CA00F900", "6A88"),
            ("00CA006E00", rsa),
            ("0047810002B800", "7F49009000"),
        ];
        let steps = [
            &[("*", "6A82"); 3][..],
            &[(OPENPGP, "9000")],
            &ask,
            &[(OPENPGP, "9000")],
        ]
        .concat();
        let mut card = choose(&steps, Wanted::Any).unwrap();
        assert!(matches!(card.piv(), Err(CardError::NotPiv)));
        let asked_for = choose(&[("*", "6A82"); 3], Wanted::Piv);
        assert!(matches!(asked_for, Err(CardError::NoPiv(_))));
    }
}
