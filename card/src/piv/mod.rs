//! PIV, as far as a key behind a PIN needs it.
//!
//! Source: NIST SP 800-73-4 part 2 §3; docs/formats/card.md §commands.

pub mod certificate;

mod retired;

use snapshot::{
    id::CardId,
    slot::{Encapsulated, RSA_BYTES},
};
use zeroize::Zeroizing;

use crate::{
    apdu::{
        Answer, Answers, Command, Status, Transport, send,
        tlv::{self, put},
    },
    app::{CardApp, CardError, CardKey, Verified},
    forget::Forget,
    manage::{change_reference, reset_retry_counter},
    pin::{Pin, Puk},
};

/// The application's name in full, then as short as some cards want it. Nitrokey refuses the last,
/// other cards know only that one.
const NAMES: [&[u8]; 3] = [
    &[0xA0, 0, 0, 3, 8, 0, 0, 0x10, 0, 1, 0],
    &[0xA0, 0, 0, 3, 8, 0, 0, 0x10, 0],
    &[0xA0, 0, 0, 3, 8],
];

const SELECT: u8 = 0xA4;
const VERIFY: u8 = 0x20;
const GET_DATA: u8 = 0xCB;
pub(crate) const GENERAL_AUTHENTICATE: u8 = 0x87;

/// Reference of the PIV card application PIN.
pub(crate) const PIN: u8 = 0x80;
/// The key management key: the slot for key agreement.
pub(crate) const KEY_MANAGEMENT: u8 = 0x9D;
/// ECC P-256 in the algorithm table of SP 800-78.
pub(crate) const P256: u8 = 0x11;
/// RSA of 2048 bits in that table.
const RSA_2048: u8 = 0x07;
/// Curve25519 key agreement, in cards that have it: not in the standard.
const X25519: u8 = 0xE1;
/// Object of the certificate of 9D.
pub(crate) const CERTIFICATE: [u8; 3] = [0x5F, 0xC1, 0x0B];
/// Dynamic authentication template.
pub(crate) const TEMPLATE: u32 = 0x7C;
/// Wrapper of every data object.
pub(crate) const DATA: u32 = 0x53;

/// The PIV application of one card.
pub struct Piv<T: Transport> {
    transport: T,
    /// Whether a PIN may have been verified and not dropped since.
    unlocked: bool,
    /// Keys that were read, and the slots they are in.
    places: Vec<(CardKey, u8)>,
}

impl<T: Transport> Piv<T> {
    /// Selects PIV on the card behind `transport`.
    ///
    /// # Errors
    /// [`CardError::NoPiv`] when no name of the application is known to the card.
    pub fn select(transport: T) -> Result<Self, CardError> {
        let mut piv = Self {
            transport,
            unlocked: false,
            places: Vec::new(),
        };
        piv.select_again()?;
        Ok(piv)
    }

    /// The application on a card where it is selected already, and the key that was read there.
    pub(crate) fn selected(transport: T, key: CardKey) -> Self {
        Self {
            transport,
            unlocked: false,
            places: vec![(key, KEY_MANAGEMENT)],
        }
    }

    /// Forgets what was read of keys: they change.
    pub(crate) fn forget_keys(&mut self) {
        self.places.clear();
    }

    /// Takes `key` for that in 9D, until [`Self::forget_keys`], whatever a certificate says or none.
    pub(crate) fn suppose_key(&mut self, key: &CardKey) {
        self.places.clear();
        self.places.push((key.clone(), KEY_MANAGEMENT));
    }

    /// What carries the APDUs.
    pub const fn transport(&self) -> &T {
        &self.transport
    }

    pub(crate) fn send(
        &mut self,
        doing: &'static str,
        command: Command<'_>,
    ) -> Result<Answer, CardError> {
        send(&mut self.transport, command).map_err(CardError::apdu(doing))
    }

    /// Sends a command whose only good status is 9000.
    pub(crate) fn order(
        &mut self,
        doing: &'static str,
        command: Command<'_>,
    ) -> Result<Zeroizing<Vec<u8>>, CardError> {
        let answer = self.send(doing, command)?;
        if answer.status == Status::OK {
            Ok(answer.data)
        } else {
            Err(CardError::Refused {
                doing,
                status: answer.status,
            })
        }
    }

    /// The content of a data object, `None` when the card does not have it.
    pub(crate) fn get_object(
        &mut self,
        doing: &'static str,
        object: &[u8],
    ) -> Result<Option<Zeroizing<Vec<u8>>>, CardError> {
        let command = Command {
            instruction: GET_DATA,
            p1: 0x3F,
            p2: 0xFF,
            data: &put(0x5C, &[object]),
            answers: Answers::Data,
        };
        let answer = self.send(doing, command)?;
        match answer.status {
            Status::OK => {}
            Status::NOT_FOUND => return Ok(None),
            status => return Err(CardError::Refused { doing, status }),
        }
        let content = tlv::find(&answer.data, DATA).map_err(CardError::malformed(doing))?;
        match content {
            // An object that was written empty is one that was deleted.
            None | Some([]) => Ok(None),
            Some(content) => Ok(Some(Zeroizing::new(content.to_vec()))),
        }
    }

    fn verify_command(&mut self, p1: u8, data: &[u8]) -> Result<Status, CardError> {
        let command = Command {
            instruction: VERIFY,
            p1,
            p2: PIN,
            data,
            answers: Answers::Status,
        };
        Ok(self.send("verify the card PIN", command)?.status)
    }

    /// What the answer to a command that carried the PIN means.
    fn meaning(&mut self, doing: &'static str, status: Status) -> Result<Verified, CardError> {
        match status {
            Status::OK => Ok(Verified::Yes),
            Status::BLOCKED => Ok(Verified::Blocked),
            status if status.tries_left() == Some(0) => Ok(Verified::Blocked),
            status if status.tries_left().is_some() => Ok(Verified::Wrong(status.tries_left())),
            // Cards that do not count in their answer.
            status if status == Status::NOT_ALLOWED || status.word() == 0x6300 => {
                Ok(match self.tries_left()? {
                    Some(0) => Verified::Blocked,
                    tries => Verified::Wrong(tries),
                })
            }
            status => Err(CardError::Refused { doing, status }),
        }
    }
}

impl<T: Transport> Forget for Piv<T> {
    fn verify_without_pin(&mut self, p1: u8) -> Result<Status, CardError> {
        self.verify_command(p1, &[])
    }

    fn select_again(&mut self) -> Result<(), CardError> {
        let mut status = Status::NOT_FOUND;
        for name in NAMES {
            let command = Command {
                instruction: SELECT,
                p1: 0x04,
                p2: 0x00,
                data: name,
                answers: Answers::Data,
            };
            status = self.send("select PIV", command)?.status;
            if status == Status::OK {
                return Ok(());
            }
        }
        Err(CardError::NoPiv(status))
    }

    fn state(&mut self) -> (&mut dyn Transport, &mut bool) {
        (&mut self.transport, &mut self.unlocked)
    }
}

impl<T: Transport> Piv<T> {
    /// The key whose certificate is in `object`.
    fn key_of(&mut self, doing: &'static str, object: &[u8]) -> Result<CardKey, CardError> {
        let object = self.get_object(doing, object)?.ok_or(CardError::NoKey)?;
        let spki = certificate::spki_of_object(&object)?;
        CardKey::from_spki(spki).map_err(CardError::WrongKey)
    }

    /// The slot with the key called `id`.
    fn place_of(&mut self, id: CardId) -> Result<u8, CardError> {
        let known = |piv: &Self| {
            let mut places = piv.places.iter();
            places.find_map(|(key, place)| (key.id() == id).then_some(*place))
        };
        if let Some(place) = known(self) {
            return Ok(place);
        }
        if self.key().is_ok_and(|key| key.id() == id) {
            return Ok(KEY_MANAGEMENT);
        }
        self.older_keys()?;
        known(self).ok_or(CardError::NoKey)
    }
}

impl<T: Transport> CardApp for Piv<T> {
    fn key(&mut self) -> Result<CardKey, CardError> {
        let known = self.places.iter().find(|(_, at)| *at == KEY_MANAGEMENT);
        if let Some((key, _)) = known {
            return Ok(key.clone());
        }
        let key = self.key_of("read the 9D certificate", &CERTIFICATE)?;
        self.places.push((key.clone(), KEY_MANAGEMENT));
        Ok(key)
    }

    fn older_keys(&mut self) -> Result<Vec<CardKey>, CardError> {
        self.retired_keys()
    }

    fn tries_left(&mut self) -> Result<Option<u8>, CardError> {
        Ok(match self.ask_locked()? {
            Status::BLOCKED => Some(0),
            status => status.tries_left(),
        })
    }

    // VERIFY, NIST SP 800-73-4 part 2 §3.2.1
    fn verify(&mut self, pin: &Pin) -> Result<Verified, CardError> {
        // Before the answer: it may be lost after the card took the PIN.
        self.unlocked = true;
        let status = self.verify_command(0, pin.padded())?;
        self.meaning("verify the card PIN", status)
    }

    // CHANGE REFERENCE DATA, NIST SP 800-73-4 part 2 §3.2.2
    fn change_pin(&mut self, old: &Pin, new: &Pin) -> Result<Verified, CardError> {
        self.unlocked = true; // some cards take the change as a verification
        let status = change_reference(self, old, new)?;
        self.meaning("change the card PIN", status)
    }

    fn unblock(&mut self, puk: &Puk, new: &Pin) -> Result<Verified, CardError> {
        let doing = "unblock the card PIN";
        match reset_retry_counter(self, puk, new)? {
            Status::OK => Ok(Verified::Yes),
            Status::BLOCKED => Ok(Verified::Blocked),
            status if status.tries_left() == Some(0) => Ok(Verified::Blocked),
            status if status.tries_left().is_some() => Ok(Verified::Wrong(status.tries_left())),
            // There is no way to ask for the tries of a PUK.
            status if status.is_wrong() => Ok(Verified::Wrong(None)),
            status => Err(CardError::Refused { doing, status }),
        }
    }

    // GENERAL AUTHENTICATE, NIST SP 800-73-4 part 2 §3.2.4, A.4.1 for RSA, A.5.1 for key agreement
    fn agree(
        &mut self,
        key: &CardKey,
        enc: &Encapsulated,
    ) -> Result<Zeroizing<Vec<u8>>, CardError> {
        let doing = "use the card's key";
        let (algorithm, tag, length) = match enc {
            Encapsulated::P256(_) => (P256, 0x85, 32),
            Encapsulated::X25519(_) => (X25519, 0x85, 32),
            Encapsulated::Rsa2048(_) => (RSA_2048, 0x81, RSA_BYTES),
        };
        let place = self.place_of(key.id())?;
        let command = Command {
            instruction: GENERAL_AUTHENTICATE,
            p1: algorithm,
            p2: place,
            data: &put(TEMPLATE, &[&put(0x82, &[]), &put(tag, &[enc.as_bytes()])]),
            answers: Answers::Data,
        };
        let data = self.order(doing, command)?;
        let template = tlv::find(&data, TEMPLATE).map_err(CardError::malformed(doing))?;
        let secret = tlv::find(template.unwrap_or_default(), 0x82)
            .map_err(CardError::malformed(doing))?
            .unwrap_or_default();
        if secret.len() != length {
            return Err(CardError::Malformed {
                doing,
                source: None,
            });
        }
        Ok(Zeroizing::new(secret.to_vec()))
    }

    fn lock(&mut self) -> Result<(), CardError> {
        self.forget_pin()
    }
}

impl<T: Transport> Drop for Piv<T> {
    fn drop(&mut self) {
        self.forget_at_last();
    }
}

#[cfg(test)]
mod tests;
