//! What the issuing station does to a card: keys, certificate, PIN, PUK. Never on a shared PC.
//!
//! Source: NIST SP 800-73-4 part 2 §3.2 and §3.3; docs/formats/card.md §issue.

pub mod half;
mod key;
mod reference;

use getrandom::Error as RandomError;
use snapshot::{id::CardId, slot::SlotError};
use subtle::ConstantTimeEq as _;

pub(crate) use self::reference::{change_reference, reset_retry_counter};
pub use self::{
    key::{Algorithm, ManagementKey, ManagementKeyFormatError},
    reference::{change_pin, change_puk, unblock},
};
use crate::{
    apdu::{
        Answers, Command, Status, Transport,
        tlv::{self, put},
    },
    app::{CardApp, CardError, CardKey},
    piv::{
        CERTIFICATE, DATA, GENERAL_AUTHENTICATE, KEY_MANAGEMENT, P256, Piv, TEMPLATE, certificate,
    },
};

const GENERATE: u8 = 0x47;
const PUT_DATA: u8 = 0xDB;
/// Not in the standard; Yubico's, and everybody else's since.
const SET_MANAGEMENT_KEY: u8 = 0xFF;
/// The card management key.
const MANAGEMENT: u8 = 0x9B;
/// Card Holder Unique Identifier: tools want one before they show a card.
const CHUID: [u8; 3] = [0x5F, 0xC1, 0x02];
/// FASC-N of cards that no federal agency issued, as other tools write it.
const NOT_FEDERAL: [u8; 25] = [
    0xD4, 0xE7, 0x39, 0xDA, 0x73, 0x9C, 0xED, 0x39, 0xCE, 0x73, 0x9D, 0x83, 0x68, 0x58, 0x21, 0x08,
    0x42, 0x10, 0x84, 0x21, 0xC8, 0x42, 0x10, 0xC3, 0xEB,
];

/// Why a card was not managed.
#[derive(Debug, thiserror::Error)]
pub enum ManageError {
    /// The card did not work, or did not obey.
    #[error(transparent)]
    Card(#[from] CardError),
    /// The management key is another one.
    #[error("the card refuses this management key")]
    WrongManagementKey,
    /// The card uses none of the algorithms we know.
    #[error("the card names no management key algorithm we know (it answered {0})")]
    UnknownAlgorithm(Status),
    /// The card took our answer and could not prove that it has the key too.
    #[error("the card does not prove that it has the management key")]
    Impostor,
    /// A key too short for the card's algorithm.
    #[error("the card wants a management key of {want} bytes, this one has {have}")]
    KeyLength {
        /// Bytes wanted.
        want: usize,
        /// Bytes given.
        have: usize,
    },
    /// The card has no management key we could set.
    #[error("the card takes no new management key (it answered {0})")]
    KeyNotTaken(Status),
    /// The old PIN or the PUK is wrong.
    #[error("the card refuses the {what}{}", .tries_left.map(|n| format!(", tries left: {n}")).unwrap_or_default())]
    WrongReference {
        /// Which of them.
        what: &'static str,
        /// Tries left, if the card says.
        tries_left: Option<u8>,
    },
    /// Only one try is left, and nobody said that it may be used.
    #[error("one try is left for the {0}; it was not used")]
    LastTry(&'static str),
    /// No tries left.
    #[error("the {0} of the card is blocked")]
    Blocked(&'static str),
    /// The card generated something else than a P-256 key.
    #[error("the key the card generated cannot be used")]
    WrongKey(#[source] SlotError),
    /// What was written is not what is read.
    #[error("the card shows another key than it generated; it may be full or broken")]
    NotWritten,
    /// No randomness.
    #[error("get random bytes from the system")]
    Random(#[from] RandomError),
}

/// A card that accepted the management key.
pub struct Manager<'a, T: Transport> {
    piv: &'a mut Piv<T>,
}

/// Proves to the card that we have the management key, and has the card prove the same.
///
/// Finds out the key's algorithm by asking; asking for the wrong one costs nothing.
///
/// # Errors
/// [`ManageError`]; cards do not count tries here.
///
/// Source: SP 800-73-4 part 2 §3.2.4, mutual authentication; one-sided is refused by some cards.
pub fn authenticate<'a, T: Transport>(
    piv: &'a mut Piv<T>,
    key: &ManagementKey,
) -> Result<Manager<'a, T>, ManageError> {
    let doing = "authenticate with the management key";
    let (algorithm, mut witness) = ask_for_witness(piv)?;
    let block = algorithm.block_bytes();
    let key = key.cipher(algorithm)?;
    key.decrypt(&mut witness);
    let mut challenge = vec![0; block];
    getrandom::fill(&mut challenge)?;
    let command = Command {
        instruction: GENERAL_AUTHENTICATE,
        p1: algorithm.number(),
        p2: MANAGEMENT,
        data: &put(
            TEMPLATE,
            &[&put(0x80, &[&witness]), &put(0x81, &[&challenge])],
        ),
        answers: Answers::Data,
    };
    let answer = piv.send(doing, command)?;
    match answer.status {
        Status::OK => {}
        status if matches!(status.word(), 0x6982 | 0x6300 | 0x6A80 | 0x63C0..=0x63CF) => {
            return Err(ManageError::WrongManagementKey);
        }
        Status::BLOCKED => return Err(ManageError::Blocked("management key")),
        status => return Err(CardError::Refused { doing, status }.into()),
    }
    let response = part(&answer.data, 0x82, doing)?;
    key.encrypt(&mut challenge);
    if !bool::from(response.ct_eq(&challenge)) {
        return Err(ManageError::Impostor);
    }
    Ok(Manager { piv })
}

/// Asks for a witness in every algorithm until the card gives one.
fn ask_for_witness<T: Transport>(piv: &mut Piv<T>) -> Result<(Algorithm, Vec<u8>), ManageError> {
    let doing = "ask which management key the card has";
    let mut last = Status::OK;
    for algorithm in Algorithm::ALL {
        let command = Command {
            instruction: GENERAL_AUTHENTICATE,
            p1: algorithm.number(),
            p2: MANAGEMENT,
            data: &put(TEMPLATE, &[&put(0x80, &[])]),
            answers: Answers::Data,
        };
        let answer = piv.send(doing, command)?;
        last = answer.status;
        if last != Status::OK {
            continue;
        }
        let witness = part(&answer.data, 0x80, doing)?.to_vec();
        // Some cards answer whatever algorithm is asked for, with a witness of their own length.
        if witness.len() == algorithm.block_bytes() {
            return Ok((algorithm, witness));
        }
    }
    Err(ManageError::UnknownAlgorithm(last))
}

/// A field of a dynamic authentication template.
fn part<'a>(data: &'a [u8], tag: u32, doing: &'static str) -> Result<&'a [u8], CardError> {
    let malformed = || CardError::Malformed {
        doing,
        source: None,
    };
    let template = tlv::find(data, TEMPLATE)
        .map_err(CardError::malformed(doing))?
        .ok_or_else(malformed)?;
    tlv::find(template, tag)
        .map_err(CardError::malformed(doing))?
        .ok_or_else(malformed)
}

#[cfg(any(test, fuzzing))]
impl<'a, T: Transport> Manager<'a, T> {
    /// As if the card had proved itself: a lying card could, if it knew the key.
    pub(crate) const fn unproved(piv: &'a mut Piv<T>) -> Self {
        Self { piv }
    }
}

impl<T: Transport> Manager<'_, T> {
    /// Makes the card generate its key and writes a certificate around it. The key that was in
    /// the slot is gone for ever, and with it everything wrapped to it.
    ///
    /// # Errors
    /// [`ManageError`]; the slot may hold a new key without a certificate, as after [`Self::generate`].
    pub fn make_key(&mut self) -> Result<CardKey, ManageError> {
        let key = self.generate()?;
        self.write_certificate(&key)?;
        Ok(key)
    }

    /// Makes the card generate its key. Until [`Self::write_certificate`] the card shows none, as
    /// one that nobody issued: whoever stops in between may begin again.
    ///
    /// # Errors
    /// [`ManageError`]; the slot may hold a new key without a certificate.
    pub fn generate(&mut self) -> Result<CardKey, ManageError> {
        let doing = "generate the card's key";
        self.piv.forget_keys();
        // A certificate of the key that goes would name a card that is no more.
        if self.piv.get_object(doing, &CERTIFICATE)?.is_some() {
            self.put_object("remove the old certificate", &CERTIFICATE, &[])?;
        }
        let command = Command {
            instruction: GENERATE,
            p1: 0x00,
            p2: KEY_MANAGEMENT,
            data: &put(0xAC, &[&put(0x80, &[&[P256]])]),
            answers: Answers::Data,
        };
        let data = self.piv.order(doing, command)?;
        let public = tlv::find(&data, 0x7F49).map_err(CardError::malformed(doing))?;
        let point = tlv::find(public.unwrap_or_default(), 0x86)
            .map_err(CardError::malformed(doing))?
            .unwrap_or_default();
        CardKey::from_point(point).map_err(ManageError::WrongKey)
    }

    /// Writes the certificate of the key that was just generated, and reads it back.
    ///
    /// # Errors
    /// [`ManageError`]; [`ManageError::NotWritten`] when another key is read.
    pub fn write_certificate(&mut self, key: &CardKey) -> Result<(), ManageError> {
        let envelope = certificate::envelope(key.spki(), key.id())?;
        let object = [put(0x70, &[&envelope]), put(0x71, &[&[0]]), put(0xFE, &[])].concat();
        self.put_object("write the card's certificate", &CERTIFICATE, &object)?;
        self.piv.forget_keys();
        if self.piv.key()? != *key {
            return Err(ManageError::NotWritten);
        }
        Ok(())
    }

    /// Writes a CHUID with a random GUID if the card has none.
    ///
    /// # Errors
    /// [`ManageError`].
    pub fn write_chuid_if_absent(&mut self) -> Result<(), ManageError> {
        if self.piv.get_object("read the CHUID", &CHUID)?.is_some() {
            return Ok(());
        }
        let mut guid = [0; 16];
        getrandom::fill(&mut guid)?;
        let object = [
            put(0x30, &[&NOT_FEDERAL]),
            put(0x34, &[&guid]),
            put(0x35, &[b"99991231"]),
            put(0x3E, &[]),
            put(0xFE, &[]),
        ]
        .concat();
        self.put_object("write the CHUID", &CHUID, &object)
    }

    /// Gives the card a new management key, with the strongest algorithm it takes.
    ///
    /// The card uses as many of the 32 bytes as its algorithm needs. Proves the new key at the end.
    ///
    /// # Errors
    /// [`ManageError`]; after [`ManageError::KeyNotTaken`] the old key is still there.
    pub fn set_management_key(self, key: &ManagementKey) -> Result<(), ManageError> {
        let mut last = Status::OK;
        for algorithm in Algorithm::STRONGEST_FIRST {
            let data = key.set_command_data(algorithm, MANAGEMENT)?;
            let command = Command {
                instruction: SET_MANAGEMENT_KEY,
                p1: 0xFF,
                p2: 0xFF,
                data: &data,
                answers: Answers::Status,
            };
            last = self.piv.send("set the management key", command)?.status;
            if last == Status::OK {
                return authenticate(self.piv, key).map(|_| ());
            }
        }
        Err(ManageError::KeyNotTaken(last))
    }

    fn put_object(
        &mut self,
        doing: &'static str,
        object: &[u8],
        content: &[u8],
    ) -> Result<(), ManageError> {
        let command = Command {
            instruction: PUT_DATA,
            p1: 0x3F,
            p2: 0xFF,
            data: &[put(0x5C, &[object]), put(DATA, &[content])].concat(),
            answers: Answers::Status,
        };
        self.piv.order(doing, command)?;
        Ok(())
    }
}

/// Which card this is now, `None` when it has no key.
///
/// # Errors
/// [`CardError`], other than that there is no key.
pub fn current_card(app: &mut dyn CardApp) -> Result<Option<CardId>, CardError> {
    match app.key() {
        Ok(key) => Ok(Some(key.id())),
        Err(CardError::NoKey) => Ok(None),
        Err(err) => Err(err),
    }
}
