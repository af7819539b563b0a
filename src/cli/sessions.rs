//! `mesh sessions`.

use std::path::Path;

use clap::Subcommand;
use clap_complete::engine::ArgValueCompleter;
use meshd_contract::broker::{ChannelDescription, ForwardDescription};
use meshd_contract::time::Timestamp;

use super::client::{Client, unexpected};
use super::completions::connections;
use super::status::{as_json, now};
use super::table::{ago, bytes, table};
use super::{CliError, done, print};
use crate::local_api::{Request, Response, Session};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// End a connection: hang up what runs on it, kill what is left after a few seconds.
    Kill {
        /// Its ID, or as much of it as no other has.
        #[arg(add = ArgValueCompleter::new(connections))]
        id: String,
    },
}

pub(super) fn run(socket: &Path, command: &Command) -> Result<(), CliError> {
    match command {
        Command::Kill { id } => {
            let connection = id.clone();
            done(socket, "sessions kill", &Request::Kill { connection })
        }
    }
}

pub(super) fn list(client: &mut Client, json: bool) -> Result<(), CliError> {
    let sessions = match client.ask(&Request::Sessions)? {
        Response::Sessions { sessions } => sessions,
        other => return Err(unexpected(&other)),
    };
    if json {
        return print(&as_json(&sessions)?);
    }
    print(&describe(&sessions, now()))
}

fn describe(sessions: &[Session], now: Timestamp) -> String {
    if sessions.is_empty() {
        return "nobody is logged in through the mesh\n".to_owned();
    }
    let head = [
        "ID", "PEER", "USER", "LOGIN", "SINCE", "RECEIVED", "SENT", "CHANNELS", "FORWARDS",
    ];
    table(head, sessions.iter().map(|session| row(session, now)))
}

fn row(session: &Session, now: Timestamp) -> [String; 9] {
    let or_dash = |text: &str| if text.is_empty() { "-" } else { text }.to_owned();
    let peer = match session.address {
        Some(address) if session.peer_name.is_empty() => address.to_string(),
        _ => or_dash(&session.peer_name),
    };
    let login = session.login.as_deref().unwrap_or("(unauthenticated)");
    [
        session.connection.clone(),
        peer,
        or_dash(&session.owner),
        login.to_owned(),
        session
            .since
            .map_or_else(|| "-".to_owned(), |at| ago(at, now)),
        bytes(session.received),
        bytes(session.sent),
        or_dash(&channels(session)),
        or_dash(&forwards(&session.forwards)),
    ]
}

fn channels(session: &Session) -> String {
    let mut words: Vec<String> = session.channels.iter().map(channel).collect();
    if session.busy {
        words.push("(busy)".to_owned());
    }
    words.join(", ")
}

fn channel(channel: &ChannelDescription) -> String {
    let kind = &channel.kind;
    match channel.terminal.as_deref() {
        Some(terminal) => {
            let short = terminal.strip_prefix("/dev/").unwrap_or(terminal);
            format!("{kind} {short} pid {}", channel.pid)
        }
        None => format!("{kind} pid {}", channel.pid),
    }
}

/// The first of them; all are in `--json`.
fn forwards(all: &[ForwardDescription]) -> String {
    const SHOWN: usize = 4;
    let mut words: Vec<String> = all.iter().take(SHOWN).map(forward).collect();
    if all.len() > SHOWN {
        words.push(format!("{} more", all.len() - SHOWN));
    }
    words.join(", ")
}

fn forward(forward: &ForwardDescription) -> String {
    let words = [forward.kind.as_str(), forward.endpoint.as_str()];
    let words = words.into_iter().filter(|word| !word.is_empty());
    let text = words.collect::<Vec<_>>().join(" ");
    match forward.connections {
        0 => text,
        connections => format!("{text} ({connections})"),
    }
}

#[cfg(test)]
mod tests {
    use meshd_contract::identity::NodeId;

    use super::*;

    fn session() -> Session {
        Session {
            connection: "65a-12".to_owned(),
            peer: NodeId(2),
            peer_name: "laptop".to_owned(),
            owner: "alice@example.com".to_owned(),
            address: Some([100, 64, 0, 2].into()),
            login: Some("alice".to_owned()),
            rule: None,
            since: Some(Timestamp(40)),
            channels: vec![ChannelDescription {
                channel: 1,
                kind: "shell".to_owned(),
                terminal: Some("/dev/pts/0".to_owned()),
                pid: 4711,
                since: Timestamp(41),
            }],
            forwards: vec![local(1)],
            received: 10,
            sent: 5 << 20,
            busy: false,
        }
    }

    fn local(connections: u32) -> ForwardDescription {
        ForwardDescription {
            kind: "local".to_owned(),
            endpoint: "db1:5432".to_owned(),
            connections,
        }
    }

    #[test]
    fn of_many_forwards_some_are_shown() {
        assert_eq!(forwards(&[]), "");
        let agent = ForwardDescription {
            kind: "agent".to_owned(),
            endpoint: String::new(),
            connections: 0,
        };
        let all = [vec![agent], vec![local(0); 5]].concat();
        let shown = "agent, local db1:5432, local db1:5432, local db1:5432, 2 more";
        assert_eq!(forwards(&all), shown);
    }

    #[test]
    fn a_session_is_one_line() {
        let text = describe(&[session()], Timestamp(100));
        let line = text.lines().nth(1).expect("a line");
        let words: Vec<&str> = line
            .split("  ")
            .map(str::trim)
            .filter(|w| !w.is_empty())
            .collect();
        assert_eq!(
            words,
            [
                "65a-12",
                "laptop",
                "alice@example.com",
                "alice",
                "1 min ago",
                "10 B",
                "5 MiB",
                "shell pts/0 pid 4711",
                "local db1:5432 (1)"
            ]
        );
        assert_eq!(
            describe(&[], Timestamp(0)),
            "nobody is logged in through the mesh\n"
        );
    }

    #[test]
    fn who_has_not_logged_in_and_who_does_not_answer_is_shown_as_such() {
        let unknown = Session {
            peer_name: String::new(),
            owner: String::new(),
            login: None,
            since: None,
            channels: Vec::new(),
            busy: true,
            ..session()
        };
        let text = describe(&[unknown], Timestamp(100));
        let line = text.lines().nth(1).expect("a line");
        for word in ["100.64.0.2", "(unauthenticated)", "(busy)"] {
            assert!(line.contains(word), "{line}");
        }
    }
}
