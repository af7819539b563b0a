//! The extensions of OpenSSH's `PROTOCOL`, section 4.

use crate::packets::*;
use crate::world::{BOTH, Server, World};

#[test]
fn the_same_extensions_are_offered() {
    let world = World::start();
    world.prepare("");
    let offered = BOTH.map(|server| {
        let mut client = Client::silent(world.server_after(server, ":"));
        client.begin_version(3);
        let (kind, packet) = client.receive().expect("a version");
        let mut words: Vec<_> = strings(&packet[4..]);
        words.sort();
        (kind, packet[..4].to_vec(), words)
    });
    assert_eq!(offered[0], offered[1]);
    assert_eq!(offered[1].2.len(), 11);
}

/// Names, each with its version.
fn strings(mut bytes: &[u8]) -> Vec<(String, String)> {
    let mut one = || {
        let (length, rest) = bytes.split_first_chunk()?;
        let (string, rest) = rest.split_at(u32::from_be_bytes(*length) as usize);
        bytes = rest;
        Some(String::from_utf8_lossy(string).into_owned())
    };
    std::iter::from_fn(|| Some((one()?, one()?))).collect()
}

#[test]
fn a_file_system_is_described_as_openssh_does() {
    let world = World::start();
    let systems = "mkdir -p /mnt/lab/small /mnt/lab/fixed; cd /mnt/lab
                   mount -t tmpfs -o size=1m,nosuid,mode=777 small small
                   mount -t tmpfs -o size=1m,ro fixed fixed";
    world.host().sh(systems).expect("file systems");
    let told = world.both("", |client| {
        let handle = client
            .open("/mnt/lab/small/file", TO_WRITE | CREATE)
            .handle();
        let mut answers = vec![
            client.write(&handle, 0, vec![1; 100_000]),
            client.extended("fstatvfs@openssh.com", Fields::default().string(&handle)),
        ];
        for name in ["/mnt/lab/small", "/mnt/lab/fixed", "/proc", "missing", ""] {
            answers.push(client.extended("statvfs@openssh.com", path(name)));
        }
        answers
    });
    assert!(matches!(&told[1], Reply::Extended(bytes) if bytes.len() == 88));
}

#[test]
fn limits_are_told_and_kept() {
    let world = World::start();
    let told = BOTH.map(|server| {
        world.prepare("");
        let mut client = world.client_after(server, "ulimit -n 40");
        client.extended("limits@openssh.com", Fields::default())
    });
    assert_eq!(told[0], told[1]);
    world.prepare("echo content >file");
    let mut client = world.client_after(Server::Meshd, "ulimit -n 40");
    let opened = (0..40).map(|_| client.open("file", TO_READ));
    let refused: Vec<_> = opened.filter(|reply| *reply == FAILURE).collect();
    assert!((1..=5).contains(&refused.len()), "{}", refused.len());
    assert_eq!(client.words, "Too many open files");
    assert_eq!(client.close(b"\0\0\0\0"), OK);
    assert_eq!(client.open("file", TO_READ), Reply::Handle(vec![0; 4]));
}

#[test]
fn a_file_is_synced() {
    let world = World::start();
    let synced = world.both("", |client| {
        let handle = client.open("file", TO_WRITE | CREATE).handle();
        vec![
            client.write(&handle, 0, "content"),
            client.extended("fsync@openssh.com", Fields::default().string(handle)),
        ]
    });
    assert_eq!(synced, [OK, OK]);
}

#[test]
fn paths_are_expanded_as_openssh_does() {
    let world = World::start();
    world.both("mkdir folder; ln -s folder link", |client| {
        let names = [
            "~",
            "~/",
            "~/folder",
            "~bob",
            "~bob/",
            "~bob/x",
            "~bob/x/y",
            "~nobody-here",
            "~nobody-here/x",
            "~root",
            "",
            ".",
            "..",
            "folder",
            "link",
            "link/x",
            "missing",
            "missing/x",
            "/etc/../tmp",
            "/",
            "a~",
            "~alice/place/link",
            "~/../~",
        ];
        let expand = |name: &&str| client.extended("expand-path@openssh.com", path(name));
        names.iter().map(expand).collect()
    });
}

#[test]
fn data_are_copied_between_files_as_openssh_does() {
    let world = World::start();
    let files = "head -c 1000000 /dev/urandom >/tmp/random; cp /tmp/random from; echo old content >to; ln from hard";
    let files = files.replace(
        "head -c 1000000 /dev/urandom >/tmp/random",
        "[ -e /tmp/random ] || head -c 1000000 /dev/urandom >/tmp/random",
    );
    for (start, length, target) in [
        (0, 0, 0),
        (0, 10, 3),
        (999_990, 0, 5),
        (999_990, 10, 5),
        (999_990, 11, 5),
        (2_000_000, 0, 0),
        (2_000_000, 5, 0),
        (0, 1_000_000, 1 << 33),
        (u64::MAX, 1, 0),
        (0, 1, u64::MAX),
    ] {
        for flags in [TO_WRITE, TO_WRITE | APPEND] {
            world.both(&files, |client| {
                let from = client.open("from", TO_READ).handle();
                let to = client.open("to", flags).handle();
                let fields = Fields::default().string(from).long(start).long(length);
                vec![client.extended("copy-data", fields.string(to).long(target))]
            });
        }
    }
    let within = world.both(&files, |client| {
        let from = client.open("from", TO_READ | TO_WRITE).handle();
        let again = client.open("from", TO_READ | TO_WRITE).handle();
        let mut copy = |from: &[u8], to: &[u8]| {
            let fields = Fields::default().string(from).long(0).long(10);
            client.extended("copy-data", fields.string(to).long(20))
        };
        vec![
            copy(&from, &from),
            copy(&from, &again),
            copy(b"none", &from),
        ]
    });
    assert_eq!(within, [FAILURE, FAILURE, FAILURE]);
    // OpenSSH 9.2 says that it has copied what it could not write.
    let mut client = world.client(Server::Meshd);
    let (from, to) = (client.open("from", TO_READ), client.open("to", TO_READ));
    let fields = Fields::default().string(from.handle()).long(0).long(0);
    let copied = client.extended("copy-data", fields.string(to.handle()).long(0));
    assert_eq!(copied, NO_SUCH_FILE);
}

#[test]
fn accounts_are_named_as_openssh_names_them() {
    let world = World::start();
    let numbers = |all: &[u32]| {
        all.iter()
            .flat_map(|number| number.to_be_bytes())
            .collect::<Vec<_>>()
    };
    world.both("", |client| {
        let mut named = |users: &[u32], groups: &[u32]| {
            let fields = paths(numbers(users), numbers(groups));
            client.extended("users-groups-by-id@openssh.com", fields)
        };
        let mut answers = vec![
            named(&[], &[]),
            named(&[0, 1, 65534, 4_000_000], &[0, 5, 4_000_000, 0]),
            named(&[], &[0]),
        ];
        for name in ["alice", "nobody-here", "ali\u{e9}ce"] {
            answers.push(client.extended("home-directory", path(name)));
        }
        answers
    });
    // OpenSSH 9.2 tells everybody's home as the caller's.
    let root = world
        .client(Server::Meshd)
        .extended("home-directory", path("root"));
    assert!(matches!(&root, Reply::Names(names) if names[0].name == b"/root"));
}

#[test]
fn an_extension_that_is_none_is_unsupported() {
    let world = World::start();
    let answers = world.both("", |client| {
        let mut ask = |name| client.extended(name, path("some field"));
        vec![
            ask("no-such@example.com"),
            ask(""),
            ask("POSIX-RENAME@openssh.com"),
        ]
    });
    assert_eq!(answers, [OP_UNSUPPORTED, OP_UNSUPPORTED, OP_UNSUPPORTED]);
}
