//! The documents that root believes: `cargo +nightly fuzz run peer_document`.
#![no_main]

#[path = "../targets.rs"]
mod targets;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    targets::peer_document(input);
});
