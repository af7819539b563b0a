//! Every system call, and every form of those that are bounded, tried from inside.
//!
//! Each is tried in a child of its own: most of them end it.

use std::fs::File;
use std::net::UdpSocket;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::Command;

use nix::sys::signal::Signal;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, fork};

use super::*;

/// No argument of any call: what passes the filter finds nothing to do.
const NONSENSE: u64 = u64::MAX;

/// Beyond the last number that any kernel has.
const NUMBERS: std::ops::Range<libc::c_long> = 0..600;

/// Calls that newer kernels show to no filter: uretprobe and uprobe work only from where the
/// kernel itself has put them (__secure_computing() of Linux).
#[cfg(target_arch = "x86_64")]
const UNFILTERED: &[libc::c_long] = &[335, 336];
#[cfg(not(target_arch = "x86_64"))]
const UNFILTERED: &[libc::c_long] = &[];

/// What became of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// It ended the process.
    Killed,
    /// It failed so, by the filter or by the kernel behind it.
    Failed(i32),
    /// It did what it does.
    Done,
}

/// The closed sandbox, to try calls in.
struct Inside([BpfProgram; 2]);

impl Inside {
    fn new() -> Self {
        Self(filters().expect("compiles"))
    }

    fn call(&self, number: libc::c_long, arguments: [u64; 6]) -> Fate {
        self.run(|| {
            let [a, b, c, d, e, f] = arguments;
            // SAFETY: the filter ends the process, or the arguments name neither memory nor
            // descriptors, but for those of a test of its own memory.
            unsafe { libc::syscall(number, a, b, c, d, e, f) }
        })
    }

    /// Calls with these first arguments and nonsense for the others.
    fn with<const N: usize>(&self, number: libc::c_long, first: [u64; N]) -> Fate {
        let mut arguments = [NONSENSE; 6];
        arguments[..N].copy_from_slice(&first);
        self.call(number, arguments)
    }

    fn run(&self, call: impl FnOnce() -> libc::c_long) -> Fate {
        const DONE: i32 = 255;
        // SAFETY: the child makes system calls on prepared memory and ends.
        let child = match unsafe { fork() }.expect("a child") {
            ForkResult::Parent { child } => child,
            ForkResult::Child => {
                let closed = self
                    .0
                    .iter()
                    .all(|filter| seccompiler::apply_filter(filter).is_ok());
                let code = match call() {
                    _ if !closed => 0,
                    // SAFETY: errno is this thread's.
                    -1 => unsafe { *libc::__errno_location() },
                    _ => DONE,
                };
                // SAFETY: ends the child without running anything of the parent's.
                unsafe { libc::_exit(code) }
            }
        };
        match waitpid(child, None).expect("an end") {
            // As the kernel ends who makes a call of its probes from elsewhere.
            WaitStatus::Signaled(_, Signal::SIGSYS | Signal::SIGILL, _) => Fate::Killed,
            WaitStatus::Exited(_, DONE) => Fate::Done,
            WaitStatus::Exited(_, errno @ 1..) => Fate::Failed(errno),
            other => panic!("{other:?}"),
        }
    }
}

fn is_listed(calls: &[Call], number: libc::c_long) -> bool {
    calls.iter().any(|(listed, ..)| *listed == number)
}

/// The values of an argument that a bounded call may have.
fn permitted(number: libc::c_long) -> &'static [u64] {
    let forms = NEEDED.iter().find(|(listed, ..)| *listed == number);
    match forms.map(|(_, forms, _)| *forms) {
        Some(Values(_, values)) => values,
        _ => panic!("is not bounded by values"),
    }
}

#[test]
fn every_call_that_is_not_listed_ends_the_process() {
    let inside = Inside::new();
    for number in NUMBERS {
        if is_listed(NEEDED, number) {
            continue;
        }
        let fate = inside.with(number, []);
        if is_listed(REFUSED, number) {
            assert_eq!(fate, Fate::Failed(libc::EPERM), "system call {number}");
        } else if UNFILTERED.contains(&number) {
            assert_ne!(fate, Fate::Done, "system call {number}");
        } else {
            assert_eq!(fate, Fate::Killed, "system call {number}");
        }
    }
}

#[test]
fn calls_of_another_architecture_end_the_process() {
    let inside = Inside::new();
    // x32's numbers on x86_64, and no number at all elsewhere.
    const X32: libc::c_long = 0x4000_0000;
    for number in [
        libc::SYS_read,
        libc::SYS_write,
        libc::SYS_openat,
        libc::SYS_socket,
    ] {
        assert_eq!(inside.with(X32 | number, []), Fate::Killed, "{number}");
    }
}

#[cfg(target_arch = "x86_64")]
#[test]
fn calls_as_of_a_32_bit_program_end_the_process() {
    // open(2) of i386 in place of write(2) of x86_64, which is permitted; a kernel without such
    // programs ends the process with another signal.
    let mut command = Command::new("/bin/true");
    // SAFETY: the child has one thread, and ends by the call, by its signal or by abort.
    unsafe {
        command.pre_exec(|| {
            enter().map_err(std::io::Error::other)?;
            let mut number: u64 = 1;
            std::arch::asm!("int 0x80", inout("rax") number, out("r8") _, out("r9") _,
                out("r10") _, out("r11") _);
            std::hint::black_box(number);
            std::process::abort()
        });
    }
    let status = command.spawn().map(|mut child| child.wait());
    let signal = status.expect("forks").expect("a status").signal();
    assert!(
        [Some(libc::SIGSYS), Some(libc::SIGSEGV)].contains(&signal),
        "{signal:?}"
    );
}

#[test]
fn no_memory_becomes_code() {
    let inside = Inside::new();
    let anonymous = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS) as u64;
    let map = |protection| [0, 4096, protection, anonymous, NONSENSE, 0];
    assert_eq!(inside.call(libc::SYS_mmap, map(3)), Fate::Done);
    for protection in [4, 5, 6, 7, 4 | 1 << 32] {
        assert_eq!(inside.call(libc::SYS_mmap, map(protection)), Fate::Killed);
        assert_eq!(
            inside.with(libc::SYS_mprotect, [0, 4096, protection]),
            Fate::Killed
        );
    }
}

#[test]
fn descriptors_are_neither_copied_nor_owned_nor_locked() {
    let inside = Inside::new();
    let permitted = permitted(libc::SYS_fcntl);
    for command in (0..50).chain(1020..1050) {
        let expected = if permitted.contains(&command) {
            Fate::Failed(libc::EBADF)
        } else {
            Fate::Killed
        };
        assert_eq!(
            inside.with(libc::SYS_fcntl, [NONSENSE, command]),
            expected,
            "{command}"
        );
    }
}

#[test]
fn terminals_take_modes_sizes_and_breaks_only() {
    let inside = Inside::new();
    let permitted = permitted(libc::SYS_ioctl);
    // All of a terminal (asm-generic/ioctls.h), TIOCSTI and TIOCLINUX among them.
    for request in 0x5400..0x5480 {
        let expected = if permitted.contains(&request) {
            Fate::Failed(libc::EBADF)
        } else {
            Fate::Killed
        };
        assert_eq!(
            inside.with(libc::SYS_ioctl, [NONSENSE, request]),
            expected,
            "{request:#x}"
        );
    }
}

#[test]
fn sockets_take_one_option_and_tell_none() {
    let inside = Inside::new();
    let set = (libc::IPPROTO_TCP as u64, libc::TCP_QUICKACK as u64);
    for level in [
        libc::SOL_SOCKET,
        libc::IPPROTO_TCP,
        libc::IPPROTO_IP,
        libc::IPPROTO_IPV6,
    ] {
        for option in (0..64).map(|option| (level as u64, option)) {
            for (number, only) in [
                (libc::SYS_setsockopt, Some(set)),
                (libc::SYS_getsockopt, None),
            ] {
                let expected = if Some(option) == only {
                    Fate::Failed(libc::EBADF)
                } else {
                    Fate::Killed
                };
                let fate = inside.with(number, [NONSENSE, option.0, option.1]);
                assert_eq!(fate, expected, "{number} {option:?}");
            }
        }
    }
}

#[test]
fn files_and_sockets_are_refused() {
    let mut command = Command::new("/bin/true");
    // SAFETY: the child has one thread, and ends here.
    unsafe {
        command.pre_exec(|| {
            enter().map_err(std::io::Error::other)?;
            let refused = |error: Option<std::io::Error>| {
                error.and_then(|error| error.raw_os_error()) == Some(libc::EPERM)
            };
            let file = refused(File::open("/dev/null").err());
            let socket = refused(UdpSocket::bind("127.0.0.1:0").err());
            libc::_exit(if file && socket { 7 } else { 1 })
        });
    }
    let status = command.spawn().map(|mut child| child.wait());
    assert_eq!(status.expect("forks").expect("a status").code(), Some(7));
}

#[test]
fn to_execute_a_program_ends_the_process() {
    let mut command = Command::new("/bin/true");
    // SAFETY: the child has one thread, and executes or ends.
    unsafe { command.pre_exec(|| enter().map(drop).map_err(std::io::Error::other)) };
    let status = command.spawn().expect("forks").wait().expect("a status");
    assert_eq!(status.signal(), Some(libc::SIGSYS));
}

#[test]
fn every_call_has_a_reason_and_is_listed_once() {
    let all: Vec<_> = NEEDED.iter().chain(REFUSED).collect();
    assert!(all.iter().all(|(.., reason)| !reason.is_empty()));
    let numbers: std::collections::BTreeSet<_> = all.iter().map(|(number, ..)| number).collect();
    assert_eq!(numbers.len(), all.len());
}

#[test]
fn what_a_kernel_lacks_is_said() {
    assert_eq!(missing(0).len(), 1);
    assert!(missing(0)[0].contains("no Landlock"));
    assert_eq!(missing(2).len(), 2);
    assert_eq!(missing(5).len(), 1);
    assert!(missing(6).is_empty());
}
