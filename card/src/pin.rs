//! What people type: PINs and PUKs.
//!
//! Lengths are checked here, so that a slip of the finger never costs a try on the card.

use subtle::ConstantTimeEq as _;
use zeroize::{Zeroize as _, ZeroizeOnDrop};

/// Fewest characters of a PIN.
pub const MIN_CHARACTERS: usize = 6;
/// Most characters of a PIN; also the length of a PUK.
pub const MAX_CHARACTERS: usize = 8;
const PAD: u8 = 0xFF;
/// How a transport PIN of eight digits begins; nobody can choose such a PIN. PIV cards take digits
/// only (NIST SP 800-73-4 part 2 §2.4.3), so letters cannot tell it apart.
const TRANSPORT: &[u8] = b"00";
const FACTORY_PIN: &[u8] = b"123456";
const FACTORY_PUK: &[u8] = b"12345678";

/// Why text is not a PIN or PUK. Nothing of the text is repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PinFormatError {
    /// Too short or too long.
    #[error("the {what} has {MIN_CHARACTERS} to {MAX_CHARACTERS} characters, not {have}")]
    Length {
        /// PIN or PUK.
        what: &'static str,
        /// Characters typed.
        have: usize,
    },
    /// A PUK of another length.
    #[error("the PUK has {MAX_CHARACTERS} digits, not {0} characters")]
    PukLength(usize),
    /// Letters with accents, control characters, blanks.
    #[error("the {0} may have letters without accents, digits and signs")]
    Characters(&'static str),
    /// A new one must be typed on every keyboard.
    #[error("the new {0} must be digits only: they are on the same keys of every keyboard")]
    Digits(&'static str),
    /// The value every new card has.
    #[error("the {0} is the one every new card has; everybody knows it")]
    Factory(&'static str),
    /// One that looks as if it must be changed.
    #[error("eight digits that begin with 00 are for PINs on their way to a user; choose another")]
    Transport,
    /// PUK and PIN are the same.
    #[error("the PUK must differ from the PIN: who blocks one would block both")]
    PukIsPin,
}

macro_rules! reference {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(ZeroizeOnDrop)]
        pub struct $name([u8; MAX_CHARACTERS]);

        impl $name {
            /// The bytes a card compares: padded with FF to eight.
            pub(crate) const fn padded(&self) -> &[u8; MAX_CHARACTERS] {
                &self.0
            }

            /// The characters, for cards that do not pad: nothing typed is FF.
            pub(crate) fn typed_bytes(&self) -> &[u8] {
                let end = self.0.iter().position(|byte| *byte == PAD);
                let (typed, _) = self.0.split_at(end.unwrap_or(MAX_CHARACTERS));
                typed
            }

            fn pad(text: &[u8]) -> Self {
                let mut padded = [PAD; MAX_CHARACTERS];
                for (to, from) in padded.iter_mut().zip(text) {
                    *to = *from;
                }
                let own = Self(padded);
                padded.zeroize();
                own
            }

            /// Whether both are the same, in constant time.
            #[must_use]
            pub fn same(&self, other: &Self) -> bool {
                self.0.ct_eq(&other.0).into()
            }
        }
    };
}

reference! {
    /// A card PIN. Zeroized when dropped, never shown.
    Pin
}
reference! {
    /// A PUK: it gives a blocked PIN new tries. Zeroized when dropped, never shown.
    Puk
}

impl Pin {
    /// A PIN as a user types it: 6 to 8 printable ASCII characters, not the factory's.
    ///
    /// # Errors
    /// [`PinFormatError`].
    pub fn typed(text: &str) -> Result<Self, PinFormatError> {
        let pin = Self::of_any_card(text)?;
        if text.as_bytes() == FACTORY_PIN {
            return Err(PinFormatError::Factory("PIN"));
        }
        Ok(pin)
    }

    /// A PIN the station may try on a card that is not ours yet: also the factory's.
    ///
    /// # Errors
    /// [`PinFormatError`].
    pub fn of_any_card(text: &str) -> Result<Self, PinFormatError> {
        check(text, "PIN")?;
        Ok(Self::pad(text.as_bytes()))
    }

    /// A PIN somebody chooses: [`typed`](Self::typed), digits only, and not one that looks like a
    /// [`transport`](Self::transport) PIN.
    ///
    /// # Errors
    /// [`PinFormatError`].
    pub fn chosen(text: &str) -> Result<Self, PinFormatError> {
        let pin = Self::typed(text)?;
        digits(text, "PIN")?;
        if pin.is_transport() {
            return Err(PinFormatError::Transport);
        }
        Ok(pin)
    }

    /// Two zeros and six random digits: for the way from the station to the user, who must change it at
    /// the first sign-in.
    ///
    /// # Errors
    /// The system has no random bytes.
    pub fn transport() -> Result<Self, getrandom::Error> {
        let mut text = [0; MAX_CHARACTERS];
        for (n, character) in text.iter_mut().enumerate() {
            *character = match TRANSPORT.get(n) {
                Some(letter) => *letter,
                None => random_digit()?,
            };
        }
        let pin = Self::pad(&text);
        text.zeroize();
        Ok(pin)
    }

    /// Whether this is a [`transport`](Self::transport) PIN.
    #[must_use]
    pub fn is_transport(&self) -> bool {
        self.0
            .strip_prefix(TRANSPORT)
            .is_some_and(|rest| rest.iter().all(u8::is_ascii_digit))
    }

    /// The characters, for the one time an operator sees a transport PIN.
    #[must_use]
    pub fn show(&self) -> zeroize::Zeroizing<String> {
        shown(&self.0)
    }

    /// The PIN of a card as it leaves the factory, 123456.
    #[must_use]
    pub fn factory() -> Self {
        Self::pad(FACTORY_PIN)
    }
}

impl Puk {
    /// A PUK as somebody types it for a card that has it.
    ///
    /// # Errors
    /// [`PinFormatError`].
    pub fn typed(text: &str) -> Result<Self, PinFormatError> {
        check(text, "PUK")?;
        Ok(Self::pad(text.as_bytes()))
    }

    /// A PUK somebody chooses: eight digits, not the factory's, not the PIN.
    ///
    /// # Errors
    /// [`PinFormatError`].
    pub fn chosen(text: &str, pin: &Pin) -> Result<Self, PinFormatError> {
        let have = text.chars().count();
        if have != MAX_CHARACTERS {
            return Err(PinFormatError::PukLength(have));
        }
        digits(text, "PUK")?;
        if text.as_bytes() == FACTORY_PUK {
            return Err(PinFormatError::Factory("PUK"));
        }
        let puk = Self::pad(text.as_bytes());
        if bool::from(puk.0.ct_eq(&pin.0)) {
            return Err(PinFormatError::PukIsPin);
        }
        Ok(puk)
    }

    /// Eight random digits.
    ///
    /// # Errors
    /// The system has no random bytes.
    pub fn random() -> Result<Self, getrandom::Error> {
        let mut digits = [0; MAX_CHARACTERS];
        for digit in &mut digits {
            *digit = random_digit()?;
        }
        let puk = Self::pad(&digits);
        digits.zeroize();
        Ok(puk)
    }

    /// The PUK of a card as it leaves the factory, 12345678.
    #[must_use]
    pub fn factory() -> Self {
        Self::pad(FACTORY_PUK)
    }

    /// The digits, for the one time an operator sees them.
    #[must_use]
    pub fn show(&self) -> zeroize::Zeroizing<String> {
        shown(&self.0)
    }

    /// A PUK somebody kept; padding alone stands for none.
    pub(crate) fn kept(bytes: &[u8; MAX_CHARACTERS]) -> Option<Self> {
        bytes
            .iter()
            .any(|byte| *byte != PAD)
            .then(|| Self::from_padded(bytes))
    }

    /// A second one, for an escrow. On purpose not `Clone`: each copy is a decision.
    #[must_use]
    pub fn copy(&self) -> Self {
        Self(self.0)
    }

    /// Takes the padded bytes an escrow holds.
    pub(crate) fn from_padded(bytes: &[u8; MAX_CHARACTERS]) -> Self {
        Self(*bytes)
    }
}

fn shown(padded: &[u8; MAX_CHARACTERS]) -> zeroize::Zeroizing<String> {
    // As long as it can get, so that no copy is left behind by growing.
    let mut text = zeroize::Zeroizing::new(String::with_capacity(MAX_CHARACTERS));
    let typed = padded.iter().filter(|byte| byte.is_ascii_graphic());
    text.extend(typed.map(|byte| char::from(*byte)));
    text
}

/// A digit without bias: bytes from 250 are drawn again.
fn random_digit() -> Result<u8, getrandom::Error> {
    loop {
        let mut byte = [0];
        getrandom::fill(&mut byte)?;
        if let [byte @ ..250] = byte {
            return Ok(b'0' + byte % 10);
        }
    }
}

fn check(text: &str, what: &'static str) -> Result<(), PinFormatError> {
    let have = text.chars().count();
    if !(MIN_CHARACTERS..=MAX_CHARACTERS).contains(&have) {
        return Err(PinFormatError::Length { what, have });
    }
    if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(PinFormatError::Characters(what));
    }
    Ok(())
}

fn digits(text: &str, what: &'static str) -> Result<(), PinFormatError> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        Ok(())
    } else {
        Err(PinFormatError::Digits(what))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pin_is_checked_before_a_card_sees_it() {
        use PinFormatError as E;
        let length = |have| E::Length { what: "PIN", have };
        for (text, want) in [
            ("", Err(length(0))),
            ("12345", Err(length(5))),
            ("123456789", Err(length(9))),
            ("123456", Err(E::Factory("PIN"))),
            ("12 456", Err(E::Characters("PIN"))),
            ("12345é", Err(E::Characters("PIN"))),
            ("abc123", Ok(*b"abc123\xFF\xFF")),
            ("47114711", Ok(*b"47114711")),
        ] {
            assert_eq!(Pin::typed(text).map(|pin| *pin.padded()), want, "{text:?}");
        }
        assert_eq!(Pin::chosen("abc123").map(|_| ()), Err(E::Digits("PIN")));
        assert_eq!(Pin::factory().padded(), b"123456\xFF\xFF");
    }

    #[test]
    fn a_puk_is_not_the_pin_and_not_the_factory_s() {
        use PinFormatError as E;
        let pin = Pin::chosen("47114711").unwrap();
        for (text, want) in [
            ("4711471", Err(E::PukLength(7))),
            ("47114711", Err(E::PukIsPin)),
            ("12345678", Err(E::Factory("PUK"))),
            ("4711471a", Err(E::Digits("PUK"))),
            ("47114712", Ok(())),
        ] {
            assert_eq!(Puk::chosen(text, &pin).map(|_| ()), want, "{text:?}");
        }
    }

    #[test]
    fn a_transport_pin_is_known_by_its_look_and_never_chosen() {
        let pin = Pin::transport().unwrap();
        assert!(pin.is_transport());
        assert_eq!(pin.show().len(), MAX_CHARACTERS);
        assert!(Pin::typed(&pin.show()).unwrap().same(&pin));
        assert!(Pin::chosen(&pin.show()).is_err());
        for other in ["0012345", "00abcdef", "12345678", "01123456"] {
            assert!(!Pin::typed(other).unwrap().is_transport(), "{other}");
        }
    }

    #[test]
    fn random_puks_are_eight_digits_and_differ() {
        let (one, two) = (Puk::random().unwrap(), Puk::random().unwrap());
        assert!(one.padded().iter().all(u8::is_ascii_digit));
        assert!(!one.same(&two));
    }
}
