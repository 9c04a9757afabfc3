//! The application of OpenPGP cards, as far as a decryption key behind a PIN needs it.
//!
//! Its user PIN (PW1) is ours; its admin PIN (PW3) unblocks that one, as a PUK does. Keys are made by other programs.
//!
//! Source: OpenPGP smart card application 3.4.1, §4.4, §7.2; docs/formats/card.md §openpgp.

use snapshot::slot::{Encapsulated, PublicKey, SlotError};
use zeroize::Zeroizing;

use crate::{
    apdu::{
        Answer, Answers, Command, Status, Transport, send,
        tlv::{self, put},
    },
    app::{CardApp, CardError, CardKey, Verified},
    pin::{Pin, Puk},
};

const NAME: &[u8] = &[0xD2, 0x76, 0x00, 0x01, 0x24, 0x01];

const SELECT: u8 = 0xA4;
const VERIFY: u8 = 0x20;
const CHANGE_REFERENCE_DATA: u8 = 0x24;
const RESET_RETRY_COUNTER: u8 = 0x2C;
const PERFORM_SECURITY_OPERATION: u8 = 0x2A;
const GENERATE: u8 = 0x47;
const GET_DATA: u8 = 0xCA;

/// PW1 when it is changed.
const PW1: u8 = 0x81;
/// PW1 for everything but signing, where decryption belongs.
const PW1_OTHER: u8 = 0x82;
/// PW3.
const PW3: u8 = 0x83;

/// Application related data, and the objects in it.
const ABOUT: u32 = 0x6E;
const DISCRETIONARY: u32 = 0x73;
const DECRYPTION_ALGORITHM: u32 = 0xC2;
const PW_STATUS: u32 = 0xC4;
/// How PINs are hashed before the card sees them.
const KDF: u32 = 0xF9;
const PUBLIC_KEY: u32 = 0x7F49;
const POINT: u32 = 0x86;
const CIPHER: u32 = 0xA6;

/// Algorithm attributes: ECDH, then the curve.
const ECDH: u8 = 0x12;
/// NIST P-256, curve25519 as GnuPG names it, X25519 as RFC 8410 does.
const P256: &[u8] = &[0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x03, 0x01, 0x07];
const CV25519: &[u8] = &[0x2B, 0x06, 0x01, 0x04, 0x01, 0x97, 0x55, 0x01, 0x05, 0x01];
const X25519: &[u8] = &[0x2B, 0x65, 0x6E];

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

    fn select_again(&mut self) -> Result<(), CardError> {
        let answer = self.send("select OpenPGP", SELECT, [0x04, 0x00], NAME, Answers::Data)?;
        match answer.status {
            Status::OK => Ok(()),
            status => Err(CardError::NoPiv(status)),
        }
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

    /// A data object without the tag around it, `None` when the card does not have it.
    fn get_data(
        &mut self,
        doing: &'static str,
        tag: u32,
    ) -> Result<Option<Zeroizing<Vec<u8>>>, CardError> {
        let [_, _, p1, p2] = tag.to_be_bytes();
        let answer = self.send(doing, GET_DATA, [p1, p2], &[], Answers::Data)?;
        match answer.status {
            Status::OK => {}
            // Not found, reference not found, wrong parameter: cards differ.
            status if matches!(status.word(), 0x6A82 | 0x6A88 | 0x6B00 | 0x6A86) => {
                return Ok(None);
            }
            status => return Err(CardError::Refused { doing, status }),
        }
        // Some cards answer with the tag around it, as the standard has it only for constructed objects.
        let inner = tlv::find(&answer.data, tag).ok().flatten();
        Ok(Some(match inner {
            Some(inner) => Zeroizing::new(inner.to_vec()),
            None => answer.data,
        }))
    }

    /// The PW status bytes (§4.4.2): seven, the last three the tries of PW1, of the reset code, of PW3.
    ///
    /// # Errors
    /// [`CardError`].
    pub fn tries(&mut self) -> Result<Tries, CardError> {
        let doing = "read the tries left for the card PIN";
        let status = self.get_data(doing, PW_STATUS)?;
        match status.as_deref().map(Vec::as_slice) {
            Some([_, _, _, _, pin, _, admin_pin]) => Ok(Tries {
                pin: *pin,
                admin_pin: *admin_pin,
            }),
            _ => Err(CardError::Malformed {
                doing,
                source: None,
            }),
        }
    }

    /// Refuses a card that wants hashed PINs: it would count ours as wrong ones.
    fn check_plain_pins(&mut self) -> Result<(), CardError> {
        let doing = "read how the card takes its PIN";
        let Some(kdf) = self.get_data(doing, KDF)? else {
            return Ok(());
        };
        match tlv::find(&kdf, 0x81).map_err(CardError::malformed(doing))? {
            None | Some([] | [0]) => Ok(()),
            Some(_) => Err(CardError::HashedPin),
        }
    }

    /// The curve of the decryption key.
    fn algorithm(&mut self) -> Result<Zeroizing<Vec<u8>>, CardError> {
        let doing = "read what key the card has";
        let malformed = || CardError::Malformed {
            doing,
            source: None,
        };
        let about = self.get_data(doing, ABOUT)?.ok_or_else(malformed)?;
        let find = |data, tag| tlv::find(data, tag).map_err(CardError::malformed(doing));
        let inside = find(&about, DISCRETIONARY)?.unwrap_or(&about);
        let algorithm = find(inside, DECRYPTION_ALGORITHM)?.ok_or_else(malformed)?;
        Ok(Zeroizing::new(algorithm.to_vec()))
    }

    fn read_key(&mut self) -> Result<CardKey, CardError> {
        self.check_plain_pins()?;
        let doing = "read the card's decryption key";
        let algorithm = self.algorithm()?;
        // GENERATE ASYMMETRIC KEY PAIR with P1=81 only reads (§7.2.14); B8 is the decryption key.
        let answer = self.send(doing, GENERATE, [0x81, 0x00], &[0xB8, 0x00], Answers::Data)?;
        match answer.status {
            Status::OK => {}
            // There is none: reference or object not found, conditions of use.
            status if matches!(status.word(), 0x6A88 | 0x6A82 | 0x6985) => {
                return Err(CardError::NoKey);
            }
            status => return Err(CardError::Refused { doing, status }),
        }
        let wrong = || CardError::WrongKey(SlotError::OtherKind);
        // The curve may be followed by a byte about import.
        let curve = match algorithm.split_first() {
            Some((&ECDH, curve)) => curve,
            _ => return Err(wrong()),
        };
        let find = |data, tag| tlv::find(data, tag).map_err(CardError::malformed(doing));
        let public = find(&answer.data, PUBLIC_KEY)?.unwrap_or_default();
        let point = find(public, POINT)?.unwrap_or_default();
        let key = if curve.starts_with(P256) {
            PublicKey::P256(point.try_into().map_err(|_| wrong())?)
        } else if curve.starts_with(CV25519) || curve.starts_with(X25519) {
            // GnuPG's prefix of native points.
            let point = match point {
                [0x40, native @ ..] if native.len() == 32 => native,
                native => native,
            };
            PublicKey::X25519(point.try_into().map_err(|_| wrong())?)
        } else {
            return Err(wrong());
        };
        CardKey::from_public(&key).map_err(CardError::WrongKey)
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

    fn power_cycle(&mut self) -> Result<(), CardError> {
        self.transport
            .power_cycle()
            .map_err(|err| CardError::apdu("cut the card's power")(err.into()))?;
        self.unlocked = false;
        self.select_again()
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
        // 9000 to an empty VERIFY: somebody before us left it open (§7.2.2).
        if self.verify_command(0, &[])? == Status::OK {
            self.lock()?;
            if self.verify_command(0, &[])? == Status::OK {
                self.power_cycle()?;
            }
        }
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
        // P1=FF is of version 3; older cards forget when they lose power.
        if self.verify_command(0xFF, &[])? == Status::OK {
            self.unlocked = false;
            return Ok(());
        }
        self.power_cycle()
    }
}

impl<T: Transport> Drop for OpenPgp<T> {
    fn drop(&mut self) {
        if self.unlocked {
            // Best effort: the connection cuts the card's power when it ends.
            let _ = self.verify_command(0xFF, &[]);
        }
    }
}

#[cfg(test)]
mod tests;
