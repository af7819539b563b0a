//! The manager's one loop: what comes from control, from `mesh`, from the broker and from the
//! clock, in the order in which it comes.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use meshd_contract::network_document::NetworkDocument;
use meshd_contract::node_api::{LoginReport, Report};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout};

use super::api::{self, Call};
use super::broker;
use super::control::clock;
use super::control::connection::{Credentials, Server};
use super::control::stream::FromControl;
use super::documents::Documents;
use super::error::Error;
use super::fd_store::{FdStore, Left};
use super::following::{Follower, Untaken};
use super::join::{Outcome, was_renewed};
use super::keeping::Repairs;
use super::kernel_events::{KernelEvents, Touched};
use super::mesh::{self, Mesh};
use super::options::Options;
use super::ssh::{Checks, Contact, LoginEvents, Service};
use super::ssh_hosts::SshHosts;
use super::state::{Membership, State, StateFile};
use crate::local_api::Response;

/// How often peers are looked after, and what failed is tried again.
pub(super) const TICK: Duration = Duration::from_secs(5);
/// How long `mesh up` waits.
pub(super) const UP_DEADLINE: Duration = Duration::from_secs(30);
/// How long connections that were accepted may take to reach the broker at the end.
const HAND_OVER: Duration = Duration::from_secs(5);
const QUEUE: usize = 64;

/// The manager.
pub struct Daemon {
    pub(super) options: Options,
    pub(super) file: StateFile,
    pub(super) state: Option<State>,
    pub(super) documents: Option<Documents>,
    pub(super) mesh: Option<Mesh>,
    pub(super) service: Service,
    ssh_hosts: SshHosts,
    /// What is wrong on this host.
    pub(super) problem: Option<String>,
    pub(super) repairs: Repairs,
    /// The device's number when it was last there.
    device_index: Option<u32>,
    /// This host's own addresses when they were last looked up.
    pub(super) underlay: Vec<IpAddr>,
    /// When to look at the underlay, which has changed.
    pub(super) underlay_at: Option<Instant>,
    /// Whether the kernel says at once what somebody changes.
    pub(super) hears_kernel: bool,
    /// Why control is away.
    pub(super) away: Option<String>,
    pub(super) connected: bool,
    pub(super) ssh: watch::Receiver<bool>,
    pub(super) waiters: Vec<(Instant, oneshot::Sender<Response>)>,
    pub(super) tasks: JoinSet<Done>,
    pub(super) is_joining: bool,
    pub(super) follower: Option<Follower>,
    /// Documents that could not be kept, by kind.
    pub(super) untaken: BTreeMap<String, Untaken>,
    from_control: mpsc::Receiver<FromControl>,
    pub(super) to_here: mpsc::Sender<FromControl>,
    pub(super) reported: Option<Report>,
    /// Whether control was told, or could not be, since the mesh is in use.
    pub(super) was_reported: bool,
    pub(super) is_reporting: bool,
    pub(super) report_at: Instant,
    /// What has become of logins, for control.
    pub(super) login_events: Arc<LoginEvents>,
    pub(super) is_telling_logins: bool,
    /// When to tell control of logins; none if there is nothing to tell, or control is away.
    pub(super) logins_at: Option<Instant>,
    /// Whether the service manager wants to hear that this loop turns (WatchdogSec=).
    is_watched: bool,
}

/// What a task beside the loop has come to.
pub(super) enum Done {
    /// To be answered to the one who asked.
    Joined(Result<Outcome, Error>, oneshot::Sender<Response>),
    /// What has become of new keys that an earlier process has asked for.
    Renewed(Option<Box<Outcome>>),
    /// A question was answered; nothing to do here.
    Asked,
    /// Control has said good-bye, or could not be told.
    LoggedOut(Result<(), Error>, oneshot::Sender<Response>),
    /// Control was told of logins, or was not.
    ToldLogins(LoginReport, Result<(), Error>),
    /// What control knows of this node now.
    Reported(Result<Report, Error>),
}

impl Daemon {
    /// Reads the state, and goes on with what an earlier manager has left.
    ///
    /// # Errors
    /// [`Error::State`] for a state file that cannot be used.
    pub async fn new(options: Options, left: Vec<Left>) -> Result<Self, Error> {
        let file = StateFile::in_directory(&options.state);
        let state = file.load()?;
        let (to_here, from_control) = mpsc::channel(QUEUE);
        let ssh = broker::watch(options.broker_socket.clone());
        let ssh_hosts = SshHosts::beside(&options.socket);
        let checks = Checks::new(options.state.clone());
        let service = Service::take_back(left, FdStore::from_environment(), checks).await;
        Ok(Self {
            options,
            file,
            state,
            documents: None,
            mesh: None,
            login_events: service.connections.events(),
            is_telling_logins: false,
            logins_at: None,
            service,
            ssh_hosts,
            problem: None,
            repairs: Repairs::default(),
            device_index: None,
            underlay: Vec::new(),
            underlay_at: None,
            hears_kernel: false,
            away: None,
            connected: false,
            ssh,
            waiters: Vec::new(),
            tasks: JoinSet::new(),
            is_joining: false,
            follower: None,
            untaken: BTreeMap::new(),
            from_control,
            to_here,
            reported: None,
            was_reported: false,
            is_reporting: false,
            report_at: Instant::now(),
            is_watched: sd_notify::watchdog_enabled().is_some(),
        })
    }

    /// Runs until the service is stopped; the device and its rules stay then.
    ///
    /// # Errors
    /// [`Error`] when the socket of the `mesh` command cannot be made.
    pub async fn run(mut self) -> Result<(), Error> {
        let listener = api::bind(&self.options.socket)?;
        let (calls, mut waiting) = mpsc::channel::<Call>(QUEUE);
        let mut serving = JoinSet::new();
        serving.spawn(api::serve(listener, calls));
        let signals =
            |kind| signal(kind).map_err(|error| Error::network("waiting for signals", error));
        let mut terminate = signals(SignalKind::terminate())?;
        let mut interrupt = signals(SignalKind::interrupt())?;
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut kernel = KernelEvents::open(&self.options.device)
            .inspect_err(|error| tracing::warn!(%error, "changes are noticed a little later"))
            .ok();
        self.hears_kernel = kernel.is_some();
        self.start().await;
        if !self.is_wanted() {
            self.service.drop_listeners().await;
        }
        notify(sd_notify::NotifyState::Ready);
        loop {
            tokio::select! {
                _ = terminate.recv() => break,
                _ = interrupt.recv() => break,
                Some(call) = waiting.recv() => self.answer(call).await,
                Some(message) = self.from_control.recv() => self.control_says(message).await,
                Some(done) = self.tasks.join_next() => self.task_done(done.ok()).await,
                changed = self.ssh.changed() => {
                    if changed.is_ok() {
                        tracing::info!(on = *self.ssh.borrow(), "SSH");
                        self.report_at = Instant::now();
                        self.refresh().await;
                    }
                }
                () = failed(self.mesh.as_mut()) => self.device_failed().await,
                touched = next(kernel.as_mut(), self.device_index) => {
                    self.kernel_says(touched).await;
                }
                () = at(self.underlay_at) => self.underlay_changed().await,
                () = self.login_events.more() => self.tell_logins_soon(),
                () = at(self.logins_at) => self.tell_logins(),
                _ = ticks.tick() => self.tick().await,
            }
        }
        notify(sd_notify::NotifyState::Stopping);
        self.leave().await;
        tracing::info!("stopped; the device and its rules stay");
        api::unlink(&self.options.socket);
        Ok(())
    }

    /// Whether the host is to be in a mesh.
    fn is_wanted(&self) -> bool {
        self.membership()
            .is_some_and(|(_, membership)| membership.up)
    }

    /// Finishes what the next manager could not: a connection that was accepted here.
    async fn leave(&mut self) {
        if let Some(mesh) = &mut self.mesh {
            mesh.leave_ssh().await;
        }
        let handed_over = self.service.connections.handed_over();
        if timeout(HAND_OVER, handed_over).await.is_err() {
            tracing::warn!("the broker did not take every SSH connection");
        }
    }

    /// Begins to use the mesh that the state names, with the documents that are there.
    pub(super) async fn start(&mut self) {
        let Some((state, membership)) = self.membership() else {
            return;
        };
        if !membership.up {
            return;
        }
        if state.renewal.is_some() && !self.is_joining {
            let (options, pending) = (self.options.clone(), state.clone());
            self.tasks.spawn(async move {
                let outcome = was_renewed(&options, pending).await;
                Done::Renewed(outcome.map(Box::new))
            });
        }
        let directory = self.options.state.clone();
        if self.documents.is_none() {
            let documents = Documents::load(&directory, state.control_key, membership.node);
            self.documents = Some(documents);
        }
        self.follow(&state, &membership);
        self.set_contact();
        self.refresh().await;
    }

    /// Tells those who ask control about logins where it is, and which keys it has.
    pub(super) fn set_contact(&self) {
        let contact = self.membership().and_then(|(state, membership)| {
            let (server, credentials) = self.credentials(&state, &membership).ok()?;
            Some(Contact {
                server,
                credentials,
            })
        });
        self.service.checks.set_contact(contact);
    }

    /// What a node's requests need.
    pub(super) fn credentials(
        &self,
        state: &State,
        membership: &Membership,
    ) -> Result<(Server, Credentials), Error> {
        let server = state.server(&self.options.state)?;
        let credentials = Credentials {
            key: state.node_key.signing_key(),
            node: Some(membership.node),
        };
        Ok((server, credentials))
    }

    /// The state of a host that is a node.
    pub(super) fn membership(&self) -> Option<(State, Membership)> {
        let state = self.state.clone()?;
        let membership = state.membership.clone()?;
        Some((state, membership))
    }

    /// Ends the use of the mesh in this process, and leaves what is in the kernel.
    pub(super) fn let_go(&mut self) -> Option<Mesh> {
        self.follower = None;
        self.service.checks.set_contact(None);
        self.untaken.clear();
        // What the old stream has brought is for the old node.
        while self.from_control.try_recv().is_ok() {}
        self.connected = false;
        self.documents = None;
        self.reported = None;
        self.was_reported = false;
        self.problem = None;
        self.repairs.problem = None;
        self.away = None;
        self.mesh.take()
    }

    /// Removes everything from the kernel that the use of the mesh has put there.
    pub(super) async fn take_down(&mut self) -> Result<(), Error> {
        self.ssh_hosts.remove()?;
        match self.let_go() {
            Some(mesh) => mesh.take_down().await,
            None => {
                self.service.drop_listeners().await;
                mesh::remove_leftovers(&self.options).await
            }
        }
    }

    /// Leaves the mesh on this side. The documents stay until the next join: they end sessions.
    pub(super) async fn forget(&mut self) -> Result<(), Error> {
        self.file.remove()?;
        self.state = None;
        self.login_events.clear();
        self.take_down().await
    }

    /// Makes the kernel fit the newest document, the broker's state and the time.
    pub(super) async fn refresh(&mut self) {
        let Some((state, membership)) = self.membership() else {
            return;
        };
        let document = self
            .documents
            .as_ref()
            .and_then(Documents::network)
            .cloned();
        let (Some(document), true) = (document, membership.up) else {
            return;
        };
        match self.make_fit(&state, &document).await {
            Ok(()) => {
                self.problem = expiry(&document);
                self.settle_repairs();
            }
            Err(error) => {
                let sentence = error.to_string();
                if self.problem.as_ref() != Some(&sentence) {
                    tracing::error!(error = sentence, "the mesh is not as it should be");
                }
                self.tell_waiters(&Response::Error {
                    message: sentence.clone(),
                });
                self.problem = Some(sentence);
            }
        }
        self.settle().await;
        self.report().await;
    }

    async fn make_fit(&mut self, state: &State, document: &NetworkDocument) -> Result<(), Error> {
        let ssh = *self.ssh.borrow();
        if let Some(mesh) = self.mesh.as_mut().filter(|mesh| mesh.fits(document)) {
            mesh.update(document, ssh, clock::now()).await?;
            return self.ssh_hosts.write(document);
        }
        self.release().await;
        let (key, index) = (&state.wireguard_key, self.device_index);
        let mesh = Mesh::bring_up(&self.options, key, document, &self.service, ssh, index).await?;
        self.device_index = Some(mesh.index());
        tracing::info!(
            wireguard = mesh.kind(),
            v4 = %document.addresses.v4,
            v6 = %document.addresses.v6,
            name = %document.name,
            peers = document.peers.len(),
            "the mesh is up"
        );
        self.mesh = Some(mesh);
        self.report_at = Instant::now();
        self.ssh_hosts.write(document)
    }

    async fn tick(&mut self) {
        if self.is_watched {
            notify(sd_notify::NotifyState::Watchdog);
        }
        self.look_around().await;
        self.take_untaken().await;
        if self.needs_refresh() {
            self.refresh().await;
        }
        self.report().await;
        self.expire_waiters();
    }

    /// Whether something failed before, or a key or the document has expired since.
    fn needs_refresh(&self) -> bool {
        if self.mesh.is_none() && self.repairs.are_paused() {
            return false;
        }
        let document = self.documents.as_ref().and_then(Documents::network);
        let (Some(mesh), Some(document), None) = (&self.mesh, document, &self.problem) else {
            return true;
        };
        !mesh.is_current(document, *self.ssh.borrow(), clock::now())
    }

    /// Closes every socket and leaves the device and its rules, so that they can be adopted again.
    pub(super) async fn release(&mut self) {
        if let Some(mesh) = self.mesh.take() {
            mesh.release().await;
        }
    }
}

fn expiry(document: &NetworkDocument) -> Option<String> {
    mesh::has_expired(document, clock::now()).then(|| {
        "the network document has expired and no peer is reached: check that control answers"
            .to_owned()
    })
}

async fn failed(mesh: Option<&mut Mesh>) {
    match mesh {
        Some(mesh) => mesh.failed().await,
        None => std::future::pending().await,
    }
}

async fn next(kernel: Option<&mut KernelEvents>, index: Option<u32>) -> Touched {
    match kernel {
        Some(kernel) => kernel.next(index).await,
        None => std::future::pending().await,
    }
}

async fn at(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => std::future::pending().await,
    }
}

fn notify(state: sd_notify::NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::debug!(%error, "the service manager was not told");
    }
}
