//! For `cargo xtask bench snapshot`: captures and applies as the agent does, each time as a process of its own whose
//! cost can be measured, with a folder or a real site for what is sealed. Every run ends with one JSON line.
//!
//! The user and all keys are fixed and stand in `person.rs`: nobody's secret, and equal bytes in every run.

mod folder;
mod person;
mod site;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand};
use initrd_agent::{
    apply::{ApplyRequest, PackSource, apply},
    capture::{
        CaptureRequest, Captured, Exclusions, NoProgress, PackSink, Previous, SessionTree, State,
        capture,
    },
};
use serde_json::json;
use snapshot::{id::BaselineId, record::Record};

use crate::{folder::Folder, person::Person, site::SignedIn};

/// A baseline that nobody publishes.
const BASELINE: BaselineId = BaselineId::new([0xba; 32]);
const BASELINE_NAME: &str = "bench";
const PC: &str = "bench";

#[derive(Parser)]
#[command(
    about = "Captures and applies trees for measurements; a test program, never for real data"
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Print the registration of the fixed user, for `furoshiki-site user add`.
    Registration,
    /// Save a tree.
    Capture {
        #[command(flatten)]
        tree: Tree,
        #[command(flatten)]
        place: Place,
    },
    /// Write the newest snapshot into empty folders.
    Apply {
        #[command(flatten)]
        tree: Tree,
        #[command(flatten)]
        place: Place,
    },
    /// Send every snapshot of a folder to a site, oldest first.
    Send {
        /// The folder.
        #[arg(long)]
        store: PathBuf,
        /// Address of the site.
        #[arg(long)]
        site: String,
        /// The CA of its certificate.
        #[arg(long)]
        ca: PathBuf,
    },
}

#[derive(Args)]
struct Tree {
    /// What is the root's upper directory in a session.
    #[arg(long)]
    upper: PathBuf,
    /// What is `/home` in a session.
    #[arg(long)]
    home: PathBuf,
    /// Where the state for the next capture is kept.
    #[arg(long)]
    state: PathBuf,
}

/// Where sealed objects are.
#[derive(Args)]
struct Place {
    /// In a folder.
    #[arg(long, required_unless_present = "site")]
    store: Option<PathBuf>,
    /// At the site with this address, <https://…>.
    #[arg(long, requires = "ca", conflicts_with = "store")]
    site: Option<String>,
    /// The CA of the site's certificate.
    #[arg(long)]
    ca: Option<PathBuf>,
}

fn main() -> Result<()> {
    initrd_agent::sys::give_back_large_blocks();
    let person = Person::fixed()?;
    match Arguments::parse().command {
        Command::Registration => println!("{}", person.registration()?),
        Command::Capture { tree, place } => save(&person, &tree, &place)?,
        Command::Apply { tree, place } => write(&person, &tree, &place)?,
        Command::Send { store, site, ca } => {
            let (folder, site) = (Folder::open(&store)?, SignedIn::at(&site, &ca, &person)?);
            let mut bytes = 0;
            for signed in folder.records()? {
                bytes += site.send(&folder, &signed, &person)?;
            }
            println!("{}", json!({ "bytes": bytes }));
        }
    }
    Ok(())
}

impl Tree {
    fn session(&self) -> SessionTree {
        SessionTree {
            upper: self.upper.clone(),
            home: self.home.clone(),
            baseline: None,
        }
    }
}

impl Place {
    /// Address and CA.
    fn site(&self) -> Option<(&str, &Path)> {
        Some((self.site.as_deref()?, self.ca.as_deref()?))
    }
}

/// As `session save` does: without the state of the last capture or apply, everything is read.
fn save(person: &Person, tree: &Tree, place: &Place) -> Result<()> {
    let state = tree.state.exists().then(|| State::load(&tree.state));
    let state = state.transpose().context("read the state")?;
    let captured = match (&place.store, place.site()) {
        (Some(store), _) => {
            let folder = Folder::open(store)?;
            let previous = folder.records()?.pop();
            let previous = previous
                .map(|signed| person.previous(&signed))
                .transpose()?;
            let captured = seal(person, tree, previous, state.as_ref(), &folder)?;
            if let Some(signed) = &captured.record {
                folder.keep_record(signed)?;
            }
            captured
        }
        (None, Some((site, ca))) => {
            let site = SignedIn::at(site, ca, person)?;
            let push = site.push();
            let captured = seal(person, tree, site.previous(), state.as_ref(), &push)?;
            if let Some(signed) = &captured.record {
                site.commit(push, signed)?;
            }
            captured
        }
        (None, None) => anyhow::bail!("name a folder or a site"),
    };
    if captured.record.is_some() {
        captured.state.save(&tree.state)?;
    }
    let report = &captured.report;
    println!(
        "{}",
        json!({
            "saved": captured.record.is_some(),
            "bytes": captured.pushed_bytes,
            "objects": captured.objects.len(),
            "entries": report.entries,
            "files_read": report.files_read,
            "bytes_read": report.bytes_read,
        })
    );
    Ok(())
}

fn seal(
    person: &Person,
    tree: &Tree,
    previous: Option<Previous>,
    state: Option<&State>,
    sink: &dyn PackSink,
) -> Result<Captured> {
    let request = CaptureRequest {
        tree: &tree.session(),
        keys: &person.keys,
        previous,
        baseline: BASELINE,
        baseline_name: BASELINE_NAME,
        build_timestamp: 1_700_000_000,
        pc: PC,
        // Peers take everything, so we do.
        exclusions: &Exclusions::none(),
        state,
        repack: None,
    };
    capture(&request, sink, &NoProgress).context("capture")
}

/// As a boot does after sign-in.
fn write(person: &Person, tree: &Tree, place: &Place) -> Result<()> {
    match (&place.store, place.site()) {
        (Some(store), _) => {
            let folder = Folder::open(store)?;
            let signed = folder.records()?.pop().context("nothing was saved yet")?;
            unseal(person, tree, &person.verified(&signed)?, &folder)
        }
        (None, Some((site, ca))) => {
            let site = SignedIn::at(site, ca, person)?;
            let record = site.newest()?;
            unseal(person, tree, &record, &site.packs(&record))
        }
        (None, None) => anyhow::bail!("name a folder or a site"),
    }
}

fn unseal(person: &Person, tree: &Tree, record: &Record, source: &dyn PackSource) -> Result<()> {
    let request = ApplyRequest {
        tree: &tree.session(),
        keys: &person.keys,
        record,
        baseline_name: BASELINE_NAME,
    };
    let applied = apply(&request, source, &NoProgress).context("apply")?;
    applied.state.save(Path::new(&tree.state))?;
    println!(
        "{}",
        json!({
            "entries": applied.entries,
            "files": applied.files,
            "bytes": applied.bytes,
            "fetched_bytes": applied.fetched_bytes,
        })
    );
    Ok(())
}
