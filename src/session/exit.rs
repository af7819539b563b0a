//! How the end of a process is told to the client (RFC 4254, section 6.10).

use nix::libc;
use russh::Sig;

/// The name of a signal without `SIG`; numbers that the RFC does not name get a name of OpenSSH's
/// form, which clients show as it stands.
pub(super) fn signal_name(number: i32) -> Sig {
    match number {
        libc::SIGABRT => Sig::ABRT,
        libc::SIGALRM => Sig::ALRM,
        libc::SIGFPE => Sig::FPE,
        libc::SIGHUP => Sig::HUP,
        libc::SIGILL => Sig::ILL,
        libc::SIGINT => Sig::INT,
        libc::SIGKILL => Sig::KILL,
        libc::SIGPIPE => Sig::PIPE,
        libc::SIGQUIT => Sig::QUIT,
        libc::SIGSEGV => Sig::SEGV,
        libc::SIGTERM => Sig::TERM,
        libc::SIGUSR1 => Sig::USR1,
        libc::SIGUSR2 => Sig::Custom("USR2".to_owned()),
        _ => Sig::Custom("SIG@openssh.com".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_signal_has_a_name() {
        assert!(matches!(signal_name(libc::SIGTERM), Sig::TERM));
        assert!(matches!(signal_name(libc::SIGUSR2), Sig::Custom(name) if name == "USR2"));
        let other = signal_name(libc::SIGSYS);
        assert!(matches!(other, Sig::Custom(name) if name == "SIG@openssh.com"));
    }
}
