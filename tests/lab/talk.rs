//! A session that shows that it lives.

use std::io::{BufRead, BufReader, Write};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use crate::{DEADLINE, HostCommand, Running};

/// A command, such as `ssh` with [`Talk::SCRIPT`], that answers each line.
#[derive(Debug)]
pub struct Talk {
    running: Running,
    answers: Receiver<String>,
    patience: Duration,
}

impl Talk {
    /// What is to run at the far end.
    pub const SCRIPT: &str = "while read line; do echo got $line; done";

    /// Starts the command, and has had an answer.
    ///
    /// # Panics
    /// If it does not answer.
    #[must_use]
    pub fn begin(command: HostCommand) -> Self {
        Self::begin_within(command, DEADLINE)
    }

    /// The same, where each answer may take this long.
    ///
    /// # Panics
    /// If it does not answer.
    #[must_use]
    pub fn begin_within(command: HostCommand, patience: Duration) -> Self {
        let mut running = command.spawn().expect("the command");
        let lines = BufReader::new(running.stdout.take().expect("its output")).lines();
        let (sender, answers) = channel();
        thread::spawn(move || {
            for line in lines.map_while(|line| line.ok()) {
                let _ = sender.send(line);
            }
        });
        let mut talk = Self {
            running,
            answers,
            patience,
        };
        talk.assert_alive("from the beginning");
        talk
    }

    /// Says these words and waits for the answer.
    ///
    /// # Panics
    /// If none comes: the session has ended, or hangs.
    pub fn assert_alive(&mut self, words: &str) {
        let input = self.running.stdin.as_mut().expect("its input");
        writeln!(input, "{words}").expect("the session is open");
        let answer = self.answers.recv_timeout(self.patience);
        assert_eq!(answer, Ok(format!("got {words}")), "the session is over");
    }

    /// The command itself.
    pub fn running(&mut self) -> &mut Running {
        &mut self.running
    }
}
