//! What this PC starts next: fetched into the slot that is not needed, while somebody works.
//!
//! ```text
//! session begins ─ the baseline that runs is good ─ ask the site ─┬─ the same: its boot file is on the ESP
//!                                                                 └─ another: slot ─ manifest ─ boot file on trial
//! ```
//!
//! The next power-on tries it. A boot file that was tried [`TRIES`] times without a session is bad: the loader takes
//! the one before, and this release is not fetched again.

mod boot_file;

use std::{
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use serde::{Deserialize, Serialize};
use serde_json::json;
use site_api::{ReleaseFile, ReleaseInfo, path as api};
use snapshot::id::Digest;

use crate::{
    baseline::{
        ManifestError, ReleaseKey, RestoreError, SignedManifest, Source, fetch,
        slots::{self, Held, Slots},
    },
    clock,
    disk::Slot,
    esp::{BootEntry, TRIES},
    events::Events,
    paths,
    screen::{Language, Screen, chain},
    session::{StateError, read_json, write_json},
    site::{Finder, Site, SiteError},
};

/// Time between two questions for a newer release.
const ASK_EVERY: Duration = Duration::from_secs(3600);
/// Time before another try after something failed.
const AGAIN: Duration = Duration::from_secs(600);
/// There when UEFI firmware started this PC: legacy BIOS cannot start from the ESP.
const UEFI: &str = "/sys/firmware/efi";

/// What the updater of a session must know, written by handover.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Plan {
    /// The EFI system partition.
    pub(crate) esp: PathBuf,
    /// Partition of slot A.
    pub(crate) a: PathBuf,
    /// Partition of slot B.
    pub(crate) b: PathBuf,
    /// The slot that runs.
    pub(crate) running: Slot,
}

/// Why the next baseline is not ready. The one that runs stays.
#[derive(Debug, thiserror::Error)]
pub enum UpdateError {
    /// What handover left.
    #[error(transparent)]
    State(#[from] StateError),
    /// The release key, or a manifest that is not signed by it.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// The site.
    #[error(transparent)]
    Site(#[from] SiteError),
    /// Filling the slot.
    #[error(transparent)]
    Restore(#[from] RestoreError),
    /// The ESP.
    #[error("{doing} {}", path.display())]
    Esp {
        /// What was being done.
        doing: &'static str,
        /// The partition.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The site wants what runs, or what was tried and left.
    #[error("the site has no other baseline than those of this PC")]
    NothingElse,
    /// The ESP does not name the baseline that runs.
    #[error("the ESP does not name the running baseline")]
    NotHeld,
    /// The site wants something this disk refuses.
    #[error("the release the site wants, {release}, {why}")]
    Refused {
        /// The release.
        release: String,
        /// Why not.
        why: &'static str,
    },
}

impl Plan {
    fn slots(&self) -> Slots {
        Slots::new(&self.esp, self.a.clone(), self.b.clone())
    }

    /// Whether firmware can start the slot that runs from this disk.
    pub(crate) fn starts_from_disk(&self) -> bool {
        let entries = self.slots().esp.boot_entries().unwrap_or_default();
        Path::new(UEFI).exists() && entries.iter().any(|entry| entry.slot == self.running)
    }

    /// Writes it down, with what the session needs to check manifests.
    ///
    /// # Errors
    /// [`StateError`].
    pub(crate) fn arm(&self) -> Result<(), StateError> {
        crate::session::copy_release_key()?;
        write_json(Path::new(paths::UPDATE_JSON), self)
    }
}

/// Keeps this PC's disk current for as long as the session lasts, on a thread of its own.
pub(crate) fn keep_current(site: Site, events: &Events) {
    if !Path::new(paths::UPDATE_JSON).exists() {
        // A session without a disk has nothing to update.
        return;
    }
    let events = events.clone();
    thread::spawn(move || {
        loop {
            let pause = match Update::load(&site, &events).and_then(|update| update.run()) {
                Ok(()) => ASK_EVERY,
                Err(error) => {
                    tracing::warn!(error = %chain(&error), "the next baseline is not ready; trying again");
                    events.emit("update", json!({ "state": "failed" }));
                    AGAIN
                }
            };
            clock::pause(pause);
        }
    });
}

/// Fetches what the site wants at once, in the initrd.
///
/// # Errors
/// [`UpdateError`]; [`UpdateError::NothingElse`] when the site wants what runs, or what was tried and left.
pub(crate) fn now(
    plan: &Plan,
    key: ReleaseKey,
    site: &Site,
    screen: &Screen,
    events: &Events,
) -> Result<(), UpdateError> {
    let update = Update {
        slots: plan.slots(),
        key,
        running: plan.running,
        site,
        screen: screen.clone(),
        events,
    };
    if update.bring(&update.slots.held(&update.key))? {
        return Ok(());
    }
    Err(UpdateError::NothingElse)
}

struct Update<'a> {
    slots: Slots,
    key: ReleaseKey,
    running: Slot,
    site: &'a Site,
    screen: Screen,
    events: &'a Events,
}

impl<'a> Update<'a> {
    fn load(site: &'a Site, events: &'a Events) -> Result<Self, UpdateError> {
        let plan: Plan = read_json(Path::new(paths::UPDATE_JSON))?;
        Ok(Self {
            slots: plan.slots(),
            key: ReleaseKey::pinned(Path::new(paths::RUN_RELEASE_KEY))?,
            running: plan.running,
            site,
            // Somebody works at the console.
            screen: Screen::blind(events.clone(), Language::English),
            events,
        })
    }

    fn run(&self) -> Result<(), UpdateError> {
        let on_esp = |doing| self.on_esp(doing);
        let esp = &self.slots.esp;
        let held = self.slots.held(&self.key);
        let running = self.running(&held)?;
        // A session began: that is what makes a baseline good.
        if !running.booted {
            esp.mark_booted(self.running)
                .map_err(on_esp("write down the good start on"))?;
        }
        if esp
            .bless(self.running)
            .map_err(on_esp("end the trial on"))?
        {
            self.tell("good", self.running, running, 0);
        }
        self.boot_file(running, &held, None)?;
        self.bring(&held).map(drop)
    }

    fn running<'h>(&self, held: &'h [Held]) -> Result<&'h Held, UpdateError> {
        held.iter()
            .find(|held| held.slot == self.running)
            .ok_or(UpdateError::NotHeld)
    }

    /// Gets the other slot ready for what the site wants. Says whether the next start tries it.
    fn bring(&self, held: &[Held]) -> Result<bool, UpdateError> {
        let on_esp = |doing| self.on_esp(doing);
        let esp = &self.slots.esp;
        let running = self.running(held)?;
        let name = &running.manifest.manifest().name;
        let doing = "ask which release to start";
        let wanted: ReleaseInfo = self.site.get_json(doing, &api::release_to_start(name))?;
        if wanted.release == running.manifest.release() {
            return Ok(false);
        }
        let other = self.running.other();
        let there = held
            .iter()
            .find(|held| held.slot == other && held.manifest.release() == wanted.release);
        let Some(there) = there else {
            return self.fetch(&wanted, held).map(|()| true);
        };
        let tried = esp
            .boot_entries()
            .map_err(on_esp("list boot files on"))?
            .into_iter()
            .find(|entry| entry.slot == other);
        if tried.as_ref().is_some_and(BootEntry::is_bad) {
            tracing::error!(release = %wanted.release, "it was tried {TRIES} times and no session began; this PC stays with the one before");
            self.tell("rolled-back", other, there, 0);
            return Ok(false);
        }
        self.boot_file(there, held, Some(TRIES)).map(|()| true)
    }

    /// Fetches a release into the other slot.
    fn fetch(&self, wanted: &ReleaseInfo, held: &[Held]) -> Result<(), UpdateError> {
        let refused = |why| UpdateError::Refused {
            release: wanted.release.to_string(),
            why,
        };
        let manifest = SignedManifest::of_release(self.site, wanted.release)?;
        let (json, signature) = manifest;
        let manifest = SignedManifest::signed(json, &signature, &self.key)?;
        let about = manifest.manifest();
        if manifest.release() != wanted.release || about.name != wanted.name {
            return Err(refused("is another one than the site says"));
        }
        if about.build_timestamp < slots::minimum(held, &about.name) {
            return Err(refused("is older than this disk allows"));
        }
        let other = self.running.other();
        let source = self.source(manifest);
        // First what would start it: no boot file may point to a slot that is being written.
        self.slots
            .esp
            .remove_boot(other)
            .map_err(self.on_esp("remove the old boot file from"))?;
        let (filled, index) = self.slots.fill(other, &source, held)?;
        self.slots.proved(other, &source, &index)?;
        let held = self.slots.held(&self.key);
        let there = held
            .iter()
            .find(|held| held.slot == other)
            .ok_or(UpdateError::NotHeld)?;
        self.tell("filled", other, there, filled.received_bytes);
        self.boot_file(there, &held, Some(TRIES))
    }

    /// Makes sure that the ESP has the boot file of a slot, on trial or not.
    fn boot_file(&self, held: &Held, all: &[Held], tries: Option<u32>) -> Result<(), UpdateError> {
        if !Path::new(UEFI).exists() {
            return Ok(());
        }
        let esp = &self.slots.esp;
        let described = &held.manifest.manifest().boot;
        let on_esp = || self.on_esp("read the boot files on");
        let own = esp.read_boot(held.slot).map_err(on_esp())?;
        if own
            .as_ref()
            .is_some_and(|bytes| Digest::of(bytes) == described.uki.blake3)
        {
            return Ok(());
        }
        let source = self.source(held.manifest.clone());
        let other = all.iter().find(|other| other.slot != held.slot);
        let here = match other {
            Some(other) => esp
                .read_boot(other.slot)
                .map_err(on_esp())?
                .map(|bytes| (other.manifest.release(), bytes)),
            None => None,
        };
        let (uki, mut received) = boot_file::fetch(&source, here)?;
        let is_it = |loader: &Vec<u8>| Digest::of(loader) == described.loader.blake3;
        let loader = match esp.read_loader().map_err(on_esp())?.filter(is_it) {
            Some(loader) => loader,
            None => {
                let loader = fetch::file(&source, ReleaseFile::Loader, described.loader.bytes)?;
                received += described.loader.bytes;
                if !is_it(&loader) {
                    let what = "its boot loader does not have the signed digest";
                    return Err(source.altered(what).into());
                }
                loader
            }
        };
        let sites = crate::site::medium::to_json(&[self.site.base().to_owned()]);
        esp.install_boot(held.slot, tries, &uki, &loader, &sites)
            .map_err(self.on_esp("write the boot file to"))?;
        let state = if tries.is_some() {
            "ready"
        } else {
            "installed"
        };
        self.tell(state, held.slot, held, received);
        Ok(())
    }

    fn source(&self, manifest: SignedManifest) -> Source {
        Source {
            manifest,
            key: self.key.clone(),
            finder: Finder::known(self.site.clone()),
            screen: self.screen.clone(),
        }
    }

    fn on_esp(&self, doing: &'static str) -> impl FnOnce(std::io::Error) -> UpdateError + use<> {
        let path = self.slots.esp.path().to_owned();
        move |source| UpdateError::Esp {
            doing,
            path,
            source,
        }
    }

    fn tell(&self, state: &str, slot: Slot, held: &Held, received_bytes: u64) {
        let baseline = held.manifest.manifest().baseline.to_string();
        tracing::info!(
            state,
            slot = slot.name(),
            baseline,
            received_bytes,
            "update"
        );
        self.events.emit(
            "update",
            json!({
                "state": state,
                "slot": slot.name(),
                "baseline": baseline,
                "received_bytes": received_bytes,
            }),
        );
    }
}
