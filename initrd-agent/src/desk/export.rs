//! `furoshiki-agent export`: the way out.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use super::{DeskError, WhiteoutsArgument, Who, output::Output, sign_in, terminal::Terminal};
use crate::{
    capture::Phase,
    clock,
    events::{Events, Stage},
    export::{ExportRequest, export},
    pull::{self, SitePacks},
    screen::{Language, Screen, size},
};

/// Options of `export`.
#[derive(Debug, Args)]
pub struct ExportArguments {
    #[command(flatten)]
    pub(super) who: Who,
    /// Where the tar goes; `-`, or nothing, is standard output. A name in .zst is compressed.
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Compress with zstd.
    #[arg(long)]
    zstd: bool,
    /// How deleted files of the baseline are said.
    #[arg(long, value_name = "KIND", default_value = "overlay")]
    whiteouts: WhiteoutsArgument,
}

pub(super) fn run(arguments: &ExportArguments, terminal: &Terminal) -> Result<(), DeskError> {
    crate::harden::harden();
    let output = Output::new(arguments.output.as_deref(), arguments.zstd)?;
    let user = sign_in::sign_in(&arguments.who, "export", terminal)?;
    // Nobody watches: what is said is said here.
    let events = Events::to(Path::new("/dev/null"));
    let quiet = Screen::blind(events.clone(), Language::English);
    let Some(pulled) = pull::newest(&user, &quiet)? else {
        return Err(DeskError::NothingSaved { user: user.name });
    };
    let saved = clock::when(pulled.info.saved_ms, clock::now_ms());
    let seq = pulled.record.seq;
    terminal.say(
        "exporting",
        &format!(
            "Snapshot {seq} of {}, saved {saved} on {}.",
            user.name, pulled.record.pc
        ),
        json!({ "seq": seq, "saved_ms": pulled.info.saved_ms, "pc": pulled.record.pc }),
    );
    let folder = output.folder();
    let request = ExportRequest {
        keys: &user.keys,
        record: &pulled.record,
        whiteouts: arguments.whiteouts.into(),
        spill_to: &folder,
    };
    let packs = SitePacks::new(&user.site, &pulled.record, events.begin(Stage::Pull));
    let meter = terminal.meter(Phase::Write, "export");
    let done = output.write(|out| Ok(export(&request, &packs, out, &meter)?))?;
    meter.finish();
    packs.finish();
    let torn = match done.torn {
        0 => String::new(),
        files => format!(" {files} files were changing while they were saved."),
    };
    terminal.say(
        "exported",
        &format!(
            "Exported {} entries, {} files with {}.{torn}",
            done.entries,
            done.files,
            size(done.bytes)
        ),
        json!({
            "entries": done.entries, "files": done.files, "bytes": done.bytes,
            "tar_bytes": done.tar_bytes, "fetched_bytes": done.fetched_bytes, "torn": done.torn,
        }),
    );
    Ok(())
}
