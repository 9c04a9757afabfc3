//! Site passwords: Argon2id with 19 MiB, 2 passes, 1 lane (RFC 9106; OWASP's smallest advice).

use std::sync::Arc;

use argon2::{
    Algorithm, Argon2, Params, Version,
    password_hash::{PasswordHasher as _, PasswordVerifier as _, phc::PasswordHash},
};
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

const MEMORY_KIB: u32 = 19 * 1024;
const PASSES: u32 = 2;
const LANES: u32 = 1;
/// Shortest site password, in bytes of UTF-8.
const MIN_PASSWORD_BYTES: usize = 8;
/// Longest, so that nobody makes the site hash megabytes.
const MAX_PASSWORD_BYTES: usize = 256;

/// Why a password was not hashed or compared.
#[derive(Debug, thiserror::Error)]
pub enum PasswordError {
    /// Too short or too long.
    #[error(
        "a site password has {MIN_PASSWORD_BYTES} to {MAX_PASSWORD_BYTES} bytes, this one has {0}"
    )]
    Length(usize),
    /// Argon2 refused.
    #[error("hash a password")]
    Hash(#[source] argon2::password_hash::Error),
    /// The server stops.
    #[error("hash a password while the server stops")]
    Stopping,
}

/// Hashes and compares, as many at a time as there are cores: a storm of sign-ins waits in line
/// instead of taking 19 MiB each.
#[derive(Debug, Clone)]
pub struct Passwords {
    gate: Arc<Semaphore>,
    decoy: Arc<str>,
}

impl Passwords {
    /// One at a time for each core.
    ///
    /// # Errors
    /// [`PasswordError::Hash`].
    pub fn new() -> Result<Self, PasswordError> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let decoy = hash("a password nobody has")?.into();
        Ok(Self {
            gate: Arc::new(Semaphore::new(cores)),
            decoy,
        })
    }

    /// Whether `password` is the one behind the PHC string `phc`. With `None` (no such user) it
    /// takes the same time and is never true.
    ///
    /// # Errors
    /// [`PasswordError::Stopping`]; a PHC string that does not parse compares as wrong.
    pub async fn matches(
        &self,
        phc: Option<&str>,
        password: Zeroizing<String>,
    ) -> Result<bool, PasswordError> {
        let known = phc.is_some();
        let phc: Arc<str> = phc.map_or_else(|| self.decoy.clone(), Arc::from);
        let _turn = self
            .gate
            .acquire()
            .await
            .map_err(|_| PasswordError::Stopping)?;
        let compared = tokio::task::spawn_blocking(move || {
            if password.len() > MAX_PASSWORD_BYTES {
                return false;
            }
            PasswordHash::new(&phc)
                .is_ok_and(|hash| argon2().verify_password(password.as_bytes(), &hash).is_ok())
        });
        Ok(compared.await.map_err(|_| PasswordError::Stopping)? && known)
    }
}

/// The PHC string of a new password. Takes some 30 ms and 19 MiB.
///
/// # Errors
/// [`PasswordError::Length`], [`PasswordError::Hash`].
pub fn new_phc(password: &str) -> Result<String, PasswordError> {
    if !(MIN_PASSWORD_BYTES..=MAX_PASSWORD_BYTES).contains(&password.len()) {
        return Err(PasswordError::Length(password.len()));
    }
    hash(password)
}

fn hash(password: &str) -> Result<String, PasswordError> {
    Ok(argon2()
        .hash_password(password.as_bytes())
        .map_err(PasswordError::Hash)?
        .to_string())
}

fn argon2() -> Argon2<'static> {
    let params = Params::new(MEMORY_KIB, PASSES, LANES, None)
        .expect("the constants above are within Argon2's limits");
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_password_is_kept_as_argon2id_and_only_it_matches() {
        let phc = new_phc("tulip-4471").unwrap();
        assert!(phc.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{phc}");
        assert!(!phc.contains("tulip"));
        let passwords = Passwords::new().unwrap();
        let matches = |phc: Option<String>, password: &str| {
            let (passwords, password) = (passwords.clone(), Zeroizing::new(password.to_owned()));
            async move { passwords.matches(phc.as_deref(), password).await.unwrap() }
        };
        assert!(matches(Some(phc.clone()), "tulip-4471").await);
        assert!(!matches(Some(phc), "tulip-4472").await);
        assert!(!matches(Some("$argon2id$broken".into()), "tulip-4471").await);
        assert!(!matches(None, "a password nobody has").await);
    }

    #[test]
    fn short_and_endless_passwords_are_refused() {
        assert!(matches!(new_phc("short"), Err(PasswordError::Length(5))));
        assert!(matches!(
            new_phc(&"x".repeat(257)),
            Err(PasswordError::Length(257))
        ));
    }
}
