//! Prints what a session is, one fact a line, into a file; stays until its input has a line or
//! ends, so that the session can be looked at from outside.
//!
//! `portrait FILE WORD...`; the words are what the shell knows and a program does not.

#![no_main]

use std::collections::BTreeMap;
use std::fmt::Display;
use std::fs;
use std::io::BufRead;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use nix::libc::{self, c_int, c_long, c_ulong};

type Facts = BTreeMap<String, String>;

/// What /proc/self/status says of a process (proc_pid_status(5)) and a session passes on.
const STATUS: [&str; 20] = [
    "Uid",
    "Gid",
    "Groups",
    "Umask",
    "SigBlk",
    "SigIgn",
    "SigCgt",
    "CapInh",
    "CapPrm",
    "CapEff",
    "CapBnd",
    "CapAmb",
    "NoNewPrivs",
    "Seccomp",
    "Seccomp_filters",
    "Speculation_Store_Bypass",
    "SpeculationIndirectBranch",
    "THP_enabled",
    "Cpus_allowed_list",
    "Mems_allowed_list",
];

/// Files of /proc/self with one value each.
const FILES: [&str; 6] = [
    "attr/current",
    "coredump_filter",
    "loginuid",
    "oom_score_adj",
    "sessionid",
    "setgroups",
];

const NAMESPACES: [&str; 8] = ["cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts"];

/// What prctl(2) answers as a number.
const FLAGS: [(&str, c_int); 9] = [
    ("child subreaper", -libc::PR_GET_CHILD_SUBREAPER),
    ("dumpable", libc::PR_GET_DUMPABLE),
    ("keep capabilities", libc::PR_GET_KEEPCAPS),
    ("parent death signal", -libc::PR_GET_PDEATHSIG),
    ("securebits", libc::PR_GET_SECUREBITS),
    ("timer slack", libc::PR_GET_TIMERSLACK),
    ("timing", libc::PR_GET_TIMING),
    ("machine check policy", libc::PR_MCE_KILL_GET),
    ("memory deny write execute", libc::PR_GET_MDWE),
];

/// Rust's own start would change signal dispositions, which are facts here.
// SAFETY: the C library calls `main` by this name, once, and nothing else is called so.
#[unsafe(no_mangle)]
extern "C" fn main() -> c_int {
    let mut arguments = std::env::args().skip(1);
    let Some(file) = arguments.next() else {
        return 64;
    };
    let mut facts = Facts::new();
    for (number, word) in arguments.enumerate() {
        facts.insert(format!("shell word {number}"), word);
    }
    processes(&mut facts);
    files_of_proc(&mut facts);
    environment(&mut facts);
    flags(&mut facts);
    descriptors(&mut facts);
    terminal(&mut facts);
    keyring(&mut facts);
    if write(&file, &facts).is_err() {
        return 1;
    }
    let _ = std::io::stdin().lock().read_line(&mut String::new());
    0
}

fn write(file: &str, facts: &Facts) -> std::io::Result<()> {
    let lines = facts.iter().map(|(name, value)| {
        let value = value.replace('\\', "\\\\").replace('\n', "\\n");
        format!("{name}: {value}\n")
    });
    let temporary = format!("{file}.new");
    fs::write(&temporary, lines.collect::<String>())?;
    fs::rename(&temporary, file)
}

fn note(facts: &mut Facts, name: impl Display, value: impl Display) {
    facts.insert(name.to_string(), value.to_string());
}

fn processes(facts: &mut Facts) {
    // SAFETY: these calls take integers and return integers.
    let (pid, parent, group, session, nice, scheduler, io, personality) = unsafe {
        (
            libc::getpid(),
            libc::getppid(),
            libc::getpgrp(),
            libc::getsid(0),
            libc::getpriority(libc::PRIO_PROCESS, 0),
            libc::sched_getscheduler(0),
            libc::syscall(libc::SYS_ioprio_get, 1, 0),
            libc::personality(0xffff_ffff),
        )
    };
    note(facts, "leads its group", pid == group);
    note(facts, "leads its session", pid == session);
    note(facts, "nice", nice);
    note(facts, "scheduler", scheduler);
    note(facts, "I/O priority", io);
    note(facts, "personality", personality);
    let parent = fs::read_to_string(format!("/proc/{parent}/comm"));
    note(facts, "parent", parent.unwrap_or_default().trim());
    let directory = std::env::current_dir();
    let shown = directory.map(|path| path.display().to_string());
    note(facts, "working directory", shown.unwrap_or_default());
}

fn files_of_proc(facts: &mut Facts) {
    let text = |name: &str| fs::read_to_string(Path::new("/proc/self").join(name));
    for line in text("status").unwrap_or_default().lines() {
        if let Some((name, value)) = line.split_once(':')
            && STATUS.contains(&name)
        {
            let words: Vec<_> = value.split_whitespace().collect();
            note(facts, format!("status {name}"), words.join(" "));
        }
    }
    for line in text("limits").unwrap_or_default().lines().skip(1) {
        let (name, values) = line.split_at_checked(26).unwrap_or((line, ""));
        let values: Vec<_> = values.split_whitespace().take(2).collect();
        note(facts, format!("limit {}", name.trim()), values.join(" "));
    }
    for name in FILES {
        let value = text(name).map_or_else(|error| error.to_string(), |text| text.trim().into());
        note(facts, name, value);
    }
    let cgroups = text("cgroup").unwrap_or_default();
    let own = cgroups.lines().find_map(|line| line.strip_prefix("0::"));
    note(facts, "cgroup", own.unwrap_or_default());
    for name in NAMESPACES {
        let link = fs::read_link(Path::new("/proc/self/ns").join(name));
        let shown = link.map(|path| path.display().to_string());
        note(
            facts,
            format!("namespace {name}"),
            shown.unwrap_or_default(),
        );
    }
}

fn environment(facts: &mut Facts) {
    for (name, value) in std::env::vars_os() {
        let shown = String::from_utf8_lossy(value.as_bytes()).into_owned();
        note(facts, format!("variable {}", name.to_string_lossy()), shown);
    }
}

/// An option is negative where the kernel writes the answer instead of returning it.
fn flags(facts: &mut Facts) {
    for (name, option) in FLAGS {
        let mut answer: c_int = 0;
        let none: c_ulong = 0;
        // SAFETY: options that write get a pointer to an integer that lives until the call
        // returns; the others get zeros.
        let returned = unsafe {
            if option < 0 {
                libc::prctl(-option, &raw mut answer, none, none, none)
            } else {
                libc::prctl(option, none, none, none, none)
            }
        };
        note(facts, name, if option < 0 { answer } else { returned });
    }
}

fn descriptors(facts: &mut Facts) {
    let entries = fs::read_dir("/proc/self/fd").into_iter().flatten();
    let numbers: Vec<_> = entries.flatten().map(|entry| entry.file_name()).collect();
    for number in numbers {
        let number = number.to_string_lossy();
        // That of the directory is closed by now.
        let Ok(target) = fs::read_link(format!("/proc/self/fd/{number}")) else {
            continue;
        };
        let target = target.display().to_string();
        let kind = target
            .split_once(":[")
            .map_or(target.as_str(), |(kind, _)| kind);
        let descriptor = number.parse().unwrap_or(-1);
        // SAFETY: looks at a descriptor, whether it is open or not.
        let flags = unsafe { libc::fcntl(descriptor, libc::F_GETFL) } & !libc::O_CLOEXEC;
        note(
            facts,
            format!("descriptor {number}"),
            format!("{kind} {flags:o}"),
        );
    }
}

fn terminal(facts: &mut Facts) {
    let input = fs::read_link("/proc/self/fd/0").unwrap_or_default();
    let Ok(metadata) = fs::metadata("/proc/self/fd/0") else {
        return;
    };
    if !metadata.file_type().is_char_device() {
        note(
            facts,
            "controlling terminal",
            fs::File::open("/dev/tty").is_ok(),
        );
        return;
    }
    note(facts, "terminal", input.display());
    note(facts, "terminal owner", metadata.uid());
    note(facts, "terminal group", metadata.gid());
    note(facts, "terminal mode", format!("{:o}", metadata.mode()));
    note(
        facts,
        "controlling terminal",
        fs::File::open("/dev/tty").is_ok(),
    );
    // SAFETY: these calls take a descriptor; the structures are made of integers, for which zero
    // is a value, and live until the calls return.
    unsafe {
        note(
            facts,
            "terminal in foreground",
            libc::tcgetpgrp(0) == libc::getpgrp(),
        );
        note(
            facts,
            "terminal of session",
            libc::tcgetsid(0) == libc::getsid(0),
        );
        let mut modes: libc::termios2 = std::mem::zeroed();
        libc::ioctl(0, libc::TCGETS2, &raw mut modes);
        let libc::termios2 {
            c_iflag,
            c_oflag,
            c_cflag,
            c_lflag,
            c_line,
            c_cc,
            c_ispeed,
            c_ospeed,
        } = modes;
        let numbers = [
            c_iflag,
            c_oflag,
            c_cflag,
            c_lflag,
            c_line.into(),
            c_ispeed,
            c_ospeed,
        ];
        note(facts, "terminal modes", format!("{numbers:x?}"));
        note(facts, "terminal characters", format!("{c_cc:?}"));
        let mut size: libc::winsize = std::mem::zeroed();
        libc::ioctl(0, libc::TIOCGWINSZ, &raw mut size);
        let libc::winsize {
            ws_row,
            ws_col,
            ws_xpixel,
            ws_ypixel,
        } = size;
        let size = format!("{ws_col}x{ws_row} {ws_xpixel}x{ws_ypixel}");
        note(facts, "terminal size", size);
    }
}

/// The session keyring: a login has its own (pam_keyinit(8), keyctl_describe(3)).
fn keyring(facts: &mut Facts) {
    const DESCRIBE: c_long = 6;
    const SESSION: c_long = -3;
    let mut text = [0u8; 256];
    // SAFETY: the kernel writes at most as many bytes as it is told, into a buffer of that size.
    let length = unsafe {
        libc::syscall(
            libc::SYS_keyctl,
            DESCRIBE,
            SESSION,
            text.as_mut_ptr(),
            text.len(),
        )
    };
    let end = usize::try_from(length).unwrap_or_default().min(text.len());
    let described = String::from_utf8_lossy(&text[..end]);
    note(facts, "keyring", described.trim_end_matches('\0'));
}
