//! A session that stays open.

use std::io::{BufRead, BufReader, Write};
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use meshd_lab::Running;

use crate::site::{PATIENCE, Site};

/// A session of alice's on web1 that answers each line.
pub(crate) struct Talk {
    ssh: Running,
    answers: Receiver<String>,
}

impl Talk {
    /// Begins it, and has had an answer.
    pub(crate) fn begin(site: &Site) -> Self {
        let echo = "alice@web1 'while read line; do echo got $line; done'";
        let mut ssh = site.ssh(echo).spawn().expect("ssh");
        let lines = BufReader::new(ssh.stdout.take().expect("its output")).lines();
        let (sender, answers) = channel();
        thread::spawn(move || {
            for line in lines.map_while(|line| line.ok()) {
                let _ = sender.send(line);
            }
        });
        let mut talk = Self { ssh, answers };
        talk.assert_alive("from the beginning");
        talk
    }

    /// The session answers this line.
    pub(crate) fn assert_alive(&mut self, words: &str) {
        let input = self.ssh.stdin.as_mut().expect("its input");
        writeln!(input, "{words}").expect("written");
        let answer = self.answers.recv_timeout(PATIENCE);
        assert_eq!(answer, Ok(format!("got {words}")), "the session has ended");
    }
}
