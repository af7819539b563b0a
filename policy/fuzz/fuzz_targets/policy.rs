//! The policy parser, and all that is done with a policy: `cargo +nightly fuzz run policy`.
#![no_main]

#[path = "../targets.rs"]
mod targets;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    targets::policy(input);
});
