//! Clients that have their session processes do what a seed says, and judge what came of it.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddrV4, TcpStream};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use meshd_contract::paths;

use crate::report::BAD;
use crate::say;

/// Longer than any connection takes, also on a busy machine.
const DEADLINE: Duration = Duration::from_secs(90);

/// Calls once for each seed, `at_once` at a time; prints a line for each connection that did not
/// go as it should, then how many ended how.
pub(crate) fn run(address: &str, first: &str, count: &str, at_once: &str) {
    let number = |word: &str| word.parse::<u64>().expect("a number");
    let address = SocketAddrV4::new(address.parse().expect("an address"), paths::SSH_PORT);
    let next = AtomicU64::new(number(first));
    let end = number(first) + number(count);
    let ends: Mutex<BTreeMap<String, u64>> = Mutex::default();
    thread::scope(|scope| {
        for _ in 0..number(at_once) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end {
                        return;
                    }
                    let how = call(address, seed).unwrap_or_else(|why| {
                        say(&format!("seed {seed}: {why}"));
                        "wrong".to_owned()
                    });
                    *ends.lock().expect("no panic").entry(how).or_default() += 1;
                }
            });
        }
    });
    let ends = ends.into_inner().expect("no panic");
    let counts: Vec<String> = ends.iter().map(|(how, n)| format!("{how}={n}")).collect();
    say(&format!("done {}", counts.join(" ")));
}

/// How the connection ended, in a word; an error if it broke a promise.
fn call(address: SocketAddrV4, seed: u64) -> Result<String, String> {
    let failed = |error: std::io::Error| error.to_string();
    let mut stream = TcpStream::connect_timeout(&address.into(), DEADLINE).map_err(failed)?;
    stream.set_read_timeout(Some(DEADLINE)).map_err(failed)?;
    stream.write_all(&seed.to_le_bytes()).map_err(failed)?;
    let mut said = Vec::new();
    // A session process that is killed may leave a reset; what it said before has been read.
    let read = stream.read_to_end(&mut said);
    let said = String::from_utf8_lossy(&said).into_owned();
    if let Err(error) = read
        && error.kind() == std::io::ErrorKind::WouldBlock
    {
        return Err(format!("still open; it said {said:?}"));
    }
    if said.contains(BAD) {
        return Err(said);
    }
    match said.lines().last() {
        Some(line) => Ok(line.split(':').next().unwrap_or_default().to_owned()),
        None => Err("ended without a word".to_owned()),
    }
}
