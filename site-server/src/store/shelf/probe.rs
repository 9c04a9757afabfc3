//! What a folder or bucket does, tried out with a few bytes.

use futures_util::TryStreamExt as _;
use object_store::{
    Error, ObjectStore, ObjectStoreExt as _, PutMode, PutOptions, UpdateVersion, path::Path as Key,
};

use super::super::{StoreError, file::random};

/// What a bucket does beyond what a site needs. No promise rests on any of it; an operator sees what engine he has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Capabilities {
    /// A write with `If-None-Match: *` does not replace what is there.
    pub if_none_match: bool,
    /// A write with `If-Match` replaces that version and no other.
    pub if_match: bool,
    /// A list right after a write shows what was written.
    pub list_after_write: bool,
}

impl Capabilities {
    /// Each with its name in `/metrics`.
    #[must_use]
    pub const fn named(&self) -> [(&'static str, bool); 3] {
        [
            ("if_none_match", self.if_none_match),
            ("if_match", self.if_match),
            ("list_after_write", self.list_after_write),
        ]
    }
}

/// Writes, reads a part, lists, and deletes again.
///
/// # Errors
/// [`StoreError::Objects`], [`StoreError::Bucket`]: a site cannot work with it.
pub(super) async fn probe(store: &dyn ObjectStore) -> Result<Capabilities, StoreError> {
    let folder = Key::from("probe");
    let key = Key::from(format!("probe/{}", hex::encode(random::<16>())));
    let wrong = |what| StoreError::objects(what);
    let content = b"furoshiki";
    let put = store.put(&key, content.to_vec().into()).await;
    let e_tag = put.map_err(wrong("write a probe"))?.e_tag;
    let part = store.get_range(&key, 2..6).await;
    let part = part.map_err(wrong("read a part of a probe"))?;
    let listed = store.list(Some(&folder)).try_collect::<Vec<_>>().await;
    let listed = listed.map_err(wrong("list the probes"))?;

    let create = write(store, &key, PutMode::Create).await;
    let update = |e_tag| {
        PutMode::Update(UpdateVersion {
            e_tag,
            version: None,
        })
    };
    // Not at all, or always: then the condition says nothing.
    let no_other = write(store, &key, update(Some("\"0123456789abcdef\"".into()))).await;
    let this = match e_tag {
        Some(e_tag) => write(store, &key, update(Some(e_tag))).await,
        None => false,
    };
    let deleted = store.delete(&key).await;
    deleted.map_err(wrong("delete a probe"))?;
    if part.as_ref() != b"rosh" {
        return Err(StoreError::Bucket("it does not send the part asked for"));
    }
    Ok(Capabilities {
        if_none_match: !create,
        if_match: this && !no_other,
        list_after_write: listed.iter().any(|meta| meta.location == key),
    })
}

/// Whether a write under a condition was taken.
async fn write(store: &dyn ObjectStore, key: &Key, mode: PutMode) -> bool {
    let options = PutOptions::from(mode);
    match store
        .put_opts(key, b"furoshiki".to_vec().into(), options)
        .await
    {
        Ok(_) => true,
        Err(Error::AlreadyExists { .. } | Error::Precondition { .. }) => false,
        Err(error) => {
            // Folders know no versions, and some servers no conditions: both only say what they are.
            tracing::debug!(%error, "a conditional write is refused");
            false
        }
    }
}
