//! Every message that crosses a boundary of privilege: `cargo +nightly fuzz run messages`.
#![no_main]

#[path = "../targets.rs"]
mod targets;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    targets::messages(input);
});
