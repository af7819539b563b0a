//! Asks the manager.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::CliError;
use crate::local_api::{MAX_LINE_BYTES, Request, Response};

/// Longer than anything that the manager itself waits for.
const DEADLINE: Duration = Duration::from_secs(60);

/// A connection to the manager.
pub(super) struct Client {
    stream: BufReader<UnixStream>,
    path: PathBuf,
}

impl Client {
    pub(super) fn connect(path: &Path) -> Result<Self, CliError> {
        let connected = UnixStream::connect(path).and_then(|stream| {
            stream.set_read_timeout(Some(DEADLINE))?;
            stream.set_write_timeout(Some(DEADLINE))?;
            Ok(stream)
        });
        let stream = connected.map_err(|error| no_manager(path, &error.to_string()))?;
        Ok(Self {
            stream: BufReader::new(stream),
            path: path.to_owned(),
        })
    }

    /// For who would rather have no answer than a late one.
    pub(super) fn wait_at_most(&mut self, time: Duration) -> std::io::Result<()> {
        let stream = self.stream.get_ref();
        stream.set_read_timeout(Some(time))?;
        stream.set_write_timeout(Some(time))
    }

    /// The answer; an answer that is an error is one.
    pub(super) fn ask(&mut self, request: &Request) -> Result<Response, CliError> {
        self.ask_and(request, || Ok(()))
    }

    /// The same, with something to do once the question is asked.
    pub(super) fn ask_and(
        &mut self,
        request: &Request,
        meanwhile: impl FnOnce() -> Result<(), CliError>,
    ) -> Result<Response, CliError> {
        let asked = self.send(request);
        asked.map_err(|error| no_manager(&self.path, &error.to_string()))?;
        meanwhile()?;
        match self.receive() {
            Ok(Response::Error { message }) => Err(CliError::Refused(message)),
            Ok(response) => Ok(response),
            Err(error) => Err(no_manager(&self.path, &error.to_string())),
        }
    }

    fn send(&mut self, request: &Request) -> std::io::Result<()> {
        let mut line = serde_json::to_vec(request)?;
        line.push(b'\n');
        self.stream.get_mut().write_all(&line)
    }

    fn receive(&mut self) -> std::io::Result<Response> {
        let mut answer = String::new();
        let limit = MAX_LINE_BYTES as u64;
        if (&mut self.stream).take(limit).read_line(&mut answer)? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        Ok(serde_json::from_str(&answer)?)
    }
}

fn no_manager(path: &Path, reason: &str) -> CliError {
    CliError::NoManager {
        path: path.to_owned(),
        reason: reason.to_owned(),
    }
}

/// An answer to another question.
pub(super) fn unexpected(response: &Response) -> CliError {
    let debug = format!("{response:?}");
    let kind = debug.split([' ', '(', '{']).next().unwrap_or_default();
    CliError::Refused(format!(
        "meshd gave an answer ({kind}) that this release of mesh does not expect: restart meshd"
    ))
}
