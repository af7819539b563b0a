//! One random conversation with the worker, from a seed that the client sends; what it comes to
//! is reported to the client, and so is every promise that the worker breaks.

use std::fs::File;
use std::io::Read;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::Duration;

use meshd_contract::broker::{ExitStatus, FromSession, Hello, Open, OpenKind, ToSession};
use meshd_contract::wire::{self, WireError};
use nix::errno::Errno;
use nix::sys::socket::{Shutdown, setsockopt, shutdown, sockopt};
use nix::sys::stat::{SFlag, fstat};
use nix::sys::time::TimeVal;

use crate::WORKER;
use crate::dice::Dice;
use crate::model::{Model, Verdict};
use crate::packet::Packet;
use crate::report::Report;

/// One conversation in so many is an honest one.
const HONEST: u64 = 50;

/// A worker that neither answers nor ends for this long is stuck.
const PATIENCE: Duration = Duration::from_secs(40);

/// The most answers that a worker surely keeps for a session process that does not read them.
const SURELY_KEPT: usize = 64;

pub(crate) fn run() {
    let mut report = Report::new();
    let seed = report.read_seed();
    let mut conversation = Conversation::new(report);
    if seed.is_multiple_of(HONEST) {
        conversation.be_honest();
    } else {
        conversation.be_hostile(&mut Dice::new(seed));
    }
}

struct Conversation {
    report: Report,
    hello: Hello,
    model: Model,
    /// It is not known any more whether the worker is still there.
    unsure: bool,
    /// Kept, as the last close of a master hangs up.
    masters: Vec<OwnedFd>,
}

impl Conversation {
    fn new(mut report: Report) -> Self {
        // SAFETY: the worker has put its socket there, and it stays open.
        let worker = unsafe { BorrowedFd::borrow_raw(WORKER) };
        let patience = TimeVal::new(PATIENCE.as_secs().cast_signed(), 0);
        setsockopt(&worker, sockopt::ReceiveTimeout, &patience).expect("a deadline");
        setsockopt(&worker, sockopt::SendTimeout, &patience).expect("a deadline");
        let hello = match wire::receive::<ToSession>(worker) {
            Ok((ToSession::Hello(hello), fds)) if fds.is_empty() => hello,
            other => report.bad(&format!("the first message was {other:?}")),
        };
        Self {
            model: Model::new(&hello),
            report,
            hello,
            unsure: false,
            masters: Vec::new(),
        }
    }

    fn be_hostile(&mut self, dice: &mut Dice) {
        // Most conversations of pure chance would end at their first message.
        if !dice.once_in(4) {
            self.send(&Packet::of(login("alice")));
            if !dice.once_in(8) {
                self.settle();
            }
        }
        for _ in 0..dice.below(12) {
            if dice.once_in(1000) {
                self.flood();
            }
            self.send(&self.next(dice));
            if !dice.once_in(4) {
                self.settle();
            }
        }
        self.end(dice);
    }

    /// Mostly something that does not end the conversation, so that it gets somewhere.
    fn next(&self, dice: &mut Dice) -> Packet {
        loop {
            let packet = Packet::random(dice);
            let again = match self.model.clone().send(&packet) {
                Verdict::Fine => false,
                Verdict::Perhaps => !dice.once_in(3),
                Verdict::Fatal => !dice.once_in(30),
            };
            if !again {
                return packet;
            }
        }
    }

    fn end(&mut self, dice: &mut Dice) {
        match dice.below(4) {
            0 => self.settle(),
            1 => {
                let _ = shutdown(WORKER, Shutdown::Write);
                self.unsure = true;
                while self.read() {}
            }
            2 => drop(shutdown(WORKER, Shutdown::Both)),
            _ => {}
        }
        let permitted = self.model.is_permitted();
        let how = if permitted { "permitted" } else { "ended" };
        self.report.say(how);
    }

    /// More questions than the worker can keep the answers of.
    fn flood(&mut self) {
        self.unsure = true;
        self.report.say("flood");
        for _ in 0..600 {
            let hash = vec![7; 32];
            self.send(&Packet::of(FromSession::Sign { key: 0, hash }));
        }
    }

    fn send(&mut self, packet: &Packet) {
        let verdict = self.model.send(packet);
        let too_many = self.model.unsettled() > SURELY_KEPT;
        self.unsure |= verdict == Verdict::Perhaps || too_many;
        let what = format!("{:?}", packet.message.as_ref().map(shape));
        match verdict {
            Verdict::Fatal => self.report.say(&format!("fatal: {what}")),
            Verdict::Perhaps => self.report.say(&format!("perhaps: {what}")),
            Verdict::Fine => {}
        }
        match packet.send(WORKER) {
            Ok(()) if verdict == Verdict::Fatal => self.expect_end(&what),
            Ok(()) => {}
            // Nothing was sent: a form that the kernel itself refuses.
            Err(Errno::EMSGSIZE | Errno::EINVAL | Errno::ETOOMANYREFS) => {
                self.unsure = true;
                self.report.say("not sent");
            }
            Err(Errno::EAGAIN) => self.report.bad("the worker does not read"),
            Err(_) => self.is_gone(),
        }
    }

    /// The worker must end the connection now, and do nothing that it was not asked for before.
    fn expect_end(&mut self, what: &str) -> ! {
        self.unsure = true;
        while self.read() {}
        self.report.say(&format!("fatal: {what}"));
        std::process::exit(0)
    }

    fn is_gone(&mut self) -> ! {
        if self.unsure {
            self.report.say("gone");
            std::process::exit(0)
        }
        self.report.bad("the worker has ended the connection")
    }

    /// Reads until every answer has come. Where it is not known whether one will, a signature that
    /// is asked for then comes after it.
    fn settle(&mut self) {
        if !self.model.is_settled() && self.model.is_answered() {
            let hash = vec![0; 32];
            self.send(&Packet::of(FromSession::Sign { key: 0, hash }));
        }
        while !self.model.is_answered() {
            if !self.read() {
                self.is_gone();
            }
        }
    }

    /// Reads one message; false at the end.
    fn read(&mut self) -> bool {
        // SAFETY: the worker has put its socket there, and it stays open.
        let worker = unsafe { BorrowedFd::borrow_raw(WORKER) };
        match wire::receive::<ToSession>(worker) {
            Ok((message, fds)) => {
                if let Err(broken) = self.model.receive(&message) {
                    self.report.bad(&broken);
                }
                self.check_descriptors(&message, fds);
                true
            }
            Err(WireError::Closed) => false,
            Err(WireError::WouldBlock) => self.report.bad("the worker neither answers nor ends"),
            Err(error) => self.report.bad(&error.to_string()),
        }
    }

    fn check_descriptors(&mut self, message: &ToSession, fds: Vec<OwnedFd>) {
        let kind = |fd: &OwnedFd| {
            let mode = fstat(fd).expect("a status").st_mode;
            SFlag::from_bits_truncate(mode) & SFlag::S_IFMT
        };
        let right = match message {
            ToSession::Pty { .. } => {
                fds.len() == 1 && fds.iter().all(|fd| kind(fd) == SFlag::S_IFCHR)
            }
            ToSession::Opened { .. } => {
                matches!(fds.len(), 0 | 3) && fds.iter().all(|fd| kind(fd) == SFlag::S_IFIFO)
            }
            ToSession::Hello(_)
            | ToSession::Signed { .. }
            | ToSession::Asking
            | ToSession::Held(_)
            | ToSession::Permitted(_)
            | ToSession::Denied(_)
            | ToSession::Failed { .. }
            | ToSession::Notice { .. }
            | ToSession::Exited { .. }
            | ToSession::Listening { .. }
            | ToSession::NotForwarded { .. }
            | ToSession::Revoked => fds.is_empty(),
            ToSession::Connected { .. } | ToSession::Accepted { .. } => fds.len() == 1,
        };
        if !right {
            let count = fds.len();
            self.report
                .bad(&format!("{count} descriptors with {message:?}"));
        }
        if matches!(message, ToSession::Pty { .. }) {
            self.masters.extend(fds);
        }
    }

    /// What a session process in its right mind does; it must work whatever the others do.
    fn be_honest(&mut self) {
        if self.hello.host_keys.is_empty() {
            self.report.bad("there is no host key");
        }
        let hash = vec![1; 32];
        for message in [FromSession::Sign { key: 0, hash }, login("alice")] {
            self.send(&Packet::of(message));
            self.settle();
        }
        self.send(&Packet::of(FromSession::Open(Open {
            channel: 0,
            kind: OpenKind::Exec(b"whoami".to_vec()),
            term: Vec::new(),
            environment: Vec::new(),
        })));
        let said = self.output_of_program();
        if !said.starts_with("uid=") {
            self.report.bad(&format!("the program said {said:?}"));
        }
        self.report.say("honest");
    }

    fn output_of_program(&mut self) -> String {
        // SAFETY: the worker has put its socket there, and it stays open.
        let worker = unsafe { BorrowedFd::borrow_raw(WORKER) };
        let (mut said, mut ended) = (None, false);
        while said.is_none() || !ended {
            match wire::receive::<ToSession>(worker) {
                Ok((ToSession::Opened { .. }, fds)) => {
                    let mut text = String::new();
                    let Some(output) = fds.into_iter().nth(1) else {
                        self.report.bad("no output");
                    };
                    let _ = File::from(output).read_to_string(&mut text);
                    said = Some(text);
                }
                Ok((ToSession::Exited { status, .. }, _)) => {
                    ended = status == ExitStatus::Code(0);
                    if !ended {
                        self.report.bad(&format!("the program ended by {status:?}"));
                    }
                }
                other => self.report.bad(&format!("instead of a program: {other:?}")),
            }
        }
        said.unwrap_or_default()
    }
}

fn login(name: &str) -> FromSession {
    FromSession::Login { name: name.into() }
}

/// A message in a few words, for the report.
fn shape(message: &FromSession) -> String {
    let text = format!("{message:?}");
    text.chars().take(60).collect()
}
