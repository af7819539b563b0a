//! Memory that the C library keeps for later.

/// Gives back what was only needed until now: a worker lasts as long as its connection, and there
/// are many.
pub fn give_back() {
    // SAFETY: takes a number; it only moves what is free already (malloc_trim(3)).
    unsafe { libc::malloc_trim(0) };
}
