//! When new keys are made, beside when the client wants them.

use std::time::Duration;

use meshd_contract::broker::Hello;
use russh::Limits;

/// As RFC 4253, section 9, recommends, and OpenSSH does for ciphers of short blocks. With AES
/// 2^32 blocks would do (RFC 4344, section 3.2), for some milliseconds less in 64 GiB. Every
/// packet has at least one of these bytes, so there are fewer than 2^31 packets (section 3.1).
const MOST_BYTES: u32 = 1 << 30;

/// With less, a connection would do little else.
const FEWEST_BYTES: u32 = 64 << 10;

/// The limits that root has set. By time there is none unless root sets one, as with sshd: a key
/// exchange that the server begins on an idle connection ends the session of a laptop that sleeps,
/// because nobody acknowledges it.
pub(super) fn limits(hello: &Hello) -> Limits {
    let bytes = hello.rekey_bytes.clamp(FEWEST_BYTES, MOST_BYTES);
    let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
    let time = match hello.rekey_seconds {
        0 => Duration::MAX,
        seconds => Duration::from_secs(seconds.into()),
    };
    Limits::new(bytes, bytes, time)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::admission::tests::hello;

    #[test]
    fn an_idle_connection_is_left_alone() {
        assert_eq!(limits(&hello()).rekey_time_limit, Duration::MAX);
    }

    #[test]
    fn no_configuration_asks_for_fewer_keys_than_the_protocol() {
        for (set, counts) in [(u32::MAX, 1 << 30), (1 << 20, 1 << 20), (0, 64 << 10)] {
            let limits = limits(&Hello {
                rekey_bytes: set,
                ..hello()
            });
            assert_eq!(limits.rekey_read_limit, counts);
            assert_eq!(limits.rekey_write_limit, counts);
        }
    }
}
