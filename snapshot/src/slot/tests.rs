use hpke::{
    Deserializable as _, Kem, OpModeR, Serializable as _,
    aead::AesGcm256,
    kdf::HkdfSha256,
    kem::{DhP256HkdfSha256, X25519HkdfSha256},
};

use super::*;
use crate::id::SiteId;

/// The private half of a key, as nobody has it when the key is on a card.
pub(crate) enum Private {
    P256([u8; 32]),
    X25519([u8; 32]),
    Rsa2048(Box<RsaKey>, Box<[u8; RSA_BYTES]>),
}

impl Private {
    /// The scalars 07…, and the RSA key in `testdata/slot`.
    pub(crate) fn seventh(kind: Kind) -> Self {
        match kind {
            Kind::P256 => Self::P256([7; 32]),
            Kind::X25519 => Self::X25519([7; 32]),
            Kind::Rsa2048 => {
                let text = include_str!("../../testdata/slot/rsa2048.txt");
                let number = |name: &str| -> [u8; RSA_BYTES] {
                    let line = text.lines().find_map(|line| line.strip_prefix(name));
                    hex::decode(line.unwrap()).unwrap().try_into().unwrap()
                };
                let key = RsaKey::new(&number("n "), &[1, 0, 1]).unwrap();
                Self::Rsa2048(Box::new(key), Box::new(number("d ")))
            }
        }
    }

    pub(crate) fn public(&self) -> PublicKey {
        fn point<K: Kem, const N: usize>(private: &[u8]) -> [u8; N] {
            let private = K::PrivateKey::from_bytes(private).unwrap();
            let public = K::sk_to_pk(&private).to_bytes();
            public.as_slice().try_into().unwrap()
        }
        match self {
            Self::P256(private) => PublicKey::P256(point::<DhP256HkdfSha256, 65>(private)),
            Self::X25519(private) => PublicKey::X25519(point::<X25519HkdfSha256, 32>(private)),
            Self::Rsa2048(key, _) => PublicKey::Rsa2048(key.clone()),
        }
    }

    /// Opens with the `hpke` crate, or with the numbers of an RSA key.
    pub(crate) fn open(&self, sealed: &Sealed, info: &[u8], aad: &[u8]) -> Option<Vec<u8>> {
        fn by_hpke<K: Kem>(
            private: &[u8],
            sealed: &Sealed,
            info: &[u8],
            aad: &[u8],
        ) -> Option<Vec<u8>> {
            hpke::single_shot_open::<AesGcm256, HkdfSha256, K>(
                &OpModeR::Base,
                &K::PrivateKey::from_bytes(private).unwrap(),
                &K::EncappedKey::from_bytes(sealed.enc.as_bytes()).ok()?,
                info,
                &sealed.ciphertext,
                aad,
            )
            .ok()
        }
        match (self, &sealed.enc) {
            (Self::P256(private), Encapsulated::P256(_)) => {
                by_hpke::<DhP256HkdfSha256>(private, sealed, info, aad)
            }
            (Self::X25519(private), Encapsulated::X25519(_)) => {
                by_hpke::<X25519HkdfSha256>(private, sealed, info, aad)
            }
            (Self::Rsa2048(key, exponent), Encapsulated::Rsa2048(enc)) => {
                let number = raw_rsa(enc, key, exponent);
                open_rsa(&number, enc, key, info, aad, &sealed.ciphertext)
                    .map(|plain| plain.to_vec())
            }
            _ => None,
        }
    }
}

/// What a card does with a number: its private exponent, nothing else.
fn raw_rsa(number: &[u8; RSA_BYTES], key: &RsaKey, exponent: &[u8; RSA_BYTES]) -> [u8; RSA_BYTES] {
    use crypto_bigint::{
        Odd, U2048,
        modular::{FixedMontyForm, FixedMontyParams},
    };
    let modulus = Odd::new(U2048::from_be_slice(key.modulus())).unwrap();
    let params = FixedMontyParams::new_vartime(modulus);
    let form = FixedMontyForm::new(&U2048::from_be_slice(number), &params);
    let power = form.pow(&U2048::from_be_slice(exponent)).retrieve();
    power.to_be_bytes().as_ref().try_into().unwrap()
}

pub(crate) fn to_card(slot: &Slot) -> &Sealed {
    match &slot.wrapped {
        Wrapped::ToCard(sealed) => sealed,
        Wrapped::ByPassphrase(by) => &by.sealed,
    }
}

const CONTEXT: SlotContext = SlotContext {
    user: UserId::new([1; 16]),
    slot: 7,
    card: CardId::new([2; 16]),
    epoch: 3,
};

#[test]
fn a_slot_of_each_kind_opens_with_its_card_and_its_context_only() {
    for kind in Kind::ALL {
        let card = Private::seventh(kind);
        let user_key = UserKey::from_bytes([5; 32]);
        let bytes = wrap(&user_key, &card.public(), &CONTEXT).unwrap();
        assert!(bytes.len() <= MAX_SLOT_BYTES);
        let slot = parse(&bytes).unwrap();
        assert_eq!(slot.context, CONTEXT);
        assert_eq!(slot.aad(), CONTEXT.bytes(kind.byte()));
        let opened = |info: &[u8], aad: &[u8]| card.open(to_card(&slot), info, aad);
        assert_eq!(opened(SLOT_INFO, slot.aad()).unwrap(), [5; 32], "{kind}");
        assert_eq!(opened(SIGN_IN_INFO, slot.aad()), None, "{kind}");
        let later = SlotContext {
            epoch: 4,
            ..CONTEXT
        };
        assert_eq!(opened(SLOT_INFO, &later.bytes(kind.byte())), None, "{kind}");
        // Two of the same are never alike.
        assert_ne!(wrap(&user_key, &card.public(), &CONTEXT).unwrap(), bytes);
    }
    let other = PublicKey::P256(*p256_point(9));
    let bytes = wrap(&UserKey::from_bytes([5; 32]), &other, &CONTEXT).unwrap();
    let slot = parse(&bytes).unwrap();
    let card = Private::seventh(Kind::P256);
    assert_eq!(card.open(to_card(&slot), SLOT_INFO, slot.aad()), None);
}

fn p256_point(scalar: u8) -> Box<[u8; POINT_BYTES]> {
    match Private::P256([scalar; 32]).public() {
        PublicKey::P256(point) => Box::new(point),
        _ => unreachable!("it was made as one"),
    }
}

#[test]
fn slots_and_challenges_are_parsed_whole() {
    for kind in Kind::ALL {
        let public = Private::seventh(kind).public();
        let slot = wrap(&UserKey::from_bytes([5; 32]), &public, &CONTEXT).unwrap();
        let (challenge, _) = Challenge::seal(&public, SiteId::new([8; 16]), "c0ffee").unwrap();
        for len in 0..slot.len() {
            assert!(parse(&slot[..len]).is_err(), "{kind} {len}");
        }
        assert!(parse(&[&slot[..], &[0]].concat()).is_err());
        for len in 0..challenge.len() {
            assert!(Challenge::parse(&challenge[..len]).is_err(), "{kind} {len}");
        }
        assert!(Challenge::parse(&[&challenge[..], &[0]].concat()).is_err());
        assert_eq!(Challenge::parse(&challenge).unwrap().to_bytes(), challenge);
    }
}

#[test]
fn only_points_that_agree_on_something_are_sealed_to() {
    let key = UserKey::from_bytes([5; 32]);
    for bad in [[0; 65], [4; 65]] {
        let answer = wrap(&key, &PublicKey::P256(bad), &CONTEXT);
        assert!(matches!(answer, Err(SlotError::NotAPoint)), "{answer:?}");
    }
    // A point of small order: everybody would know the secret.
    let answer = wrap(&key, &PublicKey::X25519([0; 32]), &CONTEXT);
    assert!(matches!(answer, Err(SlotError::Seal(_))), "{answer:?}");
}

#[test]
fn an_rsa_key_has_2048_bits_and_a_usual_exponent() {
    let PublicKey::Rsa2048(good) = Private::seventh(Kind::Rsa2048).public() else {
        unreachable!("it was made as one");
    };
    let modulus = *good.modulus();
    let even = {
        let mut modulus = modulus;
        modulus[255] &= 0xFE;
        modulus
    };
    let with_zeros = [&[0, 0][..], &modulus].concat();
    let longer = [&[1][..], &modulus].concat();
    assert_eq!(RsaKey::new(&with_zeros, &[0, 1, 0, 1]).unwrap(), *good);
    let cases: [(&[u8], &[u8]); 8] = [
        (&[], &[1, 0, 1]),
        (&modulus[1..], &[1, 0, 1]),
        (&longer, &[1, 0, 1]),
        (&even, &[1, 0, 1]),
        (&modulus, &[3]),
        (&modulus, &[1, 0, 0]),
        (&modulus, &[]),
        (&modulus, &[1, 0, 0, 0, 1]),
    ];
    for (modulus, exponent) in cases {
        let answer = RsaKey::new(modulus, exponent);
        assert!(matches!(answer, Err(SlotError::Rsa)), "{exponent:?}");
    }
}

#[test]
fn a_challenge_is_answered_by_the_card_it_was_made_for() {
    for kind in Kind::ALL {
        let private = Private::seventh(kind);
        let (site, card) = (SiteId::new([8; 16]), CardId::new([2; 16]));
        let (sealed, nonce) = Challenge::seal(&private.public(), site, "c0ffee").unwrap();
        let challenge = Challenge::parse(&sealed).unwrap();
        let aad = Challenge::aad(site, "c0ffee");
        let opened = private.open(&challenge.0, SIGN_IN_INFO, &aad).unwrap();
        let nonce_again = Nonce::from_bytes(opened.try_into().unwrap());
        let answer = proof(&nonce_again, site, "c0ffee", card);
        assert!(proof_matches(&nonce, site, "c0ffee", card, &answer));
        let other_site = SiteId::new([9; 16]);
        let other_card = CardId::new([3; 16]);
        assert!(!proof_matches(&nonce, site, "c0ffed", card, &answer));
        assert!(!proof_matches(&nonce, other_site, "c0ffee", card, &answer));
        assert!(!proof_matches(&nonce, site, "c0ffee", other_card, &answer));
        assert!(!proof_matches(&nonce, site, "c0ffee", card, &answer[..31]));
    }
}

#[test]
fn a_public_key_of_each_kind_is_read_from_its_spki() {
    use sha2::{Digest as _, Sha256};
    for kind in Kind::ALL {
        let public = Private::seventh(kind).public();
        let spki = public.to_spki().unwrap();
        assert_eq!(card_public_key(&spki).unwrap(), public);
        assert_eq!(card_id(&spki).as_bytes()[..], Sha256::digest(&spki)[..16]);
        for len in 0..spki.len() {
            assert!(card_public_key(&spki[..len]).is_err(), "{kind} {len}");
        }
    }
    // P-384 and Ed25519, as OpenSSL writes them.
    let p384 = "3076301006072a8648ce3d020106052b8104002203620004aa87ca22be8b05378eb1c71ef320ad746e1d3b628ba79b9859f741e082542a385502f25dbf55296c3a545e3872760ab73617de4a96262c6f5d9e98bf9292dc29f8f41dbd289a147ce9da3113b5f0b8c00a60b1ce1d7e819d7a431d7c90ea0e5f";
    let ed25519 =
        "302a300506032b6570032100d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
    for other in [p384, ed25519] {
        let answer = card_public_key(&hex::decode(other).unwrap());
        assert!(matches!(answer, Err(SlotError::OtherKind)), "{answer:?}");
    }
}

const TEXT: &str = "correct horse battery staple";

#[test]
fn a_passphrase_opens_its_slot_and_answers_as_a_card_does() {
    let stretch = Stretch::new(Cost::LEAST).unwrap();
    let typed = Passphrase::derive(TEXT, &stretch).unwrap();
    let context = SlotContext {
        card: typed.id(),
        ..CONTEXT
    };
    let user_key = UserKey::from_bytes([5; 32]);
    let bytes = wrap_by_passphrase(&user_key, &typed.public_key(), &stretch, &context).unwrap();
    assert!(bytes.len() <= MAX_SLOT_BYTES);
    let slot = parse(&bytes).unwrap();
    let Wrapped::ByPassphrase(by) = &slot.wrapped else {
        panic!("{slot:?}");
    };
    let again = Passphrase::derive(TEXT, &by.stretch).unwrap();
    assert_eq!(again.unwrap(&slot).unwrap().expose(), &[5; 32]);
    assert_eq!(card_public_key(again.spki()).unwrap(), typed.public_key());

    let other = Passphrase::derive("correct horse battery stable", &by.stretch).unwrap();
    assert!(matches!(
        other.unwrap(&slot),
        Err(PassphraseError::Other { .. })
    ));
    let salted = Passphrase::derive(TEXT, &Stretch::new(Cost::LEAST).unwrap()).unwrap();
    assert_ne!(salted.id(), typed.id());

    // A slot of a later epoch is made without the passphrase.
    let later = SlotContext {
        epoch: 4,
        slot: 8,
        ..context
    };
    let next = UserKey::from_bytes([6; 32]);
    let bytes = wrap_like(&slot, &next, &typed.public_key(), &later).unwrap();
    let slot = parse(&bytes).unwrap();
    assert_eq!(again.unwrap(&slot).unwrap().expose(), &[6; 32]);

    let site = SiteId::new([8; 16]);
    let (sealed, nonce) = Challenge::seal(&typed.public_key(), site, "c0ffee").unwrap();
    let answer = again.prove(site, "c0ffee", &sealed).unwrap();
    assert!(proof_matches(&nonce, site, "c0ffee", typed.id(), &answer));
    assert!(matches!(
        other.prove(site, "c0ffee", &sealed),
        Err(PassphraseError::Rejected)
    ));
    assert!(matches!(
        again.prove(site, "c0ffed", &sealed),
        Err(PassphraseError::Rejected)
    ));
}

#[test]
fn a_cost_beyond_its_limits_is_refused_before_it_is_paid() {
    for (memory_kib, passes, good) in [
        (MIN_MEMORY_KIB, MIN_PASSES, true),
        (MAX_MEMORY_KIB, 8, true),
        (MIN_MEMORY_KIB, MAX_PASSES, true),
        (MIN_MEMORY_KIB - 1, MIN_PASSES, false),
        (MIN_MEMORY_KIB, 1, false),
        (MAX_MEMORY_KIB + 1, MIN_PASSES, false),
        (MIN_MEMORY_KIB, MAX_PASSES + 1, false),
        (MAX_MEMORY_KIB, 9, false),
        (u32::MAX, u32::MAX, false),
    ] {
        let answer = Cost::new(memory_kib, passes);
        assert_eq!(answer.is_ok(), good, "{memory_kib} {passes}");
    }
}

#[test]
fn a_passphrase_is_long_and_on_every_keyboard() {
    use PassphraseFormatError as E;
    let long = "correct horse ".repeat(15);
    for (text, want) in [
        (TEXT, Ok(())),
        ("correct horse b", Err(E::Length(15))),
        (&long, Err(E::Length(210))),
        ("aaaaaaaaaaaaaaaaaaaa", Err(E::Simple)),
        (
            "正しい馬電池ホチキス正しい馬電池ホチキス",
            Err(E::Characters),
        ),
        ("correct\thorse battery", Err(E::Characters)),
    ] {
        assert_eq!(Passphrase::check(text), want, "{text}");
    }
}
