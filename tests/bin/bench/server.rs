//! The two servers that are compared.

use crate::sshd;

/// Who serves a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Server {
    Meshd,
    Sshd,
}

/// Host keys are not what is compared.
const COMMON: &str = "-o BatchMode=yes -o LogLevel=ERROR -o StrictHostKeyChecking=no \
                      -o UserKnownHostsFile=/dev/null -o KnownHostsCommand=none";

impl Server {
    /// Both, in the order in which they take turns.
    pub(crate) const BOTH: [Self; 2] = [Self::Meshd, Self::Sshd];

    /// The words of `ssh alice@web1` by way of this server.
    pub(crate) fn ssh(self) -> String {
        format!("ssh {} alice@web1", self.options())
    }

    /// What ssh, scp and sftp are told to reach it.
    pub(crate) fn options(self) -> String {
        match self {
            Self::Meshd => COMMON.to_owned(),
            Self::Sshd => format!("{COMMON} -o Port={} -i {}", sshd::PORT, sshd::KEY),
        }
    }

    /// Whether a process on web1 is one of this server's.
    pub(crate) fn owns(self, process: &str) -> bool {
        match self {
            Self::Meshd => process.starts_with("meshd"),
            Self::Sshd => process == "sshd",
        }
    }
}
