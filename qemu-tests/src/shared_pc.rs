//! A shared PC: a disk that stays, a machine that goes on and off.

mod expect;
mod screen;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::accel::Accel;
use crate::card::{InReader, TestCard};
use crate::events::Event;
use crate::keyboard;
use crate::lab::Wire;
use crate::machine::{Build, Firmware, Hardware, Machine};
use crate::release::Release;
use crate::session::Session;
use crate::wait::{self, Deadline};

/// Size of the disk: the image is sparse, an untouched byte costs nothing.
pub const DISK_BYTES: u64 = 3 << 30;
/// Power on to the first prompt, with the baseline fetched from the site, on a real processor.
const PROMPT_SECONDS: u64 = 45;
/// How long a card stays out, as with a hand. One that is back before pcscd looked stays lost to it: at the
/// end of a connection pcscd notes by itself that the card is gone, and its polling thread then sees no change.
const OUT_AT_LEAST: Duration = Duration::from_secs(2);
/// A prompt answered to the armed session, on a real processor.
const READY_SECONDS: u64 = 60;

/// A user as the harness knows one.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Person {
    /// User name.
    pub name: String,
    /// Site password.
    pub password: String,
    /// The card, with its PIN.
    pub card: TestCard,
}

/// A PC that is off.
#[derive(Debug)]
pub struct SharedPc {
    name: String,
    logs: PathBuf,
    disk: PathBuf,
    tools: Option<PathBuf>,
    variables: Option<PathBuf>,
    /// What differs from the usual PC; may change between two power-ons.
    pub build: Build,
    release: Release,
    accel: Accel,
    address: u8,
    wire: Option<Wire>,
    boots: u32,
}

impl SharedPc {
    /// A PC with an empty disk in `folder`. `address` tells PCs apart on the network.
    ///
    /// # Errors
    /// The disk cannot be made, or the KVM probe cannot keep its answer.
    pub fn new(folder: &Path, name: &str, address: u8, release: &Release) -> Result<Self> {
        let disk = folder.join(format!("{name}.disk"));
        File::create(&disk)
            .and_then(|file| file.set_len(DISK_BYTES))
            .with_context(|| format!("make disk {}", disk.display()))?;
        Self::with_disk(folder, name, address, release)
    }

    /// A PC whose disk is already in `folder`.
    ///
    /// # Errors
    /// It is not, or the KVM probe cannot keep its answer.
    pub fn with_disk(folder: &Path, name: &str, address: u8, release: &Release) -> Result<Self> {
        let disk = folder.join(format!("{name}.disk"));
        if !disk.exists() {
            bail!("no disk at {}", disk.display());
        }
        Ok(Self {
            name: name.to_owned(),
            logs: folder.to_path_buf(),
            disk,
            tools: None,
            variables: None,
            build: Build::default(),
            release: release.clone(),
            accel: Accel::probe(release)?,
            address,
            wire: None,
            boots: 0,
        })
    }

    /// Gives it a read-only disk with tools.
    pub fn attach_tools(&mut self, disk: &Path) {
        self.tools = Some(disk.to_path_buf());
    }

    /// Gives it firmware that checks signatures, with these variables; it keeps what is changed in them.
    pub fn keep_variables(&mut self, file: &Path) {
        self.variables = Some(file.to_path_buf());
    }

    /// Plugs it into a network of its own.
    pub fn plug_into(&mut self, wire: Wire) {
        self.wire = Some(wire);
    }

    /// Lets it start another release from now on.
    pub fn take(&mut self, release: &Release) {
        self.release = release.clone();
    }

    /// The raw disk image.
    #[must_use]
    pub fn disk(&self) -> &Path {
        &self.disk
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether its guests are emulated, and everything takes longer.
    #[must_use]
    pub fn emulated(&self) -> bool {
        self.accel.emulated()
    }

    /// Switches it on at a site, with nobody's card in the reader.
    ///
    /// # Errors
    /// QEMU does not start.
    pub fn power_on(&mut self, site_urls: &[String]) -> Result<RunningPc<'_>> {
        self.power_on_with(site_urls, Firmware::Direct)
    }

    /// [`Self::power_on`] by another firmware.
    ///
    /// # Errors
    /// QEMU does not start.
    pub fn power_on_with(
        &mut self,
        site_urls: &[String],
        firmware: Firmware,
    ) -> Result<RunningPc<'_>> {
        self.boots += 1;
        room(&self.logs)?;
        let sites: Vec<String> = site_urls
            .iter()
            .map(|url| format!("furoshiki.site={url}"))
            .collect();
        let machine = Machine::power_on(&Hardware {
            name: &self.name,
            disk: &self.disk,
            build: &self.build,
            tools: self.tools.as_deref(),
            address: self.address,
            wire: self.wire.as_ref(),
            firmware,
            variables: self.variables.as_deref(),
            release: &self.release,
            extra_cmdline: &format!("{} {}", sites.join(" "), self.build.words),
            accel: self.accel,
            logs: &self.logs,
            boot: self.boots,
        })
        .with_context(|| format!("switch on {}", self.name))?;
        let emulated = self.accel.emulated();
        Ok(RunningPc {
            pc: self,
            machine,
            card: None,
            card_may_return: None,
            typed: Vec::new(),
            emulated,
        })
    }

    /// Switches it on, puts the card in, answers every prompt, and gives the session.
    ///
    /// # Errors
    /// The PC shows a message or does not get there in time: the error has the console's end.
    pub fn boot(&mut self, site_urls: &[String], person: &Person) -> Result<Session<'_>> {
        let mut pc = self.power_on(site_urls)?;
        pc.insert(&person.card)?;
        pc.sign_in(person)
    }

    /// Removes disk and logs of a PC that proved what it should: evidence is for failures.
    ///
    /// # Errors
    /// The disk cannot be removed.
    pub fn scrap(self) -> Result<()> {
        fs::remove_file(&self.disk).with_context(|| format!("remove {}", self.disk.display()))
    }
}

/// Room for a disk that fills: a guest whose host has none sees a disk that breaks.
fn room(folder: &Path) -> Result<()> {
    let system = rustix::fs::statvfs(folder)
        .with_context(|| format!("ask how much room {} has", folder.display()))?;
    let free = system.f_bavail.saturating_mul(system.f_frsize);
    if free < DISK_BYTES {
        bail!(
            "{} has {} MiB free, and the disk of a PC may grow to {}: make room",
            folder.display(),
            free >> 20,
            DISK_BYTES >> 20
        );
    }
    Ok(())
}

/// A PC that is on. The plug is pulled when it is dropped.
#[derive(Debug)]
pub struct RunningPc<'pc> {
    /// Borrowed: nobody reads the disk of a PC that is on.
    pub(crate) pc: &'pc mut SharedPc,
    pub(crate) machine: Machine,
    pub(crate) card: Option<InReader>,
    /// A hand is not quicker than this.
    card_may_return: Option<Deadline>,
    /// When somebody typed a line.
    typed: Vec<Instant>,
    pub(crate) emulated: bool,
}

impl<'pc> RunningPc<'pc> {
    /// Puts a card into the reader; one that is in there comes out first.
    ///
    /// # Errors
    /// The card does not reach the reader.
    pub fn insert(&mut self, card: &TestCard) -> Result<()> {
        self.remove_card();
        if let Some(moment) = self.card_may_return.take() {
            while !moment.passed() {
                wait::pause(moment)?;
            }
        }
        let wire = self.pc.wire.as_ref();
        self.card = Some(card.insert(self.machine.card_port, wire)?);
        Ok(())
    }

    /// Takes the card out.
    pub fn remove_card(&mut self) {
        if self.card.take().is_some() {
            self.card_may_return = Some(Deadline::after(OUT_AT_LEAST));
        }
    }

    /// Pulls the reader out, with the card that may be in it, as one does with a token.
    ///
    /// # Errors
    /// QEMU refuses: it is not plugged in.
    pub fn unplug_reader(&mut self) -> Result<()> {
        self.machine
            .qmp
            .command("device_del", &json!({ "id": "reader" }))
            .map(drop)
    }

    /// Plugs the reader in again. A card that was in it still is.
    ///
    /// # Errors
    /// QEMU refuses: it is plugged in.
    pub fn plug_reader(&mut self) -> Result<()> {
        let reader = json!({ "driver": "usb-ccid", "bus": "hc.0", "id": "reader" });
        let card = json!({ "driver": "ccid-card-passthru", "chardev": "card", "bus": "reader.0" });
        for device in [reader, card] {
            self.machine.qmp.command("device_add", &device)?;
        }
        Ok(())
    }

    /// Types a line at the PC.
    ///
    /// # Errors
    /// The PC is off.
    pub fn type_line(&mut self, text: &str) -> Result<()> {
        self.typed.push(Instant::now());
        self.machine.console.type_line(text)
    }

    /// Types a line on the PC's own keyboard, which has a Japanese layout: presses the keys on which the characters
    /// are printed.
    ///
    /// # Errors
    /// The PC is off, or a character is on no key.
    pub fn type_on_japanese_keyboard(&mut self, text: &str) -> Result<()> {
        keyboard::type_line(&mut self.machine.qmp, text)?;
        self.typed.push(Instant::now());
        Ok(())
    }

    /// Answers the prompts for PIN, name and password on the PC's own keyboard.
    ///
    /// # Errors
    /// Another prompt than those comes.
    pub fn type_credentials(&mut self, person: &Person) -> Result<()> {
        self.type_on_japanese_keyboard(&person.card.pin)?;
        self.expect_prompt("user")?;
        self.type_on_japanese_keyboard(&person.name)?;
        self.expect_prompt("password")?;
        self.type_on_japanese_keyboard(&person.password)
    }

    /// Answers every prompt once, as `person`, until the session is ready.
    ///
    /// # Errors
    /// A message, a prompt for the second time, or silence, with the end of the console.
    pub fn sign_in(self, person: &Person) -> Result<Session<'pc>> {
        let answers = [
            ("pin", person.card.pin.as_str()),
            ("user", &person.name),
            ("password", &person.password),
        ];
        self.answer(&person.name, &answers)
    }

    /// Gives each prompt its answer, once, until the session of `user` is ready.
    ///
    /// # Errors
    /// A message, a prompt for the second time or without an answer, or silence, with the end of the console.
    pub fn answer(mut self, user: &str, answers: &[(&str, &str)]) -> Result<Session<'pc>> {
        let mut answered: Vec<String> = Vec::new();
        loop {
            let seconds = if answered.is_empty() {
                PROMPT_SECONDS
            } else {
                READY_SECONDS
            };
            let deadline = self.deadline(seconds);
            let event = self.reported(|machine| {
                machine.events.until(
                    "a prompt or the session",
                    deadline,
                    |event| matches!(event.event.as_str(), "prompt" | "session-ready"),
                    |event| event.event == "message",
                )
            })?;
            if event.event == "session-ready" {
                return Session::open(self, user);
            }
            let prompt = event.text("prompt").to_owned();
            if prompt == "insert-card" {
                continue; // it is on its way into the reader
            }
            if answered.contains(&prompt) {
                return self.reported(|_| bail!("{prompt} was asked a second time"));
            }
            let Some((_, answer)) = answers.iter().find(|(to, _)| *to == prompt) else {
                return self.reported(|_| bail!("nobody knows what to answer to {prompt}"));
            };
            self.type_line(answer)?;
            answered.push(prompt);
        }
    }

    /// Pulls the network cable.
    ///
    /// # Errors
    /// QEMU refuses.
    pub fn cut_network(&mut self) -> Result<()> {
        self.machine
            .qmp
            .command("set_link", &json!({ "name": "nic0", "up": false }))
            .map(drop)
    }

    /// Puts the cable back.
    ///
    /// # Errors
    /// QEMU refuses.
    pub fn restore_network(&mut self) -> Result<()> {
        self.machine
            .qmp
            .command("set_link", &json!({ "name": "nic0", "up": true }))
            .map(drop)
    }

    /// Pulls the disk on USB out.
    ///
    /// # Errors
    /// QEMU refuses: the disk is not on USB.
    pub fn unplug_disk(&mut self) -> Result<()> {
        self.machine
            .qmp
            .command("device_del", &json!({ "id": "disk0" }))
            .map(drop)
    }

    /// Whether the PC goes on until the deadline; takes the events that come.
    pub fn watch(&mut self, deadline: Deadline) {
        self.machine.events.drain(deadline);
    }

    /// Pulls the plug.
    pub fn cut_power(mut self) {
        self.machine.cut_power();
    }

    /// Whether it is on.
    ///
    /// # Errors
    /// The machine cannot be asked.
    pub fn is_on(&mut self) -> Result<bool> {
        self.machine.is_on()
    }

    /// The events taken so far.
    #[must_use]
    pub fn events(&self) -> &[Event] {
        &self.machine.events.seen
    }

    pub(crate) fn deadline(&self, seconds: u64) -> Deadline {
        Deadline::guest(seconds, self.emulated)
    }

    /// Runs a step; its failure carries name and console of this PC.
    pub(crate) fn reported<T>(
        &mut self,
        step: impl FnOnce(&mut Machine) -> Result<T>,
    ) -> Result<T> {
        let name = self.pc.name.clone();
        step(&mut self.machine).map_err(|error| {
            let stall = if self.emulated {
                self.machine.look_for_stall()
            } else {
                Ok(())
            };
            if let Err(unknown) = stall {
                eprintln!("{unknown:#}");
            }
            let report = self.machine.console.report();
            error.context(format!("{name}, power-on {}\n{report}", self.pc.boots))
        })
    }
}
