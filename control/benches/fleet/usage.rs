//! What a process uses (proc(5)).

use std::fmt;
use std::fs;
use std::time::Duration;

use nix::unistd::{SysconfVar, sysconf};

/// Memory now, and processor time up to now.
pub(crate) struct Usage {
    resident_kib: u64,
    /// Shared pages by halves, thirds and so on.
    proportional_kib: u64,
    /// Of user and kernel together.
    pub(crate) processor: Duration,
}

impl Usage {
    /// Of the process `pid`, which must be there.
    pub(crate) fn of(pid: u32) -> Self {
        let memory = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).expect("memory");
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("times");
        Self {
            resident_kib: kib(&memory, "Rss:"),
            proportional_kib: kib(&memory, "Pss:"),
            processor: processor(&stat),
        }
    }
}

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [resident, proportional] =
            [self.resident_kib, self.proportional_kib].map(|kib| kib / 1024);
        write!(f, "RSS {resident} MiB, PSS {proportional} MiB")
    }
}

fn kib(memory: &str, name: &str) -> u64 {
    let mut values = memory.lines().filter_map(|line| line.strip_prefix(name));
    let value = values
        .next()
        .and_then(|rest| rest.split_whitespace().next());
    value.and_then(|value| value.parse().ok()).expect(name)
}

/// Fields 14 and 15; the name before them may hold anything, and ends with the last parenthesis.
fn processor(stat: &str) -> Duration {
    let (_, rest) = stat.rsplit_once(')').expect("a name");
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let ticks: u64 = fields[11..13]
        .iter()
        .map(|field| field.parse::<u64>().expect("ticks"))
        .sum();
    let a_second = sysconf(SysconfVar::CLK_TCK)
        .ok()
        .flatten()
        .expect("a clock");
    Duration::from_millis(ticks * 1_000 / u64::try_from(a_second).expect("ticks"))
}
