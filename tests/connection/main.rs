//! A connection's own life: long ones, new keys, and clients that vanish.

mod new_keys;
mod silence;
