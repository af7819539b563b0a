//! What the kernel lets the process do once it reads from the network.

use std::collections::BTreeMap;

use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, Ruleset, RulesetAttr, Scope,
};
use meshd_contract::broker::SandboxReport;
use nix::libc;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch,
};

use super::SessionError;

/// A system call, whether only some of its forms are meant, and what for.
type Call = (libc::c_long, Forms, &'static str);

/// Which forms of a call are meant.
#[derive(Clone, Copy)]
enum Forms {
    /// Every one.
    All,
    /// Those whose argument has one of these values.
    Values(u8, &'static [u64]),
    /// Those whose argument has none of these bits.
    Without(u8, u64),
    /// One option of one level.
    Option(u64, u64),
}

use Forms::{All, Option as SocketOption, Values, Without};

/// What the process needs; anything else ends it.
#[allow(
    clippy::unnecessary_cast,
    reason = "the type of a request of ioctl differs between C libraries"
)]
const NEEDED: &[Call] = &[
    (libc::SYS_read, All, "pipes and terminals"),
    (libc::SYS_write, All, "the log"),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_poll, All, "a log that takes nothing"),
    #[cfg(not(target_arch = "x86_64"))]
    (libc::SYS_ppoll, All, "a log that takes nothing"),
    (libc::SYS_writev, All, "pipes and terminals"),
    (libc::SYS_recvfrom, All, "the TCP socket"),
    (libc::SYS_sendto, All, "the TCP socket"),
    (libc::SYS_recvmsg, All, "messages of the worker"),
    (libc::SYS_sendmsg, All, "messages to the worker"),
    (libc::SYS_shutdown, All, "the end of the TCP connection"),
    (libc::SYS_close, All, "descriptors of channels"),
    (libc::SYS_epoll_ctl, All, "the runtime"),
    #[cfg(not(target_arch = "x86_64"))]
    (libc::SYS_epoll_pwait, All, "the runtime"),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_epoll_wait, All, "the runtime"),
    (libc::SYS_futex, All, "locks"),
    (
        libc::SYS_clock_gettime,
        All,
        "timers, where the vDSO cannot tell",
    ),
    (libc::SYS_getrandom, All, "keys"),
    (libc::SYS_brk, All, "memory"),
    (libc::SYS_munmap, All, "memory"),
    (libc::SYS_mremap, All, "memory"),
    (libc::SYS_madvise, All, "memory"),
    (libc::SYS_mlock, All, "keys that are not to be swapped out"),
    (
        libc::SYS_munlock,
        All,
        "keys that are not to be swapped out",
    ),
    (
        libc::SYS_mmap,
        Without(2, libc::PROT_EXEC as u64),
        "memory, none of it code",
    ),
    (
        libc::SYS_fcntl,
        Values(
            1,
            &[
                libc::F_GETFD as u64,
                libc::F_GETFL as u64,
                libc::F_SETFL as u64,
                libc::F_SETPIPE_SZ as u64,
            ],
        ),
        "descriptors of channels that must not block",
    ),
    (
        libc::SYS_ioctl,
        Values(
            1,
            &[
                libc::TCGETS as u64,
                libc::TCSETS as u64,
                libc::TIOCSWINSZ as u64,
                libc::TCSBRKP as u64,
            ],
        ),
        "terminals",
    ),
    (
        libc::SYS_setsockopt,
        SocketOption(libc::IPPROTO_TCP as u64, libc::TCP_QUICKACK as u64),
        "acknowledgements during the key exchange",
    ),
    (
        libc::SYS_restart_syscall,
        All,
        "waits that a stop interrupted",
    ),
    (libc::SYS_rt_sigreturn, All, "the end of a signal handler"),
    (libc::SYS_rt_sigaction, All, "the end by abort"),
    (libc::SYS_rt_sigprocmask, All, "the end by abort"),
    (libc::SYS_sigaltstack, All, "the end of the main thread"),
    (libc::SYS_gettid, All, "the end by abort"),
    (libc::SYS_getpid, All, "the end by abort"),
    (libc::SYS_tgkill, All, "the end by abort"),
    (libc::SYS_exit_group, All, "the end"),
];

/// What libraries may try without need: refused with EPERM, as they can go on.
const REFUSED: &[Call] = &[
    (
        libc::SYS_openat,
        All,
        "libc: time zones, /proc, random devices",
    ),
    (libc::SYS_newfstatat, All, "libc: as before"),
    (libc::SYS_readlinkat, All, "libc: as before"),
    (libc::SYS_faccessat, All, "libc: as before"),
    (libc::SYS_socket, All, "libc: the system's log"),
    (
        libc::SYS_prlimit64,
        All,
        "the standard library: stack bounds in a panic",
    ),
    (
        libc::SYS_sched_getaffinity,
        All,
        "the standard library: number of CPUs",
    ),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_open, All, "libc: as before"),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_stat, All, "libc: as before"),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_readlink, All, "libc: as before"),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_access, All, "libc: as before"),
];

/// Closes the sandbox, for good. Returns what closes it, for the log and the manager.
///
/// # Errors
/// [`SessionError::Sandbox`] when the kernel refuses the filter of system calls; a kernel without
/// Landlock is no error, as the empty root and the filter stand without it.
pub(super) fn enter() -> Result<SandboxReport, SessionError> {
    let landlock_abi = landlock_abi();
    restrict_files().map_err(|error| SessionError::Sandbox(error.to_string()))?;
    for filter in &filters()? {
        seccompiler::apply_filter(filter)
            .map_err(|error| SessionError::Sandbox(error.to_string()))?;
    }
    Ok(SandboxReport {
        landlock_abi,
        system_calls: u32::try_from(NEEDED.len()).unwrap_or(u32::MAX),
        missing: missing(landlock_abi),
    })
}

/// One line for the log.
pub(super) fn describe(report: &SandboxReport) -> String {
    let mut line = format!(
        "sandbox closed: Landlock {}, {} system calls",
        report.landlock_abi, report.system_calls
    );
    for missing in &report.missing {
        line.push_str("; ");
        line.push_str(missing);
    }
    line
}

/// In the order in which they are to be applied: the kernel takes the strictest of the two, and
/// the second one ends installing.
fn filters() -> Result<[BpfProgram; 2], SessionError> {
    let refuse = compile(
        REFUSED,
        SeccompAction::Errno(libc::EPERM as u32),
        SeccompAction::Allow,
    )?;
    let everything = NEEDED.iter().chain(REFUSED);
    let kill = compile(everything, SeccompAction::Allow, SeccompAction::KillProcess)?;
    Ok([refuse, kill])
}

/// The version of Landlock's interface that the kernel offers, 0 for none.
fn landlock_abi() -> u32 {
    const VERSION: libc::c_uint = 1;
    // SAFETY: with this flag the call takes no memory and returns a number
    // (landlock_create_ruleset(2)).
    let version = unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            std::ptr::null::<libc::c_void>(),
            0_usize,
            VERSION,
        )
    };
    u32::try_from(version).unwrap_or(0)
}

/// One sentence for each layer that a kernel of this version lacks.
fn missing(landlock_abi: u32) -> Vec<String> {
    let layers = [
        (1, "it has no Landlock, or has it switched off"),
        (
            4,
            "its Landlock knows no TCP (that needs version 4, Linux 6.7)",
        ),
        (
            6,
            "its Landlock knows neither signals nor abstract sockets (that needs version 6, Linux \
             6.12)",
        ),
    ];
    let lacking = layers.iter().filter(|(since, _)| landlock_abi < *since);
    let lacking = lacking.map(|(_, text)| format!("this kernel is not complete: {text}"));
    // Without Landlock there is no use in saying what a newer one would add.
    lacking
        .take(if landlock_abi == 0 { 1 } else { layers.len() })
        .collect()
}

/// No file, no TCP, no signal to another process and no abstract socket, as far as the kernel
/// knows to say so.
fn restrict_files() -> Result<(), landlock::RulesetError> {
    const NEWEST: ABI = ABI::V6;
    Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(NEWEST))?
        .handle_access(AccessNet::from_all(NEWEST))?
        .scope(Scope::from_all(NEWEST))?
        .create()?
        .restrict_self()
        .map(drop)
}

fn compile<'a>(
    calls: impl IntoIterator<Item = &'a Call>,
    matched: SeccompAction,
    otherwise: SeccompAction,
) -> Result<BpfProgram, SessionError> {
    let failed = |error: &dyn std::fmt::Display| SessionError::Sandbox(error.to_string());
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = BTreeMap::new();
    for (number, forms, _reason) in calls {
        rules.insert(*number, forms.rules().map_err(|error| failed(&error))?);
    }
    let arch = TargetArch::try_from(std::env::consts::ARCH).map_err(|error| failed(&error))?;
    SeccompFilter::new(rules, otherwise, matched, arch)
        .and_then(BpfProgram::try_from)
        .map_err(|error| failed(&error))
}

impl Forms {
    fn rules(self) -> Result<Vec<SeccompRule>, seccompiler::BackendError> {
        let is = |argument, operator, value| {
            SeccompCondition::new(argument, SeccompCmpArgLen::Dword, operator, value)
        };
        match self {
            All => Ok(Vec::new()),
            Values(argument, values) => values
                .iter()
                .map(|value| SeccompRule::new(vec![is(argument, SeccompCmpOp::Eq, *value)?]))
                .collect(),
            Without(argument, bits) => Ok(vec![SeccompRule::new(vec![is(
                argument,
                SeccompCmpOp::MaskedEq(bits),
                0,
            )?])?]),
            SocketOption(level, option) => Ok(vec![SeccompRule::new(vec![
                is(1, SeccompCmpOp::Eq, level)?,
                is(2, SeccompCmpOp::Eq, option)?,
            ])?]),
        }
    }
}

#[cfg(test)]
mod tests;
