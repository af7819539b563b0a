//! `mesh check`.

use std::path::Path;

use clap::{Args, Subcommand};
use meshd_contract::check::LoginClass;
use meshd_contract::duration::Seconds;
use meshd_contract::node_api::{Approved, CheckState};
use meshd_contract::time::Timestamp;

use super::client::{Client, unexpected};
use super::status::{as_json, now};
use super::table::{ago, table};
use super::{CliError, print, tell};
use crate::local_api::{Request, Response};

#[derive(Debug, Args)]
pub(super) struct Check {
    /// How long logins are to need no further check: 90s, 15m, 1h.
    #[arg(long = "for", value_name = "TIME", default_value = "15m")]
    lasts: Seconds,
    /// Only for logins to these nodes: a tag, such as tag:web, or a node's name.
    #[arg(long, value_name = "TAG|NODE")]
    to: Option<String>,
    /// For logins as root, in place of all other accounts.
    #[arg(long)]
    root: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show what was approved for logins from this host and still counts.
    Status {
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Take it back, before its time is over; sessions that it has let in end. Needs root.
    Revoke,
}

pub(super) fn run(socket: &Path, check: &Check) -> Result<(), CliError> {
    let mut client = Client::connect(socket)?;
    match check.command {
        None => pass(&mut client, check),
        Some(Command::Status { json }) => status(&mut client, json),
        Some(Command::Revoke) => revoke(&mut client),
    }
}

/// Has the owner of this host asked, and waits for the answer.
fn pass(client: &mut Client, check: &Check) -> Result<(), CliError> {
    let class = match check.root {
        true => LoginClass::Root,
        false => LoginClass::Nonroot,
    };
    let mut state = ask(
        client,
        &Request::Check {
            seconds: check.lasts.0,
            target: check.to.clone(),
            class,
        },
    )?;
    let mut is_told = false;
    loop {
        match state {
            CheckState::Waiting { id, prompt } => {
                if !is_told {
                    tell(&format!("To authenticate, visit: {}", prompt.url));
                    tell(&format!("The page asks for this number: {}", prompt.number));
                    is_told = true;
                }
                state = ask(client, &Request::CheckNews { id })?;
            }
            CheckState::Approved { .. } | CheckState::Granted { .. } => {
                return print("Authentication checked with meshd.\n");
            }
            CheckState::Refused { reason } => return Err(CliError::Refused(reason.to_string())),
        }
    }
}

fn ask(client: &mut Client, request: &Request) -> Result<CheckState, CliError> {
    match client.ask(request)? {
        Response::Check { state } => Ok(state),
        other => Err(unexpected(&other)),
    }
}

fn status(client: &mut Client, json: bool) -> Result<(), CliError> {
    let approved = match client.ask(&Request::Approved)? {
        Response::Approved { approved } => approved,
        other => return Err(unexpected(&other)),
    };
    if json {
        return print(&as_json(&approved)?);
    }
    print(&describe(&approved, now()))
}

fn revoke(client: &mut Client) -> Result<(), CliError> {
    match client.ask(&Request::RevokeChecks)? {
        Response::Done => print("what was approved for logins from this host was taken back\n"),
        other => Err(unexpected(&other)),
    }
}

fn describe(approved: &[Approved], now: Timestamp) -> String {
    if approved.is_empty() {
        return "nothing is approved for logins from this host\n".to_owned();
    }
    let head = ["LOGINS", "TO", "APPROVED", "COUNTS FOR"];
    table(head, approved.iter().map(|approved| row(approved, now)))
}

fn row(approved: &Approved, now: Timestamp) -> [String; 4] {
    let to = match (&approved.destination, &approved.target) {
        (Some(node), _) => node.to_string(),
        (None, Some(target)) => target.clone(),
        (None, None) => "all".to_owned(),
    };
    // Of what a login has brought about, the rule says how long it counts, up to this.
    let most = if approved.is_ahead { "" } else { "at most " };
    let left = approved.expires_at.0.saturating_sub(now.0);
    [
        approved.class.to_string(),
        to,
        ago(approved.approved_at, now),
        format!("{most}{} min", left.div_ceil(60)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_approved_is_shown_with_its_end() {
        let approved = |is_ahead: bool| Approved {
            class: LoginClass::Nonroot,
            destination: (!is_ahead).then(|| "web1".parse().expect("a name")),
            target: is_ahead.then(|| "tag:web".to_owned()),
            is_ahead,
            approved_at: Timestamp(1000),
            expires_at: Timestamp(1900),
        };
        let text = describe(&[approved(true), approved(false)], Timestamp(1060));
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[1].starts_with("nonroot"), "{text}");
        assert!(
            lines[1].contains("tag:web") && lines[1].ends_with("  14 min"),
            "{text}"
        );
        assert!(
            lines[2].contains("web1") && lines[2].ends_with("at most 14 min"),
            "{text}"
        );
        assert!(describe(&[], Timestamp(0)).contains("nothing"));
    }
}
