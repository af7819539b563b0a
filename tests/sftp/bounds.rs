//! Bounds on what a client can make the server hold.

use std::io::Write;
use std::thread;

use meshd_lab::{DEADLINE, wait_for};

use crate::packets::*;
use crate::world::{Server, World};

/// The most memory that the server may ever have, in KiB.
const MOST_KIB: u64 = 16 << 10;

fn memory_kib(pid: u32, what: &str) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with(what))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

#[test]
fn a_client_that_takes_no_answer_fills_no_memory() {
    let world = World::start();
    world.prepare("head -c 10000000 /dev/zero >file");
    let mut client = world.client(Server::Meshd);
    let handle = client.open("file", TO_READ).handle();
    let pid = client.server.pid().expect("it runs");

    const ASKED: u32 = 40_000;
    let mut stdin = client.server.stdin.take().expect("a pipe");
    let request = |id: u32| {
        let fields = Fields::default().string(&handle).long(0).number(261_120);
        let length = (5 + fields.0.len()) as u32;
        [
            &length.to_be_bytes()[..],
            &[READ],
            &id.to_be_bytes(),
            &fields.0,
        ]
        .concat()
    };
    let requests: Vec<u8> = (0..ASKED).flat_map(request).collect();
    let asking = thread::spawn(move || stdin.write_all(&requests).map(|()| stdin));

    wait_for("a server that waits for its client", DEADLINE, || {
        let call = std::fs::read_to_string(format!("/proc/{pid}/wchan")).ok()?;
        call.contains("pipe_write").then_some(())
    })
    .expect("it waits");
    let most = memory_kib(pid, "VmHWM:").expect("it runs");
    assert!(most < MOST_KIB, "{most} KiB");

    for id in 0..200 {
        let (answered, reply) = client.reply();
        assert_eq!((answered, reply), (id, Reply::Data(vec![0; 261_120])));
    }
    let most = memory_kib(pid, "VmHWM:").expect("it runs");
    assert!(most < MOST_KIB, "{most} KiB");
    client.server.kill().expect("ended");
    let _ = asking.join().expect("no panic");
}

#[test]
fn handles_have_a_bound_that_no_limit_of_the_host_moves() {
    let world = World::start();
    world.prepare("echo content >file");
    let mut client = world.client_after(Server::Meshd, "ulimit -n 5000");
    let opened = (0..4096).map(|_| client.open("file", TO_READ));
    assert!(
        opened
            .into_iter()
            .all(|reply| matches!(reply, Reply::Handle(_)))
    );
    assert_eq!(client.open("file", TO_READ), FAILURE);
    assert_eq!(client.words, "Too many open files");
    let told = client.extended("limits@openssh.com", Fields::default());
    assert!(matches!(&told, Reply::Extended(bytes) if bytes.ends_with(&4096u64.to_be_bytes())));
}
