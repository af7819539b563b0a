//! What the manager insists on before it does anything: not root, and CAP_NET_ADMIN.

use caps::{CapSet, Capability};

use super::error::Error;

/// Refuses to run as root or without CAP_NET_ADMIN, and makes sure that the programs it starts
/// (nft) have that capability too.
///
/// # Errors
/// [`Error::Root`] or [`Error::NoNetAdmin`].
pub fn check() -> Result<(), Error> {
    if nix::unistd::geteuid().is_root() || nix::unistd::getuid().is_root() {
        return Err(Error::Root);
    }
    let permitted = caps::has_cap(None, CapSet::Effective, Capability::CAP_NET_ADMIN);
    if !permitted.unwrap_or(false) {
        return Err(Error::NoNetAdmin);
    }
    hand_on_to_children();
    Ok(())
}

/// A capability survives execve(2) of a program without file capabilities only in the ambient set
/// (capabilities(7)). Under systemd's AmbientCapabilities= it is there already, and its system call
/// filter would kill a process that calls capset(2).
fn hand_on_to_children() {
    let is_there = caps::has_cap(None, CapSet::Ambient, Capability::CAP_NET_ADMIN);
    if is_there.unwrap_or(false) {
        return;
    }
    for set in [CapSet::Inheritable, CapSet::Ambient] {
        if let Err(error) = caps::raise(None, set, Capability::CAP_NET_ADMIN) {
            tracing::warn!(%error, "nft may lack CAP_NET_ADMIN");
        }
    }
}
