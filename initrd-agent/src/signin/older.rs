//! A card whose key was renewed: the site may know it by a key that it had before.

use card::{Card, Locked};
use snapshot::id::CardId;

/// Asks with the card's key, and with its older ones as long as the answer is that nobody knows it. The card goes on
/// with the key that was known.
///
/// # Errors
/// What the first question was answered, when nobody knows any; else what went wrong.
pub(crate) fn by_a_known_key<T, E>(
    card: &mut Card<Locked>,
    mut ask: impl FnMut(CardId) -> Result<T, E>,
    unknown: impl Fn(&E) -> bool,
) -> Result<T, E> {
    let first = match ask(card.id()) {
        Err(error) if unknown(&error) => error,
        answer => return answer,
    };
    let older = card.older_keys().unwrap_or_else(|error| {
        tracing::info!(%error, "the card does not tell its older keys");
        Vec::new()
    });
    for key in older {
        match ask(key.id()) {
            Ok(answer) => {
                card.use_key(key);
                return Ok(answer);
            }
            Err(error) if unknown(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Err(first)
}
