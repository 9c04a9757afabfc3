//! `furoshiki-agent import`: the way in.

use std::{
    fs::File,
    io::{self, IsTerminal as _, Read},
    path::{Path, PathBuf},
};

use clap::Args;
use serde_json::json;
use site_api::{ProblemCode, ReleaseInfo, path as api};
use snapshot::{id::BaselineId, record::MAX_PC_BYTES};

use super::{DeskError, WhiteoutsArgument, Who, sign_in, terminal::Terminal};
use crate::{
    apply,
    capture::{NoProgress, Phase, Previous},
    clock,
    events::{Events, Stage},
    import::{ImportRequest, import},
    pull::{self, Pulled, SitePacks},
    push::{Base, Push, PushError, SiteGone},
    screen::{Language, Screen, size},
    signin::SignedIn,
    station::prompt::Typing,
};

/// Options of `import`.
#[derive(Debug, Args)]
pub struct ImportArguments {
    #[command(flatten)]
    pub(super) who: Who,
    /// Name of the baseline the tar is for; without it that of the newest snapshot, or the only one the site has.
    #[arg(long, value_name = "NAME")]
    baseline: Option<String>,
    /// How the tar says that files of the baseline are deleted.
    #[arg(long, value_name = "KIND", default_value = "overlay")]
    whiteouts: WhiteoutsArgument,
    /// Replace the newest snapshot without asking. It stays in the history.
    #[arg(long)]
    yes: bool,
    /// The tar, plain or compressed with zstd; `-` is standard input.
    #[arg(value_name = "TARBALL")]
    tarball: PathBuf,
}

/// What the tree is to lie on.
struct Below {
    baseline: BaselineId,
    name: String,
    build_timestamp: i64,
}

pub(super) fn run(arguments: &ImportArguments, terminal: &mut Terminal) -> Result<(), DeskError> {
    crate::harden::harden();
    let (mut tar, input_bytes) = open(&arguments.tarball, terminal)?;
    let pc = name_of_this_pc();
    let user = sign_in::sign_in(&arguments.who, &pc, terminal)?;
    let events = Events::to(Path::new("/dev/null"));
    let quiet = Screen::blind(events.clone(), Language::English);
    let head = pull::newest(&user, &quiet)?;
    if let Some(head) = &head {
        confirm(arguments, head, terminal)?;
    }
    let below = below(arguments, &user, head.as_ref(), &events)?;
    let previous = head.as_ref().map(|head| Previous {
        record: head.info.record,
        seq: head.record.seq,
    });
    let request = ImportRequest {
        keys: &user.keys,
        previous,
        baseline: below.baseline,
        baseline_name: &below.name,
        build_timestamp: below.build_timestamp,
        pc: &pc,
        whiteouts: arguments.whiteouts.into(),
        input_bytes,
    };
    let push = Push::new(user.site.clone(), SiteGone::GiveUp);
    let meter = terminal.meter(Phase::Seal, "import");
    let done = import(&request, &mut tar, &push, &meter)?;
    meter.finish();
    let base = Base {
        previous: previous.map(|previous| previous.record),
        pc: &pc,
    };
    push.commit(&done.record, &base).map_err(of_push)?;
    let seq = previous.map_or(1, |previous| previous.seq.saturating_add(1));
    let mut notes = String::new();
    if done.attributes_left_out > 0 {
        notes += &format!(
            " {} attributes no session can have were left out.",
            done.attributes_left_out
        );
    }
    terminal.say(
        "imported",
        &format!(
            "Imported {} entries, {} files with {}, as snapshot {seq} on baseline {}.{notes}",
            done.entries,
            done.files,
            size(done.bytes),
            below.name
        ),
        json!({
            "seq": seq, "baseline": below.name, "entries": done.entries, "files": done.files,
            "bytes": done.bytes, "pushed_bytes": done.pushed_bytes,
            "implied_directories": done.implied_directories,
            "attributes_left_out": done.attributes_left_out,
        }),
    );
    Ok(())
}

/// Opens the tar and tells its length, if it has one.
fn open(path: &Path, terminal: &mut Terminal) -> Result<(Box<dyn Read>, u64), DeskError> {
    if path.as_os_str() == "-" {
        if io::stdin().is_terminal() {
            return Err(DeskError::FromTerminal);
        }
        terminal.answer_elsewhere()?;
        return Ok((Box::new(io::stdin().lock()), 0));
    }
    let fail = |source| DeskError::Read {
        path: path.into(),
        source,
    };
    let file = File::open(path).map_err(fail)?;
    let seen = file.metadata().map_err(fail)?;
    if seen.is_dir() {
        return Err(fail(io::ErrorKind::IsADirectory.into()));
    }
    let bytes = if seen.is_file() { seen.len() } else { 0 };
    Ok((Box::new(file), bytes))
}

/// Replacing an environment needs a word.
fn confirm(
    arguments: &ImportArguments,
    head: &Pulled,
    terminal: &Terminal,
) -> Result<(), DeskError> {
    if arguments.yes {
        return Ok(());
    }
    if !terminal.somebody_is_there() {
        return Err(DeskError::Stopped(
            "the tar would replace the environment saved before; say --yes",
        ));
    }
    let saved = clock::when(head.info.saved_ms, clock::now_ms());
    let question = format!(
        "The tar replaces the environment saved {saved} on {} (snapshot {}), which stays in the history. Type yes to go on",
        head.record.pc, head.record.seq
    );
    if terminal.ask("replace", &question, Typing::Shown)?.trim() == "yes" {
        Ok(())
    } else {
        Err(DeskError::Stopped("nothing was replaced"))
    }
}

fn below(
    arguments: &ImportArguments,
    user: &SignedIn,
    head: Option<&Pulled>,
    events: &Events,
) -> Result<Below, DeskError> {
    let of_release = |release: ReleaseInfo| Below {
        baseline: release.baseline,
        name: release.name,
        build_timestamp: release.build_timestamp,
    };
    if let Some(name) = &arguments.baseline {
        let path = api::release_to_start(name);
        let release = user
            .site
            .get_json("ask for a release of that name", &path)?;
        return Ok(of_release(release));
    }
    if let Some(head) = head {
        let packs = SitePacks::new(&user.site, &head.record, events.begin(Stage::Pull));
        let manifest = apply::manifest_of(&user.keys, &head.record, &packs, &NoProgress)?;
        packs.finish();
        return Ok(Below {
            baseline: head.record.baseline,
            name: manifest.baseline_name,
            build_timestamp: head.record.build_timestamp,
        });
    }
    let releases: Vec<ReleaseInfo> = user.site.get_json("ask for its releases", api::RELEASES)?;
    let mut names: Vec<_> = releases
        .iter()
        .map(|release| release.name.clone())
        .collect();
    names.sort();
    names.dedup();
    match &names[..] {
        [name] => {
            let path = api::release_to_start(name);
            let release = user.site.get_json("ask for its release", &path)?;
            Ok(of_release(release))
        }
        _ => Err(DeskError::WhichBaseline { names }),
    }
}

fn of_push(error: PushError) -> DeskError {
    match &error {
        PushError::Site(site) if site.code() == Some(ProblemCode::HeadMoved) => {
            DeskError::HeadMoved
        }
        _ => error.into(),
    }
}

/// What the user reads later as "saved on".
fn name_of_this_pc() -> String {
    let name = rustix::system::uname();
    let name = name.nodename().to_string_lossy();
    let plain = |c: &char| c.is_ascii_alphanumeric() || "-._".contains(*c);
    let name: String = name.chars().filter(plain).take(MAX_PC_BYTES).collect();
    if name.is_empty() { "desk".into() } else { name }
}
