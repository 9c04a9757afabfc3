//! Retired key management keys: what was in 9D before, kept so that what was sealed to it still opens.
//!
//! Source: NIST SP 800-73-4 part 1 §3.3.3 and table 4b.

use super::Piv;
use crate::{
    apdu::Transport,
    app::{CardError, CardKey},
};

/// The first of twenty slots, and the last byte of the object with its certificate.
const FIRST: (u8, u8) = (0x82, 0x0D);
const SLOTS: u8 = 20;

impl<T: Transport> Piv<T> {
    /// All of them, the last slot first: tools fill them upwards. A slot without a certificate, or with one that cannot
    /// be used, is passed over.
    pub(super) fn retired_keys(&mut self) -> Result<Vec<CardKey>, CardError> {
        let mut keys = Vec::new();
        for n in (0..SLOTS).rev() {
            let object = [0x5F, 0xC1, FIRST.1 + n];
            match self.key_of("read the certificate of a retired key", &object) {
                Ok(key) => {
                    if !self.places.iter().any(|(known, _)| known.id() == key.id()) {
                        self.places.push((key.clone(), FIRST.0 + n));
                    }
                    keys.push(key);
                }
                Err(error @ CardError::Apdu { .. }) => return Err(error),
                Err(error) => tracing::debug!(slot = FIRST.0 + n, %error, "no retired key"),
            }
        }
        Ok(keys)
    }
}
