//! What a person needs at once after signing in.

use snapshot::manifest::{Entry, EntryKind};

use super::tree::{Side, side};

/// Longer files are data, wherever they lie.
const MOST_BYTES: u64 = 1 << 20;

/// Whether a desktop asks for this file while it starts: settings of the system, and of the user, whose names begin
/// with a dot. Capture puts such files into packs of their own as far as it can, apply writes those packs first.
pub(crate) fn needed_at_login(entry: &Entry) -> bool {
    let EntryKind::File(data) = &entry.kind else {
        return false;
    };
    data.size <= MOST_BYTES && is_setting(&entry.path)
}

/// Whether a path is one of settings.
pub(super) fn is_setting(path: &[u8]) -> bool {
    // home, then the user's name, then what lies in that.
    let in_home = path.splitn(4, |&byte| byte == b'/').nth(2);
    match (side(path), in_home) {
        (Side::Upper, _) => true,
        (Side::Home, name) => name.is_some_and(|name| name.starts_with(b".")),
    }
}

#[cfg(test)]
mod tests {
    use snapshot::manifest::{FileData, Meta};

    use super::*;

    #[test]
    fn settings_are_what_begins_with_a_dot_in_a_home_and_all_outside() {
        for (path, bytes, want) in [
            ("etc/hostname", 10, true),
            ("var/lib/big", 2 << 20, false),
            ("home/ada/.bashrc", 10, true),
            ("home/ada/.config/app/settings", 10, true),
            ("home/ada/.mozilla/places.sqlite", 2 << 20, false),
            ("home/ada/Documents/.hidden", 10, false),
            ("home/ada/letter.odt", 10, false),
            ("home/.odd", 10, false),
        ] {
            let data = FileData {
                size: bytes,
                ..FileData::default()
            };
            let entry = Entry {
                path: path.into(),
                kind: EntryKind::File(data),
                meta: Meta::default(),
            };
            assert_eq!(needed_at_login(&entry), want, "{path}");
        }
    }
}
