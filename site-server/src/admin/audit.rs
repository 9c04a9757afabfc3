//! The audit log, handed out and looked through.

use std::{
    io::{BufRead, BufReader, Write},
    path::Path,
};

use super::{AdminError, open};
use crate::{
    config::ConfigError,
    store::{Actor, Anchor, AuditRow, Chain, Deed},
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
    let done = loop {
        let rows = match store.audit_after(seq, PAGE).await {
            Ok(rows) => rows,
            Err(error) => break Err(error.into()),
        };
        let Some(last) = rows.last().map(|row| row.seq) else {
            break Ok(seq);
        };
        if let Err(error) = rows.iter().try_for_each(|row| line(&mut to, row)) {
            break Err(error);
        }
        seq = last;
    };
    store.close().await;
    done
}

fn line(to: &mut impl Write, row: &AuditRow) -> Result<(), AdminError> {
    let mut text = serde_json::to_vec(row).map_err(AdminError::Write)?;
    text.push(b'\n');
    to.write_all(&text).map_err(AdminError::Print)
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
