//! Large files, full disks, and servers that end.

use std::time::Duration;

use meshd_lab::DEADLINE;
use nix::sys::signal::Signal;

use crate::packets::*;
use crate::world::{BOTH, Server, World};

#[test]
fn a_file_of_more_than_4_gib_is_read_and_written() {
    let world = World::start();
    const FAR: u64 = (5 << 30) + 12_345;
    let answers = world.both("truncate -s 4294967300 file; chown alice file", |client| {
        let handle = client.open("file", TO_READ | TO_WRITE).handle();
        let size = |size| Attributes {
            size: Some(size),
            ..Attributes::default()
        };
        let fstat = || Fields::default().string(&handle);
        vec![
            client.ask(STAT, path("file")),
            client.read(&handle, 4_294_967_290, 100),
            client.write(&handle, FAR, "far away"),
            client.read(&handle, FAR, 100),
            client.read(&handle, FAR - 2, 4),
            client.ask(FSTAT, fstat()),
            client.ask(FSETSTAT, fstat().attributes(&size(7 << 30))),
            client.read(&handle, (7 << 30) - 3, 100),
            client.read(&handle, 7 << 30, 100),
            client.ask(SETSTAT, path("file").attributes(&size((6 << 30) + 1))),
            client.ask(LSTAT, path("file")),
            client.close(&handle),
        ]
    });
    assert_eq!(answers[1], Reply::Data(vec![0; 10]));
    assert_eq!(answers[3], Reply::Data(b"far away".to_vec()));
    assert_eq!(answers[4], Reply::Data(b"\0\0fa".to_vec()));
    assert!(matches!(&answers[10], Reply::Attributes(a) if a.size == Some((6 << 30) + 1)));
}

#[test]
fn a_full_disk_is_said_and_what_was_taken_is_there() {
    let world = World::start();
    let disk = "mkdir -p /mnt/small; umount /mnt/small 2>/dev/null || :
                mount -t tmpfs -o size=1m,mode=777 small /mnt/small";
    let [theirs, ours] = BOTH.map(|server| {
        world.prepare("");
        world.host().sh(disk).expect("a small disk");
        let mut client = world.client(server);
        let handle = client.open("/mnt/small/file", TO_WRITE | CREATE).handle();
        let piece = 30_000;
        let write =
            |number: u64| client.write(&handle, number * piece, [b'a' + number as u8; 30_000]);
        let answers: Vec<_> = (0..40).map(write).collect();
        let words = client.words.clone();
        let sum = world
            .host()
            .sh("head -c 1020000 /mnt/small/file | md5sum")
            .expect("a sum");
        (answers, sum.stdout, words, client.close(&handle))
    });
    assert_eq!(theirs.0, ours.0);
    assert_eq!((theirs.1, theirs.3), (ours.1, ours.3));
    assert!(ours.0.starts_with(&vec![OK; 34]) && ours.0.ends_with(&[FAILURE]));
    assert_eq!(ours.2, "No space left on device");
}

#[test]
fn a_server_killed_while_it_writes_has_kept_what_it_acknowledged() {
    let world = World::start();
    const PIECE: usize = 32 << 10;
    for server in BOTH {
        world.prepare("");
        let mut client = world.client(server);
        let handle = client.open("file", TO_WRITE | CREATE).handle();
        let mut acknowledged = 0;
        for number in 0..200 {
            let fields = Fields::default()
                .string(&handle)
                .long(number * PIECE as u64);
            client.begin(WRITE, &fields.string([number as u8; PIECE]));
            if number >= 16 {
                assert_eq!(client.reply().1, OK);
                acknowledged += 1;
            }
        }
        client.server.signal(Signal::SIGKILL).expect("it runs");
        client.server.wait(DEADLINE).expect("it ends");
        let path = format!("{}/file", crate::world::PLACE);
        let kept = world.host().read(path).expect("the file");
        assert!(
            kept.len() >= acknowledged * PIECE,
            "{server:?}: {}",
            kept.len()
        );
        for (number, piece) in kept.chunks(PIECE).take(acknowledged).enumerate() {
            assert!(piece.iter().all(|byte| *byte == number as u8), "{number}");
        }
    }
}

#[test]
fn the_end_of_the_input_is_the_end_of_the_server() {
    let world = World::start();
    for server in BOTH {
        world.prepare("echo content >file");
        let mut client = world.client(server);
        client.open("file", TO_READ);
        drop(client.server.stdin.take());
        let status = client
            .server
            .wait(Duration::from_secs(30))
            .expect("it ends");
        assert!(status.success(), "{server:?}: {status}");
    }
}

#[test]
fn a_client_that_is_gone_is_the_end_of_the_server() {
    let world = World::start();
    world.prepare("head -c 1000000 /dev/zero >file");
    let mut client = world.client(Server::Meshd);
    let handle = client.open("file", TO_READ).handle();
    drop(client.server.stdout.take());
    client.begin(
        READ,
        &Fields::default().string(&handle).long(0).number(1000),
    );
    let status = client.server.wait(DEADLINE).expect("it ends");
    assert_eq!(status.code(), Some(1));
}
