//! `host`: one command with a card, a pcscd and readers of its own.
//!
//! pcscd's socket path is fixed, vpcd listens on all addresses at fixed ports, and a second pcscd
//! refuses to start. So every command gets its own mount, network and process namespace; any
//! number of them run side by side, and nothing survives the command.

use std::{
    fs,
    net::SocketAddr,
    os::unix::process::ExitStatusExt as _,
    path::Path,
    process::{Child, Command, ExitCode, ExitStatus, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use pcsc::{ReaderState, State};
use rustix::{
    mount::{MountFlags, mount},
    net::{AddressFamily, SendFlags, SocketType, netlink::SocketAddrNetlink, sendto, socket},
};

use crate::{
    card, control,
    fault::Fault,
    machine::{Event, Machine, Order},
    wire::Wire,
};

/// Where vpcd listens for the card of its first reader.
const VPCD: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 35963);
/// How long pcscd may take to find the card, TCG-slow machines included.
const CARD_DEADLINE: Duration = Duration::from_secs(30);
/// Pause between two looks for what has no event to wait on.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// The driver that makes readers of sockets; its absence is the usual reason for failure.
const VPCD_CONFIG: &str = "/etc/reader.conf.d/vpcd";

/// Runs this program again inside new namespaces.
///
/// # Errors
/// Not root, `unshare` missing or refused.
pub(crate) fn enter(
    state: &Path,
    control: Option<&Path>,
    switches: &[String],
    command: &[String],
) -> Result<ExitCode> {
    fs::create_dir_all(state).with_context(|| format!("create {}", state.display()))?;
    let own = std::env::current_exe().context("find this program")?;
    let mut unshare = Command::new("unshare");
    unshare
        .args([
            "--mount",
            "--net",
            "--pid",
            "--fork",
            "--kill-child",
            "--mount-proc",
            "--",
        ])
        .arg(own)
        .arg("--state")
        .arg(state);
    if let Some(control) = control {
        unshare.arg("--control").arg(control);
    }
    unshare.args(switches);
    let status = unshare
        .arg("host-inside")
        .arg("--")
        .args(command)
        .status()
        .context("run unshare (Debian package util-linux)")?;
    Ok(exit_code(status))
}

/// Starts pcscd and the card, then the command; returns its exit code.
pub(crate) fn inside(
    state: &Path,
    control: Option<&Path>,
    fault: Option<Fault>,
    command: &[String],
) -> Result<ExitCode> {
    ensure!(
        Path::new(VPCD_CONFIG).exists(),
        "{VPCD_CONFIG} does not exist: install the Debian packages pcscd and vsmartcard-vpcd"
    );
    raise_loopback().context("bring up the loopback interface of the new network namespace")?;
    fs::create_dir_all("/run/pcscd").context("create /run/pcscd")?;
    mount(
        c"furoshiki-card",
        c"/run/pcscd",
        c"tmpfs",
        MountFlags::empty(),
        c"mode=0755",
    )
    .context("mount a private /run/pcscd")?;

    let state = card::State::open(state)?;
    let events = mpsc::channel();
    let orders = events.0.clone();
    if let Some(path) = control {
        control::listen(path, &orders)?;
    }
    let card = thread::spawn(move || {
        Machine::new(Wire::Vpcd(VPCD), events, |notice| {
            card::log_notice(notice.word())
        })
        .with(fault)
        .run(state)
    });
    let mut pcscd = start_pcscd()?;
    let result = wait_for_card(&mut pcscd).and_then(|()| run(command));
    // The card may have been told to quit over its control socket.
    let _ = orders.send(Event::Order(Order::Quit, None));
    let card = card.join();
    pcscd.kill().context("end pcscd")?;
    pcscd.wait().context("end pcscd")?;
    match card {
        Ok(ended) => ended.context("put another card in")?,
        Err(_) => bail!("the card panicked, see above"),
    }
    result
}

fn run(command: &[String]) -> Result<ExitCode> {
    let [program, arguments @ ..] = command else {
        bail!("no command to run");
    };
    let status = Command::new(program)
        .args(arguments)
        .status()
        .with_context(|| format!("run {program}"))?;
    Ok(exit_code(status))
}

/// The code of the process, or 128 and the signal's number as a shell has it.
fn exit_code(status: ExitStatus) -> ExitCode {
    let code = status
        .code()
        .or_else(|| status.signal().map(|signal| 128 + signal))
        .unwrap_or(1);
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}

fn start_pcscd() -> Result<Child> {
    let help = Command::new("pcscd")
        .arg("--help")
        .output()
        .context("run pcscd (Debian package pcscd)")?;
    let mut pcscd = Command::new("pcscd");
    pcscd.arg("--foreground");
    // pcscd 2 asks polkit, which does not run in here, and then refuses everyone.
    if [help.stdout, help.stderr]
        .iter()
        .any(|text| String::from_utf8_lossy(text).contains("--disable-polkit"))
    {
        pcscd.arg("--disable-polkit");
    }
    pcscd
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context("start pcscd")
}

/// Returns when a PC/SC client sees the card: some tools look once and give up.
fn wait_for_card(pcscd: &mut Child) -> Result<()> {
    let deadline = Instant::now() + CARD_DEADLINE;
    loop {
        if let Some(status) = pcscd.try_wait().context("watch pcscd")? {
            bail!("pcscd ended ({status}) before it saw the card");
        }
        if card_is_there()? {
            return Ok(());
        }
        ensure!(
            Instant::now() < deadline,
            "pcscd did not see the card within {} s: is {VPCD_CONFIG} what the package vsmartcard-vpcd installed?",
            CARD_DEADLINE.as_secs()
        );
    }
}

/// Looks for a card for up to 100 ms.
fn card_is_there() -> Result<bool> {
    let pause = || mpsc::channel::<()>().1.recv_timeout(LOOK_AGAIN);
    let context = match pcsc::Context::establish(pcsc::Scope::System) {
        Ok(context) => context,
        Err(_) => {
            // pcscd does not listen yet; nothing to wait on but time.
            let _ = pause();
            return Ok(false);
        }
    };
    let mut readers: Vec<_> = context
        .list_readers_owned()
        .unwrap_or_default() // none yet
        .into_iter()
        .map(|name| ReaderState::new(name, State::UNAWARE))
        .collect();
    if readers.is_empty() {
        let _ = pause();
        return Ok(false);
    }
    for _ in 0..2 {
        if readers
            .iter()
            .any(|reader| reader.event_state().contains(State::PRESENT))
        {
            return Ok(true);
        }
        match context.get_status_change(LOOK_AGAIN, &mut readers) {
            Ok(()) => readers.iter_mut().for_each(ReaderState::sync_current_state),
            Err(pcsc::Error::Timeout) => {}
            Err(err) => return Err(err).context("watch the readers"),
        }
    }
    Ok(false)
}

/// Sets `lo` up: a new network namespace has it down, and `ip` is not on every machine.
///
/// Source: netlink(7), rtnetlink(7): `RTM_NEWLINK` with `struct ifinfomsg`.
fn raise_loopback() -> Result<()> {
    const RTM_NEWLINK: u16 = 16;
    const NLM_F_REQUEST_ACK: u16 = 1 | 4;
    const LOOPBACK_INDEX: u32 = 1;
    const IFF_UP: u32 = 1;
    let mut message = Vec::with_capacity(32);
    message.extend(32_u32.to_ne_bytes()); // nlmsghdr: length, type, flags, sequence, port
    message.extend(RTM_NEWLINK.to_ne_bytes());
    message.extend(NLM_F_REQUEST_ACK.to_ne_bytes());
    message.extend([0; 8]);
    message.extend([0; 4]); // ifinfomsg: family, pad, type, index, flags, change
    message.extend(LOOPBACK_INDEX.to_ne_bytes());
    message.extend(IFF_UP.to_ne_bytes());
    message.extend(IFF_UP.to_ne_bytes());
    let netlink = socket(AddressFamily::NETLINK, SocketType::RAW, None)?;
    sendto(
        &netlink,
        &message,
        SendFlags::empty(),
        &SocketAddrNetlink::new(0, 0),
    )?;
    let mut answer = [0; 256];
    let (length, _) = rustix::net::recv(&netlink, &mut answer, rustix::net::RecvFlags::empty())?;
    // NLMSG_ERROR: the header, then a negative errno or 0.
    let code = answer
        .get(..length)
        .and_then(|answer| answer.get(16..20))
        .and_then(|code| code.first_chunk())
        .map_or(-1, |code| i32::from_ne_bytes(*code));
    ensure!(code == 0, "netlink answers {code}");
    Ok(())
}
