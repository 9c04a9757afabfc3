//! What PCs claim to have wiped.

use std::path::Path;

use super::AdminError;
use crate::{
    config::{Layout, SiteConfig},
    store::{KeptWipe, Store},
};

/// What PCs claim to have wiped, oldest first: a line each, or all of it as JSON.
///
/// # Errors
/// [`AdminError`].
pub async fn wipes(data: &Path, json: bool) -> Result<String, AdminError> {
    let layout = Layout::new(data);
    let config = SiteConfig::load(&layout)?;
    let store = Store::open(layout, &config.database, &config.objects).await?;
    let wipes = store.wipes().await?;
    store.close().await;
    if json {
        let text = serde_json::to_string_pretty(&wipes).map_err(AdminError::Write)?;
        return Ok(text + "\n");
    }
    Ok(wipes.iter().map(|wipe| wipe_line(wipe) + "\n").collect())
}

/// One wipe on one line: when it came, which PC, which disk, what was done and proved.
#[must_use]
pub fn wipe_line(wipe: &KeptWipe) -> String {
    let record = &wipe.record;
    let steps: Vec<String> = record
        .steps
        .iter()
        .map(|step| {
            let asked = serde_json::to_value(step.asked).unwrap_or_default();
            let proof = step.proof.map_or_else(String::new, |p| {
                format!(", {} of {} samples good", p.good, p.samples)
            });
            format!(
                "{} {} of {} MiB: {}{proof}",
                asked.as_str().unwrap_or_default(),
                step.bytes >> 20,
                step.of_bytes >> 20,
                step.answer
            )
        })
        .collect();
    let moment = serde_json::to_value(record.moment).unwrap_or_default();
    format!(
        "{}  {}  {} {}  {}  {}",
        wipe.received_ms,
        record.pc,
        record.disk.model,
        record.disk.serial,
        moment.as_str().unwrap_or_default(),
        steps.join("; ")
    )
}
