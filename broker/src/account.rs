//! The account that a login names: one look-up, and the same struct is authorised, given to PAM
//! and become.

use std::ffi::CString;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use meshd_contract::login::Login;
use meshd_contract::ssh_rule::Account;
use nix::errno::Errno;
use nix::unistd::{Gid, Group, User, getgrouplist};
use thiserror::Error;

/// What the user database says of one account (passwd(5)).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Passwd {
    /// Name and user id.
    pub account: Account,
    /// The primary group's id.
    pub gid: u32,
    /// The home directory.
    pub home: PathBuf,
    /// The login shell; `/bin/sh` where the database names none.
    pub shell: PathBuf,
}

/// The user database did not answer.
#[derive(Debug, Error)]
#[error("the user database does not answer: {0}")]
pub struct LookupError(#[from] Errno);

/// Looks a login up, once. None when there is no account of exactly this name.
///
/// # Errors
/// [`LookupError`] when the database failed, which is not the same as "no such account".
pub fn find(login: &Login) -> Result<Option<Passwd>, LookupError> {
    let user = User::from_name(login.as_str())?;
    Ok(user
        .filter(|user| user.name == login.as_str())
        .map(|user| Passwd {
            account: Account {
                login: login.clone(),
                uid: user.uid.as_raw(),
            },
            gid: user.gid.as_raw(),
            home: user.dir,
            shell: if user.shell.as_os_str().is_empty() {
                "/bin/sh".into()
            } else {
                user.shell
            },
        }))
}

/// The groups of an account, with `gid` as its primary one.
///
/// The C library leaves out a database that fails without a word (getgrouplist(3)), so the
/// primary group is looked up first: a directory that does not answer is found out there, and the
/// account does not begin a session with fewer groups than it has.
///
/// # Errors
/// [`LookupError`] when the database failed.
pub fn groups(login: &Login, gid: u32) -> Result<Vec<Gid>, LookupError> {
    let primary = Gid::from_raw(gid);
    Group::from_gid(primary)?;
    let name = CString::new(login.as_str()).map_err(|_| Errno::EINVAL)?;
    Ok(getgrouplist(&name, primary)?)
}

/// Why an account's shell keeps everybody out.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ShellError {
    /// The account is not for logging in.
    #[error("the account {0} is not for logging in: its shell is {1}")]
    NoLogin(Login, String),
    /// There is no such program.
    #[error("the login shell {1} of {0} does not exist")]
    Missing(Login, String),
    /// It is no program.
    #[error("the login shell {1} of {0} is not executable")]
    NotExecutable(Login, String),
}

/// Insists on a shell that exists, is executable, and is not nologin(8); asked for every kind of
/// channel, as the shell of a file transfer or a forward is otherwise never run.
///
/// # Errors
/// [`ShellError`], fit to be shown to the client.
pub fn check_shell(passwd: &Passwd) -> Result<(), ShellError> {
    let shown = || {
        (
            passwd.account.login.clone(),
            passwd.shell.display().to_string(),
        )
    };
    if is_nologin(&passwd.shell) {
        let (login, shell) = shown();
        return Err(ShellError::NoLogin(login, shell));
    }
    let Ok(metadata) = std::fs::metadata(&passwd.shell) else {
        let (login, shell) = shown();
        return Err(ShellError::Missing(login, shell));
    };
    if !metadata.is_file() || metadata.permissions().mode() & 0o111 == 0 {
        let (login, shell) = shown();
        return Err(ShellError::NotExecutable(login, shell));
    }
    Ok(())
}

fn is_nologin(shell: &Path) -> bool {
    shell.file_name().is_some_and(|name| name == "nologin")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passwd(shell: &str) -> Passwd {
        Passwd {
            account: Account {
                login: "alice".parse().expect("a login"),
                uid: 1000,
            },
            gid: 1000,
            home: "/home/alice".into(),
            shell: shell.into(),
        }
    }

    #[test]
    fn root_is_found_and_a_made_up_name_is_not() {
        let root = find(&"root".parse().expect("a login"))
            .expect("answers")
            .expect("is there");
        assert_eq!((root.account.uid, root.gid), (0, 0));
        let nobody = find(&"no-such-account-here".parse().expect("a login"));
        assert_eq!(nobody.expect("answers"), None);
    }

    #[test]
    fn a_shell_must_let_in() {
        assert_eq!(check_shell(&passwd("/bin/sh")), Ok(()));
        for shell in [
            "/usr/sbin/nologin",
            "/sbin/nologin",
            "/nonexistent/zsh",
            "/etc/passwd",
        ] {
            assert!(check_shell(&passwd(shell)).is_err(), "{shell}");
        }
    }
}
