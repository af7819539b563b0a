//! Packets that are none.

use std::io::Read;

use meshd_lab::DEADLINE;

use crate::dice::Dice;
use crate::packets::*;
use crate::world::{Server, World};

/// One whole request of each kind.
fn requests() -> Vec<(u8, Fields)> {
    let change = Attributes {
        permissions: Some(0o600),
        times: Some((1, 2)),
        ..Attributes::default()
    };
    let handle = || Fields::default().string([0, 0, 0, 0]);
    let extension = |name: &str, fields: Fields| {
        let name = Fields::default().string(name);
        (EXTENDED, Fields([name.0, fields.0].concat()))
    };
    vec![
        (
            OPEN,
            path("file")
                .number(TO_READ | TO_WRITE | CREATE)
                .attributes(&change),
        ),
        (READ, handle().long(0).number(10)),
        (WRITE, handle().long(5).string("content")),
        (LSTAT, path("file")),
        (FSTAT, handle()),
        (SETSTAT, path("file").attributes(&change)),
        (FSETSTAT, handle().attributes(&change)),
        (OPENDIR, path(".")),
        (READDIR, Fields::default().string([0, 0, 0, 1])),
        (MKDIR, path("folder").attributes(&change)),
        (RENAME, paths("folder", "moved")),
        (RMDIR, path("moved")),
        (REALPATH, path(".")),
        (STAT, path("file")),
        (SYMLINK, paths("file", "link")),
        (READLINK, path("link")),
        (REMOVE, path("link")),
        extension("posix-rename@openssh.com", paths("file", "file")),
        extension("hardlink@openssh.com", paths("file", "hard")),
        extension("statvfs@openssh.com", path(".")),
        extension("fstatvfs@openssh.com", handle()),
        extension("fsync@openssh.com", handle()),
        extension("lsetstat@openssh.com", path("file").attributes(&change)),
        extension("expand-path@openssh.com", path("~/file")),
        extension(
            "copy-data",
            handle().long(0).long(4).string([0, 0, 0, 2]).long(0),
        ),
        extension("home-directory", path("alice")),
        extension("users-groups-by-id@openssh.com", paths([0; 8], [0; 4])),
        (CLOSE, handle()),
    ]
}

#[test]
fn a_request_that_ends_too_soon_is_answered_with_its_number() {
    let world = World::start();
    world.prepare("");
    let mut client = world.client(Server::Meshd);
    for (kind, fields) in requests() {
        for length in 0..fields.0.len() {
            let cut = Fields(fields.0[..length].to_vec());
            let answer = client.ask(kind, cut);
            let name_is_whole = kind == EXTENDED && length >= 4;
            assert!(
                answer == BAD_MESSAGE || name_is_whole && answer == OP_UNSUPPORTED,
                "{kind} cut to {length}: {answer:?}"
            );
        }
    }
    for (kind, fields) in requests() {
        let whole = client.ask(kind, fields);
        assert!(
            whole != BAD_MESSAGE && whole != OP_UNSUPPORTED,
            "{kind}: {whole:?}"
        );
    }
}

#[test]
fn a_path_with_a_zero_byte_is_a_bad_message() {
    let world = World::start();
    world.prepare("echo content >file");
    let mut client = world.client(Server::Meshd);
    for kind in [LSTAT, STAT, OPENDIR, REMOVE, RMDIR, REALPATH, READLINK] {
        assert_eq!(client.ask(kind, path("file\0x")), BAD_MESSAGE, "{kind}");
    }
    assert_eq!(client.open("file\0x", TO_READ), BAD_MESSAGE);
    assert_eq!(client.ask(RENAME, paths("file", "x\0y")), BAD_MESSAGE);
    assert_eq!(
        client.ask(STAT, path("file")).timeless(),
        client.ask(LSTAT, path("file")).timeless()
    );
}

#[test]
fn a_request_of_a_kind_that_is_none_is_unsupported() {
    let world = World::start();
    world.prepare("");
    let mut client = world.client(Server::Meshd);
    for kind in [0, 2, 21, 22, 99, 101, 105, 199, 201, 255] {
        assert_eq!(
            client.ask(kind, path("some field")),
            OP_UNSUPPORTED,
            "{kind}"
        );
    }
}

/// What the server says at its end after these bytes, and its exit status.
fn end_after(world: &World, bytes: &[u8], greeted: bool) -> (Option<i32>, String) {
    let mut client = Client::silent(world.server_after(Server::Meshd, ":"));
    if greeted {
        client.begin_version(3);
        client.receive().expect("a version");
    }
    client.send_bytes(bytes);
    let status = client.server.wait(DEADLINE).expect("it ends");
    let mut said = String::new();
    let stderr = client.server.stderr.as_mut().expect("a pipe");
    stderr.read_to_string(&mut said).expect("text");
    (status.code(), said)
}

#[test]
fn what_cannot_be_answered_ends_the_server() {
    let world = World::start();
    world.prepare("");
    let long = "meshd-helper: the client sent a packet of more than 256 KiB\n";
    let bare = "meshd-helper: the client sent a packet without a number\n";
    let early = "meshd-helper: the client asked before it said its version\n";
    for (bytes, greeted, said) in [
        (&b"\0\x04\0\x01\x05"[..], true, long),
        (b"\xff\xff\xff\xff", true, long),
        (b"SSH-2.0-OpenSSH_9.2\r\n", false, long),
        (b"\0\0\0\0", true, bare),
        (b"\0\0\0\x04\x11\0\0\0", true, bare),
        (b"\0\0\0\x0a\x11\0\0\0\x01\0\0\0\x01.", false, early),
    ] {
        let (code, words) = end_after(&world, bytes, greeted);
        assert_eq!((code, words.as_str()), (Some(1), said), "{bytes:?}");
    }
}

/// Whole requests, some with a byte or a length changed, cut or added to.
fn by_chance(dice: &mut Dice) -> (u8, Fields) {
    let (mut kind, mut fields) = dice.pick(&requests()).clone();
    if dice.once_in(20) {
        kind = dice.next() as u8;
    }
    for _ in 0..dice.below(3) {
        let at = dice.below(fields.0.len());
        if let Some(byte) = fields.0.get_mut(at) {
            *byte = *dice.pick(&[0, 1, 2, 4, 0x7f, 0x80, 0xff, b'/', b'.', b'~']);
        }
    }
    match dice.below(8) {
        0 => fields.0.truncate(dice.below(fields.0.len())),
        1 => {
            let more = dice.below(40);
            fields.0.extend(dice.bytes(more));
        }
        _ => {}
    }
    (kind, fields)
}

#[test]
fn packets_by_chance_have_one_answer_each() {
    let world = World::start();
    world.prepare("echo content >file");
    let mut client = world.client(Server::Meshd);
    let pid = client.server.pid().expect("it runs");
    let mut dice = Dice::new(20);
    for round in 0..300 {
        let asked: Vec<_> = (0..50)
            .map(|_| by_chance(&mut dice))
            // A version has no number to be answered with.
            .filter(|(kind, _)| *kind != INIT)
            .collect();
        let ids: Vec<_> = asked
            .iter()
            .map(|(kind, fields)| client.begin(*kind, fields))
            .collect();
        for (id, asked) in ids.into_iter().zip(&asked) {
            let (answered, _) = client.reply();
            assert_eq!(answered, id, "round {round}: {asked:?}");
        }
    }
    assert_eq!(client.server.pid(), Some(pid), "the server still runs");
}
