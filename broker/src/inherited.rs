//! What the listener was started with and every shell would have: a unit's override that breaks
//! sessions becomes a line in the log instead of a riddle.

use std::fs;
use std::os::unix::fs::MetadataExt;

/// One sentence for everything that a session should not inherit.
#[must_use]
pub fn complaints() -> Vec<String> {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let last = fs::read_to_string("/proc/sys/kernel/cap_last_cap").unwrap_or_default();
    let mut found = of_status(&status, last.trim().parse().unwrap_or(0));
    found.extend(
        ["mnt", "net", "uts", "ipc", "pid", "user", "cgroup"]
            .into_iter()
            .filter_map(other_namespace),
    );
    found
}

/// The kernel's score for a process that runs out of memory (proc_pid_oom_score_adj(5)).
#[must_use]
pub fn oom_score() -> Option<i32> {
    fs::read_to_string(OOM_SCORE).ok()?.trim().parse().ok()
}

/// Sets the score of this process. A container may not, and does without.
pub fn set_oom_score(score: i32) {
    let _ = fs::write(OOM_SCORE, score.to_string());
}

const OOM_SCORE: &str = "/proc/self/oom_score_adj";

fn of_status(status: &str, last_capability: u32) -> Vec<String> {
    let value = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.map(str::trim)
    };
    let mut found = Vec::new();
    if value("NoNewPrivs:") == Some("1") {
        found.push("NoNewPrivileges is set: sudo and mount will not work in sessions".to_owned());
    }
    if value("Seccomp:").is_some_and(|mode| mode != "0") {
        found.push(
            "system calls are filtered: debuggers and containers may not work in sessions"
                .to_owned(),
        );
    }
    let bound = value("CapBnd:").and_then(|hex| u64::from_str_radix(hex, 16).ok());
    let all = u64::MAX >> (63 - last_capability.min(63));
    if bound.is_some_and(|bound| bound & all != all) {
        found.push("capabilities are bounded: root will not be root in sessions".to_owned());
    }
    found
}

fn other_namespace(kind: &str) -> Option<String> {
    let inode =
        |process: &str| fs::metadata(format!("/proc/{process}/ns/{kind}")).map(|file| file.ino());
    match (inode("self"), inode("1")) {
        (Ok(own), Ok(first)) if own != first => {
            let text = "this service has a namespace of its own that sessions will share";
            Some(format!("{text}: {kind}"))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_breaks_sessions_is_named() {
        let sound = "NoNewPrivs:\t0\nSeccomp:\t0\nCapBnd:\t000001ffffffffff\n";
        assert!(of_status(sound, 40).is_empty());
        let broken = "NoNewPrivs:\t1\nSeccomp:\t2\nCapBnd:\t000001fffffffffe\n";
        let found = of_status(broken, 40);
        assert_eq!(found.len(), 3, "{found:?}");
        assert!(found[0].contains("sudo"), "{found:?}");
    }
}
