//! Vectors of sealed settings.

use super::{check, heads};
use crate::{
    id::{CardId, SiteId, UserId},
    keys::Secret,
    settings::{self, Bookmark, Browser, Context, Part, SealedSettings, Settings},
    slot::{Kind, tests::Private},
};

/// The card of the vectors. Its private key is the scalar 07…, or the RSA key in `testdata/slot`.
const CARD: CardId = CardId::new([5; 16]);

/// What the card opens, or why it does not.
fn opened(bytes: &[u8]) -> Result<String, String> {
    let sealed = SealedSettings::parse(bytes).map_err(|error| format!("{error:?}"))?;
    let (key, aad) = sealed.for_card(CARD).ok_or("NoCard")?;
    let card = Private::seventh(key.sealed.enc.kind());
    let content = card.open(&key.sealed, settings::INFO, &aad);
    let content = content.ok_or("WrongCard")?;
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
    let to = |kind| (CARD, Private::seventh(kind).public());
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
    let good = seal(context, &[to(Kind::P256)]);
    let with = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        bytes
    };
    let other = Private::P256([8; 32]).public();
    let cards = [(CardId::new([4; 16]), other), to(Kind::P256)];
    let mut cases = vec![
        ("good-browser-card-07.bin", good.clone()),
        ("good-two-cards.bin", seal(context, &cards)),
        ("good-rsa2048.bin", seal(context, &[to(Kind::Rsa2048)])),
        ("good-x25519.bin", seal(context, &[to(Kind::X25519)])),
        ("bad-unknown-kind-of-key.bin", with(70, 4)),
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
    check("settings", 19, cases, |_, bytes| match opened(bytes) {
        Ok(value) => format!("ok {value}"),
        Err(error) => error,
    });
}
