//! The programs that are compared: for each the lines of a shell that make an empty store, save a tree into it, and
//! write the newest saved tree to a folder.
//!
//! The lines see `$TREE` (what is saved), `$STORE` (its bytes are counted), `$KEYS` (theirs are not), `$OUT` (an empty
//! folder), `$N` (the number of the save) and a `$HOME` of their own, so that no cache of this machine helps. They run in
//! `$TREE`.

/// A program that saves trees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tool {
    /// Its name among figures.
    pub name: &'static str,
    /// What has to be installed.
    pub programs: &'static [&'static str],
    /// What the version is asked with.
    pub version: &'static str,
    /// Whether it adds to what it saved before; else every save is a first one.
    pub adds: bool,
    /// Whether what it stores is sealed.
    pub seals: bool,
    /// Makes the store.
    pub init: &'static str,
    /// Saves.
    pub save: &'static str,
    /// Writes the newest save.
    pub restore: &'static str,
}

/// Name of our own in tables.
pub const OURS: &str = "furoshiki";

/// Ours: the room's own functions in a process of their own, `initrd-agent/examples/engine`.
pub const ENGINE: Tool = Tool {
    name: OURS,
    programs: &["engine"],
    version: "echo this build",
    adds: true,
    seals: true,
    init: "",
    save: r#"engine capture --upper "$TREE/system" --home "$TREE/home" --state "$KEYS/state" --store "$STORE""#,
    restore: r#"mkdir "$OUT/system" "$OUT/home"
engine apply --upper "$OUT/system" --home "$OUT/home" --state "$KEYS/applied" --store "$STORE""#,
};

/// Ours, the snapshot coming from a site server over HTTPS.
pub const RESTORE_OVER_HTTPS: &str = r#"mkdir "$OUT/system" "$OUT/home"
engine apply --upper "$OUT/system" --home "$OUT/home" --state "$KEYS/https" --site "$SITE" --ca "$CA""#;

/// Ours, after a restore elsewhere and no work: what a shutdown costs somebody who only looked.
pub const SAVE_AFTER_RESTORE: &str = r#"engine capture --upper "$OUT/system" --home "$OUT/home" --state "$KEYS/applied" --store "$STORE""#;

/// The others.
pub const PEERS: &[Tool] = &[
    Tool {
        name: "tar-zstd3",
        programs: &["tar", "zstd"],
        version: "zstd --version",
        adds: false,
        seals: false,
        init: "",
        save: r#"tar --format=posix --xattrs --acls --xattrs-include='*' -S -cf - . | zstd -3 -T2 -q >"$STORE/$N""#,
        restore: r#"zstd -dcq "$STORE/$N" | tar --xattrs --acls --xattrs-include='*' -p -xf - -C "$OUT""#,
    },
    Tool {
        name: "tar-zstd3-age",
        programs: &["tar", "zstd", "age", "age-keygen"],
        version: "age --version",
        adds: false,
        seals: true,
        init: r#"age-keygen -o "$KEYS/key" 2>"$KEYS/said"; age-keygen -y "$KEYS/key" >"$KEYS/public""#,
        save: r#"tar --format=posix --xattrs --acls --xattrs-include='*' -S -cf - . | zstd -3 -T2 -q | age -R "$KEYS/public" >"$STORE/$N""#,
        restore: r#"age -d -i "$KEYS/key" "$STORE/$N" | zstd -dcq | tar --xattrs --acls --xattrs-include='*' -p -xf - -C "$OUT""#,
    },
    Tool {
        name: "bupstash",
        programs: &["bupstash"],
        version: "bupstash --version",
        adds: true,
        seals: true,
        init: r#"bupstash new-key -o "$KEYS/key"; rmdir "$STORE"; bupstash init -r "$STORE""#,
        save: r#"bupstash put -q -k "$KEYS/key" -r "$STORE" --xattrs name="$N" "$TREE" >"$KEYS/said""#,
        restore: r#"bupstash restore -q -k "$KEYS/key" -r "$STORE" --xattrs --ownership --into "$OUT" name="$N""#,
    },
    Tool {
        name: "rustic",
        programs: &["rustic"],
        version: "rustic --version",
        adds: true,
        seals: true,
        init: r#"rustic -r "$STORE" --password x --log-level warn init"#,
        save: r#"rustic -r "$STORE" --password x --log-level warn --no-progress backup --host h ."#,
        restore: r#"rustic -r "$STORE" --password x --log-level warn --no-progress restore latest "$OUT""#,
    },
    Tool {
        name: "restic",
        programs: &["restic"],
        version: "restic version",
        adds: true,
        seals: true,
        init: r#"RESTIC_PASSWORD=x restic -q -r "$STORE" init"#,
        save: r#"RESTIC_PASSWORD=x restic -q -r "$STORE" backup --host h ."#,
        restore: r#"RESTIC_PASSWORD=x restic -q -r "$STORE" restore latest --target "$OUT""#,
    },
    Tool {
        name: "borg",
        programs: &["borg"],
        version: "borg --version",
        adds: true,
        seals: true,
        init: r#"rmdir "$STORE"; BORG_PASSPHRASE=x borg init -e repokey-blake2 "$STORE""#,
        save: r#"BORG_PASSPHRASE=x borg create -C zstd,3 "$STORE::$N" ."#,
        restore: r#"cd "$OUT"; BORG_PASSPHRASE=x borg extract --sparse "$STORE::$N""#,
    },
    Tool {
        name: "casync",
        programs: &["casync"],
        version: "casync --version",
        adds: true,
        seals: false,
        init: "",
        save: r#"casync make --store="$STORE" "$STORE/$N.caidx" "$TREE" >"$KEYS/said""#,
        restore: r#"casync extract --store="$STORE" "$STORE/$N.caidx" "$OUT""#,
    },
    Tool {
        name: "desync",
        programs: &["desync"],
        version: "apt-cache policy desync | grep -m1 Candidate || true",
        adds: true,
        seals: false,
        init: "",
        save: r#"desync tar -i -s "$STORE" "$STORE/$N.caidx" "$TREE""#,
        restore: r#"desync untar -i -s "$STORE" "$STORE/$N.caidx" "$OUT""#,
    },
];
