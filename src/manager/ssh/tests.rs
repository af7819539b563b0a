//! A broker of these tests takes connections and plays their workers.

use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::path::Path;

use meshd_contract::broker::{
    ConnectionLimits, FromManager, SandboxReport, ToManager, ToManagerLink,
};
use meshd_contract::identity::NodeId;
use meshd_contract::login_event::{LoginEvent, LoginEventKind};
use meshd_contract::paths::SSH_PORT;
use meshd_contract::time::Timestamp;
use meshd_contract::wire;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, UnixAddr, accept, bind, listen, setsockopt, sockopt,
};

use super::connections::tests::{ADDRESS, description};
use super::hand_off::{self, HandOffError};
use super::kept::Key;
use super::*;
use crate::manager::fd_store::tests::Keeper;

/// What a worker of these tests has: its socket to the manager, the connection, the link.
struct Worker {
    manager: OwnedFd,
    tcp: OwnedFd,
    link: OwnedFd,
}

fn broker(path: &Path) -> OwnedFd {
    let kind = SockType::SeqPacket;
    let socket = nix::sys::socket::socket(AddressFamily::Unix, kind, SockFlag::SOCK_CLOEXEC, None)
        .expect("a socket");
    let address = UnixAddr::new(path).expect("an address");
    bind(socket.as_raw_fd(), &address).expect("binds");
    listen(&socket, Backlog::new(8).expect("a backlog")).expect("listens");
    socket
}

/// Takes one connection and gives this answer.
fn answering(listener: OwnedFd, answer: ToManager) -> std::thread::JoinHandle<Worker> {
    std::thread::spawn(move || {
        let fd = accept(listener.as_raw_fd()).expect("accepts");
        // SAFETY: the kernel has just made this descriptor, and nothing else knows its number.
        #[allow(unsafe_code)]
        let manager = unsafe { OwnedFd::from_raw_fd(fd) };
        let deadline = nix::sys::time::TimeVal::new(60, 0);
        setsockopt(&manager, sockopt::ReceiveTimeout, &deadline).expect("a deadline");
        let (message, fds) = wire::receive::<FromManager>(manager.as_fd()).expect("a message");
        assert_eq!(message, FromManager::Bind);
        let [tcp, link] = fds.try_into().expect("two descriptors");
        wire::send(manager.as_fd(), &answer, &[]).expect("answers");
        Worker { manager, tcp, link }
    })
}

fn bound() -> ToManager {
    ToManager::Bound {
        connection: "c1".to_owned(),
        peer: 2,
        limits: ConnectionLimits {
            total: 7,
            ..ConnectionLimits::default()
        },
    }
}

fn tcp_pair() -> (std::net::TcpStream, TcpStream) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("binds");
    let address = listener.local_addr().expect("is bound");
    let client = std::net::TcpStream::connect(address).expect("connects");
    let server = listener.accept().expect("accepts").0;
    server.set_nonblocking(true).expect("does not block");
    (client, TcpStream::from_std(server).expect("is a socket"))
}

fn service(connections: &Connections) -> Service {
    let mut service = Service::without_store(checks());
    service.connections = connections.clone();
    service
}

fn key() -> Key {
    Key::new(NodeId(2)).expect("random bytes")
}

/// A connection that a worker serves, and the task that looks after it.
async fn served(connections: &Connections) -> (Worker, tokio::task::JoinHandle<()>) {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("broker.sock");
    let broker = answering(broker(&path), bound());
    let (_client, server) = tcp_pair();
    let slot = connections.take(NodeId(2), ADDRESS).expect("is free");
    let task = tokio::spawn(service(connections).serve(server, ADDRESS, slot, path));
    connections.handed_over().await;
    (broker.join().expect("answers"), task)
}

fn says(worker: &Worker, message: &ToManager) {
    wire::send(worker.manager.as_fd(), message, &[]).expect("sends");
}

fn hears(worker: &Worker) -> FromManager {
    let received = wire::receive(worker.manager.as_fd());
    received.expect("a message").0
}

/// Lets the tasks of this thread run until something is so.
async fn until(mut so: impl FnMut() -> bool) {
    while !so() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Nobody is asked for a check in these tests.
fn checks() -> Checks {
    Checks::new(PathBuf::from("/nonexistent"))
}

#[tokio::test]
async fn a_connection_is_counted_until_worker_and_session_process_have_ended() {
    let connections = Connections::default();
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("broker.sock");
    let broker = answering(broker(&path), bound());
    let (mut client, server) = tcp_pair();
    let slot = connections.take(NodeId(2), ADDRESS).expect("is free");
    let task = tokio::spawn(service(&connections).serve(server, ADDRESS, slot, path));
    connections.handed_over().await;
    let worker = broker.join().expect("answers");
    // The manager has kept no copy of the connection.
    drop(worker.tcp);
    assert_eq!(client.read(&mut [0; 1]).expect("reads the end"), 0);
    drop(worker.link);
    tokio::task::yield_now().await;
    assert_eq!(connections.count(), 1);
    drop(worker.manager);
    task.await.expect("ends");
    assert_eq!(connections.count(), 0);
}

#[tokio::test]
async fn a_refusal_closes_the_connection() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("broker.sock");
    let broker = answering(
        broker(&path),
        ToManager::Refused {
            reason: "no peer".to_owned(),
        },
    );
    let (mut client, server) = tcp_pair();
    let refused = Service::without_store(checks())
        .hand_over(server, &path, &key())
        .await;
    assert!(matches!(refused, Err(HandOffError::Refused(reason)) if reason == "no peer"));
    drop(broker.join().expect("answers"));
    assert_eq!(client.read(&mut [0; 1]).expect("reads the end"), 0);
}

#[tokio::test]
async fn without_a_broker_the_error_names_its_unit() {
    let (_client, server) = tcp_pair();
    let path = Path::new("/nonexistent/broker.sock");
    let refused = Service::without_store(checks())
        .hand_over(server, path, &key())
        .await;
    let message = refused.expect_err("is refused").to_string();
    assert!(message.contains("meshd-ssh"), "{message}");
}

#[tokio::test]
async fn a_broker_that_begins_again_is_waited_for() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("broker.sock");
    drop(broker(&path));
    let reaching = path.clone();
    let reached = std::thread::spawn(move || hand_off::reach(&reaching));
    let next = directory.path().join("next.sock");
    let _listener = broker(&next);
    std::fs::rename(&next, &path).expect("is replaced");
    assert!(reached.join().expect("runs").is_ok());
}

#[tokio::test]
async fn sessions_are_what_their_workers_say() {
    let connections = Connections::default();
    let (worker, _task) = served(&connections).await;
    let asking = connections.clone();
    let listed = tokio::spawn(async move { asking.sessions().await });
    let worker = tokio::task::spawn_blocking(move || {
        assert_eq!(hears(&worker), FromManager::Describe);
        says(
            &worker,
            &ToManager::Described(description("c1", Some("alice"))),
        );
        worker
    });
    let worker = worker.await.expect("answers");
    let sessions = listed.await.expect("an answer");
    assert_eq!(sessions.len(), 1);
    assert_eq!(sessions[0].connection, "c1");
    assert_eq!(sessions[0].login.as_deref(), Some("alice"));
    assert!(!sessions[0].busy);
    // The worker's limits count from now on.
    let more: Vec<_> = (0..)
        .map_while(|peer| connections.take(NodeId(peer), ADDRESS).ok())
        .collect();
    assert_eq!(more.len(), 6);
    drop(worker);
}

#[tokio::test]
async fn a_worker_that_does_not_answer_is_busy_and_asked_once() {
    let connections = Connections::default();
    let (worker, _task) = served(&connections).await;
    for _ in 0..2 {
        let sessions = connections.sessions().await;
        assert_eq!(sessions.len(), 1);
        assert!(sessions[0].busy);
        assert_eq!(sessions[0].connection, "c1");
        assert_eq!(sessions[0].address, Some(ADDRESS));
    }
    assert_eq!(hears(&worker), FromManager::Describe);
    fcntl(&worker.manager, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).expect("does not block");
    let more = wire::receive::<FromManager>(worker.manager.as_fd());
    assert!(matches!(more, Err(wire::WireError::WouldBlock)), "{more:?}");
}

#[tokio::test]
async fn a_login_is_known_without_asking() {
    let connections = Connections::default();
    let (worker, task) = served(&connections).await;
    let description = description("c1", Some("alice"));
    says(&worker, &ToManager::Described(description));
    until(|| connections.unauthenticated() == 0).await;
    assert_eq!(connections.count(), 1);
    drop(worker);
    task.await.expect("ends");
}

#[tokio::test]
async fn a_killed_session_has_ended_when_that_is_said() {
    let connections = Connections::default();
    let (worker, _task) = served(&connections).await;
    let killing = connections.clone();
    let killed = tokio::spawn(async move { killing.kill("c").await });
    let ended = tokio::task::spawn_blocking(move || {
        assert_eq!(hears(&worker), FromManager::End);
        drop(worker);
    });
    ended.await.expect("ends");
    killed.await.expect("runs").expect("has ended");
    assert_eq!(connections.count(), 0);
}

#[tokio::test]
async fn a_session_process_has_one_thing_to_say() {
    let connections = Connections::default();
    let (worker, _task) = served(&connections).await;
    let report = |landlock_abi| {
        ToManagerLink::Sandbox(SandboxReport {
            landlock_abi,
            system_calls: 30,
            missing: Vec::new(),
        })
    };
    for abi in [6, 7] {
        wire::send(worker.link.as_fd(), &report(abi), &[]).expect("sends");
    }
    until(|| wire::send(worker.link.as_fd(), &report(8), &[]).is_err()).await;
    assert_eq!(connections.sandbox().landlock_abi, Some(6));
    assert_eq!(connections.count(), 1);
}

/// What the keeper was told to keep, as the next manager finds it.
async fn kept(keeper: &Keeper) -> (String, OwnedFd) {
    let (text, fds) = keeper.next().await;
    let name = text.strip_prefix("FDSTORE=1\nFDNAME=").expect("is kept");
    let [fd] = fds.try_into().expect("one descriptor");
    (name.trim_end().to_owned(), fd)
}

#[tokio::test]
async fn the_next_manager_goes_on_with_a_connection() {
    let keeper = Keeper::start();
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("broker.sock");
    let broker = answering(broker(&path), bound());
    let (_client, server) = tcp_pair();
    let first = Service::take_back(Vec::new(), keeper.store.clone(), checks()).await;
    let slot = first.connections.take(NodeId(2), ADDRESS).expect("is free");
    let task = tokio::spawn(first.clone().serve(server, ADDRESS, slot, path));
    first.connections.handed_over().await;
    let worker = broker.join().expect("answers");
    let left = vec![kept(&keeper).await, kept(&keeper).await];
    // As when the process is killed: nothing is forgotten.
    task.abort();
    let next = Service::take_back(left, keeper.store.clone(), checks()).await;
    assert!(task.await.is_err());
    let asking = next.connections.clone();
    let listed = tokio::spawn(async move { asking.sessions().await });
    let worker = tokio::task::spawn_blocking(move || {
        assert_eq!(hears(&worker), FromManager::Describe);
        says(&worker, &ToManager::Described(description("c1", None)));
        worker
    });
    let worker = worker.await.expect("answers");
    until(|| next.connections.unauthenticated() == 1).await;
    drop(listed.await.expect("an answer"));
    let sessions = next.connections.sessions();
    assert_eq!(sessions.await.len(), 1);
    drop(worker);
    until(|| next.connections.count() == 0).await;
    for role in ["worker", "link"] {
        let (text, _) = keeper.next().await;
        let forgotten = format!("FDSTOREREMOVE=1\nFDNAME={role}-2-");
        assert!(text.starts_with(&forgotten), "{text}");
    }
}

#[tokio::test]
async fn what_is_no_worker_is_let_go() {
    let keeper = Keeper::start();
    let (kept, other) = wire::pair().expect("a pair");
    let (link, _session) = wire::pair().expect("a pair");
    let left = vec![(key().worker(), kept), ("link-2-x".to_owned(), link)];
    let service = Service::take_back(left, keeper.store.clone(), checks()).await;
    assert_eq!(keeper.next().await.0, "FDSTOREREMOVE=1\nFDNAME=link-2-x\n");
    until(|| service.connections.count() == 1).await;
    wire::send(
        other.as_fd(),
        &ToManager::Refused {
            reason: "not Bind".to_owned(),
        },
        &[],
    )
    .expect("sends");
    until(|| service.connections.count() == 0).await;
    let (text, _) = keeper.next().await;
    assert!(text.starts_with("FDSTOREREMOVE=1\nFDNAME=worker-2-"));
}

#[tokio::test]
async fn listeners_of_an_earlier_manager_are_used_where_they_fit() {
    let keeper = Keeper::start();
    let addresses = [
        IpAddr::from([127, 0, 0, 1]),
        IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1]),
    ];
    let first = Service::take_back(Vec::new(), keeper.store.clone(), checks()).await;
    let listening = first.listen(&addresses, "lo").await.expect("listens");
    assert_eq!(
        keeper.next().await.0,
        "FDSTOREREMOVE=1\nFDNAME=ssh-listener\n"
    );
    let left = vec![kept(&keeper).await, kept(&keeper).await];
    drop(listening);
    let client = std::net::TcpStream::connect((addresses[0], SSH_PORT)).expect("waits in line");
    let next = Service::take_back(left, keeper.store.clone(), checks()).await;
    let listening = next.listen(&addresses, "lo").await.expect("listens");
    let (_, from) = listening[0].accept().await.expect("is not missed");
    assert_eq!(from, client.local_addr().expect("an address"));
    // Other addresses: the old sockets go.
    let listeners = listening.iter().map(|listener| {
        let copy = listener.as_fd().try_clone_to_owned().expect("a copy");
        ("ssh-listener".to_owned(), copy)
    });
    let last = Service::take_back(listeners.collect(), keeper.store.clone(), checks()).await;
    drop(listening);
    let other = [IpAddr::from([127, 0, 0, 2]), addresses[1]];
    let listening = last.listen(&other, "lo").await.expect("listens");
    assert_eq!(
        keeper.next().await.0,
        "FDSTOREREMOVE=1\nFDNAME=ssh-listener\n"
    );
    assert!(std::net::TcpStream::connect((addresses[0], SSH_PORT)).is_err());
    drop(listening);
}

#[tokio::test]
async fn what_becomes_of_a_login_is_kept_for_control() {
    let connections = Connections::default();
    let (worker, task) = served(&connections).await;
    let event = |kind| LoginEvent {
        kind,
        at: Timestamp(7),
        connection: "c1".to_owned(),
        peer: NodeId(2),
        address: ADDRESS,
        login: Some("alice".to_owned()),
        rule: None,
        reason: None,
    };
    let said = [LoginEventKind::Accepted, LoginEventKind::Ended].map(event);
    for event in &said {
        says(&worker, &ToManager::Login(event.clone()));
    }
    drop(worker);
    task.await.expect("ends");
    let report = connections.events().report().expect("something to tell");
    assert_eq!(
        (report.first, report.events.as_slice()),
        (1, said.as_slice())
    );
}
