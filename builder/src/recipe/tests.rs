use super::*;

const GOOD: &str = r#"
    format = 1
    name = "minimal"
    suite = "trixie"
    architecture = "amd64"
    initrd = "initrd.toml"
    tools = "tools.toml"
    [[sources]]
    archive = "debian"
    suites = ["trixie"]
    components = ["main"]
    keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"
    [kernel]
    package = "linux-image-amd64"
    cmdline = ["quiet"]
    [baseline]
    packages = ["systemd"]
    files = ["files"]
    [[baseline.remove]]
    paths = ["usr/share/doc/*"]
    reason = "nobody reads them on a shared PC"
"#;

fn read(main: &str) -> Result<Recipe, RecipeError> {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("recipe.toml"), main).unwrap();
    let initrd = "packages = []\nmodules = []\ndlopen = []\nfiles = [\"initrd\"]";
    std::fs::write(dir.path().join("initrd.toml"), initrd).unwrap();
    std::fs::write(dir.path().join("tools.toml"), "packages = []").unwrap();
    let group = "[firmware.nic]\npackage = \"firmware-nic\"\nreason = \"test\"\npaths = ";
    for (file, paths) in [
        ("hardware.toml", "[\"nic\"]"),
        ("climbs.toml", "[\"../etc\"]"),
    ] {
        std::fs::write(dir.path().join(file), format!("{group}{paths}")).unwrap();
    }
    Recipe::read(dir.path())
}

#[test]
fn a_good_recipe_is_read() {
    assert_eq!(read(GOOD).unwrap().main.name, "minimal");
}

#[test]
fn a_variant_is_another_recipe_restored_in_another_way() {
    let whole = tempfile::tempdir().unwrap();
    std::fs::create_dir(whole.path().join("plain")).unwrap();
    std::fs::create_dir(whole.path().join("variant")).unwrap();
    let write = |path: &str, text: &str| std::fs::write(whole.path().join(path), text).unwrap();
    write("plain/recipe.toml", GOOD);
    let initrd = "packages = []\nmodules = []\ndlopen = []\nfiles = []";
    write("plain/initrd.toml", initrd);
    write("plain/tools.toml", "packages = []");
    let variant = "format = 1\nvariant_of = \"../plain\"\n[restore]\nmode = \"rewrite\"";
    write("variant/recipe.toml", variant);
    let recipe = Recipe::read(&whole.path().join("variant")).unwrap();
    assert_eq!(recipe.main.restore.mode, Restore::Rewrite);
    assert_eq!(recipe.main.name, "minimal");
    assert!(recipe.dir.ends_with("plain"));
    let plain = Recipe::read(&whole.path().join("plain")).unwrap();
    assert_eq!(plain.main.restore.mode, Restore::Verified);
    // A variant's session too must be possible on the other recipe's baseline.
    let ends = format!("{variant}\n[session]\nremoval = \"end\"");
    write("variant/recipe.toml", &ends);
    let error = Recipe::read(&whole.path().join("variant")).unwrap_err();
    assert!(error.to_string().contains("pcscd"), "{error}");
    for (from, to) in [
        ("rewrite", "copy"),
        ("[restore]", "name = \"other\"\n[restore]"),
        ("format = 1", "format = 2"),
        ("../plain", "../variant"),
    ] {
        write("variant/recipe.toml", &variant.replace(from, to));
        assert!(Recipe::read(&whole.path().join("variant")).is_err(), "{to}");
    }
}

#[test]
fn what_a_session_does_when_its_card_goes_is_signed_with_the_command_line() {
    let with = |session: &str| {
        let packages = GOOD.replace("[\"systemd\"]", "[\"pcscd\", \"systemd\"]");
        read(&packages.replace("[kernel]", &format!("{session}[kernel]")))
            .unwrap()
            .main
            .session
    };
    for (session, removal, words) in [
        ("", Removal::Ignore, vec![]),
        ("[session]\n", Removal::Ignore, vec![]),
        (
            "[session]\nremoval = \"lock\"\n",
            Removal::Lock,
            vec!["furoshiki.removal=lock"],
        ),
        (
            "[session]\nremoval = \"end\"\n",
            Removal::End,
            vec!["furoshiki.removal=end"],
        ),
    ] {
        let read = with(session);
        assert_eq!(read.removal, removal, "{session}");
        assert_eq!(read.words(), words, "{session}");
    }
}

#[test]
fn a_splash_adds_to_the_initrd_and_has_a_lock_of_its_own() {
    let whole = tempfile::tempdir().unwrap();
    let write = |path: &str, text: &str| {
        let path = whole.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    write("plain/recipe.toml", GOOD);
    let initrd = "packages = [\"udev\"]\nmodules = []\ndlopen = []\nfiles = [\"initrd\"]";
    write("plain/initrd.toml", initrd);
    write("plain/tools.toml", "packages = []");
    let variant = "format = 1\nvariant_of = \"../plain\"\n[screen]\nsplash = \"../splash.toml\"";
    write("variant/recipe.toml", variant);
    let splash = "packages = [\"plymouth\"]\nfiles = [\"theme\"]\n\
                  [font]\npath = \"usr/font.ttf\"\ncharacters = \"all.txt\"";
    write("splash.toml", splash);
    let recipe = Recipe::read(&whole.path().join("variant")).unwrap();
    assert_eq!(recipe.initrd.packages, ["udev", "plymouth"]);
    let names: Vec<_> = recipe.initrd_files();
    assert!(names.iter().any(|path| path.ends_with("plain/initrd")));
    assert!(names.iter().any(|path| path.ends_with("../theme")));
    assert!(recipe.lock.ends_with("variant/recipe.lock"));
    assert!(recipe.font.unwrap().characters.ends_with("../all.txt"));
    let plain = Recipe::read(&whole.path().join("plain")).unwrap();
    assert_eq!(plain.initrd.packages, ["udev"]);
    assert!(plain.font.is_none() && plain.lock.ends_with("plain/recipe.lock"));
    for (from, to) in [
        ("usr/font.ttf", "../font.ttf"),
        ("plymouth", "Plymouth"),
        (
            "[font]",
            "[[without]]\npackages = []\nreason = \" \"\n[font]",
        ),
        ("files", "colour"),
    ] {
        write("splash.toml", &splash.replace(from, to));
        assert!(Recipe::read(&whole.path().join("variant")).is_err(), "{to}");
    }
}

#[test]
fn what_is_wrong_is_named() {
    let cases = [
        ("unknown key", "suite = ", "colour = 1\nsuite = ", "colour"),
        ("missing key", "suite = \"trixie\"", "", "suite"),
        (
            "format of the future",
            "format = 1",
            "format = 2",
            "newer program",
        ),
        ("name with a slash", "\"minimal\"", "\"a/b\"", "name"),
        (
            "other architecture",
            "\"amd64\"",
            "\"riscv64\"",
            "only amd64",
        ),
        (
            "upper case package",
            "[\"systemd\"]",
            "[\"Systemd\"]",
            "Systemd",
        ),
        (
            "option as package",
            "[\"systemd\"]",
            "[\"--force-yes\"]",
            "--force-yes",
        ),
        (
            "remove without reason",
            "nobody reads them on a shared PC",
            " ",
            "reason",
        ),
        (
            "remove that climbs out",
            "usr/share/doc/*",
            "../etc",
            "../etc",
        ),
        ("remove from the root", "usr/share/doc/*", "/etc", "/etc"),
        (
            "layout the initrd has not",
            "[kernel]",
            "[screen]\nkeymap = \"dvorak\"\n[kernel]",
            "keymaps",
        ),
        (
            "language nobody speaks here",
            "[kernel]",
            "[screen]\nlanguage = \"tlh\"\n[kernel]",
            "language",
        ),
        (
            "time zone that climbs out",
            "[kernel]",
            "[screen]\ntimezone = \"../etc\"\n[kernel]",
            "screen.timezone",
        ),
        (
            "group nobody described",
            "[kernel]",
            "[hardware]\ngroups = \"hardware.toml\"\nfirmware = [\"tulip\"]\n[kernel]",
            "hardware.firmware \"tulip\"",
        ),
        (
            "group that climbs out",
            "[kernel]",
            "[hardware]\ngroups = \"climbs.toml\"\n[kernel]",
            "firmware.nic.paths \"../etc\"",
        ),
        (
            "policy nobody knows",
            "[kernel]",
            "[session]\nremoval = \"maybe\"\n[kernel]",
            "maybe",
        ),
        (
            "card nobody can watch",
            "[kernel]",
            "[session]\nremoval = \"lock\"\n[kernel]",
            "need pcscd in baseline.packages",
        ),
        (
            "address as archive",
            "archive = \"debian\"",
            "archive = \"http://m.test/debian\"",
            "--mirror",
        ),
    ];
    for (name, from, to, expected) in cases {
        assert!(GOOD.contains(from), "{name}: the table is wrong");
        let error = read(&GOOD.replace(from, to)).unwrap_err();
        let chain = format!("{:#}", anyhow::Error::from(error));
        assert!(chain.contains(expected), "{name}: {chain}");
    }
}

#[test]
fn a_folder_without_recipe_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let error = Recipe::read(dir.path()).unwrap_err();
    let chain = format!("{:#}", anyhow::Error::from(error));
    assert!(chain.contains("recipe.toml: No such file"), "{chain}");
}
