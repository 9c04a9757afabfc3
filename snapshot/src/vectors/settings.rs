//! Vectors of sealed settings.

use hpke::{Deserializable as _, OpModeR, aead::AesGcm256, kdf::HkdfSha256, kem::DhP256HkdfSha256};

use super::{check, heads};
use crate::{
    id::{CardId, SiteId, UserId},
    keys::Secret,
    settings::{self, Bookmark, Browser, Context, Part, SealedSettings, Settings},
};

type Kem = DhP256HkdfSha256;
type Private = <Kem as hpke::Kem>::PrivateKey;

/// The card of the vectors, and the scalar 07… that is its private key.
const CARD: CardId = CardId::new([5; 16]);

fn private() -> Private {
    Private::from_bytes(&[7; 32]).unwrap()
}

/// What the card opens, or why it does not.
fn opened(bytes: &[u8]) -> Result<String, String> {
    let sealed = SealedSettings::parse(bytes).map_err(|error| format!("{error:?}"))?;
    let (key, aad) = sealed.for_card(CARD).ok_or("NoCard")?;
    let enc = <Kem as hpke::Kem>::EncappedKey::from_bytes(&key.enc).map_err(|_| "NoPoint")?;
    let content = hpke::single_shot_open::<AesGcm256, HkdfSha256, Kem>(
        &OpModeR::Base,
        &private(),
        &enc,
        settings::INFO,
        &key.ciphertext,
        &aad,
    );
    let content = content.map_err(|_| "WrongCard")?;
    let read = sealed.open(&Secret::from_bytes(content.try_into().unwrap()));
    let read = read.map_err(|error| format!("{error:?}"))?;
    let json = String::from_utf8(read.to_json().unwrap().to_vec()).unwrap();
    let Context {
        user,
        version,
        origin,
        ..
    } = sealed.context;
    Ok(format!(
        "user {user} version {version} origin {origin} cards {} {json}",
        sealed.cards.len()
    ))
}

#[test]
fn settings_are_opened_as_ever() {
    let public = <Kem as hpke::Kem>::sk_to_pk(&private());
    let point: [u8; 65] = hpke::Serializable::to_bytes(&public)
        .as_slice()
        .try_into()
        .unwrap();
    let browser = Settings::Browser(Browser {
        program: "firefox".into(),
        bookmarks: vec![Bookmark::Folder {
            title: "仕事".into(),
            children: vec![Bookmark::Page {
                title: "例".into(),
                url: "https://example.org/".into(),
            }],
        }],
    });
    let context = Context {
        user: UserId::new([2; 16]),
        part: Part::Browser,
        version: 7,
        origin: SiteId::new([9; 16]),
    };
    let seal = |context, cards: &[_]| settings::seal(&browser, &context, cards).unwrap();
    let good = seal(context, &[(CARD, point)]);
    let with = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        bytes
    };
    let cards = [(CardId::new([4; 16]), point), (CARD, point)];
    let mut cases = vec![
        ("good-browser-card-07.bin", good.clone()),
        ("good-two-cards.bin", seal(context, &cards)),
        ("bad-unknown-part.bin", with(28, 4)),
        ("bad-no-card.bin", with(53, 0)),
        ("bad-seventeen-cards.bin", with(53, 17)),
        ("bad-more-cards-than-bytes.bin", with(53, 9)),
        ("bad-of-another-user.bin", with(12, 3)),
        ("bad-of-another-version.bin", with(29, 8)),
        (
            "bad-of-another-part.bin",
            seal(
                Context {
                    part: Part::Mail,
                    ..context
                },
                &cards[1..],
            ),
        ),
        (
            "bad-altered-document.bin",
            with(good.len() - 20, good[good.len() - 20] ^ 1),
        ),
    ];
    cases.extend(heads(&good));
    check("settings", 16, cases, |_, bytes| match opened(bytes) {
        Ok(value) => format!("ok {value}"),
        Err(error) => error,
    });
}
