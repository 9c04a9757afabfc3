//! Strings that exist nowhere else, planted in a session; wherever one turns up later is a leak.

use anyhow::Result;

use crate::session::Session;

/// In the content of a file in the home.
pub(super) const CONTENT: &str = "tulip-4471-content";
/// In the name of a file in the home.
pub(super) const NAME: &str = "daisy-9902-filename";
/// In a setting below /etc.
pub(super) const SETTING: &str = "crocus-3158-setting";
/// In a database, between other rows.
pub(super) const ROW: &str = "jasmine-7264-row";
/// Written onto the bare disk, past every encryption, to prove that the search finds what is there.
pub(super) const CONTROL: &str = "thistle-0815-control";

/// Everything that must be found nowhere.
pub(super) const SECRETS: [&str; 4] = [CONTENT, NAME, SETTING, ROW];

/// Where the control goes: in the gap between the partition table (34 sectors) and the first
/// partition (at 1 MiB), which no stage of a boot or shutdown writes.
const GAP_SECTOR: u32 = 1999;

/// Plants them as a user would: by working.
pub(super) fn plant(session: &mut Session<'_>) -> Result<()> {
    session.write_file(&format!("{NAME}.txt"), &format!("{CONTENT}\n"))?;
    // Many times over, so that one lucky overwrite does not hide a leak.
    session.run_as_user(&format!(
        "mkdir -p many; for i in $(seq 200); do echo {CONTENT} $i > many/{NAME}-$i; done"
    ))?;
    session.run_as_user(&format!("printf 'INSERT %s' '{ROW}' > rows.sql"))?;
    session
        .run(&format!("echo '# {SETTING}' >> /etc/profile && sync"))
        .map(drop)
}

/// Writes the control onto the bare disk.
pub(super) fn plant_control(session: &mut Session<'_>) -> Result<()> {
    session
        .run(&format!(
            "printf '%s' {CONTROL} | dd of=/dev/disk/by-id/virtio-fsdisk bs=512 seek={GAP_SECTOR} conv=notrunc,fsync status=none"
        ))
        .map(drop)
}
