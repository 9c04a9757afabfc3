//! The audit log, handed out and looked through.

use std::{
    io::{BufRead, BufReader, Write},
    path::Path,
    pin::pin,
};

use futures_util::{Stream, StreamExt as _, stream::try_unfold};

use super::{AdminError, open};
use crate::{
    config::ConfigError,
    store::{Actor, Anchor, Chain, Deed, Store},
};

/// Rows read at a time.
const PAGE: u32 = 1000;

/// Writes the whole log as lines of JSON, and the deed of doing so into it. Works while the server runs.
///
/// # Errors
/// [`AdminError`]; the lines written until then are good.
pub async fn audit_export(data: &Path, mut to: impl Write) -> Result<u64, AdminError> {
    let (_, store) = open(data).await?;
    store
        .audit(&Deed::new(Actor::Operator, "audit.export", ""))
        .await?;
    let mut seq = 0;
    let mut pages = pin!(pages(store.clone()));
    let done = loop {
        match pages.next().await {
            None => break Ok(seq),
            Some(Ok((lines, last))) => {
                if let Err(error) = to.write_all(&lines) {
                    break Err(AdminError::Print(error));
                }
                seq = last;
            }
            Some(Err(error)) => break Err(error),
        }
    };
    store.close().await;
    done
}

/// The whole log as lines of JSON, and the deed of handing it out in it.
pub(crate) async fn export(
    store: &Store,
    actor: Actor,
) -> Result<impl Stream<Item = Result<Vec<u8>, AdminError>> + use<>, AdminError> {
    store.audit(&Deed::new(actor, "audit.export", "")).await?;
    Ok(pages(store.clone()).map(|page| page.map(|(lines, _)| lines)))
}

/// Rows as lines, some at a time, each time with the number of the last.
fn pages(store: Store) -> impl Stream<Item = Result<(Vec<u8>, u64), AdminError>> {
    try_unfold((store, 0), async |(store, seq)| {
        let rows = store.audit_after(seq, PAGE).await?;
        let Some(last) = rows.last().map(|row| row.seq) else {
            return Ok(None);
        };
        let mut lines = Vec::new();
        for row in &rows {
            serde_json::to_writer(&mut lines, row).map_err(AdminError::Write)?;
            lines.push(b'\n');
        }
        Ok(Some(((lines, last), (store, last))))
    })
}

/// Looks through the log of a site; the anchor to note when it is whole. Works while the server runs.
///
/// # Errors
/// [`AdminError::Broken`]: a row was altered, taken out, moved, or the end lacks.
pub async fn audit_verify(data: &Path, anchor: Option<Anchor>) -> Result<Anchor, AdminError> {
    let (_, store) = open(data).await?;
    let mut chain = Chain::new(anchor);
    let mut seq = 0;
    let done = loop {
        let rows = match store.audit_after(seq, PAGE).await {
            Ok(rows) => rows,
            Err(error) => break Err(error.into()),
        };
        let Some(last) = rows.last().map(|row| row.seq) else {
            break Ok(());
        };
        if let Err(error) = rows.iter().try_for_each(|row| chain.take(row)) {
            break Err(error.into());
        }
        seq = last;
    };
    store.close().await;
    done.and_then(|()| Ok(chain.end()?))
}

/// Looks through an exported log, without a site.
///
/// # Errors
/// [`AdminError::Broken`], [`AdminError::Json`] for a line that is no row.
pub fn audit_verify_file(file: &Path, anchor: Option<Anchor>) -> Result<Anchor, AdminError> {
    let read = || ConfigError::io("read the audit log", file);
    let lines = BufReader::new(std::fs::File::open(file).map_err(read())?).lines();
    let mut chain = Chain::new(anchor);
    for line in lines {
        let row =
            serde_json::from_str(&line.map_err(read())?).map_err(|source| AdminError::Json {
                file: file.display().to_string(),
                source,
            })?;
        chain.take(&row)?;
    }
    Ok(chain.end()?)
}
