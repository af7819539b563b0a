//! Plays whoever meets the broker: the manager, the session process, a client, a login shell.
//!
//! | called as | plays |
//! |---|---|
//! | `puppet offer accepted\|connected\|listening ADDRESS DEVICE` | a manager that hands over one socket and prints the answer |
//! | `puppet serve ADDRESS DEVICE` | a manager that hands over every connection |
//! | `puppet call ADDRESS FIRST COUNT AT_ONCE` | clients, each with the seed of its session process |
//! | `puppet search PID FILE` | root, who looks for a host key in a process |
//! | the session process's name, without arguments | a session process that does what `/var/lib/puppet/script` says |
//! | `meshd-helper sockets` | a helper that says nothing, or nonsense where the script is `nonsense` |
//! | `recorder`, `-recorder` | a login shell that writes down who runs it |

mod client;
mod dice;
mod forwards;
mod manager;
mod model;
mod orders;
mod packet;
mod recorder;
mod report;
mod script;
mod search;
mod trespass;

use std::io::Write;
use std::os::fd::BorrowedFd;

/// The descriptor on which a session process has its client.
const CLIENT: i32 = 3;

/// The descriptor on which a session process speaks with its worker.
const WORKER: i32 = 5;

/// The descriptor on which a helper has its worker.
const HELPERS_WORKER: i32 = 3;

/// What a session process is to do: lines for [`script`], or the one word `random`.
const SCRIPT: &str = "/var/lib/puppet/script";

fn main() {
    let arguments: Vec<String> = std::env::args_os()
        .map(|argument| argument.to_string_lossy().into_owned())
        .collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        [name, rest @ ..] if name.ends_with("recorder") => recorder::run(rest),
        [_, "offer", what, address, device] => manager::offer(what, address, device),
        [_, "serve", address, device] => manager::serve(address, device),
        [_, "call", address, first, count, at_once] => client::run(address, first, count, at_once),
        [_, "search", pid, file] => search::run(pid, file),
        ["meshd-helper", "sockets"] => play_helper(),
        [_] => {
            let script = std::fs::read_to_string(SCRIPT).expect("a script");
            if script.trim() == "random" {
                orders::run();
            } else {
                script::run(&script);
            }
        }
        _ => panic!("{words:?} is nothing that the puppet plays"),
    }
}

/// Until it is killed.
fn play_helper() {
    if std::fs::read_to_string(SCRIPT).is_ok_and(|script| script.trim() == "nonsense") {
        // SAFETY: the worker starts a helper with its socket at this number.
        let worker = unsafe { BorrowedFd::borrow_raw(HELPERS_WORKER) };
        nix::unistd::write(worker, b"nonsense").expect("the worker listens");
    }
    loop {
        std::thread::park();
    }
}

fn say(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
    let _ = std::io::stdout().flush();
}
