use p256::pkcs8::{EncodePrivateKey as _, EncodePublicKey as _, LineEnding};

use super::*;

fn pair() -> (RecoveryKey, RecoverySecret) {
    let mut bytes = Zeroizing::new([0; 32]);
    getrandom::fill(&mut *bytes).unwrap();
    bytes[0] = 0; // surely less than the order
    let secret = p256::SecretKey::from_slice(&*bytes).unwrap();
    let public = secret.public_key().to_public_key_pem(LineEnding::LF);
    let private = secret.to_pkcs8_pem(LineEnding::LF).unwrap();
    (
        RecoveryKey::from_pem(&public.unwrap()).unwrap(),
        RecoverySecret::from_pem(&private).unwrap(),
    )
}

fn escrow() -> Escrow {
    Escrow {
        user: UserId::new([1; 16]),
        card: CardId::new([2; 16]),
        puk: Some(Puk::typed("47114712").unwrap()),
        management_key: Some(ManagementKey::random().unwrap()),
        user_key: UserKey::from_bytes([3; 32]),
    }
}

/// The escrow all of it, when one key is enough.
fn open(bytes: &[u8], secret: &mut RecoverySecret) -> Result<Escrow, EscrowError> {
    match SealedEscrow::read_all(bytes)?[0].open(secret)? {
        Opened::Escrow(escrow) => Ok(escrow),
        Opened::Second(_) => panic!("sealed to one key"),
    }
}

#[test]
fn an_escrow_opens_with_its_recovery_key_only() {
    let (public, mut secret) = pair();
    let escrow = escrow();
    let sealed = public.seal(&escrow).unwrap();
    assert_eq!(sealed.len(), ESCROW_BYTES);
    let opened = open(&sealed, &mut secret).unwrap();
    assert_eq!((opened.user, opened.card), (escrow.user, escrow.card));
    assert!(opened.puk.unwrap().same(&escrow.puk.unwrap()));
    let keys = (opened.management_key, escrow.management_key);
    assert!(keys.0.unwrap().same(&keys.1.unwrap()));
    assert_eq!(opened.user_key.expose(), &[3; 32]);

    assert!(matches!(
        open(&sealed, &mut pair().1),
        Err(EscrowError::Rejected)
    ));
    for at in 0..sealed.len() {
        let mut altered = sealed.clone();
        altered[at] ^= 1;
        assert!(open(&altered, &mut secret).is_err(), "byte {at}");
        assert!(open(&sealed[..at], &mut secret).is_err(), "length {at}");
    }
}

#[test]
fn a_badge_of_others_has_only_a_user_key_in_escrow() {
    let (public, mut secret) = pair();
    let sealed = public.seal(&Escrow {
        puk: None,
        management_key: None,
        ..escrow()
    });
    let opened = open(&sealed.unwrap(), &mut secret).unwrap();
    assert!(opened.puk.is_none() && opened.management_key.is_none());
    assert_eq!(opened.user_key.expose(), &[3; 32]);
}

#[test]
fn two_operators_open_one_after_the_other_and_neither_alone() {
    let ((first, mut one), (second, mut two)) = (pair(), pair());
    let sealed = first.seal_with(&second, &escrow()).unwrap();
    assert_eq!(sealed.len(), ESCROW_FOR_TWO_BYTES);
    let [whole] = &SealedEscrow::read_all(&sealed).unwrap()[..] else {
        panic!("one escrow");
    };
    assert!(matches!(whole.open(&mut two), Err(EscrowError::Rejected)));
    let Opened::Second(rest) = whole.open(&mut one).unwrap() else {
        panic!("one operator is not enough");
    };
    assert!(matches!(rest.open(&mut one), Err(EscrowError::Rejected)));
    let Opened::Escrow(opened) = rest.open(&mut two).unwrap() else {
        panic!("two are enough");
    };
    assert_eq!(opened.user_key.expose(), &[3; 32]);
    assert!(matches!(
        first.seal_with(&first, &escrow()),
        Err(EscrowError::OneKeyTwice)
    ));
}

#[test]
fn several_escrows_stand_one_after_another() {
    let ((first, mut one), (second, _)) = (pair(), pair());
    let other = Escrow {
        card: CardId::new([9; 16]),
        ..escrow()
    };
    let bytes = [
        first.seal_with(&second, &escrow()).unwrap(),
        first.seal(&other).unwrap(),
    ]
    .concat();
    let all = SealedEscrow::read_all(&bytes).unwrap();
    let cards: Vec<_> = all.iter().map(SealedEscrow::card).collect();
    assert_eq!(cards, [CardId::new([2; 16]), CardId::new([9; 16])]);
    assert!(matches!(all[1].open(&mut one), Ok(Opened::Escrow(_))));
    let again: Vec<u8> = all.iter().flat_map(SealedEscrow::to_bytes).collect();
    assert_eq!(again, bytes);
    for cut in [0, 5, ESCROW_FOR_TWO_BYTES - 1, bytes.len() - 1] {
        assert!(SealedEscrow::read_all(&bytes[..cut]).is_err(), "{cut}");
    }
}
