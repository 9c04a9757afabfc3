//! Seeds of the fuzz targets, in `fuzz/seeds`. `FUROSHIKI_BLESS=1` writes them anew. What a fuzzer finds wrong is put beside
//! them, named for what was wrong; what reached new code is in `fuzz/corpus`.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use snapshot::{
    id::{CardId, SiteId, UserId},
    keys::UserKey,
    slot::{self, Challenge, Cost, PublicKey, RSA_BYTES, RsaKey, SlotContext, Stretch},
};

use super::{Fixed, TARGETS, exchanges};
use crate::{
    CardApp as _, CardKey, Puk,
    apdu::tlv::put,
    escrow::{Escrow, RecoveryKey},
    manage::ManagementKey,
    piv::certificate,
};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fuzz")
}

/// Paths in a folder.
fn within(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap();
    entries.map(|entry| entry.unwrap().path()).collect()
}

/// What an honest card answers to a person who mistypes the PIN the second time.
fn sign_in() -> Vec<u8> {
    let agree = [&[10, 0][..], &[0x11; 32]].concat();
    let parts: [&[u8]; 10] = [
        &[0],
        &[0],
        &[9],
        &[6, 3],
        &[0],
        &agree,
        &[0],
        &[6, 3],
        &[6, 2],
        &[0],
    ];
    parts.concat()
}

/// What one answers to an operator, as far as it can without the management key.
fn issue() -> Vec<u8> {
    let witness = [&[10, 1][..], &[0x22; 16]].concat();
    let parts: [&[u8]; 10] = [
        &[1],
        &[0],
        &[9],
        &witness,
        &[3, 0x69, 0x82],
        &[3, 0x6A, 0x82, 0],
        &[0, 11, 0, 0, 0, 9],
        &[3, 0x6A, 0x80, 0],
        &[6, 3, 0, 0],
        &[0, 0],
    ];
    parts.concat()
}

/// The same person with an OpenPGP card.
fn openpgp() -> Vec<u8> {
    let agree = [&[10, 3][..], &[0x11; 32]].concat();
    let tries: &[u8] = &[3, 0x69, 0x82, 11, 3, 3, 3];
    let parts: [&[u8]; 13] = [
        &[2],
        &[0],
        &[3, 0x6A, 0x88],
        &[11, 1],
        &[11, 0],
        tries,
        &[0],
        &agree,
        &[0],
        tries,
        &[3, 0x69, 0x82],
        &[11, 3, 2, 3],
        &[0],
    ];
    parts.concat()
}

fn bless() {
    let put_seed = |target: &str, name: &str, bytes: &[u8]| {
        let folder = root().join("seeds").join(target);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(name), bytes).unwrap();
    };
    let key = Fixed.key().unwrap();
    let envelope = certificate::envelope(key.spki(), key.id()).unwrap();
    let object = [put(0x70, &[&envelope]), put(0x71, &[&[0]]), put(0xFE, &[])].concat();
    put_seed("card_certificate", "envelope", &envelope);
    put_seed("card_certificate", "object", &object);
    put_seed("card_tlv", "object", &put(0x53, &[&object]));
    put_seed("card_tlv", "three-byte-tag", &put(0x5F_C10B, &[b"tulip"]));

    let context = SlotContext {
        user: UserId::new([1; 16]),
        slot: 1,
        card: key.id(),
        epoch: 1,
    };
    // Sealed to the wrong key, under the right name: everything is read, and nothing opens.
    let other = p256::SecretKey::from_slice(&[8; 32]).unwrap();
    let other = CardKey::from_point(&other.public_key().to_sec1_bytes()).unwrap();
    let rsa = RsaKey::new(&[0xC7; RSA_BYTES], &[1, 0, 1]).unwrap();
    for (name, public) in [
        ("p256", other.public()),
        ("rsa2048", &PublicKey::Rsa2048(Box::new(rsa))),
        ("x25519", &PublicKey::X25519([9; 32])),
    ] {
        let user_key = UserKey::from_bytes([3; 32]);
        let slot = slot::wrap(&user_key, public, &context).unwrap();
        put_seed("card_sealed", &format!("slot-{name}"), &slot);
        let (challenge, _) = Challenge::seal(public, SiteId::new([5; 16]), "c0ffee").unwrap();
        put_seed("card_sealed", &format!("challenge-{name}"), &challenge);
        let spki = public.to_spki().unwrap();
        put_seed("card_sealed", &format!("spki-{name}"), &spki);
    }
    let stretch = Stretch::new(Cost::LEAST).unwrap();
    let (user_key, public) = (UserKey::from_bytes([3; 32]), PublicKey::X25519([9; 32]));
    let slot = slot::wrap_by_passphrase(&user_key, &public, &stretch, &context).unwrap();
    put_seed("card_sealed", "slot-passphrase", &slot);
    let pem = p256::pkcs8::EncodePublicKey::to_public_key_pem(
        &p256::SecretKey::from_slice(&[8; 32]).unwrap().public_key(),
        p256::pkcs8::LineEnding::LF,
    );
    let escrow = Escrow {
        user: UserId::new([1; 16]),
        card: CardId::new([2; 16]),
        puk: Some(Puk::factory()),
        management_key: Some(ManagementKey::factory()),
        user_key: UserKey::from_bytes([3; 32]),
    };
    let sealed = RecoveryKey::from_pem(&pem.unwrap()).unwrap().seal(&escrow);
    put_seed("card_sealed", "escrow", &sealed.unwrap());
    put_seed("card_answers", "sign-in", &sign_in());
    put_seed("card_answers", "issue", &issue());
    put_seed("card_answers", "openpgp", &openpgp());
}

#[test]
fn what_must_hold_of_any_bytes_holds_of_every_seed() {
    if std::env::var_os("FUROSHIKI_BLESS").is_some() {
        bless();
    }
    let mut seeds = 0;
    let corpus = within(&root().join("corpus"));
    for folder in within(&root().join("seeds")).into_iter().chain(corpus) {
        for file in within(&folder) {
            let bytes = fs::read(&file).unwrap();
            TARGETS.iter().for_each(|(_, target)| target(&bytes));
            seeds += 1;
        }
    }
    assert!(seeds >= 400, "{seeds}");
}

/// A seed that is refused at once teaches a fuzzer nothing.
#[test]
fn seeds_reach_what_is_behind_the_first_check() {
    assert_eq!(exchanges(&sign_in()), 9);
    assert!(exchanges(&issue()) > 12);
    assert_eq!(exchanges(&openpgp()), 14);
}

#[test]
fn every_property_has_a_fuzz_target() {
    let names = within(&root().join("fuzz_targets"));
    let names = names
        .iter()
        .map(|file| file.file_stem().unwrap().to_str().unwrap());
    assert_eq!(
        names.collect::<BTreeSet<_>>(),
        TARGETS.iter().map(|(name, _)| *name).collect()
    );
}
