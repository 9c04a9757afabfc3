//! What the operator decided for this site, and quotas of single users.

use std::time::Duration;

use snapshot::id::{ObjectId, UserId};

use super::{Actor, Deed, Store, StoreError, Tx, audit, column, count};
use crate::retention::Retention;

/// Sealed bytes of a user.
const USED: &str = "SELECT CAST(COALESCE(SUM(bytes), 0) AS BIGINT) FROM objects WHERE user_id = $1";

/// A decision of the operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// Most sealed bytes of a user at this site; nothing: no limit.
    QuotaBytes,
    /// Whether a user who did not announce himself may have his snapshot fetched: `yes` or `no`.
    WalkIn,
    /// Whether somebody with a card nobody knows may register at a PC: `yes` or `no`.
    RegisterAtPc,
    /// Whether people sign in at a PC with a passphrase in the place of a card: `yes` or `no`.
    Passphrases,
    /// When snapshots of announced users are fetched, `HH:MM-HH:MM` by the site's clock; nothing: at any time.
    RelayWindow,
    /// Most bytes a second that are fetched from other sites together; nothing: no limit.
    RelayBytesPerS,
    /// Days after which a copy nobody used here is dropped; nothing: never.
    DropCopiesAfterDays,
    /// How many of the newest snapshots of a user are kept; nothing: as `site.toml` says.
    KeepNewest,
    /// Of how many days the last snapshot is kept beside them; nothing: as `site.toml` says.
    KeepDays,
}

impl Policy {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::QuotaBytes,
        Self::WalkIn,
        Self::RegisterAtPc,
        Self::Passphrases,
        Self::RelayWindow,
        Self::RelayBytesPerS,
        Self::DropCopiesAfterDays,
        Self::KeepNewest,
        Self::KeepDays,
    ];

    /// Name on the command line, in pages and in the database.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::QuotaBytes => "quota_bytes",
            Self::WalkIn => "walk_in",
            Self::RegisterAtPc => "register_at_pc",
            Self::Passphrases => "passphrases",
            Self::RelayWindow => "relay_window",
            Self::RelayBytesPerS => "relay_bytes_per_s",
            Self::DropCopiesAfterDays => "drop_copies_after_days",
            Self::KeepNewest => "keep_newest",
            Self::KeepDays => "keep_days",
        }
    }

    /// The policy of this name, if it is one.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|policy| policy.name() == name)
    }

    /// Whether it may be set to this; nothing unsets every one of them.
    #[must_use]
    pub fn takes(self, value: &str) -> bool {
        if value.is_empty() {
            return true;
        }
        match self {
            Self::QuotaBytes | Self::RelayBytesPerS => {
                value.parse::<i64>().is_ok_and(|bytes| bytes > 0)
            }
            Self::DropCopiesAfterDays => value
                .parse::<u32>()
                .is_ok_and(|days| (1..=3650).contains(&days)),
            Self::KeepNewest => value
                .parse::<u32>()
                .is_ok_and(|newest| (1..=1000).contains(&newest)),
            Self::KeepDays => value.parse::<u32>().is_ok_and(|days| days <= 3650),
            Self::WalkIn | Self::RegisterAtPc | Self::Passphrases => matches!(value, "yes" | "no"),
            Self::RelayWindow => Window::parse(value).is_some(),
        }
    }
}

/// Hours of a day, perhaps over midnight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    from_minute: u16,
    to_minute: u16,
}

impl Window {
    /// `HH:MM-HH:MM`; the end may be before the beginning, then it lies on the next day.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (from, to) = text.split_once('-')?;
        let window = Self {
            from_minute: minute(from)?,
            to_minute: minute(to)?,
        };
        (window.from_minute != window.to_minute).then_some(window)
    }

    /// Whether this time of day, in minutes after midnight, lies in it.
    #[must_use]
    pub const fn holds(self, minute: u16) -> bool {
        if self.from_minute < self.to_minute {
            self.from_minute <= minute && minute < self.to_minute
        } else {
            self.from_minute <= minute || minute < self.to_minute
        }
    }
}

fn minute(text: &str) -> Option<u16> {
    let (hours, minutes) = text.split_once(':')?;
    let digits = |text: &str| text.len() == 2 && text.bytes().all(|b| b.is_ascii_digit());
    let (h, m): (u16, u16) = (hours.parse().ok()?, minutes.parse().ok()?);
    (digits(hours) && digits(minutes) && h < 24 && m < 60).then_some(h * 60 + m)
}

/// What is decided now, with what holds where nothing is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policies {
    /// See [`Policy::QuotaBytes`].
    pub quota_bytes: Option<u64>,
    /// See [`Policy::WalkIn`]; true when nothing is said.
    pub walk_in: bool,
    /// See [`Policy::RegisterAtPc`]; false when nothing is said.
    pub register_at_pc: bool,
    /// See [`Policy::Passphrases`]; false when nothing is said.
    pub passphrases: bool,
    /// See [`Policy::RelayWindow`].
    pub relay_window: Option<Window>,
    /// See [`Policy::RelayBytesPerS`].
    pub relay_bytes_per_s: Option<u64>,
    /// See [`Policy::DropCopiesAfterDays`].
    pub drop_copies_after: Option<Duration>,
    /// See [`Policy::KeepNewest`].
    pub keep_newest: Option<u32>,
    /// See [`Policy::KeepDays`].
    pub keep_days: Option<u32>,
}

impl Policies {
    /// Which snapshots are kept: what was decided stands above `site.toml`.
    #[must_use]
    pub fn retention(&self, configured: Retention) -> Retention {
        Retention {
            newest: self.keep_newest.unwrap_or(configured.newest),
            days: self.keep_days.unwrap_or(configured.days),
        }
    }
}

impl Store {
    /// The value of a policy as it was set; `None`: nothing was.
    ///
    /// # Errors
    /// [`StoreError::Db`].
    pub async fn policy(&self, policy: Policy) -> Result<Option<String>, StoreError> {
        let row: Option<(String,)> = sqlx::query_as("SELECT value FROM policies WHERE name = $1")
            .bind(policy.name())
            .fetch_optional(&self.db.pool)
            .await
            .map_err(StoreError::db("read a policy"))?;
        Ok(row.map(|(value,)| value))
    }

    /// All policies.
    ///
    /// # Errors
    /// [`StoreError::Db`].
    pub async fn policies(&self) -> Result<Policies, StoreError> {
        let rows: Vec<(String, String)> = sqlx::query_as("SELECT name, value FROM policies")
            .fetch_all(&self.db.pool)
            .await
            .map_err(StoreError::db("read the policies"))?;
        let value = |policy: Policy| {
            let row = rows.iter().find(|(name, _)| name == policy.name());
            row.map(|(_, value)| value.as_str())
        };
        let number = |policy| value(policy).and_then(|text| text.parse::<u64>().ok());
        let small = |policy| number(policy).and_then(|number| u32::try_from(number).ok());
        Ok(Policies {
            quota_bytes: number(Policy::QuotaBytes),
            walk_in: value(Policy::WalkIn) != Some("no"),
            register_at_pc: value(Policy::RegisterAtPc) == Some("yes"),
            passphrases: value(Policy::Passphrases) == Some("yes"),
            relay_window: value(Policy::RelayWindow).and_then(Window::parse),
            relay_bytes_per_s: number(Policy::RelayBytesPerS),
            drop_copies_after: number(Policy::DropCopiesAfterDays)
                .map(|days| Duration::from_secs(days.saturating_mul(86_400))),
            keep_newest: small(Policy::KeepNewest),
            keep_days: small(Policy::KeepDays),
        })
    }

    /// Sets a policy, which [`Policy::takes`] the value; an empty one unsets it.
    ///
    /// # Errors
    /// [`StoreError::Db`].
    pub async fn set_policy(
        &self,
        actor: Actor,
        policy: Policy,
        value: &str,
    ) -> Result<(), StoreError> {
        let error = || StoreError::db("set a policy");
        let mut tx = self.write("set a policy").await?;
        sqlx::query("DELETE FROM policies WHERE name = $1")
            .bind(policy.name())
            .execute(&mut *tx)
            .await
            .map_err(error())?;
        if !value.is_empty() {
            sqlx::query("INSERT INTO policies (name, value) VALUES ($1, $2)")
                .bind(policy.name())
                .bind(value)
                .execute(&mut *tx)
                .await
                .map_err(error())?;
        }
        let deed = Deed::new(actor, "policy.set", policy.name()).with(value);
        audit::write(&mut tx, &deed).await?;
        tx.commit().await.map_err(error())
    }

    /// Sets the quota of one user at this site; `None`: the one of all holds.
    ///
    /// # Errors
    /// [`StoreError::Db`].
    pub async fn set_quota(
        &self,
        actor: Actor,
        user: UserId,
        bytes: Option<u64>,
    ) -> Result<(), StoreError> {
        let error = || StoreError::db("set a quota");
        let mut tx = self.write("set a quota").await?;
        sqlx::query("DELETE FROM quotas WHERE user_id = $1")
            .bind(user.as_bytes().as_slice())
            .execute(&mut *tx)
            .await
            .map_err(error())?;
        if let Some(bytes) = bytes {
            sqlx::query("INSERT INTO quotas (user_id, bytes) VALUES ($1, $2)")
                .bind(user.as_bytes().as_slice())
                .bind(column(bytes))
                .execute(&mut *tx)
                .await
                .map_err(error())?;
        }
        let said = bytes.map_or_else(|| "as all".to_owned(), |bytes| format!("{bytes} bytes"));
        audit::write(&mut tx, &Deed::new(actor, "user.quota", user).with(said)).await?;
        tx.commit().await.map_err(error())
    }

    /// The quota that was set for this user alone.
    ///
    /// # Errors
    /// [`StoreError::Db`].
    pub async fn own_quota(&self, user: UserId) -> Result<Option<u64>, StoreError> {
        let row: Option<(i64,)> = sqlx::query_as("SELECT bytes FROM quotas WHERE user_id = $1")
            .bind(user.as_bytes().as_slice())
            .fetch_optional(&self.db.pool)
            .await
            .map_err(StoreError::db("read a quota"))?;
        row.map(|(bytes,)| count(bytes, "a quota")).transpose()
    }

    /// Most sealed bytes of this user at this site; `None`: no limit.
    ///
    /// # Errors
    /// [`StoreError::Db`].
    pub async fn quota(&self, user: UserId) -> Result<Option<u64>, StoreError> {
        if let Some(own) = self.own_quota(user).await? {
            return Ok(Some(own));
        }
        let all = self.policy(Policy::QuotaBytes).await?;
        Ok(all.and_then(|text| text.parse().ok()))
    }

    /// Sealed bytes of a user at this site.
    ///
    /// # Errors
    /// [`StoreError::Db`].
    pub async fn used_bytes(&self, user: UserId) -> Result<u64, StoreError> {
        let (bytes,): (i64,) = sqlx::query_as(USED)
            .bind(user.as_bytes().as_slice())
            .fetch_one(&self.db.pool)
            .await
            .map_err(StoreError::db("add up the objects of a user"))?;
        count(bytes, "a size")
    }

    /// The quota of a user, when one more object of this size would pass it; `None`: it fits, or is here already.
    ///
    /// # Errors
    /// [`StoreError::Db`].
    pub async fn over_quota(
        &self,
        user: UserId,
        object: ObjectId,
        new_bytes: u64,
    ) -> Result<Option<u64>, StoreError> {
        let Some(quota) = self.quota(user).await? else {
            return Ok(None);
        };
        let used = self.used_bytes(user).await?.saturating_add(new_bytes);
        let known = used > quota && self.object_bytes(user, object).await?.is_some();
        Ok((used > quota && !known).then_some(quota))
    }
}

/// The quota of a user, when what is listed now passes it.
pub(super) async fn passed(tx: &mut Tx, user: UserId) -> Result<Option<u64>, StoreError> {
    let row: Option<(String,)> = sqlx::query_as(
        "SELECT CAST(bytes AS TEXT) FROM quotas WHERE user_id = $1 \
         UNION ALL SELECT value FROM policies WHERE name = $2 AND NOT EXISTS (SELECT 1 FROM quotas WHERE user_id = $1)",
    )
    .bind(user.as_bytes().as_slice())
    .bind(Policy::QuotaBytes.name())
    .fetch_optional(&mut **tx)
    .await
    .map_err(StoreError::db("read a quota"))?;
    let Some(quota) = row.and_then(|(text,)| text.parse::<u64>().ok()) else {
        return Ok(None);
    };
    let (used,): (i64,) = sqlx::query_as(USED)
        .bind(user.as_bytes().as_slice())
        .fetch_one(&mut **tx)
        .await
        .map_err(StoreError::db("add up the objects of a user"))?;
    Ok((count(used, "a size")? > quota).then_some(quota))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_takes_only_what_it_means() {
        let good = [
            (Policy::QuotaBytes, "1"),
            (Policy::QuotaBytes, ""),
            (Policy::WalkIn, "no"),
            (Policy::RegisterAtPc, "yes"),
            (Policy::Passphrases, "no"),
            (Policy::RelayWindow, "22:00-06:30"),
            (Policy::RelayBytesPerS, "1000000"),
            (Policy::DropCopiesAfterDays, "30"),
            (Policy::KeepNewest, "1"),
            (Policy::KeepDays, "0"),
        ];
        for (policy, value) in good {
            assert!(policy.takes(value), "{policy:?} {value:?}");
        }
        let bad = [
            (Policy::QuotaBytes, "0"),
            (Policy::QuotaBytes, "-1"),
            (Policy::QuotaBytes, "9223372036854775808"),
            (Policy::WalkIn, "perhaps"),
            (Policy::RegisterAtPc, "true"),
            (Policy::Passphrases, "on"),
            (Policy::RelayWindow, "22:00"),
            (Policy::RelayWindow, "24:00-01:00"),
            (Policy::RelayWindow, "1:00-02:00"),
            (Policy::RelayWindow, "+1:00-02:00"),
            (Policy::RelayWindow, "01:00-01:00"),
            (Policy::DropCopiesAfterDays, "0"),
            (Policy::KeepNewest, "0"),
            (Policy::KeepNewest, "1001"),
            (Policy::KeepDays, "-1"),
        ];
        for (policy, value) in bad {
            assert!(!policy.takes(value), "{policy:?} {value:?}");
        }
    }

    #[test]
    fn a_window_may_lie_over_midnight() {
        let night = Window::parse("22:00-06:30").unwrap();
        let day = Window::parse("09:00-17:00").unwrap();
        for (minute, in_night, in_day) in [
            (0, true, false),
            (389, true, false),
            (390, false, false),
            (540, false, true),
            (1020, false, false),
            (1320, true, false),
        ] {
            assert_eq!(night.holds(minute), in_night, "{minute}");
            assert_eq!(day.holds(minute), in_day, "{minute}");
        }
    }
}
