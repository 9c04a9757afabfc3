//! User records and heads at every site, snapshots at none but the chosen one.
//!
//! A change is written together with one outbox row for each other site; a task for each site sends
//! what waits, again and again until the site took it. Once a minute, and first of all with a site
//! that was just added, sites compare digests: that repairs whatever the outbox missed (a restored
//! backup, a site added late).

mod compare;
mod run;

use site_api::peer::{Digest, DigestAnswer, DigestRow, HeadRecord, MAX_BATCH, Records, UserRecord};
use snapshot::id::UserId;

use crate::{
    app::Site,
    store::{Peer, Store, StoreError},
};

pub use compare::{Difference, differences};
pub use run::run;

/// Takes what is newer than ours; how many that were. A record that is not one is left out and logged:
/// a broken one must not hold back the others.
///
/// # Errors
/// [`StoreError::Db`].
pub(crate) async fn merge(
    site: &Site,
    peer: &Peer,
    records: &Records,
) -> Result<usize, StoreError> {
    let mut taken = 0;
    for user in &records.users {
        if let Err(why) = check(user) {
            tracing::warn!(peer = %peer.site, user = %user.registration.user, why, "user record of another site left out");
            continue;
        }
        taken += usize::from(site.store.merge_user(user).await?);
    }
    let mut relay = false;
    for head in &records.heads {
        if head.info.seq == 0 || head.info.pc.len() > snapshot::record::MAX_PC_BYTES {
            tracing::warn!(peer = %peer.site, user = %head.user, "head of another site left out");
            continue;
        }
        let newer = site.store.merge_head(head).await?;
        relay |= newer;
        taken += usize::from(newer);
    }
    if relay {
        site.bell.relay.notify_one();
    }
    Ok(taken)
}

fn check(user: &UserRecord) -> Result<(), &'static str> {
    user.registration
        .check()
        .map_err(|_| "its registration breaks a rule")?;
    if user.version == 0 || user.version > i64::MAX.unsigned_abs() {
        return Err("its version is out of range");
    }
    if !user.password_phc.starts_with("$argon2id$") || user.password_phc.len() > 512 {
        return Err("its password is not an Argon2id hash");
    }
    Ok(())
}

/// What this site knows, one row for each user.
///
/// # Errors
/// [`StoreError::Db`].
pub(crate) async fn digest(store: &Store) -> Result<Digest, StoreError> {
    let mut rows = std::collections::BTreeMap::<UserId, DigestRow>::new();
    let empty = |user| DigestRow {
        user,
        version: None,
        head: None,
    };
    for (user, version, origin) in store.user_versions().await? {
        rows.entry(user).or_insert_with(|| empty(user)).version = Some((version, origin));
    }
    for HeadRecord { user, info } in store.heads().await? {
        rows.entry(user).or_insert_with(|| empty(user)).head =
            Some((info.seq, info.site, info.record));
    }
    Ok(Digest {
        rows: rows.into_values().collect(),
    })
}

/// Answers the digest of another site: what is newer here, and whom we want. At most [`MAX_BATCH`]
/// of each; the asker asks again until nothing is left.
///
/// # Errors
/// [`StoreError::Db`].
pub(crate) async fn answer(store: &Store, theirs: &Digest) -> Result<DigestAnswer, StoreError> {
    let mut answer = DigestAnswer::default();
    for difference in differences(&digest(store).await?, theirs) {
        if difference.newer_here()
            && answer.newer.users.len() + answer.newer.heads.len() < MAX_BATCH
        {
            add(store, &mut answer.newer, &difference).await?;
        }
        if difference.newer_there() && answer.wanted.len() < MAX_BATCH {
            answer.wanted.push(difference.user);
        }
    }
    Ok(answer)
}

async fn add(
    store: &Store,
    records: &mut Records,
    difference: &Difference,
) -> Result<(), StoreError> {
    if difference.user_record.is_gt() {
        records
            .users
            .extend(store.user_record(difference.user).await?);
    }
    if difference.head.is_gt() {
        records
            .heads
            .extend(head_record(store, difference.user).await?);
    }
    Ok(())
}

/// A head as it travels.
pub(crate) async fn head_record(
    store: &Store,
    user: UserId,
) -> Result<Option<HeadRecord>, StoreError> {
    Ok(store
        .head(user)
        .await?
        .map(|info| HeadRecord { user, info }))
}
