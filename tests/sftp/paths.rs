//! What is done to a file by its name.

use crate::packets::*;
use crate::world::World;

/// One of everything that a name can be.
const EVERYTHING: &str = "
echo content >file; echo other >other
mkdir -p empty full closed hidden deep/er; touch full/file hidden/file
ln -s file link; ln -s nowhere dangling; ln -s missing/x lost; ln -s loop loop
ln -s ../file deep/up; ln -s / root; ln -s full directory; ln -s file/ slashed
mkfifo pipe
chown -hR alice:alice .; touch mine
chown root closed hidden; chmod 755 closed; chmod 700 hidden
";

const NAMES: [&str; 40] = [
    "file",
    "other",
    "empty",
    "full",
    "full/file",
    "closed",
    "closed/new",
    "hidden",
    "hidden/file",
    "deep/er",
    "link",
    "dangling",
    "lost",
    "loop",
    "deep/up",
    "root",
    "root/etc",
    "directory",
    "directory/file",
    "slashed",
    "pipe",
    "missing",
    "missing/",
    "missing/x",
    "missing/..",
    "file/",
    "file/x",
    "file/..",
    "link/",
    "full/",
    "full/..",
    "empty/.",
    ".",
    "..",
    "/",
    "//",
    "",
    "//tmp///",
    "deep/up/..",
    "empty/missing",
];

fn on_each_name(world: &World, kind: u8) -> Vec<Reply> {
    world.both(EVERYTHING, |client| {
        let mut answers: Vec<_> = NAMES
            .iter()
            .map(|name| client.ask(kind, path(name)))
            .collect();
        answers.push(client.ask(kind, path("x".repeat(256))));
        answers.push(client.ask(kind, path("x/".repeat(3000))));
        answers
    })
}

fn on_each_pair(world: &World, ask: impl Fn(&mut Client, &str, &str) -> Reply) {
    let old = [
        "file",
        "empty",
        "full",
        "link",
        "dangling",
        "missing",
        "hidden/file",
        "pipe",
        ".",
    ];
    let new = [
        "new",
        "file",
        "other",
        "empty",
        "full",
        "link",
        "dangling",
        "full/new",
        "missing/new",
        "closed/new",
        "file/new",
        "",
        "empty/",
        "full/file",
        "/dev/shm/new",
    ];
    for new in new {
        world.both(EVERYTHING, |client| {
            let answers = old.iter().map(|old| ask(client, old, new)).collect();
            client.ask(REMOVE, path("/dev/shm/new"));
            client.ask(RMDIR, path("/dev/shm/new"));
            answers
        });
    }
}

#[test]
fn every_request_about_a_name_has_the_answer_of_openssh() {
    let world = World::start();
    for kind in [STAT, LSTAT, REALPATH, READLINK, OPENDIR, REMOVE, RMDIR] {
        on_each_name(&world, kind);
    }
    let made = world.both(EVERYTHING, |client| {
        let mode = |permissions| Attributes {
            permissions,
            ..Attributes::default()
        };
        let mut make =
            |name: &str, permissions| client.ask(MKDIR, path(name).attributes(&mode(permissions)));
        let mut answers: Vec<_> = NAMES.iter().map(|name| make(name, None)).collect();
        answers.push(make("private", Some(0o40700)));
        answers.push(make("shared", Some(0o1777)));
        answers
    });
    assert_eq!(made[0], FAILURE, "there already");
    assert_eq!(made[21], OK, "a new one");
}

#[test]
fn links_are_made_as_openssh_makes_them() {
    let world = World::start();
    on_each_pair(&world, |client, old, new| {
        client.extended("hardlink@openssh.com", paths(old, new))
    });
    on_each_pair(&world, |client, target, link| {
        client.ask(SYMLINK, paths(target, link))
    });
    let read = world.both("", |client| {
        vec![
            client.ask(SYMLINK, paths("the target", "the link")),
            client.ask(READLINK, path("the link")),
        ]
    });
    let Reply::Names(names) = &read[1] else {
        panic!("{read:?}");
    };
    assert_eq!(names[0].name, b"the target");
}

#[test]
fn rename_takes_no_name_and_posix_rename_any() {
    let world = World::start();
    on_each_pair(&world, |client, old, new| {
        client.extended("posix-rename@openssh.com", paths(old, new))
    });
    on_each_pair(&world, |client, old, new| {
        // OpenSSH replaces a symbolic link that leads nowhere by what is no regular file.
        if new == "dangling" && !["file", "missing"].contains(&old) {
            return OK;
        }
        client.ask(RENAME, paths(old, new))
    });
    world.both("mkdir -p a/b", |client| {
        vec![client.ask(RENAME, paths("a", "a/b/c"))]
    });
}

#[test]
fn a_name_is_any_bytes() {
    let world = World::start();
    let name = b"\xff\xfe \n'\"\\\xc3\x28*?";
    let listed = world.both("", |client| {
        let flags = TO_WRITE | CREATE;
        let handle = client.open(name, flags).handle();
        let link = [name.as_slice(), b".link"].concat();
        let moved = [name.as_slice(), b".moved"].concat();
        vec![
            client.write(&handle, 0, "content"),
            client.close(&handle),
            client.ask(STAT, path(name)),
            client.ask(SYMLINK, paths(name, &link)),
            client.ask(READLINK, path(&link)),
            client.ask(REALPATH, path(&link)),
            client.ask(RENAME, paths(name, &moved)),
            client.ask(LSTAT, path(&moved)),
        ]
    });
    let Reply::Names(names) = &listed[4] else {
        panic!("{listed:?}");
    };
    assert_eq!(names[0].name, name);
}

#[test]
fn what_is_made_has_the_umask_of_the_session() {
    let world = World::start();
    let all = Attributes {
        permissions: Some(0o777),
        ..Attributes::default()
    };
    for umask in ["000", "027", "077"] {
        let trees = crate::world::BOTH.map(|server| {
            world.prepare("");
            let mut client = world.client_after(server, &format!("umask {umask}"));
            client.open("plain", TO_WRITE | CREATE);
            client.ask(OPEN, path("all").number(TO_WRITE | CREATE).attributes(&all));
            client.ask(MKDIR, path("folder").attributes(&Attributes::default()));
            client.ask(MKDIR, path("open folder").attributes(&all));
            world.tree()
        });
        assert_eq!(trees[0], trees[1]);
        assert_eq!(
            trees[1].contains("folder d 777"),
            umask == "000",
            "{}",
            trees[1]
        );
    }
}
