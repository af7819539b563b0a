//! How a host becomes a node.

use std::path::Path;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use meshd_contract::node_api::{
    JoinAnswer, JoinPage, JoinRequest, JoinWait, RegisterRequest, RegisterResponse, Renewal,
    renewal_text,
};
use tokio::time::{Instant, sleep};

use super::control::backoff::{Backoff, chance};
use super::control::connection::{Connection, Credentials};
use super::control::url::ControlUrl;
use super::control_keys;
use super::documents::Documents;
use super::error::Error;
use super::link::Links;
use super::nft;
use super::options::Options;
use super::state::{Membership, NewKeys, Secret, State, StateFile};
use super::wireguard::{self, Settings};
use crate::local_api::{Join, Page};

/// Longer than control lets a request live.
const LONGEST_WAIT: Duration = Duration::from_secs(2_100);

/// What a wish to join has come to.
#[derive(Debug)]
pub enum Outcome {
    /// The host is a node.
    Joined(Box<Arrived>),
    /// A person has to let it in; the state has the keys that wait for it.
    Asked(Box<State>, Page),
}

/// A host that is a node.
#[derive(Debug)]
pub struct Arrived {
    /// Its place in the mesh.
    pub state: State,
    /// It is nobody's peer until an administrator has approved it.
    pub needs_approval: bool,
}

/// Makes this host a node of the mesh, or asks control for a page where a person does, or does
/// nothing where it is a node already.
///
/// # Errors
/// [`Error`]; nothing has changed then.
pub async fn join(options: &Options, before: Option<State>, join: &Join) -> Result<Outcome, Error> {
    let url: ControlUrl = join.control.parse()?;
    if let Some(state) = before.as_ref().filter(|state| state.membership.is_some()) {
        let state = same_mesh(&options.state, state, &url, join)?;
        return match join.renew {
            true => renew(options, state, join).await,
            false => Ok(Outcome::Joined(Box::new(Arrived {
                state,
                needs_approval: false,
            }))),
        };
    }
    let pending = prepare(before.clone(), &url, join)?;
    check_host(options, &pending).await?;
    // Connected before anything is written: what fails most often leaves no trace.
    let connection = Connection::open(&pending.server(&options.state)?).await?;
    let file = StateFile::in_directory(&options.state);
    // A node whose registration is answered into the void must find its keys again.
    file.save(&pending)?;
    let answer = match &join.auth_key {
        Some(auth_key) => register(connection, &pending, auth_key.clone(), join)
            .await
            .map(JoinAnswer::Joined),
        None => ask(connection, &pending, join).await,
    };
    match answer {
        Ok(JoinAnswer::Joined(registered)) => arrive(options, pending, registered),
        Ok(JoinAnswer::Asked(page)) => {
            let page = shown(page, &pending);
            Ok(Outcome::Asked(Box::new(pending), page))
        }
        Ok(JoinAnswer::Waiting) => Err(Error::NotLetIn),
        Err(error) => {
            if matches!(error, Error::Problem { .. }) {
                restore(&file, before.as_ref())?;
            }
            Err(error)
        }
    }
}

/// Asks control for a page where the owner of this node signs in again. The new keys are on the
/// disk before control hears of them: it may take them in place of the old ones at any moment.
async fn renew(options: &Options, state: State, join: &Join) -> Result<Outcome, Error> {
    let renewal = match state.renewal.clone() {
        Some(keys) => keys,
        None => NewKeys::generate()?,
    };
    let pending = State {
        renewal: Some(renewal),
        ..state
    };
    let connection = Connection::open(&pending.server(&options.state)?).await?;
    StateFile::in_directory(&options.state).save(&pending)?;
    match ask(connection, &pending, join).await? {
        JoinAnswer::Joined(registered) => arrive(options, pending, registered),
        JoinAnswer::Asked(page) => {
            let page = shown(page, &pending);
            Ok(Outcome::Asked(Box::new(pending), page))
        }
        JoinAnswer::Waiting => Err(Error::NotLetIn),
    }
}

/// Finds out what has become of new keys that an earlier process has asked for, until control has
/// said it; none where nothing has.
pub async fn was_renewed(options: &Options, pending: State) -> Option<Outcome> {
    let (server, credentials) = (pending.server(&options.state).ok()?, unregistered(&pending));
    let mut backoff = Backoff::default();
    loop {
        let answer = async {
            let mut connection = Connection::open(&server).await?;
            let body = who(&pending);
            connection.post("/v1/join/wait", &credentials, &body).await
        };
        match answer.await {
            Ok(JoinAnswer::Joined(registered)) => {
                return arrive(options, pending, registered).ok();
            }
            Ok(JoinAnswer::Waiting | JoinAnswer::Asked(_)) => {}
            Err(Error::Problem { status: ..500, .. }) => return None,
            Err(error) => tracing::debug!(%error, "control does not say yet which keys count"),
        }
        sleep(backoff.failed(chance())).await;
    }
}

fn shown(page: JoinPage, pending: &State) -> Page {
    Page {
        url: page.url,
        fingerprint: keys(pending).node_key.signing_key().public().fingerprint(),
        expires_at: page.expires_at,
    }
}

/// The keys that control is asked to take.
fn keys(pending: &State) -> NewKeys {
    pending.renewal.clone().unwrap_or_else(|| NewKeys {
        node_key: pending.node_key.clone(),
        wireguard_key: pending.wireguard_key.clone(),
    })
}

/// Waits until a person has let this host in, for which `pending` has the keys.
///
/// Control may be away meanwhile: it keeps the request, and says when its time is over.
///
/// # Errors
/// [`Error`], with control's own sentence where the person has refused.
pub async fn wait(options: &Options, pending: State) -> Result<Outcome, Error> {
    let deadline = Instant::now() + LONGEST_WAIT;
    let (server, credentials) = (pending.server(&options.state)?, unregistered(&pending));
    let mut backoff = Backoff::default();
    while Instant::now() < deadline {
        let answer = async {
            let mut connection = Connection::open(&server).await?;
            // One connection serves until control goes away.
            loop {
                let body = who(&pending);
                match connection
                    .post("/v1/join/wait", &credentials, &body)
                    .await?
                {
                    JoinAnswer::Waiting if Instant::now() < deadline => {}
                    answer => return Ok(answer),
                }
            }
        };
        match answer.await {
            Ok(JoinAnswer::Joined(registered)) => return arrive(options, pending, registered),
            Ok(JoinAnswer::Waiting | JoinAnswer::Asked(_)) => break,
            Err(error @ Error::Problem { status: ..500, .. }) => return Err(error),
            Err(error) => {
                tracing::debug!(%error, "control does not say yet whether this host may join");
                sleep(backoff.failed(chance())).await;
            }
        }
    }
    Err(Error::NotLetIn)
}

/// Tells control that nobody waits here any more.
///
/// # Errors
/// [`Error`]; the request ends by itself then.
pub async fn leave(options: &Options, pending: &State) -> Result<(), Error> {
    let mut connection = Connection::open(&pending.server(&options.state)?).await?;
    let credentials = unregistered(pending);
    connection
        .post_for_nothing("/v1/join/leave", &credentials, &who(pending))
        .await
}

async fn register(
    mut connection: Connection,
    pending: &State,
    auth_key: String,
    join: &Join,
) -> Result<RegisterResponse, Error> {
    let request = RegisterRequest {
        auth_key,
        node_key: pending.node_key.signing_key().public(),
        wireguard_key: pending.wireguard_key.wireguard_public(),
        name: join.name.clone(),
    };
    connection
        .post("/v1/register", &unregistered(pending), &request)
        .await
}

async fn ask(
    mut connection: Connection,
    pending: &State,
    join: &Join,
) -> Result<JoinAnswer, Error> {
    let keys = keys(pending);
    let (node_key, wireguard_key) = (
        keys.node_key.signing_key().public(),
        keys.wireguard_key.wireguard_public(),
    );
    let renews = match (&pending.renewal, &pending.membership) {
        (Some(_), Some(membership)) => {
            let text = renewal_text(membership.node, &node_key, &wireguard_key);
            let signature = pending.node_key.signing_key().sign(&text);
            Some(Renewal {
                node: membership.node,
                signature: STANDARD.encode(signature),
            })
        }
        _ => None,
    };
    let request = JoinRequest {
        node_key,
        wireguard_key,
        renews,
        name: join.name.clone(),
        tags: join.tags.clone(),
        release: env!("CARGO_PKG_VERSION").to_owned(),
        nonce: getrandom::u64().map_err(|error| Error::Random(error.to_string()))?,
    };
    connection
        .post("/v1/join", &unregistered(pending), &request)
        .await
}

/// What a host without a number signs with.
fn unregistered(pending: &State) -> Credentials {
    Credentials {
        key: keys(pending).node_key.signing_key(),
        node: None,
    }
}

fn who(pending: &State) -> JoinWait {
    JoinWait {
        node_key: keys(pending).node_key.signing_key().public(),
    }
}

fn arrive(
    options: &Options,
    pending: State,
    registered: RegisterResponse,
) -> Result<Outcome, Error> {
    let needs_approval = registered.needs_approval;
    // A node with new keys goes on with what it has.
    if pending.renewal.is_none() {
        Documents::clear(&options.state)?;
    }
    let state = joined(pending, registered);
    StateFile::in_directory(&options.state).save(&state)?;
    Ok(Outcome::Joined(Box::new(Arrived {
        state,
        needs_approval,
    })))
}

fn joined(pending: State, registered: RegisterResponse) -> State {
    let NewKeys {
        node_key,
        wireguard_key,
    } = keys(&pending);
    State {
        node_key,
        wireguard_key,
        renewal: None,
        membership: Some(Membership {
            node: registered.node,
            name: registered.name,
            up: true,
        }),
        ..pending
    }
}

/// The state of a node that is in the mesh which `join` names: by the key that was pinned, or by the
/// one that control has now, which is pinned from then on.
fn same_mesh(
    directory: &Path,
    state: &State,
    url: &ControlUrl,
    join: &Join,
) -> Result<State, Error> {
    let keys = control_keys::load(directory, state.control_key);
    let known = [&state.control_key, keys.current()];
    if state.control != url.to_string() || !known.contains(&&join.control_key) {
        return Err(Error::OtherControl(state.control.clone()));
    }
    Ok(State {
        control_key: join.control_key,
        ..state.clone()
    })
}

/// The keys of an interrupted try with the same control are used again: it may have succeeded.
fn prepare(before: Option<State>, url: &ControlUrl, join: &Join) -> Result<State, Error> {
    let same =
        |state: &State| state.control == url.to_string() && state.control_key == join.control_key;
    if let Some(state) = before.filter(same) {
        return Ok(state);
    }
    Ok(State {
        node_key: Secret::generate()?,
        wireguard_key: Secret::generate()?,
        control: url.to_string(),
        control_key: join.control_key,
        renewal: None,
        membership: None,
    })
}

/// An auth key may count only once: what this host lacks is found out before it is used.
async fn check_host(options: &Options, state: &State) -> Result<(), Error> {
    nft::check().await?;
    let links = Links::connect()?;
    let settings = Settings {
        device: options.device.clone(),
        port: options.wireguard_port,
        key: state.wireguard_key.clone(),
        mtu: 0,
        index: None,
    };
    wireguard::check(options.wireguard, &settings, &links).await
}

fn restore(file: &StateFile, before: Option<&State>) -> Result<(), Error> {
    match before {
        Some(state) => file.save(state),
        None => file.remove(),
    }
}

#[cfg(test)]
mod tests {
    use meshd_contract::identity::NodeId;
    use meshd_contract::key::PrivateKey;

    use super::*;

    fn wish() -> Join {
        Join {
            control: "https://control:8443".to_owned(),
            control_key: PrivateKey::from_seed(&[1; 32]).public(),
            auth_key: Some("secret".to_owned()),
            name: "web1".parse().expect("a name"),
            tags: Vec::new(),
            renew: false,
        }
    }

    fn url() -> ControlUrl {
        wish().control.parse().expect("an address")
    }

    #[test]
    fn an_interrupted_try_keeps_its_keys() {
        let first = prepare(None, &url(), &wish()).expect("random bytes");
        let second = prepare(Some(first.clone()), &url(), &wish()).expect("random bytes");
        assert_eq!(first, second);
        let mut other = wish();
        other.control_key = PrivateKey::from_seed(&[2; 32]).public();
        let third = prepare(Some(first.clone()), &url(), &other).expect("random bytes");
        assert_ne!(first.node_key, third.node_key);
    }

    #[test]
    fn a_node_of_another_mesh_is_told_so() {
        let mut state = prepare(None, &url(), &wish()).expect("random bytes");
        state.membership = Some(Membership {
            node: NodeId(1),
            name: "web1".parse().expect("a name"),
            up: false,
        });
        let directory = tempfile::tempdir().expect("a directory");
        let same = |url: &ControlUrl, wish: &Join| same_mesh(directory.path(), &state, url, wish);
        assert!(same(&url(), &wish()).is_ok());
        let other = "https://other".parse().expect("an address");
        let refused = same(&other, &wish());
        assert!(matches!(refused, Err(Error::OtherControl(_))));

        let mut named = wish();
        named.control_key = control_keys::tests::key(2).public();
        assert!(matches!(same(&url(), &named), Err(Error::OtherControl(_))));
        let rotation = control_keys::tests::rotation(1, 2);
        control_keys::keep(directory.path(), state.control_key, vec![rotation]).expect("writes");
        let state = same(&url(), &named).expect("has this key now");
        assert_eq!(state.control_key, named.control_key);
    }

    #[tokio::test]
    async fn an_unreachable_control_leaves_no_trace() {
        use super::super::options::Arguments;
        use clap::Parser;
        let directory = tempfile::tempdir().expect("a directory");
        let state = directory.path().display().to_string();
        let arguments = Arguments::parse_from(["meshd", "--state", &state]);
        let options = arguments.options().expect("is in order");
        let mut wish = wish();
        // Port 1 of the loopback address refuses, or the check of the host does before.
        wish.control = "https://127.0.0.1:1".to_owned();
        let refused = join(&options, None, &wish).await;
        assert!(refused.is_err());
        let left = std::fs::read_dir(directory.path()).expect("lists");
        assert_eq!(left.count(), 0);
    }
}
