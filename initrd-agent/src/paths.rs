//! Where things are, in the initrd, in the running system and in the exitrd.
//!
//! `/run` moves with the system from the initrd to the baseline and on to the exitrd, so everything that must
//! be found again lies below [`RUN`].

/// Folder of the agent, root only.
pub const RUN: &str = "/run/furoshiki";
/// Mount point of the session volume (dm-crypt, key in memory only).
pub const SESSION: &str = "/run/furoshiki/session";
/// Changes to the baseline, upper layer of the root overlay.
pub const SESSION_UPPER: &str = "/run/furoshiki/session/upper";
/// The root itself, where the baseline is rewritten at every boot.
pub const SESSION_ROOT: &str = "/run/furoshiki/session/root";
/// Scratch folder overlayfs asks for, on the same file system as the upper layer.
pub const SESSION_WORK: &str = "/run/furoshiki/session/work";
/// Home folders, bound to `/home`.
pub const SESSION_HOME: &str = "/run/furoshiki/session/home";
/// Small files the agent keeps about the session, for instance the stat table.
pub const SESSION_STATE: &str = "/run/furoshiki/session/state";
/// Mount point of the image of a baseline that is rewritten; [`BASELINE`] is its folder with the tree.
pub const IMAGE: &str = "/run/furoshiki/image";
/// Mount point of the verified baseline.
pub const BASELINE: &str = "/run/furoshiki/baseline";
/// Mount point of the outbox partition.
pub const OUTBOX: &str = "/run/furoshiki/outbox";
/// What the session service needs to know, no secrets. See [`crate::session::State`].
pub const SESSION_JSON: &str = "/run/furoshiki/session.json";
/// What the exitrd needs to know. See [`crate::exitrd::Plan`].
pub const DISK_JSON: &str = "/run/furoshiki/disk.json";
/// Copy of the pinned CA for the session service.
pub const RUN_SITE_CA: &str = "/run/furoshiki/site-ca.pem";
/// Copy of the pinned release key for the session service.
pub const RUN_RELEASE_KEY: &str = "/run/furoshiki/release.pub";
/// What the session's updater needs to know. See [`crate::update`].
pub const UPDATE_JSON: &str = "/run/furoshiki/update.json";
/// Held by whoever captures and pushes: a save and the end of the session exclude each other.
pub const SAVE_LOCK: &str = "/run/furoshiki/save.lock";
/// Held by the last save while it has the screen.
pub const SCREEN_LOCK: &str = "/run/furoshiki/screen.lock";
/// There once the session is armed.
pub const SESSION_READY: &str = "/run/furoshiki/ready";
/// There while the session is locked, with the virtual terminal that was shown before.
pub const LOCKED: &str = "/run/furoshiki/locked";
/// Compiled keymaps of the initrd, `NAME.bmap`.
pub const KEYMAPS: &str = "/usr/lib/furoshiki/keymaps";
/// Root that systemd changes to.
pub const SYSROOT: &str = "/sysroot";
/// Root of the exitrd; systemd enters it at power-off.
pub const EXITRD: &str = "/run/initramfs";
/// The agent inside the initrd and inside the exitrd.
pub const AGENT: &str = "/usr/lib/furoshiki/furoshiki-agent";
/// Name servers for the C library, in the initrd and in the exitrd. See resolv.conf(5).
pub const RESOLV_CONF: &str = "/etc/resolv.conf";
/// Files the exitrd needs, one absolute path a line.
pub const EXITRD_LIST: &str = "/usr/lib/furoshiki/exitrd.list";
/// Pinned CA of the operator's sites.
pub const SITE_CA: &str = "/etc/furoshiki/site-ca.pem";
/// Pinned public key of releases, 64 hex digits.
pub const RELEASE_KEY: &str = "/etc/furoshiki/release.pub";
/// Port for machines that watch. See [`crate::events`].
pub const EVENTS_PORT: &str = "/dev/virtio-ports/org.furoshiki.events";
