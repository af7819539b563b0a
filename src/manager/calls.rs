//! What the manager does when `mesh` asks.

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::api::Call;
use super::control::connection::identify;
use super::control::log_out;
use super::control::url::ControlUrl;
use super::control_keys;
use super::daemon::{Daemon, Done, UP_DEADLINE};
use super::documents::Documents;
use super::error::Error;
use super::firewalls;
use super::join::{self, Arrived, Outcome, join};
use super::state::State;
use super::status;
use super::wireguard::Peers;
use crate::local_api::{
    Control, Documents as DocumentsStatus, Join, Joined, Request, Response, State as MeshState,
    Status, WireGuard,
};

impl Daemon {
    /// Answers, now or when it is known.
    pub(super) async fn answer(&mut self, call: Call) {
        let Call {
            request,
            is_root,
            reply,
        } = call;
        let needs_root = match request {
            // Nobody else has a say in where this process connects to.
            Request::Identify { .. }
            | Request::Up { .. }
            | Request::AwaitJoin { .. }
            | Request::Down
            | Request::Logout => true,
            // Whoever may end the use of the mesh may end connections.
            Request::Kill { .. } | Request::RevokeChecks => true,
            Request::Await | Request::Status | Request::Sessions | Request::Whois { .. } => false,
            // Whoever asks, only the owner of this host can approve.
            Request::Check { .. } | Request::CheckNews { .. } | Request::Approved => false,
        };
        if needs_root && !is_root {
            return send(reply, error(&Error::NeedsRoot));
        }
        match request {
            Request::Identify { control } => self.identify(control, reply),
            Request::Up { join } => self.up(join, reply).await,
            Request::AwaitJoin { join } => self.await_join(&join, reply),
            Request::Await => {
                self.waiters.push((Instant::now() + UP_DEADLINE, reply));
                self.settle().await;
            }
            Request::Down => {
                let done = self.down().await;
                send(reply, done.map_or_else(|e| error(&e), |()| Response::Done));
            }
            Request::Logout => self.log_out(reply),
            Request::Status => send(reply, Response::Status(Box::new(self.status().await))),
            Request::Sessions => self.sessions(reply),
            Request::Kill { connection } => self.kill(connection, reply),
            request @ (Request::Check { .. }
            | Request::CheckNews { .. }
            | Request::Approved
            | Request::RevokeChecks) => {
                self.check(request, reply);
            }
            Request::Whois { who } => {
                let found = self.whois(&who).await;
                let node = found.map(|node| Response::Node(Box::new(node)));
                send(reply, node.unwrap_or_else(|e| error(&e)));
            }
        }
    }

    fn identify(&mut self, control: String, reply: oneshot::Sender<Response>) {
        self.tasks.spawn(async move {
            let found = async { identify(&control.parse::<ControlUrl>()?).await };
            let answer = match found.await {
                Ok((control_key, rotations)) => Response::Identity {
                    control_key,
                    rotations,
                },
                Err(e) => error(&e),
            };
            send(reply, answer);
            Done::Asked
        });
    }

    /// Workers may take a while; nothing else waits for them.
    fn sessions(&mut self, reply: oneshot::Sender<Response>) {
        let connections = self.service.connections.clone();
        let document = self.documents.as_ref().and_then(Documents::network);
        let names = document.map(status::peer_names).unwrap_or_default();
        self.tasks.spawn(async move {
            let mut sessions = connections.sessions().await;
            for session in &mut sessions {
                if let (true, Some(name)) = (session.peer_name.is_empty(), names.get(&session.peer))
                {
                    session.peer_name = name.to_string();
                }
            }
            send(reply, Response::Sessions { sessions });
            Done::Asked
        });
    }

    fn kill(&mut self, connection: String, reply: oneshot::Sender<Response>) {
        let connections = self.service.connections.clone();
        self.tasks.spawn(async move {
            let killed = connections.kill(&connection).await;
            send(
                reply,
                killed.map_or_else(|e| error(&e), |()| Response::Done),
            );
            Done::Asked
        });
    }

    /// Control may take a while; nothing else waits for it.
    fn check(&mut self, request: Request, reply: oneshot::Sender<Response>) {
        let checks = self.service.checks.clone();
        self.tasks.spawn(async move {
            let answered = checks.answer(request).await;
            send(reply, answered.unwrap_or_else(|e| error(&e)));
            Done::Asked
        });
    }

    async fn up(&mut self, wish: Option<Box<Join>>, reply: oneshot::Sender<Response>) {
        if self.is_joining {
            return send(reply, error(&Error::Busy));
        }
        let Some(wish) = wish else {
            let member = self
                .state
                .clone()
                .filter(|state| state.membership.is_some());
            let outcome = member.map(|state| {
                Outcome::Joined(Box::new(Arrived {
                    state,
                    needs_approval: false,
                }))
            });
            return self.joined(outcome.ok_or(Error::NotJoined), reply).await;
        };
        self.is_joining = true;
        let (options, before) = (self.options.clone(), self.state.clone());
        self.tasks.spawn(async move {
            let outcome = join(&options, before, &wish).await;
            Done::Joined(outcome, reply)
        });
    }

    /// Waits for the person whom [`Self::up`] has asked for, until nobody waits for the answer.
    fn await_join(&mut self, wish: &Join, mut reply: oneshot::Sender<Response>) {
        if self.is_joining {
            return send(reply, error(&Error::Busy));
        }
        let pending = self
            .state
            .clone()
            .filter(|state| state.membership.is_none() || state.renewal.is_some())
            .filter(|state| state.control_key == wish.control_key);
        let Some(pending) = pending else {
            return send(reply, error(&Error::NotLetIn));
        };
        self.is_joining = true;
        let options = self.options.clone();
        self.tasks.spawn(async move {
            let outcome = tokio::select! {
                outcome = join::wait(&options, pending.clone()) => outcome,
                () = reply.closed() => {
                    if let Err(error) = join::leave(&options, &pending).await {
                        tracing::debug!(%error, "control was not told that nobody waits any more");
                    }
                    Err(Error::NotLetIn)
                }
            };
            Done::Joined(outcome, reply)
        });
    }

    /// A host that is a node now, or was one before: the mesh is used from here on. One that waits
    /// for a person keeps its keys.
    async fn joined(&mut self, outcome: Result<Outcome, Error>, reply: oneshot::Sender<Response>) {
        self.is_joining = false;
        let saved = match outcome {
            Ok(Outcome::Joined(arrived)) => self.take_place(*arrived),
            Ok(Outcome::Asked(pending, page)) => {
                self.state = Some(*pending);
                return send(reply, Response::Page(page));
            }
            Err(e) => Err(e),
        };
        match saved {
            Ok((state, joined)) => {
                let before = self.state.as_ref().map(|before| &before.wireguard_key);
                if before.is_some_and(|key| *key != state.wireguard_key) {
                    self.release().await;
                }
                self.state = Some(state);
                self.problem = None;
                send(reply, Response::Joined(joined));
                self.start().await;
            }
            Err(e) => send(reply, error(&e)),
        }
    }

    fn take_place(&self, arrived: Arrived) -> Result<(State, Joined), Error> {
        let mut state = arrived.state;
        let membership = state.membership.as_mut().ok_or(Error::NotJoined)?;
        membership.up = true;
        let joined = Joined {
            node: membership.node,
            name: membership.name.clone(),
            control_key: state.control_key,
            needs_approval: arrived.needs_approval,
        };
        if self.state.as_ref() != Some(&state) {
            self.file.save(&state)?;
        }
        Ok((state, joined))
    }

    async fn down(&mut self) -> Result<(), Error> {
        let (mut state, mut membership) = self.membership().ok_or(Error::NotJoined)?;
        membership.up = false;
        state.membership = Some(membership);
        self.file.save(&state)?;
        self.state = Some(state);
        self.take_down().await
    }

    fn log_out(&mut self, reply: oneshot::Sender<Response>) {
        let Some((state, membership)) = self.membership() else {
            return send(reply, error(&Error::NotJoined));
        };
        let credentials = self.credentials(&state, &membership);
        self.tasks.spawn(async move {
            let told = async {
                let (server, credentials) = credentials?;
                log_out(&server, &credentials).await
            };
            Done::LoggedOut(told.await, reply)
        });
    }

    /// A task beside the loop has ended; none if it was interrupted.
    pub(super) async fn task_done(&mut self, done: Option<Done>) {
        match done {
            Some(Done::Joined(outcome, reply)) => {
                self.joined(outcome, reply).await;
            }
            Some(Done::Renewed(outcome)) => {
                let (reply, _) = oneshot::channel();
                if let (Some(outcome), false) = (outcome, self.is_joining) {
                    self.joined(Ok(*outcome), reply).await;
                }
            }
            Some(Done::LoggedOut(told, reply)) => {
                // Control that does not know the node any more has nothing against it.
                let gone = matches!(told, Err(Error::Problem { status: 410, .. }));
                let outcome = match told {
                    Err(e) if !gone => Err(e),
                    _ => self.forget().await,
                };
                send(
                    reply,
                    outcome.map_or_else(|e| error(&e), |()| Response::Done),
                );
            }
            Some(Done::Reported(outcome)) => self.report_ended(outcome).await,
            Some(Done::ToldLogins(report, outcome)) => self.logins_told(&report, outcome),
            Some(Done::Asked) | None => {}
        }
    }

    /// Answers those who wait for the mesh, if it is up.
    ///
    /// Peers can answer only when control has told them where this node is.
    pub(super) async fn settle(&mut self) {
        let complete = self.documents.as_ref().is_some_and(Documents::are_complete);
        let is_known = self.was_reported || !self.connected;
        if self.waiters.is_empty() || !complete || !is_known || self.mesh.is_none() {
            return;
        }
        let status = Response::Status(Box::new(self.status().await));
        self.tell_waiters(&status);
    }

    pub(super) fn tell_waiters(&mut self, response: &Response) {
        for (_, reply) in self.waiters.drain(..) {
            send(reply, response.clone());
        }
    }

    /// Tells those who have waited for too long what is missing.
    pub(super) fn expire_waiters(&mut self) {
        let now = Instant::now();
        let sentence = self.problem().unwrap_or_else(|| {
            format!(
                "control has sent no documents within {} s: see journalctl -u meshd",
                UP_DEADLINE.as_secs()
            )
        });
        let waiting = std::mem::take(&mut self.waiters);
        for (deadline, reply) in waiting {
            if deadline <= now {
                send(reply, error(&Error::NotUp(sentence.clone())));
            } else {
                self.waiters.push((deadline, reply));
            }
        }
    }

    async fn whois(&mut self, who: &str) -> Result<crate::local_api::Node, Error> {
        let states = self.peer_states().await;
        let document = self.documents.as_ref().and_then(Documents::network);
        let document = document.ok_or_else(|| Error::NoSuchNode(who.to_owned()))?;
        status::whois(document, &states, who)
    }

    async fn peer_states(&mut self) -> Peers {
        match &mut self.mesh {
            Some(mesh) => mesh.peers().await.unwrap_or_default(),
            None => Peers::new(),
        }
    }

    async fn status(&mut self) -> Status {
        let states = self.peer_states().await;
        let document = self.documents.as_ref().and_then(Documents::network);
        Status {
            release: env!("CARGO_PKG_VERSION").to_owned(),
            state: self.mesh_state(),
            problem: self.problem(),
            repairs: self.repairs.status(),
            control: self.state.as_ref().map(|state| Control {
                url: state.control.clone(),
                fingerprint: control_keys::load(&self.options.state, state.control_key)
                    .current()
                    .fingerprint(),
                connected: self.connected,
            }),
            node: document.map(status::own_node),
            firewalls: self.firewalls_in_the_way(),
            has_ipv6: self.mesh.as_ref().is_none_or(super::mesh::Mesh::has_ipv6),
            domain: document.map(|document| document.domain.clone()),
            wireguard: self.wireguard_status(),
            ssh: self
                .mesh
                .as_ref()
                .is_some_and(super::mesh::Mesh::serves_ssh),
            ssh_connections: self.service.connections.count(),
            sandbox: self.service.connections.sandbox(),
            documents: self.documents_status(),
            peers: document
                .map(|document| status::peers(document, &states))
                .unwrap_or_default(),
        }
    }

    fn firewalls_in_the_way(&self) -> Vec<String> {
        if self.mesh.is_none() {
            return Vec::new();
        }
        let found = firewalls::in_the_way(&self.options.device);
        found
            .inspect_err(|error| tracing::debug!(%error, "other firewalls are not known"))
            .unwrap_or_default()
    }

    /// What a person should know, the gravest first.
    fn problem(&self) -> Option<String> {
        let here = [&self.repairs.problem, &self.problem].into_iter().flatten();
        let untaken = self.untaken.values().map(|untaken| &untaken.problem);
        let all: Vec<&str> = here
            .chain(untaken)
            .chain(&self.away)
            .map(String::as_str)
            .collect();
        (!all.is_empty()).then(|| all.join("; "))
    }

    fn mesh_state(&self) -> MeshState {
        match self
            .state
            .as_ref()
            .and_then(|state| state.membership.as_ref())
        {
            None => MeshState::LoggedOut,
            Some(membership) if !membership.up => MeshState::Down,
            Some(_) if self.mesh.is_none() => MeshState::Starting,
            Some(_) => MeshState::Up,
        }
    }

    fn wireguard_status(&self) -> Option<WireGuard> {
        let (mesh, state) = (self.mesh.as_ref()?, self.state.as_ref()?);
        Some(WireGuard {
            kind: mesh.kind().to_owned(),
            device: self.options.device.clone(),
            port: self.options.wireguard_port,
            mtu: mesh.mtu(),
            public_key: state.wireguard_key.wireguard_public(),
        })
    }

    fn documents_status(&self) -> Option<DocumentsStatus> {
        let documents = self.documents.as_ref()?;
        let network = documents.network()?;
        Some(DocumentsStatus {
            peers: documents.versions().peers,
            network: network.header.version,
            expires_at: network.header.expires_at,
        })
    }
}

fn send(reply: oneshot::Sender<Response>, response: Response) {
    // Whoever asked may have gone.
    let _ = reply.send(response);
}

fn error(error: &Error) -> Response {
    Response::Error {
        message: error.to_string(),
    }
}
