//! `mesh up`.

use std::path::{Path, PathBuf};

use clap::Args;
use meshd_contract::identity::NodeName;
use meshd_contract::key::PublicKey;
use meshd_contract::keyring::Keyring;
use meshd_contract::paths;
use meshd_contract::trust::Trust;

use super::client::{Client, unexpected};
use super::table::counted;
use super::{CliError, host, join_page, print, tell};
use crate::local_api::{Join, Joined, Request, Response, Status};
use crate::manager::atomic;
use crate::manager::broker::is_socket;
use crate::manager::control_keys;

#[derive(Debug, Args)]
pub(super) struct Up {
    /// The control server, https://HOST[:PORT]; not needed to use the same mesh again.
    #[arg(long, value_name = "URL")]
    control: Option<String>,
    /// The file with the auth key; `-` reads it from standard input. Without it a person is asked
    /// to let the host in, on a page of the control server.
    #[arg(long, value_name = "FILE")]
    auth_key_file: Option<PathBuf>,
    /// The control server's key, as `meshd-control key` prints it; without it, the key that the
    /// server has now is trusted from here on.
    #[arg(long, value_name = "KEY")]
    control_key: Option<PublicKey>,
    /// The node's name; the host's, unless given.
    #[arg(long)]
    name: Option<NodeName>,
    /// A tag that the host shall carry, in the place of belonging to the person who lets it in; may
    /// be repeated. With an auth key, the key says it.
    #[arg(
        long,
        value_name = "TAG",
        requires = "control",
        conflicts_with = "auth_key_file"
    )]
    tag: Vec<String>,
    /// Have the owner of this host sign in again, on a page of the control server, and give the
    /// host new keys; its sessions go on.
    #[arg(long, conflicts_with_all = ["auth_key_file", "tag", "name"])]
    force_reauth: bool,
    /// Fail if this host does not accept SSH from the mesh yet.
    #[arg(long)]
    ssh: bool,
    /// Where root's trust is kept.
    #[arg(long, default_value = paths::TRUST, hide = true)]
    trust: PathBuf,
}

pub(super) fn run(socket: &Path, up: &Up) -> Result<(), CliError> {
    host::require_root("up")?;
    if up.ssh && !is_socket(Path::new(paths::BROKER_SOCKET)) {
        return Err(CliError::SshOff);
    }
    let mut client = Client::connect(socket)?;
    let pinned = read_trust(&up.trust)?;
    let control = match &up.control {
        None if up.force_reauth => Some(own_control(&mut client)?),
        control => control.clone(),
    };
    let join = match &control {
        Some(control) => Some(wish(&mut client, up, control, pinned.as_ref())?),
        None => None,
    };
    let wished_key = join.as_ref().map(|join| join.control_key);
    let joined = join_mesh(&mut client, join)?;
    let insisted = match wished_key {
        Some(key) => Some(key),
        None => insisted_key(up.control_key, pinned.as_ref()),
    };
    write_trust(&up.trust, insisted, pinned.as_ref(), &joined)?;
    let status = match client.ask(&Request::Await)? {
        Response::Status(status) => status,
        other => return Err(unexpected(&other)),
    };
    if joined.needs_approval {
        tell(
            "An administrator of the mesh has to approve this host; until then it reaches nobody.",
        );
    }
    print(&summary(&status))
}

/// The control server of the mesh that this host is in.
fn own_control(client: &mut Client) -> Result<String, CliError> {
    match client.ask(&Request::Status)? {
        Response::Status(status) => status
            .control
            .map(|control| control.url)
            .ok_or(CliError::NoMesh),
        other => Err(unexpected(&other)),
    }
}

/// Joins, with a person's help where it takes one.
fn join_mesh(client: &mut Client, wish: Option<Join>) -> Result<Joined, CliError> {
    let join = wish.clone().map(Box::new);
    let answer = match (client.ask(&Request::Up { join })?, wish) {
        (Response::Page(page), Some(wish)) => {
            client.wait_at_most(join_page::patience(&page))?;
            let join = Box::new(wish);
            // Whoever sees the page can rely on it: from then on the end of this command takes the
            // request back.
            client.ask_and(&Request::AwaitJoin { join }, || join_page::show(&page))?
        }
        (answer, _) => answer,
    };
    match answer {
        Response::Joined(joined) => Ok(joined),
        other => Err(unexpected(&other)),
    }
}

fn wish(
    client: &mut Client,
    up: &Up,
    control: &str,
    pinned: Option<&Trust>,
) -> Result<Join, CliError> {
    let auth_key = up.auth_key_file.as_deref().map(read_auth_key).transpose()?;
    let name = match &up.name {
        Some(name) => name.clone(),
        None => host::node_name()?,
    };
    let control_key = match (up.control_key, pinned) {
        (Some(given), None) => given,
        (Some(given), Some(pinned)) if given == pinned.control_key => given,
        (given, pinned) => found_key(client, control, given, pinned)?,
    };
    Ok(Join {
        control: control.to_owned(),
        control_key,
        auth_key,
        name,
        renew: up.force_reauth,
        tags: up.tag.iter().map(|tag| with_prefix(tag)).collect(),
    })
}

/// A tag as the policy writes it.
fn with_prefix(tag: &str) -> String {
    match tag.starts_with("tag:") {
        true => tag.to_owned(),
        false => format!("tag:{tag}"),
    }
}

/// The key to believe control by: the pinned one, where control has it or has handed its place over
/// to the one that it has now, or one that is trusted on first use.
fn found_key(
    client: &mut Client,
    control: &str,
    given: Option<PublicKey>,
    pinned: Option<&Trust>,
) -> Result<PublicKey, CliError> {
    let request = Request::Identify {
        control: control.to_owned(),
    };
    let (found, rotations) = match client.ask(&request)? {
        Response::Identity {
            control_key,
            rotations,
        } => (control_key, rotations),
        other => return Err(unexpected(&other)),
    };
    match pinned {
        Some(pinned) => {
            let mut keys = known_keys(pinned.control_key);
            keys.follow_all(rotations);
            let named = given.unwrap_or(found);
            match *keys.current() == named {
                true => Ok(pinned.control_key),
                false => Err(other_trust(&pinned.control_key, control, &named)),
            }
        }
        None => {
            tell(&format!(
                "Trusting the control server at {control} with the key {} ({found}).",
                found.fingerprint()
            ));
            Ok(found)
        }
    }
}

/// What root insists on where nobody is asked: what it says now, or what it has pinned, if control
/// has handed that one's place over.
fn insisted_key(given: Option<PublicKey>, pinned: Option<&Trust>) -> Option<PublicKey> {
    let pinned = pinned.map(|pinned| pinned.control_key);
    match (given, pinned) {
        (Some(given), Some(pinned)) if is_now(pinned, &given) => Some(pinned),
        (given, pinned) => given.or(pinned),
    }
}

/// Whether the key `key` of control has been handed over to `now`, or is the same.
fn is_now(key: PublicKey, now: &PublicKey) -> bool {
    key == *now || known_keys(key).current() == now
}

/// By the rotations that the manager has kept.
fn known_keys(pinned: PublicKey) -> Keyring {
    control_keys::load(paths::MANAGER_STATE.as_ref(), pinned)
}

fn other_trust(pinned: &PublicKey, control: &str, found: &PublicKey) -> CliError {
    CliError::OtherTrust {
        pinned: pinned.fingerprint(),
        control: control.to_owned(),
        found: found.fingerprint(),
    }
}

fn read_auth_key(path: &Path) -> Result<String, CliError> {
    let text = if path == Path::new("-") {
        std::io::read_to_string(std::io::stdin())
    } else {
        std::fs::read_to_string(path)
    };
    let text = text.map_err(|error| file_error(path, "read", &error))?;
    let key = text.trim();
    if key.is_empty() || key.lines().count() > 1 {
        let reason = "it holds no auth key: write the line that meshd-control authkeys create \
                      printed";
        return Err(file_error(path, "used", &reason));
    }
    Ok(key.to_owned())
}

pub(super) fn read_trust(path: &Path) -> Result<Option<Trust>, CliError> {
    match std::fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|error| file_error(path, "read", &error)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(file_error(path, "read", &error)),
    }
}

/// Root's word on what to believe: the worker reads it at each login. The manager says which key
/// it has joined with, and is believed only where root has not named one.
fn write_trust(
    path: &Path,
    insisted: Option<PublicKey>,
    pinned: Option<&Trust>,
    joined: &Joined,
) -> Result<(), CliError> {
    let trust = Trust {
        control_key: insisted.unwrap_or(joined.control_key),
        node: joined.node,
    };
    let (insisted, has) = (trust.control_key, joined.control_key);
    if !is_now(insisted, &has) && !is_now(has, &insisted) {
        let control = "the control server that this host has joined";
        return Err(other_trust(&insisted, control, &has));
    }
    if pinned == Some(&trust) {
        return Ok(());
    }
    let mut text = serde_json::to_string_pretty(&trust)
        .map_err(|error| file_error(path, "written", &error))?;
    text.push('\n');
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory)
            .map_err(|error| file_error(directory, "made", &error))?;
    }
    atomic::write(path, text.as_bytes(), 0o644)
        .map_err(|error| CliError::Refused(error.to_string()))
}

fn file_error(path: &Path, verb: &'static str, reason: &dyn std::fmt::Display) -> CliError {
    CliError::File {
        path: path.to_owned(),
        verb,
        reason: reason.to_string(),
    }
}

fn summary(status: &Status) -> String {
    let Some(node) = &status.node else {
        return String::new();
    };
    let ssh = if status.ssh { "on" } else { "off" };
    format!(
        "{} is up: {} {}, {}, SSH {ssh}\n",
        node.name,
        node.addresses.v4,
        node.addresses.v6,
        counted(status.peers.len(), "peer")
    )
}

#[cfg(test)]
mod tests {
    use meshd_contract::identity::NodeId;
    use meshd_contract::key::PrivateKey;

    use super::*;

    fn joined(seed: u8, node: u64) -> Joined {
        Joined {
            node: NodeId(node),
            name: "web1".parse().expect("a name"),
            control_key: PrivateKey::from_seed(&[seed; 32]).public(),
            needs_approval: false,
        }
    }

    #[test]
    fn trust_is_pinned_once_and_never_moved_to_another_key() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("etc/trust.json");
        assert_eq!(read_trust(&path).expect("absent is no error"), None);
        write_trust(&path, None, None, &joined(1, 1)).expect("writes");
        let pinned = read_trust(&path).expect("reads").expect("is there");
        assert_eq!(pinned.node, NodeId(1));
        let key = Some(pinned.control_key);
        write_trust(&path, key, Some(&pinned), &joined(1, 2)).expect("a number is no new trust");
        let refused = write_trust(&path, key, Some(&pinned), &joined(2, 2));
        assert!(matches!(refused, Err(CliError::OtherTrust { .. })));
        let after = read_trust(&path).expect("reads").expect("is there");
        assert_eq!(
            (after.control_key, after.node),
            (pinned.control_key, NodeId(2))
        );
    }

    #[test]
    fn the_key_that_root_names_outranks_what_the_manager_says() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("trust.json");
        let named = joined(1, 1).control_key;
        let refused = write_trust(&path, Some(named), None, &joined(2, 1));
        assert!(matches!(refused, Err(CliError::OtherTrust { .. })));
        assert!(!path.exists());
    }

    #[test]
    fn an_auth_key_is_one_line() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("key");
        std::fs::write(&path, "secret\n").expect("writes");
        assert_eq!(read_auth_key(&path).expect("reads"), "secret");
        std::fs::write(&path, "a\nb\n").expect("writes");
        assert!(read_auth_key(&path).is_err());
        let missing = read_auth_key(Path::new("/nonexistent/key")).expect_err("is refused");
        assert!(missing.to_string().contains("/nonexistent/key"));
    }
}
