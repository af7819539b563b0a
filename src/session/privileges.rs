//! What the process gives up before it reads from the network.

use caps::CapSet;
use nix::errno::Errno;
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::{SigHandler, Signal, signal};
use nix::unistd::{chdir, chroot};

use super::SessionError;

/// Descriptors that do not belong to a channel: the inherited six, the runtime's, those of a
/// message that is refused, and those of channels that are just being closed.
const OWN_FDS: u64 = 64;

/// More than the three of one channel: standard input, output and error.
const FDS_PER_CHANNEL: u64 = 4;

/// More channels than any configuration needs; bounds what a connection can hold open.
const MOST_CHANNELS: u64 = 1024;

/// More forwarded connections than any configuration needs.
const MOST_FORWARDS: u64 = 4096;

/// Makes `path` the root directory.
///
/// # Errors
/// [`SessionError::EmptyRoot`] when it does not exist or `CAP_SYS_CHROOT` is missing.
pub(super) fn enter_empty_root(path: &'static str) -> Result<(), SessionError> {
    let fail = |errno| SessionError::EmptyRoot { path, errno };
    chroot(path).map_err(fail)?;
    chdir("/").map_err(fail)
}

/// Gives up every capability, and the way to any by exec.
///
/// # Errors
/// [`SessionError::Privilege`] when one is left.
pub(super) fn drop_all() -> Result<(), SessionError> {
    for set in [
        CapSet::Ambient,
        CapSet::Inheritable,
        CapSet::Effective,
        CapSet::Permitted,
    ] {
        caps::clear(None, set).map_err(|error| denied("the capabilities", error))?;
    }
    for set in [
        CapSet::Ambient,
        CapSet::Inheritable,
        CapSet::Effective,
        CapSet::Permitted,
    ] {
        let left = caps::read(None, set).map_err(|error| denied("the capabilities", error))?;
        if !left.is_empty() {
            return Err(denied("the capabilities", format!("{left:?} is left")));
        }
    }
    nix::sys::prctl::set_no_new_privs().map_err(|errno| denied("new privileges", errno))?;
    nix::sys::prctl::set_dumpable(false).map_err(|errno| denied("core dumps", errno))
}

/// Sets the resource limits for so many channels and forwarded connections: no new process or thread, no byte into a
/// file, no more descriptors than are needed.
///
/// # Errors
/// [`SessionError::Privilege`] when the kernel refuses.
pub(super) fn limit(channels: u32, forwards: u32) -> Result<(), SessionError> {
    let channels = u64::from(channels).min(MOST_CHANNELS);
    let forwards = u64::from(forwards).min(MOST_FORWARDS);
    let limits = [
        (Resource::RLIMIT_NPROC, 0),
        (Resource::RLIMIT_FSIZE, 0),
        (Resource::RLIMIT_CORE, 0),
        (
            Resource::RLIMIT_NOFILE,
            OWN_FDS + FDS_PER_CHANNEL * channels + forwards,
        ),
    ];
    for (resource, limit) in limits {
        setrlimit(resource, limit, limit)
            .map_err(|errno: Errno| denied("resource limits", format!("{resource:?}: {errno}")))?;
    }
    // A log that is a file must not end the process: writing to it fails instead.
    // SAFETY: sets the disposition to "ignore"; no handler runs.
    unsafe { signal(Signal::SIGXFSZ, SigHandler::SigIgn) }
        .map_err(|errno| denied("SIGXFSZ", errno))?;
    Ok(())
}

fn denied(what: &'static str, reason: impl ToString) -> SessionError {
    SessionError::Privilege {
        what,
        reason: reason.to_string(),
    }
}
