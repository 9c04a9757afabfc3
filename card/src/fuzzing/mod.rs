//! What is true of any bytes at all, one function for each parser of what a card, a site or an issuer wrote. Built
//! for tests and fuzzing only.
//!
//! `card/fuzz` calls these with the bytes libFuzzer makes up, tests with the seeds kept there and with random ones.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "what does not hold is a finding, and stops the fuzzer"
)]

mod liar;
#[cfg(test)]
mod prop;
#[cfg(test)]
mod seeds;

use snapshot::{
    id::SiteId,
    slot::{self, Challenge, Encapsulated, Wrapped},
};
use zeroize::Zeroizing;

use self::liar::{Liar, Told};
use crate::{
    Card, CardApp, CardError, CardKey, LastTry, Pin, Puk,
    apdu::tlv,
    app::Verified,
    escrow::{RecoverySecret, SealedEscrow},
    manage::{self, ManagementKey, Manager},
    openpgp::OpenPgp,
    piv::{Piv, certificate},
    unwrap::UnwrapError,
};

/// A parser and what must hold of it.
pub type Target = (&'static str, fn(&[u8]));

/// All of them, by the name of their fuzz target.
pub const TARGETS: [Target; 4] = [
    ("card_answers", card_answers),
    ("card_certificate", card_certificate),
    ("card_sealed", card_sealed),
    ("card_tlv", card_tlv),
];

/// Objects one after another: what was read is what is there, and writes back as one of its forms.
pub fn card_tlv(data: &[u8]) {
    let mut rest = data;
    while let Ok((read, after)) = tlv::take(rest) {
        assert_eq!(read.whole.len() + after.len(), rest.len());
        assert!(read.whole.ends_with(read.value) && rest.starts_with(read.whole));
        if read.value.len() <= usize::from(u16::MAX) && read.tag != 0 {
            let written = tlv::put(read.tag, &[read.value]);
            let (again, nothing) = tlv::take(&written).unwrap();
            assert_eq!((again.tag, again.value), (read.tag, read.value));
            assert!(nothing.is_empty() && written.len() <= read.whole.len());
        }
        rest = after;
    }
    for tag in [0x53, 0x70, 0x7C, 0x7F49] {
        let _ = tlv::find(data, tag);
    }
}

/// A certificate and the object around one: a key that is found is a part of it.
pub fn card_certificate(data: &[u8]) {
    let found = [certificate::spki(data), certificate::spki_of_object(data)];
    for spki in found.into_iter().flatten() {
        assert!(data.windows(spki.len()).any(|part| part == spki));
        if let Ok(key) = CardKey::from_spki(spki) {
            assert_eq!(key.spki(), spki);
            let envelope = certificate::envelope(key.spki(), key.id()).unwrap();
            assert_eq!(certificate::spki(&envelope).unwrap(), spki);
        }
    }
}

/// A key, a slot, a challenge and an escrow from outside: nothing opens that was not sealed to the card.
pub fn card_sealed(data: &[u8]) {
    let mut card = Card::open(Fixed)
        .unwrap()
        .unlock(&pin(1), LastTry::Keep)
        .unwrap();
    if let Ok(slot) = slot::parse(data) {
        let opened = card.unwrap(&slot);
        assert!(opened.is_err());
        if matches!(slot.wrapped, Wrapped::ByPassphrase(_)) {
            assert!(matches!(opened, Err(UnwrapError::ByPassphrase)));
        }
    }
    let _ = card.prove(SiteId::new([5; 16]), "c0ffee", data).map(drop);
    if let Ok(read) = Challenge::parse(data) {
        assert_eq!(read.to_bytes(), data);
    }
    for escrow in SealedEscrow::read_all(data).into_iter().flatten() {
        assert!(
            data.windows(escrow.to_bytes().len())
                .any(|part| part == escrow.to_bytes())
        );
        assert!(escrow.open(&mut fixed_recovery()).is_err());
    }
    let _ = CardKey::from_point(data).map(drop);
    let _ = CardKey::from_spki(data).map(drop);
}

/// A reader and a card that answer what they like, while a person signs in and an operator issues.
pub fn card_answers(data: &[u8]) {
    exchanges(data);
}

/// [`card_answers`]; how many commands were answered.
pub(crate) fn exchanges(data: &[u8]) -> usize {
    let told = Told::default();
    let liar = Liar::new(data, &told);
    match data.first() {
        Some(first) if first % 4 == 0 => sign_in(Piv::select(liar), &told),
        Some(first) if first % 4 == 2 => sign_in(OpenPgp::select(liar), &told),
        _ => issue(liar, &told),
    }
    told.exchanges()
}

/// A person types two PINs, one after the other.
fn sign_in(app: Result<impl CardApp + 'static, CardError>, told: &Told) {
    let Ok(mut card) = app.and_then(Card::open) else {
        return;
    };
    let mut typed = Vec::new();
    for (n, last_try) in [(1, LastTry::Keep), (2, LastTry::Use)] {
        let _ = card.tries_left();
        told.only(&typed);
        typed.push(pin(n).padded().to_vec());
        match card.unlock(&pin(n), last_try) {
            Ok(mut open) => {
                let key = open.key().public().clone();
                if let Ok((sealed, _)) = Challenge::seal(&key, SiteId::new([5; 16]), "c0ffee") {
                    let _ = open
                        .prove(SiteId::new([5; 16]), "c0ffee", &sealed)
                        .map(drop);
                }
                told.only(&typed);
                if n == 2 {
                    typed.push([pin(2).padded().as_slice(), pin(3).padded()].concat());
                    typed.push(pin(3).padded().to_vec());
                    let _ = open.change_pin(&pin(2), &pin(3)).map(drop);
                    told.only(&typed);
                    return;
                }
                match open.lock() {
                    Ok(locked) => card = locked,
                    Err(_) => return,
                }
            }
            Err(refused) => card = refused.card,
        }
        told.only(&typed);
    }
    drop(card);
    told.only(&typed);
}

/// An operator gives each of PIN and PUK once.
fn issue(liar: Liar, told: &Told) {
    let Ok(mut piv) = Piv::select(liar) else {
        return;
    };
    let _ = manage::current_card(&mut piv);
    let _ = manage::authenticate(&mut piv, &ManagementKey::factory()).map(drop);
    let mut manager = Manager::unproved(&mut piv);
    let _ = manager.write_chuid_if_absent();
    let _ = manager.make_key();
    let _ = manager.set_management_key(&ManagementKey::factory());
    told.only(&[]);
    let puk = Puk::typed("47114712").unwrap();
    let (old, new) = (pin(1), pin(2));
    let pair = |old: &[u8], new: &[u8]| [old, new].concat();
    let mut typed = vec![pair(old.padded(), new.padded())];
    let _ = manage::change_pin(&mut piv, &old, &new, LastTry::Keep);
    told.only(&typed);
    typed.push(pair(Puk::factory().padded(), puk.padded()));
    let _ = manage::change_puk(&mut piv, &Puk::factory(), &puk);
    told.only(&typed);
    typed.push(pair(puk.padded(), new.padded()));
    let _ = manage::unblock(&mut piv, &puk, &new);
    told.only(&typed);
}

fn pin(n: u8) -> Pin {
    Pin::typed(&format!("47114{n}")).unwrap()
}

/// A key everybody knows, on a card that takes every PIN.
struct Fixed;

impl Fixed {
    fn secret() -> p256::SecretKey {
        p256::SecretKey::from_slice(&[7; 32]).unwrap()
    }
}

impl CardApp for Fixed {
    fn key(&mut self) -> Result<CardKey, CardError> {
        Ok(CardKey::from_point(&Self::secret().public_key().to_sec1_bytes()).unwrap())
    }
    fn tries_left(&mut self) -> Result<Option<u8>, CardError> {
        Ok(Some(3))
    }
    fn verify(&mut self, _: &Pin) -> Result<Verified, CardError> {
        Ok(Verified::Yes)
    }
    fn change_pin(&mut self, _: &Pin, _: &Pin) -> Result<Verified, CardError> {
        Ok(Verified::Yes)
    }
    fn unblock(&mut self, _: &Puk, _: &Pin) -> Result<Verified, CardError> {
        Ok(Verified::Yes)
    }
    fn agree(&mut self, _: &CardKey, enc: &Encapsulated) -> Result<Zeroizing<Vec<u8>>, CardError> {
        let peer = p256::PublicKey::from_sec1_bytes(enc.as_bytes()).unwrap(); // checked before a card sees it
        let shared =
            p256::ecdh::diffie_hellman(Self::secret().to_nonzero_scalar(), peer.as_affine());
        Ok(Zeroizing::new(shared.raw_secret_bytes().to_vec()))
    }
    fn lock(&mut self) -> Result<(), CardError> {
        Ok(())
    }
}

fn fixed_recovery() -> RecoverySecret {
    use p256::pkcs8::{EncodePrivateKey as _, LineEnding};
    let pem = p256::SecretKey::from_slice(&[9; 32])
        .unwrap()
        .to_pkcs8_pem(LineEnding::LF)
        .unwrap();
    RecoverySecret::from_pem(&pem).unwrap()
}
