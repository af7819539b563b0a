//! What is changed of a file.

use crate::packets::*;
use crate::world::World;

fn each_change(world: &World) -> Vec<Attributes> {
    let id = |option| {
        let said = world
            .host()
            .sh(&format!("id {option} alice"))
            .expect("an account");
        said.stdout.trim().parse::<u32>().expect("a number")
    };
    let own = (id("-u"), id("-g"));
    let none = Attributes::default;
    let permissions = |mode| Attributes {
        permissions: Some(mode),
        ..none()
    };
    let size = |size| Attributes {
        size: Some(size),
        ..none()
    };
    let owner = |owner| Attributes {
        owner: Some(owner),
        ..none()
    };
    vec![
        none(),
        permissions(0o600),
        permissions(0o106_755),
        permissions(0),
        size(3),
        size(100_000),
        size(u64::MAX),
        size(1 << 62),
        owner(own),
        owner((0, 0)),
        owner((u32::MAX, u32::MAX)),
        Attributes {
            times: Some((1, u32::MAX)),
            ..none()
        },
        Attributes {
            size: Some(4),
            owner: Some((0, own.1)),
            permissions: Some(0o640),
            times: Some((1_000_000_000, 1_000_000_001)),
        },
    ]
}

const FILES: &str = "
    echo content >file; mkdir folder; echo other >other; ln -s file link; ln -s nowhere dangling
    chown -hR alice:alice .; touch mine; chown root other; chmod 644 other";

#[test]
fn attributes_change_as_in_openssh() {
    let world = World::start();
    let names = ["file", "folder", "link", "dangling", "other", "missing", ""];
    for change in each_change(&world) {
        world.both(FILES, |client| {
            let set = |name: &&str| client.ask(SETSTAT, path(name).attributes(&change));
            names.iter().map(set).collect()
        });
        world.both(FILES, |client| {
            let fields = |name: &&str| path(name).attributes(&change);
            let set = |name| client.extended("lsetstat@openssh.com", fields(name));
            names.iter().map(set).collect()
        });
        for flags in [TO_READ, TO_READ | TO_WRITE] {
            world.both(FILES, |client| {
                let handle = client.open("file", flags).handle();
                let fields = Fields::default().string(handle).attributes(&change);
                vec![client.ask(FSETSTAT, fields)]
            });
        }
    }
}

#[test]
fn the_times_that_are_set_are_told() {
    let world = World::start();
    let times = Some((1_000_000_000, 3_000_000_000));
    let change = Attributes {
        times,
        ..Attributes::default()
    };
    for server in crate::world::BOTH {
        world.prepare(FILES);
        let mut client = world.client(server);
        let link = path("link").attributes(&change);
        assert_eq!(client.extended("lsetstat@openssh.com", link), OK);
        assert_eq!(client.ask(SETSTAT, path("folder").attributes(&change)), OK);
        for name in ["link", "folder"] {
            let Reply::Attributes(attributes) = client.ask(LSTAT, path(name)) else {
                panic!("no attributes of {name}");
            };
            assert_eq!(attributes.times, times, "{name} by {server:?}");
        }
    }
}

#[test]
fn what_else_a_client_says_of_a_file_is_passed_over() {
    let world = World::start();
    let extended = path("file")
        .number(0x8000_0004)
        .number(0o600)
        .number(2)
        .string("one@example.com")
        .string("value")
        .string("two@example.com")
        .string("");
    let answers = world.both(FILES, |client| {
        vec![
            client.ask(SETSTAT, extended.clone()),
            client.ask(STAT, path("file")),
        ]
    });
    assert_eq!(answers[0], OK);
}
