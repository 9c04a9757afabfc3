//! User records, settings and heads at every site, snapshots at none but the chosen one.
//!
//! A change is written together with one outbox row for each other site; a task for each site sends
//! what waits, again and again until the site took it. Once a minute, and first of all with a site
//! that was just added, sites compare digests: that repairs whatever the outbox missed (a restored
//! backup, a site added late).

mod compare;
mod run;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use site_api::peer::{
    Digest, DigestAnswer, DigestRow, HeadRecord, MAX_BATCH, Records, SettingsRecord, UserRecord,
};
use snapshot::{
    id::UserId,
    settings::{Context, SealedSettings},
};

use crate::{
    app::Site,
    clock::now_ms,
    store::{Peer, SharedKind, Store, StoreError, check_shared},
    tls::verified_crl,
};

pub use compare::{Difference, SharedDifference, differences, shared_differences};
pub use run::run;

/// So many bytes of settings go into one request or answer, and those of one user more: half of what is taken.
pub(crate) const SETTINGS_BYTES: usize = 12 << 20;

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
    let mut good = Records::default();
    for user in &records.users {
        match check(user) {
            Ok(()) => good.users.push(user.clone()),
            Err(why) => {
                tracing::warn!(peer = %peer.site, user = %user.registration.user, why, "user record of another site left out");
            }
        }
    }
    for head in &records.heads {
        if head.info.seq == 0 || head.info.pc.len() > snapshot::record::MAX_PC_BYTES {
            tracing::warn!(peer = %peer.site, user = %head.user, "head of another site left out");
            continue;
        }
        good.heads.push(head.clone());
    }
    for record in &records.shared {
        let checked = check_shared(record).and_then(|kind| match kind {
            SharedKind::Crl => verified_crl(record, site.tls.identity().cas())
                .map(drop)
                .map_err(|_| "no CA of this site signed it"),
            _ => Ok(()),
        });
        match checked {
            Ok(()) => good.shared.push(record.clone()),
            Err(why) => {
                tracing::warn!(peer = %peer.site, kind = record.kind, key = %record.key, why, "record of another site left out");
            }
        }
    }
    for settings in &records.settings {
        match check_settings(settings) {
            Ok(()) => good.settings.push(settings.clone()),
            Err(why) => {
                tracing::warn!(peer = %peer.site, user = %settings.user, why, "settings of another site left out");
            }
        }
    }
    let merged = site.store.merge(&good).await?;
    if merged.heads > 0 {
        site.bell.relay.notify_one();
    }
    if merged.shared > 0 {
        site.bell.trust.notify_one();
    }
    Ok(merged.all())
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
    if user.sign_in_epoch > i64::MAX.unsigned_abs() {
        return Err("its epoch of sign-ins is out of range");
    }
    if let Some(factor) = &user.second_factor
        && (factor.secret_b32.len() > 128 || factor.recovery.len() > 64)
    {
        return Err("its second factor is too long");
    }
    Ok(())
}

/// What is kept must be what it is kept as: the PC refuses it otherwise, long after.
fn check_settings(record: &SettingsRecord) -> Result<(), &'static str> {
    let sealed = STANDARD
        .decode(&record.sealed_b64)
        .map_err(|_| "they are not base64")?;
    let sealed = SealedSettings::parse(&sealed).map_err(|_| "they are not sealed settings")?;
    let context = Context {
        user: record.user,
        part: record.part,
        version: record.version,
        origin: record.origin,
    };
    if sealed.context != context || record.version == 0 {
        return Err("they are sealed as other settings");
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
        deleted: false,
        head: None,
        settings: [None; 3],
    };
    for (user, rank) in store.user_versions().await? {
        let row = rows.entry(user).or_insert_with(|| empty(user));
        row.version = Some((rank.epoch, rank.version, rank.origin));
        row.deleted = rank.deleted;
    }
    for HeadRecord { user, info } in store.heads().await? {
        rows.entry(user).or_insert_with(|| empty(user)).head =
            Some((info.epoch, info.seq, info.site, info.record));
    }
    for (user, versions) in store.settings_versions().await? {
        rows.entry(user).or_insert_with(|| empty(user)).settings = versions;
    }
    Ok(Digest {
        rows: rows.into_values().collect(),
        shared: store.shared_rows().await?,
        usage: Some(store.usage().await?),
    })
}

/// Answers the digest of another site: what is newer here, and what we want. At most [`MAX_BATCH`]
/// of each; the asker asks again until nothing is left.
///
/// # Errors
/// [`StoreError::Db`].
pub(crate) async fn answer(store: &Store, theirs: &Digest) -> Result<DigestAnswer, StoreError> {
    let ours = digest(store).await?;
    let mut answer = DigestAnswer {
        now_ms: now_ms(),
        usage: ours.usage,
        ..DigestAnswer::default()
    };
    let mut room = SETTINGS_BYTES;
    for difference in differences(&ours, theirs) {
        if difference.newer_here() && len(&answer.newer) < MAX_BATCH {
            add(store, &mut answer.newer, &difference, &mut room).await?;
        }
        if difference.newer_there() && answer.wanted.len() < MAX_BATCH {
            answer.wanted.push(difference.user);
        }
    }
    for SharedDifference { kind, key, order } in shared_differences(&ours, theirs) {
        // A kind that only the asker knows is wanted by nobody here.
        let Some(known) = SharedKind::from_name(&kind) else {
            continue;
        };
        if order.is_gt() && len(&answer.newer) < MAX_BATCH {
            answer.newer.shared.extend(store.shared(known, key).await?);
        }
        if order.is_lt() && answer.wanted_shared.len() < MAX_BATCH {
            answer.wanted_shared.push((kind, key));
        }
    }
    Ok(answer)
}

/// How many records a message has.
pub(crate) const fn len(records: &Records) -> usize {
    records.users.len() + records.heads.len() + records.shared.len() + records.settings.len()
}

async fn add(
    store: &Store,
    records: &mut Records,
    difference: &Difference,
    room: &mut usize,
) -> Result<(), StoreError> {
    if difference.settings_here && *room > 0 {
        let settings = store.settings(difference.user).await?;
        *room = room.saturating_sub(bytes_of(&settings));
        records.settings.extend(settings);
    }
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

/// Bytes of settings as they travel.
pub(crate) fn bytes_of(settings: &[SettingsRecord]) -> usize {
    settings.iter().map(|record| record.sealed_b64.len()).sum()
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
