//! How a request ended (draft-ietf-secsh-filexfer-02, section 7).

use std::io::{self, ErrorKind};

use nix::errno::Errno;

/// The numbers that this server says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    Ok = 0,
    Eof = 1,
    NoSuchFile = 2,
    PermissionDenied = 3,
    Failure = 4,
    BadMessage = 5,
    OpUnsupported = 8,
}

impl Status {
    fn words(self) -> &'static str {
        match self {
            Self::Ok => "Success",
            Self::Eof => "End of file",
            Self::NoSuchFile => "No such file",
            Self::PermissionDenied => "Permission denied",
            Self::Failure => "Failure",
            Self::BadMessage => "Bad message",
            Self::OpUnsupported => "Operation unsupported",
        }
    }
}

/// Why a request is not done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) status: Status,
    pub(super) words: &'static str,
}

impl Refusal {
    pub(super) fn new(status: Status, words: &'static str) -> Self {
        Self { status, words }
    }
}

impl From<Status> for Refusal {
    fn from(status: Status) -> Self {
        Self::new(status, status.words())
    }
}

impl From<Errno> for Refusal {
    /// The numbers that OpenSSH gives for these errors; the words are the system's, as "Failure"
    /// says of a full disk no more than of a directory that is not empty.
    fn from(errno: Errno) -> Self {
        let status = match errno {
            Errno::ENOENT | Errno::ENOTDIR | Errno::EBADF | Errno::ELOOP => Status::NoSuchFile,
            Errno::EPERM | Errno::EACCES | Errno::EFAULT => Status::PermissionDenied,
            Errno::ENAMETOOLONG | Errno::EINVAL => Status::BadMessage,
            Errno::ENOSYS => Status::OpUnsupported,
            _ => Status::Failure,
        };
        Self::new(status, errno.desc())
    }
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Self {
        let errno = match error.kind() {
            // A path with a zero byte does not reach the system.
            ErrorKind::InvalidInput => Errno::EINVAL,
            _ => Errno::EIO,
        };
        error.raw_os_error().map_or(errno, Errno::from_raw).into()
    }
}
