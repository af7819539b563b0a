//! One session channel, from its first request to its end.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use meshd_contract::broker::{ExitStatus, Open, OpenKind};
use russh::ChannelReadHalf;
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep_until};

use super::input::{Input, Sent, length};
use super::listening::Agent;
use super::memory;
use super::output::{Output, Stream};
use super::pipe::Pipe;
use super::request::Request;
use super::terminal::{Modes, Size, interrupt};
use super::traffic::Traffic;
use super::worker::{ChannelLink, ToChannel, Unanswered};

/// The exit status that says that the fault is ours.
const OUR_FAULT: ExitStatus = ExitStatus::Code(255);

/// When output has ended, the exit status is on its way, and goes first if it comes this soon.
const STATUS_FIRST: Duration = Duration::from_millis(250);

/// A request, and whether the client wants a reply.
pub(super) type Asked = (Request, bool);

/// What a channel's task works with. Dropping it closes every descriptor, which is the hang-up.
pub(super) struct SessionChannel {
    pub(super) requests: mpsc::Receiver<Asked>,
    /// Until a program takes it.
    pub(super) input: Option<ChannelReadHalf>,
    pub(super) output: Arc<Output>,
    pub(super) link: ChannelLink,
    pub(super) agent: Arc<Agent>,
}

/// What the client has set up before it asked for a program.
#[derive(Default)]
struct Preparation {
    environment: Vec<(Vec<u8>, Vec<u8>)>,
    terminal: Option<Terminal>,
}

struct Terminal {
    term: Vec<u8>,
    master: Arc<Pipe>,
}

/// A program that runs.
struct Running {
    terminal: Option<Arc<Pipe>>,
    /// The tasks that read its outputs.
    outputs: JoinSet<()>,
    /// Of the one that reads standard output.
    stdout: AbortHandle,
    /// The task that feeds its input; dropped, it stops.
    input: JoinSet<()>,
}

/// Why no program runs.
enum NotStarted {
    Refused(String),
    Unanswered(Unanswered),
    Setup(io::Error),
}

impl From<Unanswered> for NotStarted {
    fn from(reason: Unanswered) -> Self {
        Self::Unanswered(reason)
    }
}

impl From<io::Error> for NotStarted {
    fn from(error: io::Error) -> Self {
        Self::Setup(error)
    }
}

impl NotStarted {
    fn sentence(&self) -> String {
        match self {
            Self::Refused(message) if message.starts_with("meshd: ") => format!("{message}\n"),
            Self::Refused(message) => format!("meshd: {message}\n"),
            Self::Unanswered(reason) => format!("meshd: {reason}\n"),
            Self::Setup(error) => format!("meshd: internal error: {error}\n"),
        }
    }
}

impl SessionChannel {
    /// Serves the channel until the program has ended or the client has closed it.
    pub(super) async fn serve(mut self) {
        let mut preparation = Preparation::default();
        let Some((kind, reply)) = self.prepare(&mut preparation).await else {
            return;
        };
        let output = self.output.clone();
        match self.start(kind, preparation).await {
            Ok((running, notices)) => {
                output.reply(reply, true).await;
                for notice in notices {
                    output.text(Stream::Output, &notice).await;
                }
                self.run(running).await;
            }
            Err(reason) => {
                // A refused request would only be called that by the client; a program that
                // says why and fails is something that the user can read.
                output.reply(reply, true).await;
                output
                    .text(Stream::Error, reason.sentence().as_bytes())
                    .await;
                output.exit(OUR_FAULT).await;
            }
        }
        output.end().await;
        output.close().await;
        memory::give_back();
    }

    /// Takes requests until one starts a program.
    async fn prepare(&mut self, preparation: &mut Preparation) -> Option<(OpenKind, bool)> {
        loop {
            let (request, reply) = self.requests.recv().await?;
            let done = match request {
                Request::Shell => return Some((OpenKind::Shell, reply)),
                Request::Exec(command) => return Some((OpenKind::Exec(command), reply)),
                Request::Subsystem(name) if name == b"sftp" => {
                    return Some((OpenKind::Sftp, reply));
                }
                Request::Environment { name, value } => {
                    preparation.environment.push((name, value));
                    true
                }
                Request::Pty { term, size, modes } if preparation.terminal.is_none() => {
                    match self.terminal(term, size, &modes).await {
                        Ok(terminal) => preparation.terminal = Some(terminal),
                        Err(reason) => {
                            let sentence = reason.sentence();
                            self.output
                                .last_text(Stream::Error, sentence.as_bytes())
                                .await;
                        }
                    }
                    preparation.terminal.is_some()
                }
                Request::WindowChange(size) => preparation.resize(size),
                Request::Agent => self.agent.offer(self.link.number()).await,
                _ => false,
            };
            self.output.reply(reply, done).await;
        }
    }

    async fn terminal(
        &mut self,
        term: Vec<u8>,
        size: Size,
        modes: &Modes,
    ) -> Result<Terminal, NotStarted> {
        self.link.allocate_pty().await?;
        let master = match self.link.answer().await? {
            ToChannel::Pty(master) => Arc::new(Pipe::new(master)?),
            ToChannel::Failed(message) => return Err(NotStarted::Refused(message)),
            ToChannel::Opened(_) | ToChannel::Notice(_) | ToChannel::Exited(_) => {
                return Err(NotStarted::Unanswered(Unanswered::Gone));
            }
        };
        size.apply(master.as_fd());
        modes.apply(master.as_fd());
        self.output.has_terminal();
        Ok(Terminal { term, master })
    }

    async fn start(
        &mut self,
        kind: OpenKind,
        preparation: Preparation,
    ) -> Result<(Running, Vec<Vec<u8>>), NotStarted> {
        let (term, master) = match preparation.terminal {
            Some(terminal) => (terminal.term, Some(terminal.master)),
            None => (Vec::new(), None),
        };
        let open = Open {
            channel: 0,
            kind,
            term,
            environment: preparation.environment,
        };
        self.link.open(open).await?;
        let mut notices = Vec::new();
        loop {
            match self.link.answer().await? {
                ToChannel::Notice(text) => notices.push(text),
                ToChannel::Opened(fds) => return Ok((self.connect(master, fds)?, notices)),
                ToChannel::Failed(message) => return Err(NotStarted::Refused(message)),
                ToChannel::Pty(_) | ToChannel::Exited(_) => {
                    return Err(NotStarted::Unanswered(Unanswered::Gone));
                }
            }
        }
    }

    /// Connects the program's descriptors with the channel.
    fn connect(
        &mut self,
        master: Option<Arc<Pipe>>,
        fds: Vec<OwnedFd>,
    ) -> Result<Running, NotStarted> {
        let mut outputs = JoinSet::new();
        let mut input = JoinSet::new();
        let reader = self.input.take().ok_or(Unanswered::Gone)?;
        let mut pump = |pipe: Arc<Pipe>, stream| {
            let output = self.output.clone();
            outputs.spawn(async move { output.pump(&pipe, stream).await })
        };
        if let Some(master) = master {
            let stdout = pump(master.clone(), Stream::Output);
            let traffic = self.link.traffic().clone();
            input.spawn(feed_terminal(reader, master.clone(), traffic));
            return Ok(Running {
                terminal: Some(master),
                outputs,
                stdout,
                input,
            });
        }
        let [stdin, stdout, stderr] =
            <[OwnedFd; 3]>::try_from(fds).map_err(|_| NotStarted::Unanswered(Unanswered::Gone))?;
        let stdout = pump(Arc::new(Pipe::new(stdout)?), Stream::Output);
        pump(Arc::new(Pipe::new(stderr)?), Stream::Error);
        let traffic = self.link.traffic().clone();
        input.spawn(feed_pipe(reader, Pipe::new(stdin)?, traffic));
        Ok(Running {
            terminal: None,
            outputs,
            stdout,
            input,
        })
    }

    async fn run(&mut self, mut running: Running) {
        let mut exited = false;
        let mut end_announced = false;
        let mut output_ended: Option<Instant> = None;
        while !(exited && output_ended.is_some()) {
            let announce = output_ended.map_or_else(Instant::now, |at| at + STATUS_FIRST);
            tokio::select! {
                message = self.link.next() => match message {
                    Some(ToChannel::Exited(status)) => {
                        exited = true;
                        // Nobody reads what the client still sends; it must not wait for room.
                        running.input.abort_all();
                        self.output.exit(status).await;
                        if let Some(master) = &running.terminal {
                            master.end_when_drained();
                        }
                    }
                    Some(ToChannel::Notice(text)) => {
                        self.output.text(Stream::Output, &text).await;
                    }
                    Some(_) => {}
                    // The connection is ending, and says why itself.
                    None => std::future::pending().await,
                },
                Some(_) = running.outputs.join_next(), if output_ended.is_none() => {
                    if running.outputs.is_empty() {
                        output_ended = Some(Instant::now());
                    }
                }
                () = sleep_until(announce), if output_ended.is_some() && !end_announced => {
                    end_announced = true;
                    self.output.end().await;
                }
                asked = self.requests.recv() => match asked {
                    Some((request, reply)) => {
                        let done = self.serve_running(request, &mut running).await;
                        self.output.reply(reply, done).await;
                    }
                    None => return,
                },
            }
        }
    }

    async fn serve_running(&self, request: Request, running: &mut Running) -> bool {
        match (request, &running.terminal) {
            (Request::WindowChange(size), Some(master)) => {
                size.apply(master.as_fd());
                true
            }
            (Request::Break(milliseconds), Some(master)) => {
                interrupt(master.as_fd(), milliseconds);
                true
            }
            (Request::Signal(name), _) => self.link.signal(name).await.is_ok(),
            (Request::EndOfWrite, None) => {
                // The program learns it as it would from a closed pipe.
                running.stdout.abort();
                true
            }
            _ => false,
        }
    }
}

impl Preparation {
    fn resize(&self, size: Size) -> bool {
        let Some(terminal) = &self.terminal else {
            return false;
        };
        size.apply(terminal.master.as_fd());
        true
    }
}

/// Gives the program what the client sends; the client's end is the program's.
async fn feed_pipe(input: ChannelReadHalf, pipe: Pipe, traffic: Arc<Traffic>) {
    let mut input = Input::new(input);
    while let Some(Sent::Data(pieces)) = input.next().await {
        traffic.received(length(&pieces));
        if pipe.write_all(&pieces).await.is_err() {
            return;
        }
    }
}

/// Types what the client sends into the terminal. The client's end types nothing, as with sshd:
/// what an end-of-file character means there is the program's affair.
async fn feed_terminal(input: ChannelReadHalf, master: Arc<Pipe>, traffic: Arc<Traffic>) {
    let mut input = Input::new(input);
    while let Some(sent) = input.next().await {
        if let Sent::Data(pieces) = sent {
            traffic.received(length(&pieces));
            if master.write_all(&pieces).await.is_err() {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_one_sentence_of_ours() {
        let refused = |text: &str| NotStarted::Refused(text.to_owned()).sentence();
        assert_eq!(refused("no shell"), "meshd: no shell\n");
        assert_eq!(refused("meshd: no shell"), "meshd: no shell\n");
    }
}
