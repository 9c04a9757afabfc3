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
use snapshot::{baseline::Restore, id::BaselineId};

use super::{BootError, environment};
use crate::{
    baseline::{Baseline, ReleaseKey, RestoreError, SignedManifest, Source},
    clock,
    cmdline::{InMemory, Options},
    delivery::Courier,
    disk::{self, Choice, Claimed, Disk, Ground, Layout, Memory, Part, Slot, Wiped},
    events::{Events, Running, Stage},
    handover,
    outbox::Outbox,
    paths, report,
    rewrite::Rewrite,
    screen::{Code, Notice, Prompt, Screen, chain},
    site::{Finder, SiteClient},
    update,
    wipe::{self, About, BareVolume, Before, Locks, Moment, Outcome, Policy},
};

/// Time for a disk to appear after power-on.
const DISK_PATIENCE: Duration = Duration::from_secs(30);

/// When memory may be used, a PC that shows no disk for this long has none.
const MEMORY_PATIENCE: Duration = Duration::from_secs(15);

/// What the session will stand on.
pub(super) enum Found {
    /// A disk.
    Disk(Disk<Claimed>, Plan),
    /// Memory, for the baseline of this manifest.
    Memory(Memory<Wiped>, SignedManifest),
}

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
) -> Result<Found, BootError> {
    let since = Instant::now();
    let mut manifest = None;
    let mut locks = Locks::default();
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
        let probes = locks.open(disk::look()?);
        match disk::choose(&probes, image_bytes, only.as_deref()) {
            Choice::Reuse(path, layout) => {
                return Ok(Found::Disk(
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
                return Ok(Found::Disk(
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
                return Ok(Found::Disk(
                    disk,
                    Plan {
                        layout,
                        before: Before::GivenUp,
                        manifest,
                    },
                ));
            }
            Choice::Nothing(refused) => {
                let in_memory = match options.memory {
                    InMemory::Never => false,
                    InMemory::NoDisk => !refused.iter().any(|disk| disk.built_in),
                    InMemory::NoUsableDisk => true,
                };
                let patience = if in_memory {
                    MEMORY_PATIENCE
                } else {
                    DISK_PATIENCE
                };
                if since.elapsed() < patience {
                    clock::pause(Duration::from_millis(200));
                    continue;
                }
                let why: Vec<_> = refused.into_iter().map(|refused| refused.why).collect();
                let why = if why.is_empty() {
                    "this PC shows none".into()
                } else {
                    why.join("; ")
                };
                if !in_memory {
                    return Err(BootError::NoDisk(why));
                }
                screen.message(&Notice::new(
                    Code::MemorySession,
                    format!("choose a disk: {why}"),
                ));
                let manifest = SignedManifest::fetch(finder, screen, key, options.baseline)?;
                let memory = Memory::take(manifest.manifest().image.bytes)?;
                return Ok(Found::Memory(memory, manifest));
            }
        }
    }
}

/// What a user's files need: the session volume is mounted, and what the outbox holds is on its way.
pub(super) struct Prepared {
    /// Delivers what waits in the outbox as soon as a site answers, whoever may sign in.
    pub(super) courier: Courier,
    pub(super) about: About,
    pub(super) session_partition: PathBuf,
    pub(super) outbox_partition: Option<PathBuf>,
    /// A snapshot on another baseline is not for this PC.
    pub(super) baseline_name: String,
    /// What the user's files go onto.
    pub(super) fresh: Fresh,
}

/// What a user's files go onto, as nobody has touched it.
pub(super) enum Fresh {
    /// The empty upper of an overlay.
    Empty,
    /// The rewritten baseline.
    Rewritten(Rewrite),
}

impl Fresh {
    pub(super) const fn restore(&self) -> Restore {
        match self {
            Self::Empty => Restore::Verified,
            Self::Rewritten(_) => Restore::Rewrite,
        }
    }

    /// Takes away what a try that failed has left.
    pub(super) fn renew(&self, screen: &Screen) -> Result<(), BootError> {
        match self {
            Self::Empty => environment::empty().map_err(BootError::Empty),
            Self::Rewritten(rewrite) => Ok(rewrite.again(screen)?),
        }
    }
}

/// What handover needs.
pub(super) struct Ready {
    pub(super) ground: Box<dyn Ground>,
    pub(super) manifest: SignedManifest,
    /// None in memory: nothing stays there.
    pub(super) update: Option<update::Plan>,
}

/// Wipes and restores while the user types.
pub(super) struct Worker {
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
    pub(super) fn start(self, found: Found, prepared: Sender<Prepared>) -> JoinHandle<Ready> {
        thread::spawn(move || {
            let screen = self.screen.clone();
            let ready = match found {
                Found::Disk(disk, plan) => self.on_disk(disk, plan, &prepared),
                Found::Memory(memory, manifest) => self.in_memory(memory, manifest, &prepared),
            };
            ready.unwrap_or_else(|error| {
                screen.message(&Notice::of(error.code(), &error));
                exit(1)
            })
        })
    }

    fn on_disk(
        self,
        disk: Disk<Claimed>,
        plan: Plan,
        prepared: &Sender<Prepared>,
    ) -> Result<Ready, BootError> {
        let stage = self.events.begin(Stage::Wipe);
        let (disk, wiped) = disk.wipe(plan.layout, plan.before, self.policy, &self.screen)?;
        let session_partition = disk.partition(Part::Session)?;
        let volume = BareVolume::map(&session_partition)?;
        let outbox_partition = disk.partition(Part::Outbox)?;
        let outbox = Outbox::mount(&outbox_partition, wiped.fresh, paths::OUTBOX.as_ref())?;
        let (courier, about) = self.wiped(stage, wiped, &volume, Some(&outbox));

        let stage = self.events.begin(Stage::Restore);
        let manifest = plan
            .manifest
            .or_else(|| disk.last_manifest(&self.release_key, self.pinned));
        let manifest = match manifest {
            Some(manifest) => manifest,
            None => {
                SignedManifest::fetch(&self.finder, &self.screen, &self.release_key, self.pinned)?
            }
        };
        let start = |fresh, baseline_name| Prepared {
            courier,
            about,
            session_partition,
            outbox_partition: Some(outbox_partition),
            baseline_name,
            fresh,
        };
        let [esp, a, b] = [Part::Esp, Part::BaselineA, Part::BaselineB].map(|p| disk.partition(p));
        let (esp, a, b) = (esp?, a?, b?);
        let mut slot = None;
        let ready = self.restore(stage, manifest, &volume, prepared, start, |source| {
            let (disk, baseline) = disk.restore(source)?;
            slot = baseline.slot;
            Ok((Box::new(disk), baseline))
        })?;
        let update = slot.map(|running| update::Plan { esp, a, b, running });
        Ok(Ready { update, ..ready })
    }

    fn in_memory(
        self,
        memory: Memory<Wiped>,
        manifest: SignedManifest,
        prepared: &Sender<Prepared>,
    ) -> Result<Ready, BootError> {
        let stage = self.events.begin(Stage::Wipe);
        let session = memory.session().to_owned();
        let wiped = wipe::in_memory(&session)?;
        let volume = BareVolume::map(&session)?;
        let (courier, about) = self.wiped(stage, wiped, &volume, None);
        let stage = self.events.begin(Stage::Restore);
        let start = |fresh, baseline_name| Prepared {
            courier,
            about,
            session_partition: session,
            outbox_partition: None,
            baseline_name,
            fresh,
        };
        self.restore(stage, manifest, &volume, prepared, start, |source| {
            let (memory, baseline) = memory.restore(source)?;
            Ok((Box::new(memory), baseline))
        })
    }

    /// Restores; the user's files may come as soon as there is something for them to go onto.
    fn restore(
        self,
        stage: Running,
        manifest: SignedManifest,
        volume: &BareVolume,
        prepared: &Sender<Prepared>,
        start: impl FnOnce(Fresh, String) -> Prepared,
        restore: impl FnOnce(&Source) -> Result<(Box<dyn Ground>, Baseline), RestoreError>,
    ) -> Result<Ready, BootError> {
        let mode = manifest.manifest().restore;
        let name = manifest.manifest().name.clone();
        let data_bytes = manifest.manifest().image.data_bytes;
        let source = Source {
            manifest,
            key: self.release_key,
            finder: self.finder,
            screen: self.screen.clone(),
        };
        let mut start = Some(start);
        let mut go = |fresh| {
            if let Some(start) = start.take() {
                // Nobody listens only when the agent is about to end.
                let _ = prepared.send(start(fresh, name.clone()));
            }
        };
        if mode == Restore::Verified {
            volume.make()?;
            go(Fresh::Empty);
        }
        let (ground, baseline) = restore(&source)?;
        stage.end_with(
            baseline.written_bytes,
            json!({
                "read_bytes": baseline.read_bytes,
                "received_bytes": baseline.received_bytes,
                "slot": baseline.slot.map(Slot::name),
            }),
        );
        // Names are looked up in it, and a copy of it is compared with it.
        handover::mount_baseline(&baseline, mode)?;
        if mode == Restore::Rewrite {
            let stage = self.events.begin(Stage::Rewrite);
            let rewrite = Rewrite::new(&baseline, data_bytes, volume)?;
            rewrite.run(&self.screen)?;
            stage.end(rewrite.bytes());
            go(Fresh::Rewritten(rewrite));
        }
        Ok(Ready {
            ground,
            manifest: source.manifest,
            update: None,
        })
    }

    /// The session volume is there: what waits in the outbox may leave, the site hears of the wipe.
    fn wiped(
        &self,
        stage: Running,
        wiped: Outcome,
        volume: &BareVolume,
        outbox: Option<&Outbox>,
    ) -> (Courier, About) {
        let bytes = wiped.bytes();
        let about = About {
            pc: self.pc.clone(),
            baseline: self.pinned,
            disk: wiped.disk,
        };
        let record = about.record(Moment::Boot, wiped.before, wiped.steps);
        stage.end_with(
            bytes,
            json!({ "record": &record, "volume_bytes": volume.bytes() }),
        );
        report::at_boot(record, outbox, &self.finder);
        let parcels = outbox.map_or(Ok(Vec::new()), Outbox::parcels);
        let parcels = parcels.unwrap_or_else(|error| {
            // No message: nothing says that something waits there. A disk that is gone is named by what comes next.
            tracing::warn!(error = %chain(&error), "the outbox cannot be listed; what waits there stays");
            Vec::new()
        });
        let finder = self.finder.clone();
        let courier = Courier::start(
            parcels,
            self.client.clone(),
            self.events.clone(),
            move || {
                // Which site answers does not matter: each parcel has its own address.
                let _ = finder.wait();
            },
        );
        (courier, about)
    }
}
