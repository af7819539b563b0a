//! How a host becomes a node.

use meshd_contract::node_api::{RegisterRequest, RegisterResponse};

use super::control::connection::{Connection, Credentials, Server};
use super::control::url::ControlUrl;
use super::documents::Documents;
use super::error::Error;
use super::link::Links;
use super::nft;
use super::options::Options;
use super::state::{Membership, Secret, State, StateFile};
use super::wireguard::{self, Settings};
use crate::local_api::Join;

/// Makes this host a node of the mesh, or does nothing where it is one already.
///
/// # Errors
/// [`Error`]; nothing has changed then.
pub async fn join(options: &Options, before: Option<State>, join: &Join) -> Result<State, Error> {
    let url: ControlUrl = join.control.parse()?;
    if let Some(state) = before.as_ref().filter(|state| state.membership.is_some()) {
        return same_mesh(state, &url, join);
    }
    let auth_key = join.auth_key.clone().ok_or(Error::NotJoined)?;
    let pending = prepare(before.clone(), &url, join)?;
    check_host(options, &pending).await?;
    let server = Server {
        url,
        key: join.control_key,
    };
    // Connected before anything is written: what fails most often leaves no trace.
    let connection = Connection::open(&server).await?;
    let file = StateFile::in_directory(&options.state);
    // A node whose registration is answered into the void must find its keys again.
    file.save(&pending)?;
    match register(connection, &pending, auth_key, join).await {
        Ok(registered) => {
            Documents::clear(&options.state)?;
            let state = joined(pending, registered);
            file.save(&state)?;
            Ok(state)
        }
        Err(error) => {
            if matches!(error, Error::Problem { .. }) {
                restore(&file, before.as_ref())?;
            }
            Err(error)
        }
    }
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
    let credentials = Credentials {
        key: pending.node_key.signing_key(),
        node: None,
    };
    connection
        .post("/v1/register", &credentials, &request)
        .await
}

fn joined(pending: State, registered: RegisterResponse) -> State {
    State {
        membership: Some(Membership {
            node: registered.node,
            name: registered.name,
            up: true,
        }),
        ..pending
    }
}

fn same_mesh(state: &State, url: &ControlUrl, join: &Join) -> Result<State, Error> {
    if state.control != url.to_string() || state.control_key != join.control_key {
        return Err(Error::OtherControl(state.control.clone()));
    }
    Ok(state.clone())
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
        assert!(same_mesh(&state, &url(), &wish()).is_ok());
        let other = "https://other".parse().expect("an address");
        let refused = same_mesh(&state, &other, &wish());
        assert!(matches!(refused, Err(Error::OtherControl(_))));
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
