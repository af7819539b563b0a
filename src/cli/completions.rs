//! What shells complete after `mesh`.
//!
//! The script that a shell loads asks this program each time, since names of nodes change.

use std::ffi::OsStr;
use std::path::Path;
use std::time::Duration;

use clap::CommandFactory;
use clap_complete::engine::CompletionCandidate;
use clap_complete::env::{Bash, CompleteEnv, EnvCompleter, Fish, Shells, Zsh};
use meshd_contract::paths;

use super::client::Client;
use super::{Arguments, CliError, print};
use crate::local_api::{Request, Response, Session, Status};

/// By this variable a script says that it asks, and for which shell.
const VARIABLE: &str = "MESH_COMPLETE";
const NAME: &str = "mesh";
/// Nobody waits longer for a key to do something.
const PATIENCE: Duration = Duration::from_secs(1);

/// The shells that there is a script for.
pub(super) const SHELLS: [&str; 3] = ["bash", "fish", "zsh"];
const COMPLETERS: Shells<'static> = Shells(&[&Bash, &Fish, &Zsh]);

/// Answers and ends the process, if it was a script that started it.
pub(super) fn answer_script() {
    CompleteEnv::with_factory(Arguments::command)
        .var(VARIABLE)
        .shells(COMPLETERS)
        .complete();
}

/// Prints the script of a shell.
pub(super) fn print_script(shell: &str) -> Result<(), CliError> {
    let mut script = Vec::new();
    let completer = COMPLETERS.completer(shell).unwrap_or(&Bash);
    completer.write_registration(VARIABLE, NAME, NAME, NAME, &mut script)?;
    let mut script = String::from_utf8_lossy(&script).into_owned();
    if shell == Zsh.name() {
        script.push_str(ZSH_FIRST_TIME);
    }
    print(&script)
}

/// zsh runs the file when it is asked for the first time, as the function that answers.
const ZSH_FIRST_TIME: &str = "[[ $funcstack[1] = _mesh ]] && _clap_dynamic_completer_mesh \"$@\"\n";

/// Names of nodes; after `USER@` too.
pub(super) fn nodes(current: &OsStr) -> Vec<CompletionCandidate> {
    let current = current.to_string_lossy();
    let user = current.rfind('@').map_or(0, |at| at + 1);
    let (user, begun) = current.split_at(user);
    let names = ask(&Request::Status).map(|response| match response {
        Response::Status(status) => names(&status),
        _ => Vec::new(),
    });
    let fitting = names.into_iter().flatten();
    fitting
        .filter(|name| name.starts_with(begun))
        .map(|name| CompletionCandidate::new(format!("{user}{name}")))
        .collect()
}

/// IDs of connections, each with whose it is.
pub(super) fn connections(current: &OsStr) -> Vec<CompletionCandidate> {
    let begun = current.to_string_lossy();
    let sessions = ask(&Request::Sessions).map(|response| match response {
        Response::Sessions { sessions } => sessions,
        _ => Vec::new(),
    });
    let fitting = sessions.into_iter().flatten();
    fitting
        .filter(|session| session.connection.starts_with(&*begun))
        .map(|session| CompletionCandidate::new(&session.connection).help(Some(whose(&session))))
        .collect()
}

fn names(status: &Status) -> Vec<String> {
    let nodes = status.peers.iter().chain(&status.node);
    nodes.map(|node| node.name.to_string()).collect()
}

fn whose(session: &Session) -> clap::builder::StyledStr {
    let login = session.login.as_deref().unwrap_or("nobody yet");
    format!("{login} from {}", session.peer_name).into()
}

/// A manager that is away, or takes its time, knows nothing.
fn ask(request: &Request) -> Option<Response> {
    let mut client = Client::connect(Path::new(paths::MANAGER_SOCKET)).ok()?;
    client.wait_at_most(PATIENCE).ok()?;
    client.ask(request).ok()
}
