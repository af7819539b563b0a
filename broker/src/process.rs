//! Starting a process as somebody else: fork(2), become, verify, execveat(2).
//!
//! Everything that allocates happens before the fork; between fork and exec there are only system
//! calls, and a failure comes back as (stage, errno) over a pipe that exec closes.

use std::ffi::{CStr, CString};
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::ptr;
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, Pid, fork, pipe2};
use thiserror::Error;

/// Whom a process becomes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Real, effective and saved user id.
    pub uid: u32,
    /// Real, effective and saved group id.
    pub gid: u32,
    /// Supplementary groups; all others are given up.
    pub groups: Vec<u32>,
}

/// What to execute.
#[derive(Debug, Clone, Copy)]
pub enum Program<'a> {
    /// What lies at this absolute path now.
    Path(&'a CStr),
    /// This file, whatever lies at its path by now; no script.
    Open(BorrowedFd<'a>),
}

/// What to start, and how.
#[derive(Debug)]
pub struct Plan<'a> {
    /// What to execute.
    pub program: Program<'a>,
    /// All arguments, the first one included.
    pub arguments: &'a [CString],
    /// All variables, as `NAME=value`.
    pub environment: &'a [CString],
    /// Become descriptors 0, 1, 2 and so on; every other one is closed.
    pub descriptors: &'a [BorrowedFd<'a>],
    /// Whom the process becomes.
    pub identity: &'a Identity,
    /// The working directory, entered as that user; `/` where it cannot be, with a message on
    /// descriptor 2.
    pub directory: &'a CStr,
    /// Descriptor 0 becomes the controlling terminal.
    pub terminal: bool,
    /// Keeps CAP_SYS_CHROOT, and nothing else, over the change of user and the exec.
    pub keep_chroot: bool,
    /// The signal that the process gets when the worker dies; 0 for none.
    pub parent_death_signal: i32,
}

/// The process did not start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("{stage}: {errno}")]
pub struct StartError {
    /// What was being done.
    pub stage: &'static str,
    /// What the kernel said.
    pub errno: Errno,
}

/// The steps of the child, in their order; the index travels over the pipe.
const STAGES: [&str; 14] = [
    "cannot fork",
    "cannot reset signals",
    "cannot become a session leader",
    "cannot take the terminal",
    "cannot arrange descriptors",
    "cannot set groups",
    "cannot set the group id",
    "cannot set the user id",
    "the user or group ids are not as asked for",
    "the change of user could be undone",
    "cannot keep the capability",
    "cannot set the parent death signal",
    "cannot enter a directory",
    "cannot execute the program",
];

const EXECUTE: u8 = 13;

/// How long a program may take to be executed.
const START_DEADLINE: Duration = Duration::from_secs(20);
const LATE: &str = "the program could not be executed in time";

impl StartError {
    /// Whether everything went well but execve(2) itself.
    #[must_use]
    pub fn is_execute(&self) -> bool {
        self.stage == STAGES[EXECUTE as usize]
    }

    fn new(stage: u8, errno: i32) -> Self {
        let stage = STAGES
            .get(usize::from(stage))
            .copied()
            .unwrap_or("cannot start");
        Self {
            stage,
            errno: Errno::from_raw(errno),
        }
    }
}

/// Starts a process and returns when its program has been executed.
///
/// The caller must be single-threaded.
///
/// # Errors
/// [`StartError`]; no process is left then.
pub fn start(plan: &Plan<'_>) -> Result<Pid, StartError> {
    let failed = |errno: Errno| StartError::new(0, errno as i32);
    let (report, reporter) = pipe2(OFlag::O_CLOEXEC).map_err(failed)?;
    let child = Child::prepare(plan, reporter.as_raw_fd());
    // SAFETY: this process has one thread, and the child makes nothing but system calls on memory
    // prepared above until it executes another program or exits.
    match unsafe { fork() }.map_err(failed)? {
        ForkResult::Child => child.run(),
        ForkResult::Parent { child } => {
            drop(reporter);
            match read_report(report, child)?.as_slice() {
                [] => Ok(child),
                [stage, errno @ ..] => {
                    let _ = waitpid(child, None);
                    let errno = <[u8; 4]>::try_from(errno).map_or(0, i32::from_ne_bytes);
                    Err(StartError::new(*stage, errno))
                }
            }
        }
    }
}

/// Reads what the child could not do, or nothing when its program has been executed.
///
/// A program or a directory on a file system that does not answer holds the child back for ever:
/// then it is killed, and reaped when the kernel lets it go.
fn read_report(report: OwnedFd, child: Pid) -> Result<Vec<u8>, StartError> {
    let mut ready = [PollFd::new(report.as_fd(), PollFlags::POLLIN)];
    let deadline = PollTimeout::try_from(START_DEADLINE).unwrap_or(PollTimeout::MAX);
    if !matches!(poll(&mut ready, deadline), Ok(1)) {
        let _ = kill(child, Signal::SIGKILL);
        return Err(StartError {
            stage: LATE,
            errno: Errno::ETIMEDOUT,
        });
    }
    let mut message = Vec::new();
    let mut report = std::fs::File::from(report).take(5);
    let _ = report.read_to_end(&mut message);
    Ok(message)
}

/// Does one thing as another user in a child process, and says whether it succeeded.
///
/// `work` must make only system calls that neither allocate nor lock.
pub fn succeeds_as(identity: &Identity, work: impl FnOnce() -> bool) -> bool {
    // SAFETY: this process has one thread; the child makes only system calls, then exits.
    match unsafe { fork() } {
        Ok(ForkResult::Child) => {
            let done = become_user(identity, false).is_ok() && work();
            // SAFETY: ends the child without running any of this process's destructors.
            unsafe { libc::_exit(i32::from(!done)) }
        }
        Ok(ForkResult::Parent { child }) => {
            matches!(
                waitpid(child, None),
                Ok(nix::sys::wait::WaitStatus::Exited(_, 0))
            )
        }
        Err(_) => false,
    }
}

/// All that the child needs, as pointers that stay valid over the fork.
struct Child<'a> {
    plan: &'a Plan<'a>,
    arguments: Vec<*const libc::c_char>,
    environment: Vec<*const libc::c_char>,
    no_directory: Vec<u8>,
    moved: Vec<RawFd>,
    /// The program, where it is an open file; else -1.
    file: RawFd,
    reporter: RawFd,
}

type Stage = Result<(), (u8, i32)>;

/// The last error of the C library, at this stage.
fn failed_at(stage: u8) -> (u8, i32) {
    (stage, Errno::last_raw())
}

fn check(stage: u8, code: libc::c_int) -> Stage {
    if code == -1 {
        Err(failed_at(stage))
    } else {
        Ok(())
    }
}

impl<'a> Child<'a> {
    fn prepare(plan: &'a Plan<'a>, reporter: RawFd) -> Self {
        let pointers = |strings: &[CString]| {
            let ends = std::iter::once(ptr::null());
            strings
                .iter()
                .map(|string| string.as_ptr())
                .chain(ends)
                .collect()
        };
        let directory = plan.directory.to_string_lossy();
        Self {
            plan,
            arguments: pointers(plan.arguments),
            environment: pointers(plan.environment),
            no_directory: format!("Could not chdir to home directory {directory}: ").into_bytes(),
            moved: vec![-1; plan.descriptors.len()],
            file: match plan.program {
                Program::Path(_) => -1,
                Program::Open(file) => file.as_raw_fd(),
            },
            reporter,
        }
    }

    fn run(mut self) -> ! {
        let (stage, errno) = match self.steps() {
            Ok(()) => (EXECUTE, 0),
            Err(failure) => failure,
        };
        let [a, b, c, d] = errno.to_ne_bytes();
        let message = [stage, a, b, c, d];
        // SAFETY: writes five bytes of this array to an open descriptor, then ends the child
        // without running any of the parent's destructors.
        unsafe {
            libc::write(self.reporter, message.as_ptr().cast(), message.len());
            libc::_exit(127)
        }
    }

    fn steps(&mut self) -> Stage {
        reset_signals()?;
        // SAFETY: takes no argument.
        check(2, unsafe { libc::setsid() })?;
        self.arrange_descriptors()?;
        if self.plan.terminal {
            // SAFETY: descriptor 0 is the terminal; TIOCSCTTY takes an integer.
            check(3, unsafe { libc::ioctl(0, libc::TIOCSCTTY, 0) })?;
        }
        become_user(self.plan.identity, self.plan.keep_chroot)?;
        self.die_with_parent()?;
        self.enter_directory()?;
        // An empty path means the descriptor itself (execveat(2)); a path that is absolute does not
        // look at it.
        let path = match self.plan.program {
            Program::Path(path) => path,
            Program::Open(_) => c"",
        };
        // SAFETY: path, arguments and variables are null-terminated and outlive the call.
        unsafe {
            libc::syscall(
                libc::SYS_execveat,
                self.file,
                path.as_ptr(),
                self.arguments.as_ptr(),
                self.environment.as_ptr(),
                libc::AT_EMPTY_PATH,
            );
        }
        Err(failed_at(EXECUTE))
    }

    /// Moves all descriptors out of the way first, as a source may be another one's target; not
    /// far, because an account's limit of open files applies already.
    fn arrange_descriptors(&mut self) -> Stage {
        let out_of_the_way = self.moved.len() as libc::c_int;
        // SAFETY: these calls take descriptors and integers by value.
        unsafe {
            self.reporter = libc::fcntl(self.reporter, libc::F_DUPFD_CLOEXEC, out_of_the_way);
            check(4, self.reporter)?;
            if self.file >= 0 {
                self.file = libc::fcntl(self.file, libc::F_DUPFD_CLOEXEC, out_of_the_way);
                check(4, self.file)?;
            }
            for (moved, source) in self.moved.iter_mut().zip(self.plan.descriptors) {
                *moved = libc::fcntl(source.as_raw_fd(), libc::F_DUPFD_CLOEXEC, out_of_the_way);
                check(4, *moved)?;
            }
            for (target, moved) in (0..).zip(&self.moved) {
                check(4, libc::dup2(*moved, target))?;
            }
            close_on_exec_from(self.moved.len() as libc::c_uint)
        }
    }

    fn die_with_parent(&self) -> Stage {
        if self.plan.parent_death_signal == 0 {
            return Ok(());
        }
        // SAFETY: PR_SET_PDEATHSIG takes an integer. Set after the change of user, which clears
        // it (prctl(2)).
        check(11, unsafe {
            libc::prctl(
                libc::PR_SET_PDEATHSIG,
                self.plan.parent_death_signal as libc::c_ulong,
            )
        })
    }

    fn enter_directory(&self) -> Stage {
        // SAFETY: both paths are null-terminated; each text's length is its own.
        unsafe {
            if libc::chdir(self.plan.directory.as_ptr()) == 0 {
                return Ok(());
            }
            let why = Errno::last().desc();
            for text in [&self.no_directory, why.as_bytes(), b"\n"] {
                libc::write(2, text.as_ptr().cast(), text.len());
            }
            check(12, libc::chdir(c"/".as_ptr()))
        }
    }
}

/// Every disposition to its default and no signal blocked: a Rust program ignores SIGPIPE, and
/// the worker blocks what it reads from a signalfd; both would pass through exec.
fn reset_signals() -> Stage {
    // SAFETY: `signal` and `sigprocmask` get valid numbers and an initialised set. Failure for
    // SIGKILL, SIGSTOP and the C library's own signals is expected.
    unsafe {
        for signal in 1..=libc::SIGRTMAX() {
            libc::signal(signal, libc::SIG_DFL);
        }
        let mut none = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
        libc::sigemptyset(none.as_mut_ptr());
        check(
            1,
            libc::sigprocmask(libc::SIG_SETMASK, none.as_ptr(), ptr::null_mut()),
        )
    }
}

/// Marks all descriptors from `first` on to be closed by exec; by /proc where the kernel has no
/// close_range(2) with that flag (before Linux 5.11).
fn close_on_exec_from(first: libc::c_uint) -> Stage {
    // SAFETY: takes integers by value.
    let marked = unsafe {
        libc::syscall(
            libc::SYS_close_range,
            first,
            libc::c_uint::MAX,
            libc::CLOSE_RANGE_CLOEXEC,
        )
    };
    if marked == 0 {
        return Ok(());
    }
    // SAFETY: `getrlimit` fills the structure; fcntl on a closed descriptor fails harmlessly.
    unsafe {
        let mut limit = libc::rlimit {
            rlim_cur: 0,
            rlim_max: 0,
        };
        check(4, libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit))?;
        let last = limit.rlim_max.min(1 << 20) as libc::c_int;
        for descriptor in first as libc::c_int..last {
            libc::fcntl(descriptor, libc::F_SETFD, libc::FD_CLOEXEC);
        }
    }
    Ok(())
}

/// Groups, group, user, in this order (setresuid(2)); then reads them back, and tries to become
/// root again.
fn become_user(identity: &Identity, keep_chroot: bool) -> Stage {
    let Identity { uid, gid, groups } = identity;
    // SAFETY: `groups` has the length that is passed; all else goes by value.
    unsafe {
        check(5, libc::setgroups(groups.len(), groups.as_ptr()))?;
        check(6, libc::setresgid(*gid, *gid, *gid))?;
        if keep_chroot {
            check(10, libc::prctl(libc::PR_SET_KEEPCAPS, 1 as libc::c_ulong))?;
        }
        check(7, libc::setresuid(*uid, *uid, *uid))?;
    }
    verify_ids(identity)?;
    if *uid != 0 {
        // SAFETY: takes integers by value.
        let back = unsafe {
            libc::setresuid(u32::MAX, 0, u32::MAX) == 0
                || (*gid != 0 && libc::setresgid(u32::MAX, 0, u32::MAX) == 0)
        };
        if back {
            return Err((9, libc::EPERM));
        }
    }
    if keep_chroot {
        keep_only_chroot()
    } else {
        Ok(())
    }
}

fn verify_ids(identity: &Identity) -> Stage {
    let (mut users, mut groups) = ([u32::MAX; 3], [u32::MAX; 3]);
    let ([r, e, s], [rg, eg, sg]) = (&mut users, &mut groups);
    // SAFETY: each pointer is to one integer of its own.
    unsafe {
        check(8, libc::getresuid(r, e, s))?;
        check(8, libc::getresgid(rg, eg, sg))?;
        let count = libc::getgroups(0, ptr::null_mut());
        let as_asked = users == [identity.uid; 3]
            && groups == [identity.gid; 3]
            && usize::try_from(count).is_ok_and(|count| count == identity.groups.len());
        if as_asked {
            Ok(())
        } else {
            Err((8, libc::EPERM))
        }
    }
}

/// Permitted, effective, inheritable and ambient: CAP_SYS_CHROOT alone (capabilities(7)).
fn keep_only_chroot() -> Stage {
    const CAP_SYS_CHROOT: u32 = 18;
    const VERSION_3: u32 = 0x2008_0522;
    #[repr(C)]
    struct Header {
        version: u32,
        pid: i32,
    }
    let header = Header {
        version: VERSION_3,
        pid: 0,
    };
    let chroot = 1u32 << CAP_SYS_CHROOT;
    let data: [[u32; 3]; 2] = [[chroot; 3], [0; 3]];
    // SAFETY: header and data have the layout of capset(2), version 3, and outlive the call; prctl
    // takes integers.
    unsafe {
        let code = libc::syscall(libc::SYS_capset, &raw const header, data.as_ptr());
        check(10, code as libc::c_int)?;
        check(
            10,
            libc::prctl(
                libc::PR_CAP_AMBIENT,
                libc::PR_CAP_AMBIENT_RAISE as libc::c_ulong,
                CAP_SYS_CHROOT as libc::c_ulong,
                0 as libc::c_ulong,
                0 as libc::c_ulong,
            ),
        )
    }
}

/// Opens /dev/null for reading and writing.
///
/// # Errors
/// What the system said.
pub fn null() -> std::io::Result<std::fs::File> {
    std::fs::File::options()
        .read(true)
        .write(true)
        .open("/dev/null")
}
