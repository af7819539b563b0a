//! What an installed system has besides the programs: accounts, directories, PAM, names.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;

use nix::unistd::{Group, User, sethostname};

use crate::Result;
use crate::error::{Doing, LabError};

pub(super) const SYSUSERS: [&str; 3] = [
    include_str!("../../../packaging/sysusers.d/meshd.conf"),
    include_str!("../../../packaging/sysusers.d/meshd-ssh.conf"),
    include_str!("../../../packaging/sysusers.d/meshd-control.conf"),
];
pub(super) const TMPFILES: [&str; 3] = [
    include_str!("../../../packaging/tmpfiles.d/meshd.conf"),
    include_str!("../../../packaging/tmpfiles.d/meshd-ssh.conf"),
    include_str!("../../../packaging/tmpfiles.d/meshd-control.conf"),
];
const PAM_DEBIAN: &str = include_str!("../../../packaging/pam/meshd-ssh.debian");
const PAM_RHEL: &str = include_str!("../../../packaging/pam/meshd-ssh.rhel");

/// The first id of a system account of the lab's; adduser(8) and useradd(8) give none so low.
const FIRST_ID: u32 = 90;

/// Makes this a host of its own, called `name`.
pub(super) fn name_host(name: &str) -> Result<()> {
    forget_this_machine()?;
    sethostname(name).doing(|| "name the host".to_owned())?;
    write("/etc/hostname", &format!("{name}\n"))?;
    write("/etc/hosts", "127.0.0.1 localhost\n::1 localhost\n")?;
    write("/etc/resolv.conf", "")
}

/// Gives the host what the packages would, besides programs and units.
pub(super) fn install() -> Result<()> {
    let pam = if Path::new("/etc/debian_version").exists() {
        PAM_DEBIAN
    } else {
        PAM_RHEL
    };
    write("/etc/pam.d/meshd-ssh", pam)?;
    let accounts = SYSUSERS.into_iter().flat_map(str::lines);
    for (id, line) in (FIRST_ID..).zip(accounts) {
        make_account(id, line)?;
    }
    let mut directories = TMPFILES.into_iter().flat_map(str::lines);
    directories.try_for_each(make_directory)
}

/// What a host must not share with the machine that it runs on.
fn forget_this_machine() -> Result<()> {
    let entries = fs::read_dir("/etc/ssh").into_iter().flatten().flatten();
    for entry in entries {
        let is_key = entry.file_name().to_string_lossy().starts_with("ssh_host_");
        if is_key {
            fs::remove_file(entry.path()).doing(|| "remove host keys".to_owned())?;
        }
    }
    let _ = fs::remove_file("/etc/machine-id");
    Ok(())
}

/// One line of sysusers.d(5): `u NAME - "DESCRIPTION" HOME SHELL`.
fn make_account(id: u32, line: &str) -> Result<()> {
    let unreadable = || LabError::Unfit(format!("sysusers.d: {line:?} is no account"));
    let mut quoted = line.split('"');
    let (Some(before), Some(description), Some(after)) =
        (quoted.next(), quoted.next(), quoted.next())
    else {
        return Err(unreadable());
    };
    let name = before.split_whitespace().nth(1).ok_or_else(unreadable)?;
    let mut after = after.split_whitespace();
    let (Some(home), Some(shell)) = (after.next(), after.next()) else {
        return Err(unreadable());
    };
    append(
        "/etc/passwd",
        &format!("{name}:x:{id}:{id}:{description}:{home}:{shell}\n"),
    )?;
    append("/etc/group", &format!("{name}:x:{id}:\n"))?;
    append("/etc/shadow", &format!("{name}:!*:19000::::::\n"))
}

/// One line of tmpfiles.d(5): `d PATH MODE USER GROUP -`.
fn make_directory(line: &str) -> Result<()> {
    let unreadable = || LabError::Unfit(format!("tmpfiles.d: {line:?} is no directory"));
    let words: Vec<_> = line.split_whitespace().collect();
    let ["d", path, mode, user, group, _] = words[..] else {
        return Err(unreadable());
    };
    let mode = u32::from_str_radix(mode, 8).map_err(|_| unreadable())?;
    let user = User::from_name(user)
        .ok()
        .flatten()
        .ok_or_else(unreadable)?;
    let group = Group::from_name(group)
        .ok()
        .flatten()
        .ok_or_else(unreadable)?;
    fs::create_dir_all(path)
        .and_then(|()| chown(path, Some(user.uid.as_raw()), Some(group.gid.as_raw())))
        .and_then(|()| fs::set_permissions(path, PermissionsExt::from_mode(mode)))
        .doing(|| format!("make {path}"))
}

fn append(path: &str, line: &str) -> Result<()> {
    OpenOptions::new()
        .append(true)
        .open(path)
        .and_then(|mut file| file.write_all(line.as_bytes()))
        .doing(|| format!("add to {path}"))
}

/// Replaces a file, also where it is a link.
fn write(path: &str, content: &str) -> Result<()> {
    let _ = fs::remove_file(path);
    File::create(path)
        .and_then(|mut file| file.write_all(content.as_bytes()))
        .doing(|| format!("write {path}"))
}
