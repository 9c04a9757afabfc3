//! The promises of the story, each a sentence.

use anyhow::{Result, bail, ensure};

use super::evidence::{Desk, Evidence};

/// A promise: its sentence, and what keeps it.
pub type Promise = (&'static str, fn(&Evidence) -> Result<()>);

/// All of them.
pub const PROMISES: [Promise; 11] = [
    (
        "the user's files return at another site bit for bit",
        files_return,
    ),
    (
        "a change below /etc returns at another site",
        changes_return,
    ),
    (
        "a deleted and a replaced part of the baseline stay so at another site",
        deletions_return,
    ),
    (
        "the next user finds no trace of the last one",
        next_finds_baseline,
    ),
    (
        "no planted string, key or password is on the raw disk of a PC that is off",
        disks_are_clean,
    ),
    (
        "the search finds a control string that bypassed encryption",
        control_is_found,
    ),
    ("the disk gives back what the session used", space_returns),
    (
        "the chosen site alone received the snapshot",
        only_chosen_site,
    ),
    (
        "a site stores no name, content, key, PIN or password in clear",
        sites_are_blind,
    ),
    (
        "no log has a key, a PIN, a password or a planted string",
        logs_are_silent,
    ),
    (
        "every site lists the baseline with its build timestamp",
        sites_know_baseline,
    ),
];

fn same(first: &Desk, again: &Desk, question: &str) -> Result<()> {
    let (before, after) = (first.answer(question), again.answer(question));
    ensure!(
        !before.is_empty() && before != "absent",
        "{question} was not there at {}",
        first.who
    );
    ensure!(
        before == after,
        "{question}: {before} at {}, {after} at {}",
        first.who,
        again.who
    );
    Ok(())
}

fn differ(first: &Desk, other: &Desk, question: &str) -> Result<()> {
    let (one, two) = (first.answer(question), other.answer(question));
    ensure!(
        one != two,
        "{question} is {one} at {} and at {}",
        first.who,
        other.who
    );
    Ok(())
}

fn files_return(e: &Evidence) -> Result<()> {
    same(&e.first, &e.again, "home")?;
    same(&e.first, &e.again, "entries")?;
    let entries: u64 = e.first.answer("entries").parse()?;
    ensure!(entries > 500, "a home of {entries} entries proves little");
    same(&e.first, &e.again, "var")
}

fn changes_return(e: &Evidence) -> Result<()> {
    same(&e.first, &e.again, "etc")?;
    same(&e.first, &e.again, "profile")
}

fn deletions_return(e: &Evidence) -> Result<()> {
    ensure!(
        e.again.answer("deleted") == "gone",
        "a deleted file of the baseline came back"
    );
    ensure!(
        e.next.answer("deleted") == "there",
        "the file to delete is not part of the baseline"
    );
    same(&e.first, &e.again, "replaced")?;
    ensure!(
        e.again.answer("inside replaced") == "own",
        "inside the replaced folder: {}",
        e.again.answer("inside replaced")
    );
    Ok(())
}

fn next_finds_baseline(e: &Evidence) -> Result<()> {
    ensure!(
        !e.first.answer("traces").is_empty(),
        "the search for traces does not find them at the first desk"
    );
    ensure!(
        e.next.answer("traces").is_empty(),
        "traces of the last user: {}",
        e.next.answer("traces")
    );
    ensure!(
        e.next.answer("etc") == "absent" && e.next.answer("var") == "absent",
        "files of the last user outside the home"
    );
    differ(&e.first, &e.next, "profile")?;
    differ(&e.first, &e.next, "replaced")?;
    let homes: Vec<&str> = e
        .next
        .answer("homes")
        .split_whitespace()
        .filter(|home| *home != "lost+found")
        .collect();
    ensure!(homes == ["jiro"], "homes at the next desk: {homes:?}");
    Ok(())
}

fn disks_are_clean(e: &Evidence) -> Result<()> {
    none(&e.on_disks)
}

fn control_is_found(e: &Evidence) -> Result<()> {
    ensure!(
        e.control_found,
        "the control string was written to the bare disk and not found: the search proves nothing"
    );
    Ok(())
}

fn space_returns(e: &Evidence) -> Result<()> {
    let (used, left) = e.disk_bytes;
    // The tree is some 50 MB; what a discard of the whole session leaves is the baseline.
    ensure!(
        used > left + (20 << 20),
        "the disk image took {used} bytes in the session and {left} after it"
    );
    Ok(())
}

fn only_chosen_site(e: &Evidence) -> Result<()> {
    ensure!(
        e.bytes.unchosen == 0,
        "Site 3 received {} snapshot bytes",
        e.bytes.unchosen
    );
    ensure!(
        e.bytes.unchosen_records >= 2,
        "Site 3 received {} user records",
        e.bytes.unchosen_records
    );
    ensure!(e.bytes.pushed_first > 0, "nothing was pushed");
    ensure!(
        e.bytes.relayed >= e.bytes.pushed_first,
        "{} bytes pushed, {} relayed",
        e.bytes.pushed_first,
        e.bytes.relayed
    );
    Ok(())
}

fn sites_are_blind(e: &Evidence) -> Result<()> {
    none(&e.at_sites)
}

fn logs_are_silent(e: &Evidence) -> Result<()> {
    none(&e.in_logs)
}

fn sites_know_baseline(e: &Evidence) -> Result<()> {
    none(&e.without_release)
}

fn none(found: &[String]) -> Result<()> {
    if !found.is_empty() {
        bail!("{}", found.join("; "));
    }
    Ok(())
}
