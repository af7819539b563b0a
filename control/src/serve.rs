//! The server from its start to its end.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::slice;
use std::sync::Arc;

use anyhow::anyhow;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::stat::{Mode, umask};
use sd_notify::NotifyState;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::admin::operations::Admin;
use crate::admin::server::AdminSocket;
use crate::api::ApiServer;
use crate::audit::Actor;
use crate::checks::{self, Checks};
use crate::cli::ServeArguments;
use crate::clock::now;
use crate::engine::Engine;
use crate::ephemeral::Ephemeral;
use crate::hub::Hub;
use crate::node_server::NodeServer;
use crate::public_url::PublicUrl;
use crate::publisher::{Publisher, Settings};
use crate::rate::Rate;
use crate::signer::Signer;
use crate::state_dir::StateDir;
use crate::store::Store;
use crate::tls::Tls;
use crate::web::{self, Sealer, Web};

/// Serves until SIGTERM or SIGINT.
///
/// # Errors
/// One sentence that says why it cannot start.
pub(crate) fn serve(arguments: &ServeArguments, socket: &Path) -> anyhow::Result<()> {
    let level = std::env::var("RUST_LOG").ok();
    let level = level.and_then(|level| level.parse().ok());
    tracing_subscriber::fmt()
        .with_writer(io::stderr)
        .with_ansi(false)
        .with_max_level(level.unwrap_or(tracing::Level::INFO))
        .init();
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| anyhow!("cannot start threads: {error}"))?
        .block_on(run(arguments, socket))
}

async fn run(arguments: &ServeArguments, socket: &Path) -> anyhow::Result<()> {
    // Nothing that control writes is for others, the database's files included.
    umask(Mode::from_bits_truncate(0o077));
    permit_descriptors();
    let listener = listen(arguments.listen).await?;
    let state = StateDir::open(&arguments.state)?;
    let key_file = state.key_file();
    key_file.ensure()?;
    let tls = match (&arguments.tls_certificate, &arguments.tls_key) {
        (Some(certificate), Some(key)) => Tls::from_files(certificate, key)?,
        _ => Tls::own(&state)?,
    };
    let store = open_store(&state).await?;
    let hash = tls.certificate_hash.clone();
    let signer = Arc::new(Signer::open(key_file, &store, hash).await?);
    let admin_socket = AdminSocket::open(socket)?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;

    let hub = Hub::new();
    let (stop, stopped) = watch::channel(false);
    let address = listener.local_addr()?;
    let url = arguments.url.clone();
    let url = url.unwrap_or_else(|| PublicUrl::of_this_host(address.port()));
    let oidc = arguments.oidc.provider(&url)?;
    let admin = Admin {
        store: store.clone(),
        hub: Arc::clone(&hub),
        signer: Arc::clone(&signer),
        document_lifetime: arguments.document_lifetime.0,
        login_domains: arguments.login_domain.clone(),
        url: url.clone(),
        state: arguments.state.clone(),
    };
    admin.warn_about_policy().await?;
    let checks = Checks::new(
        store.clone(),
        Arc::clone(&hub),
        Arc::clone(&signer),
        url.clone(),
    );
    let nodes = NodeServer::new(
        store.clone(),
        Arc::clone(&hub),
        Arc::clone(&checks),
        Arc::clone(&signer),
        arguments.key_expiry.0,
        stopped.clone(),
    );
    if oidc.is_none() && !store.has_accounts().await? {
        tracing::info!(
            "nobody has an account yet: `meshd-control users invite LOGIN --role admin` prints a \
             link for the first one"
        );
    }
    let key = signer.current().key.public();
    tracing::info!(
        listen = %address,
        %url,
        %key,
        fingerprint = key.fingerprint(),
        "ready"
    );
    let sealer = Sealer::new(&store.secret(web::SECRET).await?);
    let web = web::Settings {
        sealer: sealer.ok_or_else(|| anyhow!("cookies cannot be sealed"))?,
        url,
        key_lifetime: arguments.key_expiry.0,
        approve_devices: arguments.approve_devices,
        oidc,
    };
    let web = Web::new(store.clone(), Arc::clone(&hub), web)?;
    let settings = Settings {
        signer,
        domain: arguments.domain.clone(),
        login_domains: arguments.login_domain.clone(),
        lifetime: arguments.document_lifetime.0,
    };
    let last_seen = Arc::clone(&nodes.last_seen);
    let publisher = Publisher::new(store.clone(), Arc::clone(&hub), settings);
    let ephemeral = Ephemeral::new(store.clone(), hub, arguments.ephemeral_timeout.0);
    let mut tasks = JoinSet::new();
    tasks.spawn(ephemeral.run(stopped.clone()));
    tasks.spawn(publisher.run(stopped.clone()));
    tasks.spawn(Arc::clone(&last_seen).run(store.clone(), stopped.clone()));
    let rate = Rate {
        burst: arguments.api_rate.saturating_mul(5),
        per_second: arguments.api_rate,
    };
    let api = ApiServer::new(admin.clone(), rate).router()?;
    tasks.spawn(admin_socket.serve(admin, stopped.clone()));
    let pages = web::router().merge(checks::pages(checks));
    let router = web::with(nodes.router().merge(pages), web);
    let router = router.nest("/api/v1", api);
    tasks.spawn(crate::https::serve(listener, tls, router, stopped));
    tell_systemd(&NotifyState::Ready);

    let ended = tokio::select! {
        _ = terminate.recv() => None,
        _ = interrupt.recv() => None,
        ended = tasks.join_next() => ended,
    };
    tracing::info!("stopping");
    tell_systemd(&NotifyState::Stopping);
    stop.send_replace(true);
    while tasks.join_next().await.is_some() {}
    last_seen.write(&store).await;
    store.close().await;
    match ended {
        None => Ok(()),
        Some(_) => Err(anyhow!(
            "a part of the server has failed; its log says more"
        )),
    }
}

fn tell_systemd(state: &NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(slice::from_ref(state)) {
        tracing::warn!(%error, "cannot tell systemd about the state of the server");
    }
}

/// Permits as many descriptors as the system allows: each node holds a connection, and the usual
/// limit of 1024 is there for programs that use select(2).
fn permit_descriptors() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard, hard));
    if let Err(error) = raised {
        tracing::warn!(%error, "the number of connections stays limited");
    }
}

async fn listen(address: SocketAddr) -> anyhow::Result<TcpListener> {
    let mut bound = TcpListener::bind(address).await;
    // A kernel without IPv6 has no [::]; every IPv4 address is what is left of it.
    if let Err(error) = &bound
        && error.raw_os_error() == Some(nix::errno::Errno::EAFNOSUPPORT as i32)
        && address.ip().is_unspecified()
    {
        bound = TcpListener::bind((Ipv4Addr::UNSPECIFIED, address.port())).await;
    }
    bound.map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => anyhow!(
            "port {} is in use by another program; stop it, or give another port with --listen",
            address.port()
        ),
        io::ErrorKind::PermissionDenied => anyhow!(
            "port {} needs the capability CAP_NET_BIND_SERVICE; give a port above 1023 with \
             --listen",
            address.port()
        ),
        _ => anyhow!("cannot listen on {address}: {error}; give another address with --listen"),
    })
}

/// The database, with the policy of a fresh mesh if it has none.
async fn open_store(state: &StateDir) -> anyhow::Result<Store> {
    let path = state.database();
    let store = Store::open(&path).await.map_err(|error| {
        anyhow!(
            "cannot open {}: {error}; restore it from a backup",
            path.display()
        )
    })?;
    if store.policy().await?.is_none() {
        store
            .save_policy(Engine::default_text(), None, now(), &Actor::Control)
            .await?;
    }
    Ok(store)
}
