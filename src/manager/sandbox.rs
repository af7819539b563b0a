//! What closes session processes in on this host, for `mesh status` and the log.

use std::path::Path;

use meshd_contract::broker::SandboxReport;

use crate::local_api::{Sandbox as Status, SandboxSource};

/// The security modules that the kernel has (securityfs).
const MODULES: &str = "/sys/kernel/security/lsm";
/// What the kernel's filter of system calls can do (seccomp(2)).
const ACTIONS: &str = "/proc/sys/kernel/seccomp/actions_avail";

/// No report has more sentences, and no sentence more letters: a session process could send what
/// it likes.
const MAX_SENTENCES: usize = 8;
const MAX_LETTERS: usize = 200;

/// What session processes have said.
#[derive(Debug, Default)]
pub struct Sandbox {
    last: Option<Status>,
    /// Written to the log already.
    logged: Vec<String>,
}

impl Sandbox {
    /// Takes a session process's report, and logs each missing layer once.
    pub fn take(&mut self, report: SandboxReport) {
        let sentences = report.missing.iter().take(MAX_SENTENCES);
        let missing: Vec<String> = sentences.map(|sentence| clean(sentence)).collect();
        for sentence in &missing {
            if self.logged.len() < MAX_SENTENCES && !self.logged.contains(sentence) {
                tracing::warn!(
                    missing = sentence,
                    "the sandbox of SSH sessions is incomplete"
                );
                self.logged.push(sentence.clone());
            }
        }
        self.last = Some(Status {
            source: SandboxSource::Session,
            landlock_abi: Some(report.landlock_abi),
            system_calls: Some(report.system_calls),
            missing,
        });
    }

    /// The last report; before there is one, what the kernel says.
    #[must_use]
    pub fn status(&self) -> Status {
        self.last
            .clone()
            .unwrap_or_else(|| of_kernel(MODULES.as_ref(), ACTIONS.as_ref()))
    }
}

fn of_kernel(modules: &Path, actions: &Path) -> Status {
    let has = |path: &Path, separator: char, word: &str| {
        let text = std::fs::read_to_string(path).ok()?;
        Some(text.trim().split(separator).any(|found| found == word))
    };
    let mut missing = Vec::new();
    if has(modules, ',', "landlock") == Some(false) {
        missing.push("this kernel has no Landlock, or has it switched off".to_owned());
    }
    if has(actions, ' ', "kill_process") != Some(true) {
        missing.push("this kernel cannot filter system calls: SSH cannot be served".to_owned());
    }
    Status {
        source: SandboxSource::Kernel,
        landlock_abi: None,
        system_calls: None,
        missing,
    }
}

fn clean(sentence: &str) -> String {
    let letters = sentence.chars().filter(|c| !c.is_control());
    letters.take(MAX_LETTERS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(missing: &[&str]) -> SandboxReport {
        SandboxReport {
            landlock_abi: 2,
            system_calls: 30,
            missing: missing.iter().map(|text| (*text).to_owned()).collect(),
        }
    }

    #[test]
    fn the_last_report_counts_and_each_sentence_is_logged_once() {
        let mut sandbox = Sandbox::default();
        assert_eq!(sandbox.status().source, SandboxSource::Kernel);
        for _ in 0..2 {
            sandbox.take(report(&["no network rules"]));
        }
        assert_eq!(sandbox.logged, ["no network rules"]);
        let status = sandbox.status();
        assert_eq!(status.source, SandboxSource::Session);
        assert_eq!(status.landlock_abi, Some(2));
        sandbox.take(report(&[]));
        assert!(sandbox.status().missing.is_empty());
    }

    #[test]
    fn a_hostile_report_fills_neither_memory_nor_log() {
        let mut sandbox = Sandbox::default();
        for number in 0..100 {
            let long = format!("{number}\u{1b}[2J{}", "x".repeat(1000));
            sandbox.take(report(&[long.as_str(); 50]));
        }
        let status = sandbox.status();
        assert_eq!((status.missing.len(), sandbox.logged.len()), (8, 8));
        assert!(status.missing.iter().all(|text| text.len() <= MAX_LETTERS));
        assert!(status.missing.iter().all(|text| !text.contains('\u{1b}')));
    }

    #[test]
    fn the_kernel_is_asked_by_its_files() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = |name: &str, text: &str| {
            let path = directory.path().join(name);
            std::fs::write(&path, text).expect("a file");
            path
        };
        let actions = file("actions", "kill_process kill_thread trap errno allow\n");
        let with = file("with", "lockdown,capability,landlock,yama");
        let without = file("without", "capability,yama");
        assert!(of_kernel(&with, &actions).missing.is_empty());
        assert_eq!(of_kernel(&without, &actions).missing.len(), 1);
        let unknown = directory.path().join("nonexistent");
        assert_eq!(of_kernel(&unknown, &unknown).missing.len(), 1);
    }
}
