//! Management keys: which algorithms cards use for them, and the one block each needs.
//!
//! Source: NIST SP 800-78-4 table 5-1 and 6-2; FIPS 197; SP 800-67.

use aes::{
    Aes128, Aes192, Aes256,
    cipher::{BlockCipherDecrypt, BlockCipherEncrypt, BlockSizeUser, KeyInit},
};
use des::TdesEde3;
use zeroize::Zeroizing;

use super::ManageError;

/// Algorithm of a management key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// Three-key triple DES: cards up to 2023.
    TripleDes,
    /// AES with 128 bits.
    Aes128,
    /// AES with 192 bits: what `YubiKeys` have from firmware 5.7.
    Aes192,
    /// AES with 256 bits.
    Aes256,
}

impl Algorithm {
    /// In the order cards are likely to have them.
    pub(super) const ALL: [Self; 4] = [Self::Aes192, Self::TripleDes, Self::Aes256, Self::Aes128];
    /// In the order we like them.
    pub(super) const STRONGEST_FIRST: [Self; 4] =
        [Self::Aes256, Self::Aes192, Self::Aes128, Self::TripleDes];

    /// Its number in SP 800-78.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::TripleDes => 0x03,
            Self::Aes128 => 0x08,
            Self::Aes192 => 0x0A,
            Self::Aes256 => 0x0C,
        }
    }

    /// Length of its block.
    pub(super) const fn block_bytes(self) -> usize {
        match self {
            Self::TripleDes => 8,
            Self::Aes128 | Self::Aes192 | Self::Aes256 => 16,
        }
    }

    /// Length of its key.
    #[must_use]
    pub const fn key_bytes(self) -> usize {
        match self {
            Self::Aes128 => 16,
            Self::TripleDes | Self::Aes192 => 24,
            Self::Aes256 => 32,
        }
    }
}

/// Text that is not a management key. Nothing of the text is repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a management key is 32, 48 or 64 hex digits, not {0} characters")]
pub struct ManagementKeyFormatError(usize);

/// Bytes of a management key; a card uses as many as its algorithm needs. Zeroized when dropped.
pub struct ManagementKey(Zeroizing<Vec<u8>>);

impl ManagementKey {
    /// Length of a key of our own, in bytes.
    pub const BYTES: usize = 32;

    /// The key of cards as they leave the factory: 01 02 … 08, again and again.
    #[must_use]
    pub fn factory() -> Self {
        Self(Zeroizing::new((0..32).map(|n| n % 8 + 1).collect()))
    }

    /// Whether both are the same, in constant time.
    #[must_use]
    pub fn same(&self, other: &Self) -> bool {
        subtle::ConstantTimeEq::ct_eq(self.0.as_slice(), other.0.as_slice()).into()
    }

    /// A new key.
    ///
    /// # Errors
    /// The system has no random bytes.
    pub fn random() -> Result<Self, getrandom::Error> {
        let mut bytes = Zeroizing::new(vec![0; Self::BYTES]);
        getrandom::fill(&mut bytes)?;
        Ok(Self(bytes))
    }

    /// A key as an operator types it.
    ///
    /// # Errors
    /// [`ManagementKeyFormatError`].
    pub fn typed(text: &str) -> Result<Self, ManagementKeyFormatError> {
        let wrong = || ManagementKeyFormatError(text.chars().count());
        let mut bytes = Zeroizing::new(Vec::with_capacity(Self::BYTES));
        let (pairs, odd) = text.as_bytes().as_chunks::<2>();
        if !odd.is_empty() || !matches!(pairs.len(), 16 | 24 | 32) {
            return Err(wrong());
        }
        for pair in pairs {
            let digit = |byte: u8| char::from(byte).to_digit(16);
            match pair.map(digit) {
                [Some(high), Some(low)] => {
                    bytes.push(u8::try_from(high << 4 | low).map_err(|_| wrong())?);
                }
                _ => return Err(wrong()),
            }
        }
        Ok(Self(bytes))
    }

    /// A second one, for an escrow. On purpose not `Clone`: each copy is a decision.
    #[must_use]
    pub fn copy(&self) -> Self {
        Self(self.0.clone())
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Self {
        Self(Zeroizing::new(bytes.to_vec()))
    }

    /// A key somebody kept; zeros stand for none.
    pub(crate) fn kept(bytes: &[u8]) -> Option<Self> {
        bytes
            .iter()
            .any(|byte| *byte != 0)
            .then(|| Self::from_bytes(bytes))
    }

    pub(crate) fn expose(&self) -> &[u8] {
        &self.0
    }

    fn for_algorithm(&self, algorithm: Algorithm) -> Result<&[u8], ManageError> {
        self.0
            .get(..algorithm.key_bytes())
            .ok_or(ManageError::KeyLength {
                want: algorithm.key_bytes(),
                have: self.0.len(),
            })
    }

    pub(super) fn cipher(&self, algorithm: Algorithm) -> Result<Cipher, ManageError> {
        Cipher::new(algorithm, self.for_algorithm(algorithm)?)
    }

    /// Data of SET MANAGEMENT KEY: algorithm, reference, length, key.
    pub(super) fn set_command_data(
        &self,
        algorithm: Algorithm,
        reference: u8,
    ) -> Result<Zeroizing<Vec<u8>>, ManageError> {
        let key = self.for_algorithm(algorithm)?;
        let length = u8::try_from(key.len()).expect("a key has at most 32 bytes");
        let mut data = Zeroizing::new(Vec::with_capacity(3 + key.len()));
        data.extend_from_slice(&[algorithm.number(), reference, length]);
        data.extend_from_slice(key);
        Ok(data)
    }
}

/// A keyed block cipher for single blocks. The crates wipe its schedule when it is dropped.
pub(super) enum Cipher {
    TripleDes(Box<TdesEde3>),
    Aes128(Box<Aes128>),
    Aes192(Box<Aes192>),
    Aes256(Box<Aes256>),
}

impl Cipher {
    fn new(algorithm: Algorithm, key: &[u8]) -> Result<Self, ManageError> {
        fn keyed<C: KeyInit>(key: &[u8]) -> Result<Box<C>, ManageError> {
            let wrong = |_| ManageError::KeyLength {
                want: C::key_size(),
                have: key.len(),
            };
            C::new_from_slice(key).map(Box::new).map_err(wrong)
        }
        Ok(match algorithm {
            Algorithm::TripleDes => Self::TripleDes(keyed(key)?),
            Algorithm::Aes128 => Self::Aes128(keyed(key)?),
            Algorithm::Aes192 => Self::Aes192(keyed(key)?),
            Algorithm::Aes256 => Self::Aes256(keyed(key)?),
        })
    }

    /// Encrypts one block in place; bytes of another length stay as they are.
    pub(super) fn encrypt(&self, block: &mut [u8]) {
        fn run<C: BlockCipherEncrypt + BlockSizeUser>(cipher: &C, block: &mut [u8]) {
            if let Ok(block) = block.try_into() {
                cipher.encrypt_block(block);
            }
        }
        match self {
            Self::TripleDes(cipher) => run(&**cipher, block),
            Self::Aes128(cipher) => run(&**cipher, block),
            Self::Aes192(cipher) => run(&**cipher, block),
            Self::Aes256(cipher) => run(&**cipher, block),
        }
    }

    /// Decrypts one block in place; bytes of another length stay as they are.
    pub(super) fn decrypt(&self, block: &mut [u8]) {
        fn run<C: BlockCipherDecrypt + BlockSizeUser>(cipher: &C, block: &mut [u8]) {
            if let Ok(block) = block.try_into() {
                cipher.decrypt_block(block);
            }
        }
        match self {
            Self::TripleDes(cipher) => run(&**cipher, block),
            Self::Aes128(cipher) => run(&**cipher, block),
            Self::Aes192(cipher) => run(&**cipher, block),
            Self::Aes256(cipher) => run(&**cipher, block),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn typed_keys_are_hex_of_a_known_length() {
        for (text, good) in [
            ("01".repeat(16), true),
            ("aB".repeat(24), true),
            ("ff".repeat(32), true),
            ("01".repeat(20), false),
            ("0g".repeat(16), false),
            ("0".repeat(33), false),
            (String::new(), false),
        ] {
            assert_eq!(ManagementKey::typed(&text).is_ok(), good, "{text}");
        }
    }

    /// FIPS 197 appendix C, and SP 800-67's predecessor with three equal keys (FIPS 81 example).
    #[test]
    fn blocks_are_those_of_the_standards() {
        let key = ManagementKey::from_bytes(&(0..32).collect::<Vec<u8>>());
        let plain: Vec<u8> = (0..16).map(|n| n * 0x11).collect();
        for (algorithm, sealed) in [
            (Algorithm::Aes128, "69c4e0d86a7b0430d8cdb78070b4c55a"),
            (Algorithm::Aes192, "dda97ca4864cdfe06eaf70a0ec0d7191"),
            (Algorithm::Aes256, "8ea2b7ca516745bfeafc49904b496089"),
        ] {
            let cipher = key.cipher(algorithm).unwrap();
            let mut block = plain.clone();
            cipher.encrypt(&mut block);
            assert_eq!(hex::encode(&block), sealed, "{algorithm:?}");
            cipher.decrypt(&mut block);
            assert_eq!(block, plain, "{algorithm:?}");
        }
        let key = ManagementKey::typed(&"0123456789abcdef".repeat(3)).unwrap();
        let cipher = key.cipher(Algorithm::TripleDes).unwrap();
        let mut block = *b"Now is t";
        cipher.encrypt(&mut block);
        assert_eq!(hex::encode(block), "3fa40e8a984d4815");
        cipher.decrypt(&mut block);
        assert_eq!(&block, b"Now is t");
    }

    #[test]
    fn a_key_too_short_for_the_card_says_so() {
        let key = ManagementKey::typed(&"01".repeat(16)).unwrap();
        assert!(matches!(
            key.cipher(Algorithm::Aes256),
            Err(ManageError::KeyLength { want: 32, have: 16 })
        ));
        assert_eq!(
            ManagementKey::factory()
                .for_algorithm(Algorithm::TripleDes)
                .unwrap(),
            [1, 2, 3, 4, 5, 6, 7, 8].repeat(3)
        );
    }
}
