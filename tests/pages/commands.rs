//! Every command and every flag of a program is in its page, and the page names no other.

use std::collections::BTreeSet;
use std::process::{Command, Output};

use crate::manual::{Commands, page, pages};
use meshd_lab::program;

/// The programs whose commands clap(3) reads, and their pages.
const PROGRAMS: [(&str, &str); 3] = [
    ("mesh", "mesh.1"),
    ("meshd", "meshd.8"),
    ("meshd-control", "meshd-control.8"),
];

/// What every program takes, and every page says once.
const EVERYWHERE: [&str; 2] = ["--help", "--version"];

/// Of other programs: systemctl, journalctl and ssh.
const FOREIGN: [&str; 7] = ["--now", "--since", "--catalog", "-L", "-D", "-W", "-R"];

/// What a program says of itself.
struct Help {
    commands: Vec<String>,
    flags: BTreeSet<String>,
}

#[test]
fn a_synopsis_has_every_command_with_its_flags() {
    for (name, file) in PROGRAMS {
        let page = page(file);
        assert_eq!(page.synopsis(), commands(name), "{file}");
    }
}

#[test]
fn every_flag_is_described() {
    for (name, file) in PROGRAMS {
        let page = page(file);
        let missing: Vec<String> = all_flags(name)
            .into_iter()
            .chain(EVERYWHERE.map(str::to_owned))
            .filter(|flag| !page.described().contains(flag))
            .collect();
        assert!(missing.is_empty(), "{file} does not describe {missing:?}");
    }
}

#[test]
fn no_page_names_a_flag_that_no_program_has() {
    let of_programs = PROGRAMS.iter().flat_map(|(name, _)| all_flags(name));
    let others = EVERYWHERE.iter().chain(&FOREIGN).map(ToString::to_string);
    let known: BTreeSet<String> = of_programs.chain(others).collect();
    for page in pages() {
        let named = page.described().into_iter();
        let named = named.chain(page.typed().into_iter().map(str::to_owned));
        let strange: BTreeSet<String> = named.filter(|flag| !known.contains(flag)).collect();
        assert!(strange.is_empty(), "{} names {strange:?}", page.file);
    }
}

#[test]
fn the_brokers_page_has_the_commands_of_its_usage() {
    let output = run("meshd-broker", &[]);
    assert_eq!(output.status.code(), Some(2));
    let usage = String::from_utf8_lossy(&output.stderr).into_owned();
    let words = usage.split_whitespace();
    let pairs = words.clone().zip(words.skip(1));
    let commands: BTreeSet<&str> = pairs
        .filter(|(word, _)| *word == "meshd-broker")
        .map(|(_, command)| command)
        .collect();
    let synopsis = page("meshd-broker.8").synopsis();
    let named: BTreeSet<&str> = synopsis.keys().map(String::as_str).collect();
    assert_eq!(named, commands);
}

#[test]
fn every_program_says_its_version_in_both_ways() {
    for name in ["mesh", "meshd-control"] {
        let output = run(name, &["version"]);
        assert!(output.stdout.starts_with(name.as_bytes()), "{output:?}");
        assert_eq!(output.stdout, run(name, &["--version"]).stdout);
    }
    assert!(run("meshd", &["--version"]).status.success());
}

/// The commands that a program does something for, each with the flags of its own.
fn commands(name: &str) -> Commands {
    let top = help(name, &[]);
    let mut found = Commands::new();
    if top.commands.is_empty() || !top.flags.is_empty() {
        found.insert(String::new(), top.flags.clone());
    }
    for command in &top.commands {
        collect(name, &[command], &top.flags, &mut found);
    }
    found
}

fn collect(name: &str, path: &[&str], general: &BTreeSet<String>, found: &mut Commands) {
    let help = help(name, path);
    let own: BTreeSet<String> = help.flags.difference(general).cloned().collect();
    if help.commands.is_empty() || !own.is_empty() {
        found.insert(path.join(" "), own);
    }
    for command in &help.commands {
        collect(name, &[path, &[command]].concat(), general, found);
    }
}

fn all_flags(name: &str) -> BTreeSet<String> {
    commands(name).into_values().flatten().collect()
}

/// Asks a program about one of its commands; what is hidden there is nobody's to read about.
fn help(name: &str, path: &[&str]) -> Help {
    let output = match path {
        [] => run(name, &["--help"]),
        path => run(name, &[&["help"], path].concat()),
    };
    assert!(output.status.success(), "{name} {path:?}: {output:?}");
    let text = String::from_utf8(output.stdout).expect("text");
    Help {
        commands: under(&text, "Commands:")
            .into_iter()
            .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
            .filter_map(|line| line.split_whitespace().next())
            .filter(|command| *command != "help")
            .map(str::to_owned)
            .collect(),
        flags: under(&text, "Options:")
            .into_iter()
            .flat_map(flags)
            .collect(),
    }
}

/// The indented lines after a title.
fn under<'t>(text: &'t str, title: &str) -> Vec<&'t str> {
    let lines = text.lines().skip_while(|line| *line != title).skip(1);
    lines
        .take_while(|line| line.is_empty() || line.starts_with(' '))
        .collect()
}

/// The flags that a line of help begins with.
fn flags(line: &str) -> impl Iterator<Item = String> {
    let head = line.trim_start().split("  ").next().unwrap_or_default();
    let words = head
        .split([' ', ','])
        .take_while(|word| word.is_empty() || word.starts_with('-'));
    // A lone hyphen begins the entry of a list of values.
    words
        .filter(|word| word.len() > 1 && !["-h", "-V"].contains(word))
        .filter(|word| !EVERYWHERE.contains(word))
        .map(str::to_owned)
}

fn run(name: &str, arguments: &[&str]) -> Output {
    let program = program(name).expect("a program that is built");
    let output = Command::new(program).args(arguments).output();
    output.expect("an end")
}
