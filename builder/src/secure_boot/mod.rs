//! Secure Boot: the operator's own keys, and the signature firmware checks before it starts a release.
//!
//! Three keys as the UEFI specification has them: the platform key (PK) lets KEK change, KEK lets db change, db signs
//! what starts. [`keys`] makes them with the files that enrol them ([`variable`]), [`authenticode`] signs a PE file.
//! RSA with PKCS #1 v1.5 and no signing time: the same key and file give the same bits.
//! The page for operators is `docs/secure-boot.md`.

pub mod authenticode;
mod der;
pub mod keys;
mod pkcs7;
pub mod variable;

use crate::files::FileError;

/// Why there is no key or no signature.
#[derive(Debug, thiserror::Error)]
pub enum SecureBootError {
    /// A file.
    #[error("keep or use Secure Boot keys")]
    File(#[from] FileError),
    /// A key or a certificate was not made or does not sign.
    #[error("{doing}")]
    Key {
        /// What was being done.
        doing: &'static str,
        /// Why not.
        #[source]
        source: rcgen::Error,
    },
    /// A new set would lock out every PC that trusts the old one.
    #[error(
        "{path} is there already; PCs that trust it would start nothing signed by another, so it stays"
    )]
    Exists {
        /// The file.
        path: String,
    },
    /// Not a certificate `keygen` made.
    #[error(
        "{path} is no certificate in PEM with an RSA key; `furoshiki-builder keygen` makes one"
    )]
    Certificate {
        /// The file.
        path: String,
    },
    /// Not a PE file, or one that cannot be signed.
    #[error("sign {path}: {what}")]
    Pe {
        /// The file.
        path: String,
        /// What is wrong.
        what: String,
    },
}
