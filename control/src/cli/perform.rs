//! From a command line to a request, and from its answer to what a person reads.

use std::fs;
use std::io;
use std::path::Path;

use anyhow::anyhow;
use clap::CommandFactory;
use clap_complete::Shell;
use meshd_contract::identity::Owner;

use super::{
    ApikeysCommand, AuthkeysCommand, ChecksCommand, Cli, Command, CreateAuthkey, Expiry, Format,
    KeysCommand, NodesCommand, PolicyCommand, UsersCommand,
};
use super::{audit, output};
use crate::admin::client::ask;
use crate::admin::protocol::{Answer, ApiKeyWish, AuthKeyWish, Request};
use crate::backup;
use crate::serve;

/// Does what the command line says.
///
/// # Errors
/// One sentence, or several lines for a policy.
pub(crate) fn perform(cli: Cli) -> anyhow::Result<()> {
    let (request, json) = match cli.command {
        Command::Serve(arguments) => return serve::serve(&arguments, &cli.socket),
        Command::Completions { shell } => return output::verbatim(&completions(shell)),
        Command::Version => {
            return output::line(&format!("meshd-control {}", env!("CARGO_PKG_VERSION")));
        }
        Command::Users(command) => users(command),
        Command::Authkeys(command) => authkeys(command),
        Command::Apikeys(command) => apikeys(command),
        Command::Nodes(command) => nodes(command),
        Command::Checks(command) => checks(command),
        Command::Policy(command) => {
            let (request, file) = policy(command)?;
            let answer = ask(&cli.socket, &request)?;
            return show(answer, false, &file);
        }
        Command::Audit(arguments) => return audit::print(&cli.socket, &arguments),
        Command::Restore { backup, state } => return restore(&backup, &state),
        Command::Backup => (Request::Backup, false),
        Command::Key => (Request::Key, false),
        Command::Keys(KeysCommand::Rotate { overlap }) => {
            let overlap_seconds = overlap;
            (Request::KeysRotate { overlap_seconds }, false)
        }
        Command::Keys(KeysCommand::List { json }) => (Request::KeysList, json),
    };
    show(ask(&cli.socket, &request)?, json, "")
}

fn restore(copy: &Path, state: &Path) -> anyhow::Result<()> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| anyhow!("cannot start: {error}"))?
        .block_on(backup::restore(copy, state))?;
    output::line("restored; start the server again")
}

fn completions(shell: Shell) -> String {
    let mut script = Vec::new();
    let mut command = Cli::command();
    let name = command.get_name().to_owned();
    clap_complete::generate(shell, &mut command, name, &mut script);
    String::from_utf8_lossy(&script).into_owned()
}

fn users(command: UsersCommand) -> (Request, bool) {
    match command {
        UsersCommand::Create { login, role } => (Request::UsersCreate { login, role }, false),
        UsersCommand::Invite { login, role } => (Request::UsersInvite { login, role }, false),
        UsersCommand::List { json } => (Request::UsersList, json),
        UsersCommand::Role { login, role } => (Request::UsersRole { login, role }, false),
        UsersCommand::Delete { login } => (Request::UsersDelete { login }, false),
    }
}

fn authkeys(command: AuthkeysCommand) -> (Request, bool) {
    match command {
        AuthkeysCommand::Create(wish) => (Request::AuthkeysCreate(auth_key_wish(wish)), false),
        AuthkeysCommand::List { json } => (Request::AuthkeysList, json),
        AuthkeysCommand::Delete { id } => (Request::AuthkeysDelete { id }, false),
    }
}

fn apikeys(command: ApikeysCommand) -> (Request, bool) {
    match command {
        ApikeysCommand::Create { scope, expires } => {
            let wish = ApiKeyWish {
                scopes: scope,
                expires_in_seconds: expires.0,
            };
            (Request::ApikeysCreate(wish), false)
        }
        ApikeysCommand::List { json } => (Request::ApikeysList, json),
        ApikeysCommand::Delete { id } => (Request::ApikeysDelete { id }, false),
    }
}

fn auth_key_wish(wish: CreateAuthkey) -> AuthKeyWish {
    let with_prefix = |tag: String| match tag.starts_with("tag:") {
        true => tag,
        false => format!("tag:{tag}"),
    };
    let owner = match wish.owner.user {
        Some(login) => Owner::User(login),
        None => Owner::Tags(wish.owner.tag.into_iter().map(with_prefix).collect()),
    };
    AuthKeyWish {
        owner,
        reusable: wish.reusable,
        ephemeral: wish.ephemeral,
        expires_in_seconds: wish.expires.0,
    }
}

fn nodes(command: NodesCommand) -> (Request, bool) {
    match command {
        NodesCommand::List { json } => (Request::NodesList, json),
        NodesCommand::Delete { node } => (Request::NodesDelete { node }, false),
        NodesCommand::Approve { node } => (Request::NodesApprove { node }, false),
        NodesCommand::Rename { node, name } => (Request::NodesRename { node, name }, false),
        NodesCommand::Expiry { node, when } => {
            let in_seconds = match when {
                Expiry::Never => None,
                Expiry::In(seconds) => Some(seconds),
            };
            (Request::NodesExpiry { node, in_seconds }, false)
        }
    }
}

fn checks(command: ChecksCommand) -> (Request, bool) {
    match command {
        ChecksCommand::List { json } => (Request::ChecksList, json),
        ChecksCommand::Revoke(whose) => match (whose.node, whose.user) {
            (_, Some(login)) => (Request::ChecksRevokeUser { login }, false),
            (node, None) => {
                let node = node.unwrap_or_default();
                (Request::ChecksRevoke { node }, false)
            }
        },
    }
}

fn policy(command: PolicyCommand) -> anyhow::Result<(Request, String)> {
    Ok(match command {
        PolicyCommand::Get => (Request::PolicyGet, String::new()),
        PolicyCommand::Topology => (Request::PolicyTopology, String::new()),
        PolicyCommand::Set { file, yes } => {
            let text = read(&file)?;
            let request = Request::PolicySet { text, yes };
            (request, file.display().to_string())
        }
        PolicyCommand::Check { file } => {
            let text = read(&file)?;
            (Request::PolicyCheck { text }, file.display().to_string())
        }
    })
}

fn read(file: &Path) -> anyhow::Result<String> {
    let text = match file.as_os_str() == "-" {
        true => io::read_to_string(io::stdin()),
        false => fs::read_to_string(file),
    };
    text.map_err(|error| anyhow!("cannot read the policy from {}: {error}", file.display()))
}

fn show(answer: Answer, json: bool, file: &str) -> anyhow::Result<()> {
    match answer {
        Answer::Done(done) => {
            output::line(&done.message)?;
            for warning in &done.warnings {
                output::warning(&format!("warning: {warning}"));
            }
            if !done.published {
                output::warning(
                    "the connected nodes could not be told yet; the server keeps trying, and its \
                     log says why",
                );
            }
            Ok(())
        }
        Answer::Users(users) => output::users(&users, json),
        Answer::Link(link) => output::line(&link),
        Answer::AuthKey(key) => output::line(&key.secret),
        Answer::AuthKeys(keys) => output::auth_keys(&keys, json),
        Answer::ApiKeys(keys) => output::api_keys(&keys, json),
        Answer::Nodes(nodes) => output::nodes(&nodes, json),
        Answer::Approvals(approvals) => output::approvals(&approvals, json),
        Answer::Policy(text) => output::verbatim(&text),
        Answer::Topology(topology) => output::line(&serde_json::to_string_pretty(&topology)?),
        Answer::Audit(entries) => audit::write(&entries, Format::Json).map(drop),
        Answer::Copied(copy) => output::line(&copy.display().to_string()),
        Answer::Key(key) => output::line(&format!("{}\n{}", key.key, key.fingerprint)),
        Answer::Keys(keys) => output::keys(&keys, json),
        Answer::PolicyRefused(problems) => {
            let lines: Vec<String> = problems
                .iter()
                .map(|line| format!("{file}: {line}"))
                .collect();
            Err(anyhow!("this policy is refused:\n{}", lines.join("\n")))
        }
        Answer::WouldCut(losses) => Err(anyhow!(
            "this policy would cut what an administrator has now:\n{}\nsave it all the same with \
             --yes, or change it",
            losses.join("\n")
        )),
        Answer::Failed(sentence) => Err(anyhow!(sentence)),
    }
}
