//! Memory that the C library keeps for later.

use nix::libc;

/// More than a channel's window, which is what waits at most in an upload.
const KEPT_BYTES: libc::c_int = 8 << 20;

/// Keeps what is freed while much is carried: else each piece would be new memory from the kernel,
/// page by page.
pub(super) fn keep() {
    for parameter in [libc::M_MMAP_THRESHOLD, libc::M_TRIM_THRESHOLD] {
        // SAFETY: takes numbers; it only sets when the allocator asks the kernel (mallopt(3)).
        unsafe { libc::mallopt(parameter, KEPT_BYTES) };
    }
}

/// Gives back what was only needed until now: an idle session lasts, and there are many.
pub(super) fn give_back() {
    // SAFETY: takes a number; it only moves what is free already (malloc_trim(3)).
    unsafe { libc::malloc_trim(0) };
}
