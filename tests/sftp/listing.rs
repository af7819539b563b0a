//! Directories.

use std::collections::BTreeMap;

use crate::packets::*;
use crate::world::{BOTH, Server, World};

/// Everything that a directory is said to hold, by name.
fn list(client: &mut Client, name: &str) -> BTreeMap<Vec<u8>, Name> {
    let handle = client.ask(OPENDIR, path(name)).handle();
    let mut all = BTreeMap::new();
    loop {
        match client.ask(READDIR, Fields::default().string(&handle)) {
            Reply::Names(names) => {
                for name in names {
                    let before = all.insert(name.name.clone(), name);
                    assert_eq!(before, None, "each name once");
                }
            }
            end => {
                assert_eq!(end, EOF);
                assert_eq!(client.close(&handle), OK);
                return all;
            }
        }
    }
}

#[test]
fn a_listing_is_openssh_s_to_the_letter() {
    let world = World::start();
    world.prepare(
        "mkdir folder; mkfifo pipe; ln -s folder link; mknod device c 1 3; mknod disk b 7 0
         touch -d '2001-02-03 04:05:06' old; touch -d '2100-01-01' future; : >\"$(printf '\\377')\"
         touch \"$(printf 'x%.0s' $(seq 255))\"; head -c 12345678 /dev/zero >large
         for mode in 0000 7777 4644 2755 1777 0421; do touch $mode; chmod $mode $mode; done
         touch nobodys; chown 12345:23456 nobodys; touch mine; touch bobs; chown bob:alice bobs
         python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind(\"socket\")'
         touch -d '-1 hour' [a-eg-z]* folder; chown alice .",
    );
    let [theirs, ours] = BOTH.map(|server| list(&mut world.client(server), "."));
    for (name, theirs) in &theirs {
        let text = |name: &Name| String::from_utf8_lossy(&name.long).into_owned();
        assert_eq!(text(theirs), text(&ours[name]));
    }
    assert_eq!(theirs, ours);
}

#[test]
fn a_directory_of_100_000_entries_is_listed_whole() {
    let world = World::start();
    world.prepare("mkdir many; (cd many; seq -f 'an entry with a number %06.0f' 100000 | xargs -d '\\n' touch)");
    let [theirs, ours] = BOTH.map(|server| list(&mut world.client(server), "many"));
    assert_eq!(ours.len(), 100_002);
    assert!(theirs == ours, "the same, but for their order");
}

#[test]
fn a_directory_that_goes_while_it_is_listed_ends() {
    let world = World::start();
    world.both("mkdir folder; touch folder/file", |client| {
        let handle = client.ask(OPENDIR, path("folder")).handle();
        vec![
            client.ask(REMOVE, path("folder/file")),
            client.ask(RMDIR, path("folder")),
            client.ask(READDIR, Fields::default().string(&handle)),
            client.close(&handle),
        ]
    });
}

#[test]
fn every_packet_of_a_listing_is_one_that_all_clients_take() {
    let world = World::start();
    world.prepare("mkdir long; cd long; for n in $(seq 1000 1999); do touch $(printf \"$n%.0s\" $(seq 60)); done; cd ..");
    let mut client = world.client(Server::Meshd);
    let handle = client.ask(OPENDIR, path("long")).handle();
    loop {
        client.begin(READDIR, &Fields::default().string(&handle));
        let (kind, packet) = client.receive().expect("an answer");
        if kind == 101 {
            return;
        }
        assert!(packet.len() < 34_000, "{}", packet.len());
    }
}
