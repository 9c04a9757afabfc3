//! The application of OpenPGP cards, as far as a decryption key behind a PIN needs it.
//!
//! Its user PIN (PW1) is ours; its admin PIN (PW3) unblocks that one, as a PUK does. Keys are made by other programs.
//!
//! Source: OpenPGP smart card application 3.4.1, §4.4, §7.2; docs/formats/card.md §openpgp.

mod read;

use snapshot::slot::Encapsulated;
use zeroize::Zeroizing;

use crate::{
    apdu::{Answer, Answers, Command, Status, Transport, send, tlv::put},
    app::{CardApp, CardError, CardKey, Verified},
    forget::Forget,
    pin::{Pin, Puk},
};

use read::{POINT, PUBLIC_KEY};

const NAME: &[u8] = &[0xD2, 0x76, 0x00, 0x01, 0x24, 0x01];

const SELECT: u8 = 0xA4;
const VERIFY: u8 = 0x20;
const CHANGE_REFERENCE_DATA: u8 = 0x24;
const RESET_RETRY_COUNTER: u8 = 0x2C;
const PERFORM_SECURITY_OPERATION: u8 = 0x2A;

/// PW1 when it is changed.
const PW1: u8 = 0x81;
/// PW1 for everything but signing, where decryption belongs.
const PW1_OTHER: u8 = 0x82;
/// PW3.
const PW3: u8 = 0x83;

const CIPHER: u32 = 0xA6;

/// The OpenPGP application of one card.
pub struct OpenPgp<T: Transport> {
    transport: T,
    /// Whether a PIN may have been verified and not dropped since.
    unlocked: bool,
    /// The key, once it was read.
    key: Option<CardKey>,
}

/// Tries left as the card says them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tries {
    /// Of the user PIN.
    pub pin: u8,
    /// Of the admin PIN.
    pub admin_pin: u8,
}

impl<T: Transport> OpenPgp<T> {
    /// Selects the application on the card behind `transport`.
    ///
    /// # Errors
    /// [`CardError::NoPiv`] when the card does not know its name.
    pub fn select(transport: T) -> Result<Self, CardError> {
        let mut card = Self {
            transport,
            unlocked: false,
            key: None,
        };
        card.select_again()?;
        Ok(card)
    }

    /// The application on a card where it is selected already, and the key that was read there.
    pub(crate) fn selected(transport: T, key: CardKey) -> Self {
        Self {
            transport,
            unlocked: false,
            key: Some(key),
        }
    }

    /// What carries the APDUs.
    pub const fn transport(&self) -> &T {
        &self.transport
    }

    fn send(
        &mut self,
        doing: &'static str,
        instruction: u8,
        [p1, p2]: [u8; 2],
        data: &[u8],
        answers: Answers,
    ) -> Result<Answer, CardError> {
        let command = Command {
            instruction,
            p1,
            p2,
            data,
            answers,
        };
        send(&mut self.transport, command).map_err(CardError::apdu(doing))
    }

    fn verify_command(&mut self, p1: u8, data: &[u8]) -> Result<Status, CardError> {
        let doing = "verify the card PIN";
        let answer = self.send(doing, VERIFY, [p1, PW1_OTHER], data, Answers::Status)?;
        Ok(answer.status)
    }

    /// What the answer to a command that carried a PIN means; `tries` are that PIN's.
    fn meaning(
        &mut self,
        doing: &'static str,
        status: Status,
        tries: fn(Tries) -> u8,
    ) -> Result<Verified, CardError> {
        match status {
            Status::OK => Ok(Verified::Yes),
            Status::BLOCKED => Ok(Verified::Blocked),
            status if status.is_wrong() || status.tries_left().is_some() => {
                Ok(match tries(self.tries()?) {
                    0 => Verified::Blocked,
                    left => Verified::Wrong(Some(left)),
                })
            }
            status => Err(CardError::Refused { doing, status }),
        }
    }
}

impl<T: Transport> Forget for OpenPgp<T> {
    fn verify_without_pin(&mut self, p1: u8) -> Result<Status, CardError> {
        self.verify_command(p1, &[])
    }

    fn select_again(&mut self) -> Result<(), CardError> {
        let answer = self.send("select OpenPGP", SELECT, [0x04, 0x00], NAME, Answers::Data)?;
        match answer.status {
            Status::OK => Ok(()),
            status => Err(CardError::NoPiv(status)),
        }
    }

    fn state(&mut self) -> (&mut dyn Transport, &mut bool) {
        (&mut self.transport, &mut self.unlocked)
    }
}

impl<T: Transport> CardApp for OpenPgp<T> {
    fn key(&mut self) -> Result<CardKey, CardError> {
        if let Some(key) = &self.key {
            return Ok(key.clone());
        }
        let key = self.read_key()?;
        self.key = Some(key.clone());
        Ok(key)
    }

    fn tries_left(&mut self) -> Result<Option<u8>, CardError> {
        // 9000 to an empty VERIFY: it is open (§7.2.2).
        self.ask_locked()?;
        Ok(Some(self.tries()?.pin))
    }

    // VERIFY (§7.2.2): not padded.
    fn verify(&mut self, pin: &Pin) -> Result<Verified, CardError> {
        // Before the answer: it may be lost after the card took the PIN.
        self.unlocked = true;
        let status = self.verify_command(0, pin.typed_bytes())?;
        self.meaning("verify the card PIN", status, |tries| tries.pin)
    }

    // CHANGE REFERENCE DATA (§7.2.3): old and new one after the other, the card knows how long the old one is.
    fn change_pin(&mut self, old: &Pin, new: &Pin) -> Result<Verified, CardError> {
        let doing = "change the card PIN";
        self.unlocked = true;
        let data = Zeroizing::new([old.typed_bytes(), new.typed_bytes()].concat());
        let answer = self.send(
            doing,
            CHANGE_REFERENCE_DATA,
            [0x00, PW1],
            &data,
            Answers::Status,
        )?;
        self.meaning(doing, answer.status, |tries| tries.pin)
    }

    // VERIFY of PW3, then RESET RETRY COUNTER (§7.2.4) with P1=02.
    fn unblock(&mut self, admin: &Puk, new: &Pin) -> Result<Verified, CardError> {
        let doing = "verify the admin PIN";
        self.unlocked = true;
        let answer = self.send(
            doing,
            VERIFY,
            [0x00, PW3],
            admin.typed_bytes(),
            Answers::Status,
        )?;
        let verified = self.meaning(doing, answer.status, |tries| tries.admin_pin)?;
        if verified != Verified::Yes {
            return Ok(verified);
        }
        let doing = "unblock the card PIN";
        let answer = self.send(
            doing,
            RESET_RETRY_COUNTER,
            [0x02, PW1],
            new.typed_bytes(),
            Answers::Status,
        )?;
        // What the admin PIN opened is closed again, whatever came of it.
        let reset = answer.status;
        self.power_cycle()?;
        match reset {
            Status::OK => Ok(Verified::Yes),
            status => Err(CardError::Refused { doing, status }),
        }
    }

    // PSO: DECIPHER (§7.2.11): A6{7F49{86 point}}.
    fn agree(
        &mut self,
        key: &CardKey,
        enc: &Encapsulated,
    ) -> Result<Zeroizing<Vec<u8>>, CardError> {
        let doing = "use the card's key";
        if self.key()?.id() != key.id() {
            return Err(CardError::NoKey);
        }
        let cipher = put(
            CIPHER,
            &[&put(PUBLIC_KEY, &[&put(POINT, &[enc.as_bytes()])])],
        );
        let answer = self.send(
            doing,
            PERFORM_SECURITY_OPERATION,
            [0x80, 0x86],
            &cipher,
            Answers::Data,
        )?;
        if answer.status != Status::OK {
            let status = answer.status;
            return Err(CardError::Refused { doing, status });
        }
        match answer.data.as_slice() {
            secret if secret.len() == 32 => Ok(answer.data),
            // The whole point: its x coordinate is the secret.
            [0x04, rest @ ..] if rest.len() == 64 => {
                let (x, _) = rest.split_at(32);
                Ok(Zeroizing::new(x.to_vec()))
            }
            _ => Err(CardError::Malformed {
                doing,
                source: None,
            }),
        }
    }

    fn lock(&mut self) -> Result<(), CardError> {
        self.forget_pin()
    }
}

impl<T: Transport> Drop for OpenPgp<T> {
    fn drop(&mut self) {
        self.forget_at_last();
    }
}

#[cfg(test)]
mod tests;
