//! The session's keys and token, in the kernel's user keyring of root: no file, and they outlive the initrd.
//!
//! A key is made in the process keyring, where its maker may set its permissions, then linked to `@u`. Owner
//! (uid 0) may read it without possessing it, because a service's session keyring need not be linked to `@u`; other
//! users get nothing. What runs as root in the session can read it: see docs/threat-model.md.
//!
//! Source: keyrings(7), user-keyring(7), keyctl_setperm(3).

use linux_keyutils::{
    Key, KeyError, KeyPermissionsBuilder, KeyRing, KeyRingIdentifier, Permission,
};
use zeroize::Zeroizing;

/// A key of the session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionKey {
    /// Encoded `snapshot::keys::SnapshotKeys`.
    Snapshot,
    /// Bearer token at the site, UTF-8.
    Token,
}

impl SessionKey {
    const fn description(self) -> &'static str {
        match self {
            Self::Snapshot => "furoshiki:snapshot-keys",
            Self::Token => "furoshiki:token",
        }
    }
}

/// The kernel keeps or gives no key.
#[derive(Debug, thiserror::Error)]
#[error("{doing} {name} in the kernel keyring: {why:?}")]
pub struct KeyringError {
    doing: &'static str,
    name: &'static str,
    // Not a `source`: KeyError is no `Error` without the crate's std feature.
    why: KeyError,
}

fn failed(doing: &'static str, key: SessionKey) -> impl Fn(KeyError) -> KeyringError {
    move |why| KeyringError {
        doing,
        name: key.description(),
        why,
    }
}

fn find(key: SessionKey) -> Result<Key, KeyError> {
    KeyRing::from_special_id(KeyRingIdentifier::User, false)?.search(key.description())
}

/// Keeps a secret until [`forget`] or power-off. At most 32767 bytes.
///
/// # Errors
/// [`KeyringError`].
pub fn keep(key: SessionKey, secret: &[u8]) -> Result<(), KeyringError> {
    let owner = Permission::VIEW
        | Permission::READ
        | Permission::SEARCH
        | Permission::LINK
        | Permission::SETATTR;
    let permissions = KeyPermissionsBuilder::builder()
        .posessor(Permission::ALL)
        .user(owner)
        .build();
    let keep = || {
        let process = KeyRing::from_special_id(KeyRingIdentifier::Process, true)?;
        let user = KeyRing::from_special_id(KeyRingIdentifier::User, true)?;
        let made = process.add_key(key.description(), secret)?;
        made.set_perms(permissions)?;
        user.link_key(made)?;
        process.unlink_key(made)
    };
    keep().map_err(failed("keep", key))
}

/// The secret kept.
///
/// # Errors
/// [`KeyringError`]: nobody is signed in, or the caller is not root.
pub fn load(key: SessionKey) -> Result<Zeroizing<Vec<u8>>, KeyringError> {
    let load = || Ok(Zeroizing::new(find(key)?.read_to_vec()?));
    load().map_err(failed("find", key))
}

/// Makes the kernel forget a secret. Nothing kept is no error.
pub fn forget(key: SessionKey) {
    if let Ok(key) = find(key)
        && let Err(error) = key.invalidate()
    {
        tracing::warn!(?error, "a session key stays in the kernel until power-off");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_kept_comes_back_until_it_is_forgotten() {
        let key = SessionKey::Token;
        if let Err(error) = keep(key, b"secret") {
            // Containers often forbid add_key; the VM tests run this for real.
            eprintln!("this kernel lets nobody keep a key: {error}");
            return;
        }
        assert_eq!(load(key).unwrap().as_slice(), b"secret");
        keep(key, b"newer").unwrap();
        assert_eq!(load(key).unwrap().as_slice(), b"newer");
        forget(key);
        assert!(load(key).is_err());
    }
}
