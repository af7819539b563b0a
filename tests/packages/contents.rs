//! What the packages have in them, and what the distributions' own checkers say.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::building::{OLD, OLD_DEBS, OLD_RPMS, build_by, packages, repository, succeed};

/// The C library of RHEL 9; Debian 12 and Ubuntu 22.04 have newer ones.
const C_LIBRARY: (u32, u32) = (2, 34);

#[test]
fn lintian_finds_nothing_that_is_not_excepted_with_a_reason() {
    let found = said_by(
        "lintian",
        &["--fail-on", "none", "--allow-root"],
        &OLD_DEBS[..],
    );
    // TYPE: PACKAGE: TAG [CONTEXT]
    let tags = found
        .lines()
        .filter_map(|line| Some((line.split_whitespace().nth(2)?, line)));
    assert_excepted("packaging/debian/lintian-exceptions", tags.collect());
}

#[test]
fn rpmlint_finds_nothing_that_is_not_excepted_with_a_reason() {
    let found = said_by("rpmlint", &[], &OLD_RPMS);
    // PACKAGE.ARCHITECTURE: TYPE: TAG CONTEXT
    let tags = found.lines().filter_map(|line| {
        let mut words = line.split_whitespace().skip(1);
        matches!(words.next()?, "E:" | "W:").then_some((words.next()?, line))
    });
    assert_excepted("packaging/rpm/rpmlint-exceptions", tags.collect());
}

#[test]
fn two_builds_give_the_same_bytes() {
    let first = OLD_DEBS.iter().chain(OLD_RPMS.iter());
    let elsewhere = elsewhere();
    let mut newest = Command::new("git");
    newest.args(["log", "-1", "--format=%ct"]);
    let newest = succeed(newest.current_dir(repository()));
    let again = ["deb", "rpm"].map(|family| {
        let mut script = Command::new(elsewhere.join("packaging/build"));
        script.env("SOURCE_DATE_EPOCH", newest.trim());
        build_by(&mut script, family, OLD, "again")
    });
    for (one, other) in first.zip(again.into_iter().flatten()) {
        let same = fs::read(one).expect("a package") == fs::read(&other).expect("a package");
        assert!(same, "{} and {} differ", one.display(), other.display());
    }
}

/// A place with what packages are made from, all of it of long ago.
fn elsewhere() -> PathBuf {
    let place = packages().join("elsewhere");
    let script = "rm -rf \"$1\"; mkdir -p \"$1\"
        cp -r packaging man CHANGELOG.md Cargo.toml LICENSE* \"$1\"
        find \"$1\" -exec touch --date @1000000000 {} +";
    let mut copy = Command::new("sh");
    copy.args(["-ec", script, "sh"]).arg(&place);
    succeed(copy.current_dir(repository()));
    place
}

#[test]
fn no_other_program_of_tests_builds_into_the_same_folder() {
    let folder = OLD_DEBS[0].parent().expect("a folder");
    assert_eq!(folder.parent(), Some(&*packages()));
    assert!(packages().ends_with("packages/packages"), "as the program");
}

#[test]
fn the_selinux_module_compiles_against_this_systems_policy() {
    let built = meshd_lab::build_directory().expect("the folder of this build");
    let folder = built.join("selinux");
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir(&folder).expect("a folder");
    for file in ["meshd.te", "meshd.fc"] {
        let source = repository().join("packaging/selinux").join(file);
        fs::copy(source, folder.join(file)).expect("the module's source");
    }
    let mut make = Command::new("make");
    make.args(["-f", "/usr/share/selinux/devel/Makefile", "meshd.pp"]);
    succeed(make.current_dir(&folder));
    assert!(folder.join("meshd.pp").exists());
}

#[test]
fn the_programs_ask_for_no_newer_c_library_than_rhel_9_has() {
    let programs = meshd_lab::build_directory().expect("the programs of this build");
    let list = fs::read_to_string(repository().join("packaging/files")).expect("the list");
    let mut seen = 0;
    let sources = list
        .lines()
        .filter_map(|line| line.split_whitespace().nth(2));
    for program in sources.filter_map(|source| source.strip_prefix("bin/")) {
        let shown = Command::new("objdump")
            .arg("-T")
            .arg(programs.join(program))
            .output();
        let shown = shown.expect("objdump of the package binutils");
        let symbols = String::from_utf8_lossy(&shown.stdout).into_owned();
        let newest = symbols.split("GLIBC_").skip(1).filter_map(version).max();
        assert!(
            newest.expect("it uses the C library") <= C_LIBRARY,
            "{program}: {newest:?}"
        );
        seen += 1;
    }
    assert_eq!(seen, 6, "programs in packaging/files");
}

/// `2.34)...` as numbers.
fn version(text: &str) -> Option<(u32, u32)> {
    let (version, _) = text.split_once(')')?;
    let mut numbers = version.split('.').map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

fn said_by(checker: &str, options: &[&str], packages: &[PathBuf]) -> String {
    let output = Command::new(checker).args(options).args(packages).output();
    let output =
        output.unwrap_or_else(|error| panic!("{checker} ({error}): install the package {checker}"));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Every finding's tag stands in the file, `TAG REASON` a line, and the file has no other.
fn assert_excepted(file: &str, found: Vec<(&str, &str)>) {
    let text = fs::read_to_string(repository().join(file)).expect("the exceptions");
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let excepted: BTreeSet<_> = lines
        .map(|line| {
            let (tag, reason) = line.split_once(' ').expect("a tag and a reason");
            assert!(!reason.trim().is_empty(), "{file}: {tag} has no reason");
            tag
        })
        .collect();
    let open: Vec<_> = found
        .iter()
        .filter(|(tag, _)| !excepted.contains(tag))
        .collect();
    assert!(open.is_empty(), "{open:#?}");
    let tags: BTreeSet<_> = found.into_iter().map(|(tag, _)| tag).collect();
    let unused: Vec<_> = excepted.difference(&tags).collect();
    assert!(unused.is_empty(), "{file}: nothing is found of {unused:?}");
}
