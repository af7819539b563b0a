//! Memory that the C library keeps for later.

use nix::libc;

/// Gives back what was only needed until now: an idle session lasts, and there are many.
pub(super) fn give_back() {
    // SAFETY: takes a number; it only moves what is free already (malloc_trim(3)).
    unsafe { libc::malloc_trim(0) };
}
