//! The card: `piv-authenticator` or `opcard` over file storage, from power-on to power-off.
//!
//! A card forgets a verified PIN when it loses power. These leave that to their host,
//! so every power cycle builds the whole card again over the same two files.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
    time::Instant,
};

use anyhow::{Context as _, Result, bail, ensure};
use heapless::Vec as Buffer;
use iso7816::{Command, Instruction, Status, command::FromSliceError};
use piv_authenticator::{Authenticator, Options};
use rand_core::{OsRng, RngCore as _};
use trussed::{
    pipe::TrussedChannel,
    platform,
    virt::{Client, Runner, StorageConfig, Store, StoreConfig, UserInterface},
};

use crate::dispatch::{BACKENDS, Dispatch};

/// Answer to reset: T=0 offered first, T=1 second, historical bytes `SPCB`.
///
/// QEMU 7.2's reader speaks T=0 only, some tools ask for T=1 only: both find what they want.
pub(crate) const ATR: [u8; 8] = [0x3B, 0x83, 0x80, 0x01, 0x53, 0x50, 0x43, 0x42];

/// Longest command after chaining and longest answer before GET RESPONSE, in bytes.
const BUFFER_BYTES: usize = 7609;
/// Most data bytes in one answer; the rest follows after 61xx. QEMU's reader cuts longer ones.
const ANSWER_BYTES: usize = 256;

/// What a card is: one application, as most have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Application {
    Piv,
    OpenPgp,
}

impl Application {
    const ALL: [Self; 2] = [Self::Piv, Self::OpenPgp];

    fn name(self) -> &'static str {
        match self {
            Self::Piv => "piv",
            Self::OpenPgp => "openpgp",
        }
    }

    /// What the card in `folder` is, or becomes.
    fn of(folder: &Path) -> Result<Self> {
        let path = folder.join("application");
        match fs::read_to_string(&path) {
            Ok(name) => Self::ALL
                .into_iter()
                .find(|application| application.name() == name.trim())
                .with_context(|| {
                    format!("{}: {name:?} is neither piv nor openpgp", path.display())
                }),
            Err(err) if err.kind() == std::io::ErrorKind::NotFound => {
                let new = if NEW_ARE_OPENPGP.load(Ordering::Relaxed) {
                    Self::OpenPgp
                } else {
                    Self::Piv
                };
                fs::write(&path, new.name())
                    .with_context(|| format!("write {}", path.display()))?;
                Ok(new)
            }
            Err(err) => Err(err).with_context(|| format!("read {}", path.display())),
        }
    }
}

/// The folder that is the card: whoever holds it has the card.
pub(crate) struct State {
    folder: PathBuf,
    device_key: [u8; 32],
    application: Application,
    _lock: File,
}

impl State {
    /// Opens the card in `folder`, or makes a new one there.
    ///
    /// # Errors
    /// Another process runs this card, or the folder cannot be written.
    pub(crate) fn open(folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
        let lock_path = folder.join("lock");
        let lock = File::create(&lock_path)
            .with_context(|| format!("create lock {}", lock_path.display()))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                bail!(
                    "the card in {} is in use by another process",
                    folder.display()
                )
            }
            Err(TryLockError::Error(err)) => {
                return Err(err).with_context(|| format!("lock {}", lock_path.display()));
            }
        }
        Ok(Self {
            device_key: device_key(&folder.join("device.key"))?,
            application: Application::of(folder)?,
            folder: folder.to_owned(),
            _lock: lock,
        })
    }

    fn storage(&self) -> StoreConfig<'static> {
        StoreConfig {
            internal: StorageConfig::filesystem(self.folder.join("internal.lfs")),
            external: StorageConfig::filesystem(self.folder.join("external.lfs")),
            volatile: StorageConfig::ram(),
        }
    }

    /// Powers the card on, hands it to `serve`, and powers it off when that returns.
    pub(crate) fn power_cycle<R>(&self, serve: impl FnOnce(&mut Card<'_>) -> R) -> R {
        self.storage().with_store(|store| {
            let platform = Platform {
                rng: OsRng,
                store,
                ui: UserInterface::new(),
            };
            let channel = TrussedChannel::new();
            let mut runner = Runner::new();
            let (requester, responder) = channel.split().expect("the channel is new");
            runner.add_endpoint(responder, self.application.name(), BACKENDS);
            let client = Client::<Dispatch>::new(requester, runner.syscall(), None);
            runner.run(platform, Dispatch::new(&self.device_key), || {
                serve(&mut Card {
                    app: match self.application {
                        Application::Piv => {
                            App::Piv(Box::new(Authenticator::new(client, Options::new())))
                        }
                        Application::OpenPgp => {
                            App::OpenPgp(Box::new(opcard::Card::new(client, self.openpgp())))
                        }
                    },
                    command: None,
                    answer: Buffer::new(),
                    sent: 0,
                })
            })
        })
    }
}

impl State {
    /// A serial number of its own: tools tell OpenPGP cards apart by it.
    fn openpgp(&self) -> opcard::Options {
        let mut options = opcard::Options::default();
        options.button_available = false;
        if let Some(serial) = self.device_key.first_chunk() {
            options.serial = *serial;
        }
        options
    }
}

/// Reads the key that stands for the secret burnt into a chip, or draws one.
fn device_key(path: &Path) -> Result<[u8; 32]> {
    match fs::read(path) {
        Ok(bytes) => {
            let have = bytes.len();
            return bytes
                .try_into()
                .map_err(|_| anyhow::anyhow!("{}: {have} bytes, want 32", path.display()));
        }
        Err(err) if err.kind() == std::io::ErrorKind::NotFound => {}
        Err(err) => return Err(err).with_context(|| format!("read {}", path.display())),
    }
    for name in ["internal.lfs", "external.lfs"] {
        let storage = path.with_file_name(name);
        ensure!(
            !storage.exists(),
            "{} exists without device.key: delete the folder for a new card",
            storage.display()
        );
    }
    let mut key = [0; 32];
    OsRng.fill_bytes(&mut key);
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .with_context(|| format!("create {}", path.display()))?;
    file.write_all(&key)
        .with_context(|| format!("write {}", path.display()))?;
    Ok(key)
}

/// Trussed's platform with the machine's randomness: `trussed::virt` has a constant seed, which
/// would make all cards twins.
struct Platform<'a> {
    rng: OsRng,
    store: Store<'a>,
    ui: UserInterface,
}

impl<'a> platform::Platform for Platform<'a> {
    type R = OsRng;
    type S = Store<'a>;
    type UI = UserInterface;

    fn rng(&mut self) -> &mut OsRng {
        &mut self.rng
    }

    fn store(&self) -> Store<'a> {
        self.store
    }

    fn user_interface(&mut self) -> &mut UserInterface {
        &mut self.ui
    }
}

enum App<'a> {
    Piv(Box<Authenticator<Client<'a, Dispatch>>>),
    OpenPgp(Box<opcard::Card<Client<'a, Dispatch>>>),
}

/// A powered card.
pub(crate) struct Card<'a> {
    app: App<'a>,
    command: Option<Command<BUFFER_BYTES>>,
    answer: Buffer<u8, BUFFER_BYTES>,
    sent: usize,
}

impl Card<'_> {
    /// Answers one APDU with at most 256 data bytes and two status bytes.
    pub(crate) fn transmit(&mut self, apdu: &[u8]) -> Vec<u8> {
        let start = Instant::now();
        let (data, status) = self.respond(apdu);
        let status: [u8; 2] = status.into();
        let answer = [data, &status].concat();
        log(apdu, &answer, start);
        answer
    }

    fn respond(&mut self, apdu: &[u8]) -> (&[u8], Status) {
        let apdu = match apdu.strip_prefix(SELECT_SHORT) {
            Some([] | [0]) if AS_YUBIKEY.load(Ordering::Relaxed) => SELECT_WHOLE,
            _ => apdu,
        };
        let command = match Command::<BUFFER_BYTES>::try_from(apdu) {
            Ok(command) => command,
            Err(FromSliceError::InvalidClass) => return (&[], Status::ClassNotSupported),
            Err(_) => return (&[], Status::WrongLength),
        };
        let expected = match command.expected() {
            0 if AS_YUBIKEY.load(Ordering::Relaxed) => ANSWER_BYTES,
            expected => expected,
        };
        if command.instruction() != Instruction::GetResponse {
            let whole = match self.chain(command) {
                Ok(Some(whole)) => whole,
                Ok(None) => return (&[], Status::Success),
                Err(status) => return (&[], status),
            };
            self.answer.clear();
            self.sent = 0;
            let answered = match &mut self.app {
                App::Piv(piv) => piv.respond(whole.as_view(), &mut self.answer),
                App::OpenPgp(card) => card.handle(whole.as_view(), &mut self.answer),
            };
            if let Err(status) = answered {
                self.answer.clear();
                return (&[], status);
            }
        }
        self.next_part(expected)
    }

    /// Joins chained commands (ISO 7816-4 §5.3.3); the whole one after its last part.
    fn chain(
        &mut self,
        command: Command<BUFFER_BYTES>,
    ) -> Result<Option<Command<BUFFER_BYTES>>, Status> {
        let last = command.class().chain().last_or_only();
        let joined = match self.command.take() {
            None => command,
            Some(mut first) => {
                first
                    .extend_from_command(&command)
                    .map_err(|_| Status::WrongLength)?;
                first
            }
        };
        if last {
            return Ok(Some(joined));
        }
        self.command = Some(joined);
        Ok(None)
    }

    fn next_part(&mut self, expected: usize) -> (&[u8], Status) {
        let rest = self.answer.get(self.sent..).unwrap_or_default();
        let part = rest
            .get(..expected.min(ANSWER_BYTES).min(rest.len()))
            .unwrap_or_default();
        self.sent += part.len();
        let left = rest.len() - part.len();
        let status = match left {
            0 => Status::Success,
            left => Status::MoreAvailable(u8::try_from(left).unwrap_or(0)),
        };
        (part, status)
    }
}

/// SELECT of PIV by the five bytes of NIST's registered provider, and by its whole name.
const SELECT_SHORT: &[u8] = b"\x00\xA4\x04\x00\x05\xA0\x00\x00\x03\x08";
const SELECT_WHOLE: &[u8] = b"\x00\xA4\x04\x00\x0B\xA0\x00\x00\x03\x08\x00\x00\x10\x00\x01\x00";

static AS_YUBIKEY: AtomicBool = AtomicBool::new(false);

/// Whether the card is selected by a part of its name too, and answers data without being asked for
/// it by an Le: `YubiKeys` do both, Nitrokeys neither.
pub(crate) fn like_a_yubikey(on: bool) {
    AS_YUBIKEY.store(on, Ordering::Relaxed);
}

static NEW_ARE_OPENPGP: AtomicBool = AtomicBool::new(false);

/// Whether a card that is made is an OpenPGP card. One that is there stays what it is.
pub(crate) fn new_cards_are_openpgp(on: bool) {
    NEW_ARE_OPENPGP.store(on, Ordering::Relaxed);
}

static TRACE: AtomicBool = AtomicBool::new(false);

/// Whether every APDU leaves a line on standard error.
pub(crate) fn trace(on: bool) {
    TRACE.store(on, Ordering::Relaxed);
}

/// One line for what happens to the card, when APDUs leave lines too.
pub(crate) fn log_notice(word: &str) {
    if TRACE.load(Ordering::Relaxed) {
        eprintln!("card {word}");
    }
}

/// One line for each APDU: header, sizes, status, time. Never data: it may be a PIN or a secret.
fn log(apdu: &[u8], answer: &[u8], start: Instant) {
    if !TRACE.load(Ordering::Relaxed) {
        return;
    }
    let header: String = apdu.iter().take(4).map(|b| format!("{b:02X}")).collect();
    let (data, status) = answer.split_at(answer.len().saturating_sub(2));
    let status: String = status.iter().map(|b| format!("{b:02X}")).collect();
    eprintln!(
        "apdu {header} in {} bytes, out {} bytes, {status}, {} ms",
        apdu.len().saturating_sub(4),
        data.len(),
        start.elapsed().as_millis()
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    const SELECT: &[u8] = b"\x00\xA4\x04\x00\x0B\xA0\x00\x00\x03\x08\x00\x00\x10\x00\x01\x00";
    const TRIES: &[u8] = b"\x00\x20\x00\x80";
    const CHUID: &[u8] = b"\x00\xCB\x3F\xFF\x05\x5C\x03\x5F\xC1\x02";
    const GET_RESPONSE: &[u8] = b"\x00\xC0\x00\x00\x00";

    fn verify(pin: &[u8; 8]) -> Vec<u8> {
        [&b"\x00\x20\x00\x80\x08"[..], pin].concat()
    }

    fn guid(card: &mut Card<'_>) -> Vec<u8> {
        card.transmit(CHUID);
        card.transmit(GET_RESPONSE)
    }

    #[test]
    fn power_off_forgets_the_pin_and_keeps_the_counter() {
        let folder = tempfile::tempdir().unwrap();
        let state = State::open(folder.path()).unwrap();
        state.power_cycle(|card| {
            card.transmit(SELECT);
            assert_eq!(card.transmit(TRIES), [0x63, 0xC3]);
            assert_eq!(card.transmit(&verify(b"654321\xFF\xFF")), [0x63, 0xC2]);
        });
        state.power_cycle(|card| {
            card.transmit(SELECT);
            assert_eq!(card.transmit(TRIES), [0x63, 0xC2]);
            assert_eq!(card.transmit(&verify(b"123456\xFF\xFF")), [0x90, 0x00]);
            assert_eq!(card.transmit(TRIES), [0x90, 0x00]);
        });
        state.power_cycle(|card| {
            card.transmit(SELECT);
            assert_eq!(card.transmit(TRIES), [0x63, 0xC3]);
        });
    }

    #[test]
    fn a_card_comes_back_from_its_folder_and_no_two_are_twins() {
        let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let [one, two] = folders.each_ref().map(|folder| {
            let first = State::open(folder.path()).unwrap().power_cycle(guid);
            let again = State::open(folder.path()).unwrap().power_cycle(guid);
            assert_eq!(first, again);
            first
        });
        assert_ne!(one, two);
    }

    #[test]
    fn a_card_stays_what_it_was_made_as() {
        let folder = tempfile::tempdir().unwrap();
        let application = folder.path().join("application");
        let openpgp = b"\x00\xA4\x04\x00\x06\xD2\x76\x00\x01\x24\x01";
        let knows = |name: &[u8]| {
            let state = State::open(folder.path()).unwrap();
            state.power_cycle(|card| card.transmit(name).ends_with(&[0x90, 0x00]))
        };
        fs::write(&application, "openpgp").unwrap();
        for _ in 0..2 {
            assert!(knows(openpgp) && !knows(SELECT));
        }
        fs::write(&application, "java").unwrap();
        let refused = State::open(folder.path()).err().unwrap();
        assert!(refused.to_string().contains("neither piv nor openpgp"));
    }

    #[test]
    fn a_folder_is_one_card_in_one_reader() {
        let folder = tempfile::tempdir().unwrap();
        let _first = State::open(folder.path()).unwrap();
        let second = State::open(folder.path()).err().unwrap();
        assert!(second.to_string().contains("in use"), "{second}");
    }

    #[test]
    fn long_answers_come_in_parts_a_reader_can_carry() {
        let folder = tempfile::tempdir().unwrap();
        let state = State::open(folder.path()).unwrap();
        state.power_cycle(|card| {
            card.answer.resize(600, 0xAA).unwrap();
            let mut got = 0;
            for (length, status) in [(256, [0x61, 0x00]), (256, [0x61, 88]), (88, [0x90, 0x00])] {
                let part = card.transmit(GET_RESPONSE);
                assert_eq!(part.len(), length + 2);
                assert_eq!(part[length..], status);
                got += length;
            }
            assert_eq!(got, 600);
            assert_eq!(card.transmit(b"\x00\xCB"), [0x67, 0x00]);
            assert_eq!(card.transmit(b"\xFF\xCB\x00\x00"), [0x6E, 0x00]);
        });
    }
}
