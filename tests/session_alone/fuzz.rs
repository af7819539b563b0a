//! Bytes and messages at random against a session process: it never crashes, never hangs past its
//! deadlines, and never asks its worker for something out of order.
//!
//! As many seconds as `MESHD_FUZZ_SECONDS` says, else a fixed number of connections. A failure
//! names the seed; the same seed makes the same connection.

#[path = "../bin/puppet/dice.rs"]
mod dice;
mod messages;
mod raw_client;
mod strict_worker;

use std::io::Write;
use std::net::{Shutdown, TcpStream};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ExitStatus};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::client::DEADLINE;
use crate::started::{Start, Started, accept, accepted, start};
use dice::Dice;
use raw_client::RawClient;
use strict_worker::{Heard, StrictWorker};

/// Connections of each kind where no time is given.
const CONNECTIONS: u64 = 120;

/// Seconds to log in.
const GRACE: u32 = 3;

/// Connections at a time.
const AT_ONCE: usize = 4;

#[test]
fn fuzz_before_the_key_exchange() {
    let heard = run("before the key exchange", |dice| {
        connection(dice, |stream, dice| {
            let _ = (&stream).write_all(&messages::plain_bytes(dice));
            Some(())
        })
    });
    assert_eq!(heard, Heard::new(), "nothing is asked for before");
}

#[test]
fn fuzz_in_the_key_exchange() {
    let heard = run("in the key exchange", |dice| {
        connection(dice, |stream, dice| {
            let mut client = RawClient::new(stream);
            client.identify(b"SSH-2.0-OpenSSH_9.9")?;
            if !dice.once_in(3) {
                client.send_plain(&raw_client::offer())?;
            }
            for _ in 0..=dice.below(6) {
                client.send_plain(&messages::of_key_exchange(dice))?;
            }
            Some(())
        })
    });
    assert!(heard.keys().all(|kind| *kind == "Sign"), "{heard:?}");
    assert!(heard.contains_key("Sign"), "{heard:?}");
}

#[test]
fn fuzz_after_the_key_exchange() {
    let heard = run("after the key exchange", |dice| {
        connection(dice, |stream, dice| {
            let mut client = RawClient::new(stream);
            client.exchange_keys().expect("a key exchange");
            if !dice.once_in(4) {
                client.log_in()?;
                for number in 0..dice.below(4) {
                    client.send(&messages::open_session(number as u32))?;
                }
            }
            client.drain();
            for _ in 0..dice.below(40) {
                client.send(&messages::any(dice))?;
            }
            Some(())
        })
    });
    for kind in ["Sign", "Login", "AllocatePty", "Open"] {
        assert!(heard.contains_key(kind), "{kind} never came: {heard:?}");
    }
}

/// Runs connections until it is enough.
#[expect(
    clippy::print_stdout,
    reason = "the counts are part of what the test shows"
)]
fn run(what: &str, one: fn(&mut Dice) -> Heard) -> Heard {
    let heard = Mutex::new(Heard::new());
    let seconds: Option<u64> = std::env::var("MESHD_FUZZ_SECONDS")
        .ok()
        .map(|text| text.parse().expect("a number of seconds"));
    let first = seconds.unwrap_or(0) * 1_000_000;
    let (next, began) = (AtomicU64::new(first), Instant::now());
    let enough = |seed: u64| match seconds {
        Some(seconds) => began.elapsed() >= Duration::from_secs(seconds),
        None => seed >= CONNECTIONS,
    };
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if enough(seed) {
                        return;
                    }
                    let outcome = std::panic::catch_unwind(|| one(&mut Dice::new(seed)));
                    let Ok(asked) = outcome else {
                        panic!("seed {seed} {what}");
                    };
                    let mut heard = heard.lock().expect("no panic");
                    for (kind, times) in asked {
                        *heard.entry(kind).or_default() += times;
                    }
                }
            });
        }
    });
    let count = next.load(Ordering::Relaxed) - first;
    let heard = heard.into_inner().expect("no panic");
    println!(
        "{what}: {count} connections in {:?}, {heard:?}",
        began.elapsed()
    );
    heard
}

/// One connection from its beginning to the end of its session process.
fn connection(dice: &mut Dice, client: impl FnOnce(TcpStream, &mut Dice) -> Option<()>) -> Heard {
    let (listener, address) = accepted();
    let stream = TcpStream::connect(address).expect("a connection");
    stream.set_read_timeout(Some(DEADLINE)).expect("a deadline");
    let Started {
        mut child, worker, ..
    } = start(accept(&listener), Start::Right);
    let worker = StrictWorker::serve(worker, GRACE);
    let own = stream.try_clone().expect("a copy");
    // None when the server has ended it before all was sent.
    let _ = client(stream, dice);
    let end = *dice.pick(&[
        Some(Shutdown::Write),
        Some(Shutdown::Write),
        Some(Shutdown::Both),
        None,
    ]);
    let _ = end.map(|how| own.shutdown(how));
    let status = wait_for_end(&mut child, || {
        // Whoever has logged in may stay, and whoever has not must go.
        if worker.was_permitted() {
            let _ = own.shutdown(Shutdown::Both);
        }
    });
    assert_eq!(status.signal(), None, "killed: {status}");
    worker.heard()
}

/// Waits for the process's end, and calls `hurry` when it has had some time.
fn wait_for_end(child: &mut Child, hurry: impl Fn()) -> ExitStatus {
    const SOME_TIME: Duration = Duration::from_secs(2);
    let began = Instant::now();
    loop {
        if let Some(status) = child.try_wait().expect("a status") {
            return status;
        }
        if began.elapsed() >= DEADLINE {
            let _ = child.kill();
            panic!("the session process does not end");
        }
        if began.elapsed() >= SOME_TIME {
            hurry();
        }
        thread::sleep(Duration::from_millis(5));
    }
}
