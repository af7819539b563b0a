//! Open files.

use crate::packets::*;
use crate::world::World;

/// Opens with these flags, then reads, writes beyond the start, reads again.
fn used(client: &mut Client, name: &str, flags: u32) -> Vec<Reply> {
    let opened = client.open(name, flags);
    let handle = opened.handle();
    vec![
        opened,
        client.read(&handle, 0, 4),
        client.write(&handle, 2, "XY"),
        client.write(&handle, u64::MAX, "Z"),
        client.read(&handle, 1, 100),
        client
            .ask(FSTAT, Fields::default().string(&handle))
            .timeless(),
        client.close(&handle),
        client.close(&handle),
    ]
}

#[test]
fn every_combination_of_flags_does_what_it_does_in_openssh() {
    let world = World::start();
    let script = "
        echo content >file; mkdir folder; echo secret >secret; echo public >public; mkdir closed
        ln -s file link; ln -s nowhere dangling; chown -hR alice . ; touch mine
        chown root secret public closed; chmod 600 secret; chmod 644 public
        printf '%s' 1234567890 >long; chown alice long";
    let names = [
        "file",
        "long",
        "new",
        "folder",
        "secret",
        "public",
        "closed/new",
        "link",
        "dangling",
        "missing/new",
        "",
        "file/new",
    ];
    for flags in 0..64 {
        world.both(script, |client| {
            let mut answers = Vec::new();
            for name in names {
                answers.extend(used(client, name, flags));
            }
            answers
        });
    }
}

#[test]
fn reads_and_writes_at_the_edges_are_as_in_openssh() {
    let world = World::start();
    world.both("head -c 300000 /dev/zero >file; : >empty", |client| {
        let handle = client.open("file", TO_READ | TO_WRITE).handle();
        let empty = client.open("empty", TO_READ).handle();
        let mut answers = Vec::new();
        for (offset, size) in [
            (0, 0),
            (0, 1),
            (299_999, 10),
            (300_000, 10),
            (300_000, 0),
            (1 << 40, 10),
            (u64::MAX, 10),
            (u64::MAX, 0),
            (1 << 63, 0),
            (0, 261_120),
            (0, 261_121),
            (0, u32::MAX),
        ] {
            answers.push(client.read(&handle, offset, size));
            answers.push(client.read(&empty, offset, size));
        }
        for (offset, bytes) in [(0, ""), (400_000, ""), (u64::MAX, ""), (400_000, "end")] {
            answers.push(client.write(&handle, offset, bytes));
        }
        answers.push(client.write(&handle, 0, vec![7; 261_120]));
        answers.push(client.ask(FSTAT, Fields::default().string(&handle)));
        answers
    });
}

#[test]
fn a_handle_that_is_none_has_the_answer_of_openssh() {
    let world = World::start();
    world.both("mkdir folder; echo content >file", |client| {
        let folder = client.ask(OPENDIR, path("folder")).handle();
        let file = client.open("file", TO_READ).handle();
        let handles = [
            folder,
            b"\0\0\0\x63".to_vec(),
            b"\xff\xff\xff\xff".to_vec(),
            b"".to_vec(),
            b"\0\0\0".to_vec(),
            b"\0\0\0\0\0".to_vec(),
            vec![0; 300],
        ];
        let mut answers = Vec::new();
        for handle in &handles {
            let fields = || Fields::default().string(handle);
            answers.push(client.read(handle, 0, 10));
            answers.push(client.write(handle, 0, "x"));
            answers.push(client.ask(FSTAT, fields()));
            answers.push(client.ask(FSETSTAT, fields().attributes(&Attributes::default())));
            answers.push(client.extended("fsync@openssh.com", fields()));
            answers.push(client.extended("fstatvfs@openssh.com", fields()));
            let copy = fields().long(0).long(0).string(&file).long(0);
            answers.push(client.extended("copy-data", copy));
        }
        answers.push(client.ask(READDIR, Fields::default().string(&file)));
        for handle in &handles {
            answers.push(client.close(handle));
        }
        answers
    });
}
