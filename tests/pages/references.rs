//! Pages are well formed, and what they and the units point to is there.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use crate::manual::{pages, root};

/// Pages of other projects that may be named.
const WELL_KNOWN: [&str; 16] = [
    "at.1",
    "chmod.1",
    "cron.8",
    "hosts.5",
    "journalctl.1",
    "nft.8",
    "pam_faillock.8",
    "resolv.conf.5",
    "ssh.1",
    "ssh_config.5",
    "sshd.8",
    "sudo.8",
    "systemd.1",
    "tcp.7",
    "tmux.1",
    "wg.8",
];

#[test]
fn mandoc_has_nothing_to_say_about_any_page() {
    for page in pages() {
        let lint = Command::new("mandoc")
            .args(["-T", "lint", "-W", "warning"])
            .arg(&page.path)
            .output()
            .expect("mandoc is missing: tests/lab/packages pages installs it");
        let said = String::from_utf8_lossy(&lint.stdout);
        assert!(lint.status.success() && said.is_empty(), "{said}");
    }
}

#[test]
fn every_reference_leads_to_a_page() {
    let own: BTreeSet<String> = pages().into_iter().map(|page| page.file).collect();
    for page in pages() {
        for reference in page.references() {
            let known = own.contains(&reference) || WELL_KNOWN.contains(&reference.as_str());
            assert!(known, "{} names {reference}", page.file);
        }
    }
}

#[test]
fn every_page_says_what_else_to_read() {
    for page in pages() {
        assert!(!page.references().is_empty(), "{}", page.file);
        let own = page.references().contains(&page.file);
        assert!(!own, "{} names itself", page.file);
    }
}

/// Units and the journal's catalogue say `man:NAME(SECTION)`.
#[test]
fn every_page_that_the_packaging_names_is_there() {
    let own: BTreeSet<String> = pages().into_iter().map(|page| page.file).collect();
    let mut named = BTreeSet::new();
    name_pages(&root().join("packaging"), &mut named);
    assert!(!named.is_empty());
    let missing: Vec<_> = named.difference(&own).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

fn name_pages(directory: &Path, named: &mut BTreeSet<String>) {
    for entry in fs::read_dir(directory).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            name_pages(&path, named);
        } else {
            let text = fs::read_to_string(&path).unwrap_or_default();
            let references = text.split("man:").skip(1);
            named.extend(references.filter_map(|reference| {
                let (name, rest) = reference.split_once('(')?;
                Some(format!("{name}.{}", rest.split_once(')')?.0))
            }));
        }
    }
}
