//! Units and drop-ins of the running system, below `/run/systemd`. Pure.

use super::Account;
use crate::{cmdline::Removal, paths};

/// The service that saves.
pub(super) const SESSION_UNIT: &str = "furoshiki-session.service";

/// The service that watches the card.
pub(super) const CARD_UNIT: &str = "furoshiki-card.service";

/// The services that show that the PC is at work, each with the target that wants it.
pub(super) const MEANWHILE: [(&str, &str); 2] = [
    ("furoshiki-starting.service", "sysinit.target.wants"),
    ("furoshiki-stopping.service", "shutdown.target.wants"),
];

/// Every file, by its path below `/run/systemd`, with its text.
pub(super) fn files(account: &Account, removal: Removal) -> Vec<(&'static str, String)> {
    let agent = format!("{}{}", paths::EXITRD, paths::AGENT);
    let name = account.name();
    let card =
        (removal != Removal::Ignore).then(|| ("system/furoshiki-card.service", card_unit(&agent)));
    let mut files = vec![
        ("system/furoshiki-session.service", session_unit(&agent)),
        (
            "system/furoshiki-starting.service",
            meanwhile_unit(&agent, "starting"),
        ),
        (
            "system/furoshiki-stopping.service",
            meanwhile_unit(&agent, "stopping"),
        ),
        (
            "system/getty@tty1.service.d/furoshiki.conf",
            autologin(&format!("--autologin {name} --noclear - $TERM")),
        ),
        (
            "system/serial-getty@ttyS0.service.d/furoshiki.conf",
            autologin(&format!(
                "--autologin {name} --keep-baud 115200,57600,38400,9600 - $TERM"
            )),
        ),
        // A program that ignores SIGTERM would hold up the save for 90 s.
        (
            "system.conf.d/furoshiki.conf",
            "[Manager]\nDefaultTimeoutStopSec=15s\n".into(),
        ),
        (
            "system/user@.service.d/furoshiki.conf",
            "[Service]\nTimeoutStopSec=15s\n".into(),
        ),
    ];
    files.extend(card);
    files
}

fn autologin(options: &str) -> String {
    // The user signed in with card and password before this system ran; a second login would ask for nothing new.
    format!("[Service]\nExecStart=\nExecStart=-/sbin/agetty {options}\n")
}

/// Stop order is start order reversed: when this unit stops, every process of the user is gone and the network is
/// still up. PAM hooks and `shutdown.target` do not give that. `Before=user.slice` would, but makes a cycle:
/// user.slice → slices.target → basic.target → dbus.service → this unit. Sessions and user managers are ordered
/// after `systemd-user-sessions.service`, which is enough.
fn session_unit(agent: &str) -> String {
    format!(
        "[Unit]
Description=Save the user's environment
After=NetworkManager.service systemd-networkd.service systemd-resolved.service wpa_supplicant.service
After=dbus.service network.target local-fs.target
Before=systemd-user-sessions.service
RequiresMountsFor={session} {outbox} /home

[Service]
Type=notify
ExecStart={agent} session run
ExecStop={agent} session finish
# Saving takes as long as it takes; it ends by itself when the site is gone.
TimeoutStopSec=infinity
TimeoutStartSec=infinity
KillMode=mixed
KeyringMode=shared
LimitCORE=0
LimitMEMLOCK=infinity
OOMScoreAdjust=-900
",
        session = paths::SESSION,
        outbox = paths::OUTBOX,
    )
}

/// It comes before anybody works, and comes back whatever ends it: a lock outlives the process that holds it. It
/// ends at once when the PC goes off.
fn card_unit(agent: &str) -> String {
    format!(
        "[Unit]
Description=Watch the user's card
Wants=pcscd.socket
After=pcscd.socket furoshiki-session.service
Before=systemd-user-sessions.service
StartLimitIntervalSec=0

[Service]
ExecStart={agent} session card
Restart=always
RestartSec=1
TimeoutStopSec=5s
LimitCORE=0
LimitMEMLOCK=infinity
OOMScoreAdjust=-900
"
    )
}

/// No dependency at all: it runs from when its target begins to be reached. The one for stopping is started by
/// `shutdown.target` and ends with everything else, when systemd gives the PC to the exitrd.
fn meanwhile_unit(agent: &str, what: &str) -> String {
    format!(
        "[Unit]
Description=Show that the PC is {what}
DefaultDependencies=no

[Service]
ExecStart={agent} session {what}
StandardInput=null
StandardOutput=null
StandardError=null
LimitCORE=0
"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_session_unit_stops_after_the_user_and_before_the_network() {
        let unit = session_unit("/run/initramfs/agent");
        for line in [
            "Before=systemd-user-sessions.service",
            "After=dbus.service network.target local-fs.target",
            "ExecStop=/run/initramfs/agent session finish",
            "TimeoutStopSec=infinity",
            "KillMode=mixed",
        ] {
            assert!(unit.lines().any(|l| l == line), "{line}");
        }
    }

    #[test]
    fn a_card_is_watched_only_where_its_removal_means_something() {
        let account = Account::of("hanako", "");
        for (removal, want) in [
            (Removal::Ignore, false),
            (Removal::Lock, true),
            (Removal::End, true),
        ] {
            let files = files(&account, removal);
            let unit = files.iter().find(|(path, _)| path.ends_with(CARD_UNIT));
            assert_eq!(unit.is_some(), want, "{removal:?}");
            let again = |text: &String| text.contains("Restart=always\n");
            assert!(unit.is_none_or(|(_, text)| again(text)));
        }
    }

    #[test]
    fn what_shows_that_the_pc_is_at_work_waits_for_nothing_and_holds_up_nothing() {
        for (name, _) in MEANWHILE {
            let what = name
                .trim_start_matches("furoshiki-")
                .trim_end_matches(".service");
            let unit = meanwhile_unit("/run/initramfs/agent", what);
            let is_order = |l: &str| {
                ["After=", "Before=", "Requires="]
                    .iter()
                    .any(|o| l.starts_with(o))
            };
            assert!(!unit.lines().any(is_order), "{unit}");
            assert!(unit.contains("DefaultDependencies=no"), "{unit}");
            assert!(unit.contains(&format!("agent session {what}\n")), "{unit}");
        }
    }
}
