//! Site passwords: Argon2id with 1 lane, memory and passes as `site.toml` says (RFC 9106).

use std::sync::Arc;

use argon2::{
    Algorithm, Argon2, Params, Version,
    password_hash::{PasswordHasher as _, PasswordVerifier as _, phc::PasswordHash},
};
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

use super::cost::Cost;

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
    /// `[passwords]` of `site.toml`.
    #[error(
        "passwords in site.toml ask for {0} KiB and {1} passes; take 19456 to 1048576 and 2 to 16, or run furoshiki-site calibrate"
    )]
    Cost(u32, u32),
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
    cost: Cost,
}

/// What became of a comparison. No `Debug`: a new hash is one.
#[derive(Clone)]
pub struct Checked {
    /// The password is the one behind the hash.
    pub right: bool,
    /// It was right and its hash was cheaper than today's: the hash to keep from now on.
    pub renewed: Option<String>,
}

impl Passwords {
    /// One at a time for each core. New hashes have this cost.
    ///
    /// # Errors
    /// [`PasswordError::Cost`], [`PasswordError::Hash`].
    pub fn new(cost: Cost) -> Result<Self, PasswordError> {
        let cost = cost.check()?;
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let decoy = hash("a password nobody has", cost)?.into();
        Ok(Self {
            gate: Arc::new(Semaphore::new(cores)),
            decoy,
            cost,
        })
    }

    /// The PHC string of a new password, hashed in line with those that are compared.
    ///
    /// # Errors
    /// [`PasswordError`].
    pub async fn new_phc(&self, password: Zeroizing<String>) -> Result<String, PasswordError> {
        let cost = self.cost;
        let _turn = self
            .gate
            .acquire()
            .await
            .map_err(|_| PasswordError::Stopping)?;
        tokio::task::spawn_blocking(move || new_phc_at(&password, cost))
            .await
            .map_err(|_| PasswordError::Stopping)?
    }

    /// Whether `password` is the one behind the PHC string `phc`. With `None` (no such user) it
    /// takes the same time and is never true.
    ///
    /// # Errors
    /// [`PasswordError::Stopping`]; a PHC string that does not parse compares as wrong.
    pub async fn check(
        &self,
        phc: Option<&str>,
        password: Zeroizing<String>,
    ) -> Result<Checked, PasswordError> {
        let known = phc.is_some();
        let phc: Arc<str> = phc.map_or_else(|| self.decoy.clone(), Arc::from);
        let _turn = self
            .gate
            .acquire()
            .await
            .map_err(|_| PasswordError::Stopping)?;
        let cost = self.cost;
        let compared = tokio::task::spawn_blocking(move || {
            let wrong = Checked {
                right: false,
                renewed: None,
            };
            if password.len() > MAX_PASSWORD_BYTES {
                return wrong;
            }
            // The parameters of the hash count, not those here.
            let right = PasswordHash::new(&phc).is_ok_and(|hash| {
                argon2(Cost::default())
                    .is_ok_and(|argon2| argon2.verify_password(password.as_bytes(), &hash).is_ok())
            });
            if !(right && known) {
                return wrong;
            }
            let renewed = is_cheaper(&phc, cost)
                .then(|| hash(&password, cost).ok())
                .flatten();
            Checked { right, renewed }
        });
        compared.await.map_err(|_| PasswordError::Stopping)
    }
}

/// Whether a hash costs less than hashes do now, in memory or in passes.
fn is_cheaper(phc: &str, cost: Cost) -> bool {
    PasswordHash::new(phc)
        .ok()
        .and_then(|hash| Params::try_from(&hash).ok())
        .is_some_and(|params| params.m_cost() < cost.memory_kib || params.t_cost() < cost.passes)
}

/// The PHC string of a new password at the lowest cost: some 30 ms and 19 MiB. The next sign-in gives it the cost of the site.
///
/// # Errors
/// [`PasswordError::Length`], [`PasswordError::Hash`].
pub fn new_phc(password: &str) -> Result<String, PasswordError> {
    new_phc_at(password, Cost::default())
}

/// The PHC string of a new password at a cost.
///
/// # Errors
/// [`PasswordError::Length`], [`PasswordError::Cost`], [`PasswordError::Hash`].
pub fn new_phc_at(password: &str, cost: Cost) -> Result<String, PasswordError> {
    if !(MIN_PASSWORD_BYTES..=MAX_PASSWORD_BYTES).contains(&password.len()) {
        return Err(PasswordError::Length(password.len()));
    }
    hash(password, cost.check()?)
}

pub(super) fn hash(password: &str, cost: Cost) -> Result<String, PasswordError> {
    Ok(argon2(cost)?
        .hash_password(password.as_bytes())
        .map_err(PasswordError::Hash)?
        .to_string())
}

fn argon2(cost: Cost) -> Result<Argon2<'static>, PasswordError> {
    let params = Params::new(cost.memory_kib, cost.passes, LANES, None)
        .map_err(|_| PasswordError::Cost(cost.memory_kib, cost.passes))?;
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_password_is_kept_as_argon2id_and_only_it_matches() {
        let phc = new_phc("tulip-4471").unwrap();
        assert!(phc.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{phc}");
        assert!(!phc.contains("tulip"));
        let passwords = Passwords::new(Cost::default()).unwrap();
        let matches = |phc: Option<String>, password: &str| {
            let (passwords, password) = (passwords.clone(), Zeroizing::new(password.to_owned()));
            async move {
                passwords
                    .check(phc.as_deref(), password)
                    .await
                    .unwrap()
                    .right
            }
        };
        assert!(matches(Some(phc.clone()), "tulip-4471").await);
        assert!(!matches(Some(phc), "tulip-4472").await);
        assert!(!matches(Some("$argon2id$broken".into()), "tulip-4471").await);
        assert!(!matches(None, "a password nobody has").await);
    }

    #[tokio::test]
    async fn a_hash_of_a_lower_cost_is_renewed_by_the_right_password_alone() {
        let old = new_phc("tulip-4471").unwrap();
        let dearer = Cost {
            memory_kib: 24 << 10,
            passes: 3,
        };
        let passwords = Passwords::new(dearer).unwrap();
        let check = async |phc: &str, password: &str| {
            let password = Zeroizing::new(password.to_owned());
            passwords.check(Some(phc), password).await.unwrap()
        };
        let wrong = check(&old, "tulip-4472").await;
        assert!(!wrong.right && wrong.renewed.is_none());
        let right = check(&old, "tulip-4471").await;
        let new = right.renewed.expect("a new hash");
        assert!(
            right.right && new.starts_with("$argon2id$v=19$m=24576,t=3,p=1$"),
            "{new}"
        );
        let again = check(&new, "tulip-4471").await;
        assert!(again.right && again.renewed.is_none());
        // A site whose hashes cost less keeps the dearer ones.
        let cheap = Passwords::new(Cost::default()).unwrap();
        let password = Zeroizing::new("tulip-4471".to_owned());
        assert!(
            cheap
                .check(Some(&new), password)
                .await
                .unwrap()
                .renewed
                .is_none()
        );
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
