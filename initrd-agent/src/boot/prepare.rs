//! Disk → wiped and restored, on a thread of its own.

use std::{
    fs,
    path::PathBuf,
    process::exit,
    sync::mpsc::Sender,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use serde_json::json;
use snapshot::id::BaselineId;

use super::BootError;
use crate::{
    baseline::{Baseline, ReleaseKey, SignedManifest, Source},
    clock,
    cmdline::Options,
    delivery::Courier,
    disk::{self, Choice, Claimed, Disk, Layout, Part, Restored},
    events::{Events, Stage},
    outbox::Outbox,
    paths, report,
    screen::{Code, Notice, Prompt, Screen},
    site::{Finder, SiteClient},
    wipe::{About, Before, Moment, Policy, SessionVolume},
};

/// Time for a disk to appear after power-on.
const DISK_PATIENCE: Duration = Duration::from_secs(30);

/// What stands on the disk and what will.
pub(super) struct Plan {
    layout: Layout,
    before: Before,
    manifest: Option<SignedManifest>,
}

/// Chooses and claims a disk, asking when foreign data would go.
pub(super) fn choose_disk(
    options: &Options,
    key: &ReleaseKey,
    finder: &Finder,
    screen: &Screen,
) -> Result<(Disk<Claimed>, Plan), BootError> {
    let deadline = Instant::now() + DISK_PATIENCE;
    let mut manifest = None;
    loop {
        // A disk of ours needs no manifest to be recognised; a new one is divided by the size of the image.
        let image_bytes = manifest
            .as_ref()
            .map_or(0, |m: &SignedManifest| m.manifest().image.bytes);
        // A link of udev, for instance below /dev/disk/by-id, may come later than the disk.
        let only = options
            .disk
            .as_ref()
            .map(|disk| fs::canonicalize(disk).unwrap_or_else(|_| disk.clone()));
        match disk::choose(&disk::look()?, image_bytes, only.as_deref()) {
            Choice::Reuse(path, layout) => {
                return Ok((
                    Disk::claim(&path)?,
                    Plan {
                        layout,
                        before: Before::Ours,
                        manifest,
                    },
                ));
            }
            Choice::Take(..) | Choice::Ask(..) if manifest.is_none() => {
                manifest = Some(SignedManifest::fetch(
                    finder,
                    screen,
                    key,
                    options.baseline,
                )?);
            }
            Choice::Take(path, layout) => {
                return Ok((
                    Disk::claim(&path)?,
                    Plan {
                        layout,
                        before: Before::Blank,
                        manifest,
                    },
                ));
            }
            Choice::Ask(path, layout) => {
                let disk = Disk::claim(&path)?;
                let shown = path.display().to_string();
                if screen.ask(Prompt::Erase { disk: shown })?.trim() != "ERASE" {
                    return Err(BootError::NotErased);
                }
                return Ok((
                    disk,
                    Plan {
                        layout,
                        before: Before::GivenUp,
                        manifest,
                    },
                ));
            }
            Choice::Nothing(reasons) if Instant::now() > deadline => {
                let reasons = if reasons.is_empty() {
                    "this PC shows none".into()
                } else {
                    let why: Vec<_> = reasons.into_iter().map(|refused| refused.why).collect();
                    why.join("; ")
                };
                return Err(BootError::NoDisk(reasons));
            }
            Choice::Nothing(_) => clock::pause(Duration::from_millis(200)),
        }
    }
}

/// What a user's files need: the session volume is mounted, and what the outbox holds is on its way.
pub(super) struct Prepared {
    /// Delivers what waits in the outbox as soon as a site answers, whoever may sign in.
    pub(super) courier: Courier,
    pub(super) about: About,
    pub(super) session_partition: PathBuf,
    pub(super) outbox_partition: PathBuf,
    /// A snapshot on another baseline is not for this PC.
    pub(super) baseline_name: String,
}

/// What handover needs.
pub(super) struct Ready {
    pub(super) disk: Disk<Restored>,
    pub(super) baseline: Baseline,
    pub(super) manifest: SignedManifest,
}

/// Wipes and restores while the user types.
pub(super) struct Worker {
    pub(super) plan: Plan,
    pub(super) release_key: ReleaseKey,
    pub(super) pinned: BaselineId,
    pub(super) pc: String,
    pub(super) policy: Policy,
    pub(super) client: SiteClient,
    pub(super) finder: Finder,
    pub(super) screen: Screen,
    pub(super) events: Events,
}

impl Worker {
    /// Starts. A failure ends the whole agent at once: nobody should go on typing a PIN into a PC that cannot start.
    pub(super) fn start(
        self,
        disk: Disk<Claimed>,
        prepared: Sender<Prepared>,
    ) -> JoinHandle<Ready> {
        thread::spawn(move || {
            let screen = self.screen.clone();
            self.work(disk, &prepared).unwrap_or_else(|error| {
                screen.message(&Notice::of(error.code(), &error));
                exit(1)
            })
        })
    }

    fn work(self, disk: Disk<Claimed>, prepared: &Sender<Prepared>) -> Result<Ready, BootError> {
        let stage = self.events.begin(Stage::Wipe);
        let (disk, wiped) = disk.wipe(
            self.plan.layout,
            self.plan.before,
            self.policy,
            &self.screen,
        )?;
        let session_partition = disk.partition(Part::Session)?;
        let volume = SessionVolume::make(&session_partition)?;
        let outbox_partition = disk.partition(Part::Outbox)?;
        let outbox = Outbox::mount(&outbox_partition, wiped.fresh, paths::OUTBOX.as_ref())?;
        let bytes = wiped.bytes();
        let about = About {
            pc: self.pc,
            baseline: self.pinned,
            disk: wiped.disk,
        };
        let record = about.record(Moment::Boot, wiped.before, wiped.steps);
        stage.end_with(
            bytes,
            json!({ "record": &record, "volume_bytes": volume.bytes() }),
        );
        report::at_boot(record, &outbox, &self.finder);
        let parcels = outbox.parcels().unwrap_or_else(|error| {
            self.screen.message(&Notice::of(Code::SaveInOutbox, &error));
            Vec::new()
        });
        let finder = self.finder.clone();
        let courier = Courier::start(parcels, self.client, self.events.clone(), move || {
            // Which site answers does not matter: each parcel has its own address.
            let _ = finder.wait();
        });
        let stage = self.events.begin(Stage::Restore);
        let manifest = self
            .plan
            .manifest
            .or_else(|| disk.last_manifest(&self.release_key, self.pinned));
        let manifest = match manifest {
            Some(manifest) => manifest,
            None => {
                SignedManifest::fetch(&self.finder, &self.screen, &self.release_key, self.pinned)?
            }
        };
        // Nobody listens only when the agent is about to end.
        let _ = prepared.send(Prepared {
            courier,
            about,
            session_partition,
            outbox_partition,
            baseline_name: manifest.manifest().name.clone(),
        });
        let source = Source {
            manifest,
            finder: self.finder,
            screen: self.screen,
        };
        let (disk, baseline) = disk.restore(&source)?;
        stage.end_with(
            baseline.written_bytes,
            json!({ "read_bytes": baseline.read_bytes }),
        );
        Ok(Ready {
            disk,
            baseline,
            manifest: source.manifest,
        })
    }
}
