//! What every client must do, whatever it is.

use std::time::Duration;

pub(crate) use meshd_lab::clients::{prepared, program};
use meshd_lab::{HostCommand, Mesh};

/// For clients in a slow language on a busy machine.
pub(crate) const LONG: Duration = Duration::from_secs(180);

/// The sentence that a denied user reads.
pub(crate) const DENIAL: &str = "meshd: policy does not permit you to SSH as user \"bob\"";

/// More than any window or pipe holds.
const MUCH: usize = 5 << 20;

/// Bytes without a pattern of a block's length.
pub(crate) fn bytes(length: usize) -> Vec<u8> {
    let mut state = 1_u64;
    let mut next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 56) as u8
    };
    (0..length).map(|_| next()).collect()
}

/// Runs commands through a client; `client` gives the command line for a login and a command.
pub(crate) fn assert_runs_commands(client: impl Fn(&str, &str) -> HostCommand) {
    let ended = client("alice", "id -un; echo $SSH_CONNECTION >/tmp/from; exit 7");
    let ended = ended.deadline(LONG).output().expect("an end");
    assert_eq!(ended.stdout, "alice\n", "{ended:?}");
    assert_eq!(ended.status.code(), Some(7), "{ended:?}");
    let sent = bytes(MUCH);
    let returned = client("alice", "cat").input(sent.clone()).deadline(LONG);
    let returned = returned.succeed().expect("an end");
    assert!(returned.bytes == sent, "{} bytes", returned.bytes.len());
}

/// Fails to log in with a client, which says why.
pub(crate) fn assert_shows_denial(client: impl Fn(&str, &str) -> HostCommand) {
    let denied = client("bob", "id -un").deadline(LONG).output();
    let denied = denied.expect("an end");
    assert!(!denied.status.success(), "{denied:?}");
    assert_eq!(denied.stdout, "", "{denied:?}");
    assert!(denied.stderr.contains(DENIAL), "{denied:?}");
}

/// Transfers a file each way; `client` gives the command line for put or get and a path of the
/// server's, with the file on the client's standard input or output.
pub(crate) fn assert_transfers(mesh: &Mesh, client: impl Fn(&str, &str) -> HostCommand) {
    let sent = bytes(MUCH);
    let put = client("put", "/tmp/put").input(sent.clone()).deadline(LONG);
    put.succeed().expect("an end");
    assert!(mesh.host("web1").read("/tmp/put").expect("a file") == sent);
    assert_fetches(&client, &sent, mesh);
}

/// Fetches a file.
pub(crate) fn assert_fetches(
    client: impl Fn(&str, &str) -> HostCommand,
    content: &[u8],
    mesh: &Mesh,
) {
    mesh.host("web1")
        .write("/tmp/get", content)
        .expect("a file");
    let got = client("get", "/tmp/get").deadline(LONG).succeed();
    let got = got.expect("an end");
    assert!(got.bytes == content, "{} bytes", got.bytes.len());
}
