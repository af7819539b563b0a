//! The SSH connections that are open, and how many may be.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use meshd_contract::broker::{ConnectionLimits, Description, SandboxReport};
use meshd_contract::identity::NodeId;
use meshd_contract::login_event::LoginEvent;
use meshd_contract::time::Timestamp;
use thiserror::Error;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::login_events::LoginEvents;
use crate::local_api::Session;
use crate::manager::error::Error as ManagerError;
use crate::manager::sandbox::Sandbox;

/// How long a worker may take to say what its connection is.
const ANSWER: Duration = Duration::from_secs(2);
/// How long a connection may take to end when it is told to: longer than root's worker waits for
/// programs that handle the hang-up.
const END: Duration = Duration::from_secs(15);

/// Why a connection is closed at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(super) enum TooMany {
    #[error("{0} connections are open")]
    Total(u32),
    #[error("{0} connections of this peer are open")]
    OfPeer(u32),
    #[error("{0} connections have not logged in yet")]
    Unauthenticated(u32),
    #[error("{0} connections of this peer have not logged in yet")]
    UnauthenticatedOfPeer(u32),
}

/// What the one who looks after a connection is asked to do.
#[derive(Debug)]
pub(super) enum Order {
    /// Have the worker say what it is; answered after the table knows it.
    Describe(oneshot::Sender<()>),
    /// Have the worker end it.
    End,
    /// Have the worker look for a newer peer document.
    Look,
}

/// All connections; shared by everybody who asks.
#[derive(Debug, Clone, Default)]
pub struct Connections {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    table: Mutex<Table>,
    events: Arc<LoginEvents>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Table {
    limits: ConnectionLimits,
    next: u64,
    entries: BTreeMap<u64, Entry>,
    sandbox: Sandbox,
}

#[derive(Debug)]
struct Entry {
    peer: NodeId,
    address: Option<IpAddr>,
    since: Option<Timestamp>,
    /// None until the broker has taken it.
    served: Option<Served>,
    described: Option<Description>,
    /// A person is waited for, maybe for long.
    is_held: bool,
}

#[derive(Debug)]
struct Served {
    connection: String,
    orders: mpsc::Sender<Order>,
}

/// One counted connection, until it is dropped.
#[derive(Debug)]
pub(super) struct Slot {
    connections: Connections,
    number: u64,
    /// Whose it is.
    pub(super) peer: NodeId,
}

impl Connections {
    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.table().entries.len()
    }

    /// What has become of logins, for control.
    #[must_use]
    pub fn events(&self) -> Arc<LoginEvents> {
        Arc::clone(&self.shared.events)
    }

    /// What the last session process has said of its sandbox, or else what the kernel says.
    #[must_use]
    pub fn sandbox(&self) -> crate::local_api::Sandbox {
        self.table().sandbox.status()
    }

    /// Asks every worker; sorted by age. One that does not answer soon is busy, and shown with
    /// what it has said before.
    pub async fn sessions(&self) -> Vec<Session> {
        let mut asked = JoinSet::new();
        for (number, orders) in self.served() {
            asked.spawn(async move { (number, describe(&orders).await) });
        }
        let answers: BTreeMap<u64, bool> = asked.join_all().await.into_iter().collect();
        let table = self.table();
        let shown = |(number, entry): (&u64, &Entry)| {
            let has_answered = answers.get(number).copied()?;
            Some(entry.session(!has_answered))
        };
        let mut sessions: Vec<Session> = table.entries.iter().filter_map(shown).collect();
        sessions.sort_by(|a, b| (a.since, &a.connection).cmp(&(b.since, &b.connection)));
        sessions
    }

    /// Ends the one connection whose name begins so; waits until it has ended.
    ///
    /// # Errors
    /// [`ManagerError::NoSuchSession`], [`ManagerError::SeveralSessions`], or
    /// [`ManagerError::SessionStays`].
    pub async fn kill(&self, prefix: &str) -> Result<(), ManagerError> {
        let (connection, orders) = self.named(prefix)?;
        let stays = || ManagerError::SessionStays(connection.clone());
        orders.try_send(Order::End).map_err(|_| stays())?;
        timeout(END, orders.closed()).await.map_err(|_| stays())
    }

    /// Tells every worker that there may be a newer peer document. One that is busy looks by itself.
    pub fn look(&self) {
        for (_, orders) in self.served() {
            let _ = orders.try_send(Order::Look);
        }
    }

    fn named(&self, prefix: &str) -> Result<(String, mpsc::Sender<Order>), ManagerError> {
        let table = self.table();
        let served = table.entries.values().filter_map(Entry::named);
        let mut found: Vec<(String, &Served)> = served
            .filter(|(name, _)| !prefix.is_empty() && name.starts_with(prefix))
            .collect();
        if let Some(exact) = found.iter().position(|(name, _)| name == prefix) {
            found = vec![found.swap_remove(exact)];
        }
        match found.as_slice() {
            [] => Err(ManagerError::NoSuchSession(prefix.to_owned())),
            [(name, served)] => Ok((name.clone(), served.orders.clone())),
            several => Err(ManagerError::SeveralSessions {
                prefix: prefix.to_owned(),
                count: several.len(),
            }),
        }
    }

    /// Waits until no connection is on its way to the broker.
    pub async fn handed_over(&self) {
        loop {
            let changed = self.shared.changed.notified();
            let is_waiting = |entry: &Entry| entry.served.is_none();
            if !self.table().entries.values().any(is_waiting) {
                return;
            }
            changed.await;
        }
    }

    #[cfg(test)]
    pub(super) fn unauthenticated(&self) -> usize {
        let table = self.table();
        let new = table.entries.values().filter(|entry| !entry.is_permitted());
        new.count()
    }

    /// Counts one more connection, if there may be one more.
    pub(super) fn take(&self, peer: NodeId, address: IpAddr) -> Result<Slot, TooMany> {
        let mut table = self.table();
        table.admit(peer)?;
        let since = crate::manager::control::clock::now();
        Ok(self.insert(&mut table, peer, Some((address, since))))
    }

    /// Counts a connection that an earlier process has begun.
    pub(super) fn take_back(&self, peer: NodeId) -> Slot {
        self.insert(&mut self.table(), peer, None)
    }

    fn insert(&self, table: &mut Table, peer: NodeId, begin: Option<(IpAddr, Timestamp)>) -> Slot {
        table.next += 1;
        let number = table.next;
        let entry = Entry {
            peer,
            address: begin.map(|(address, _)| address),
            since: begin.map(|(_, since)| since),
            served: None,
            described: None,
            is_held: false,
        };
        table.entries.insert(number, entry);
        Slot {
            connections: self.clone(),
            number,
            peer,
        }
    }

    fn served(&self) -> Vec<(u64, mpsc::Sender<Order>)> {
        let table = self.table();
        let served = |(number, entry): (&u64, &Entry)| {
            let served = entry.served.as_ref()?;
            Some((*number, served.orders.clone()))
        };
        table.entries.iter().filter_map(served).collect()
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        // Every change to the table is one assignment, so it is whole whoever panicked beside it.
        self.shared
            .table
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn admit(&self, peer: NodeId) -> Result<(), TooMany> {
        let limits = self.limits;
        let own = |entry: &&Entry| entry.peer == peer;
        let is_new = |entry: &&Entry| !entry.is_permitted();
        // Logins that wait for a person keep nobody out but their own peer.
        let is_under_way = |entry: &&Entry| !entry.is_permitted() && !entry.is_held;
        let all = || self.entries.values();
        let checks = [
            (all().count(), TooMany::Total(limits.total)),
            (all().filter(own).count(), TooMany::OfPeer(limits.per_peer)),
            (
                all().filter(is_under_way).count(),
                TooMany::Unauthenticated(limits.unauthenticated),
            ),
            (
                all().filter(own).filter(is_new).count(),
                TooMany::UnauthenticatedOfPeer(limits.unauthenticated_per_peer),
            ),
        ];
        // What concerns one peer is what its user can do something about.
        let exceeded = |(count, most): &&(usize, TooMany)| *count >= most.limit() as usize;
        match checks.iter().rev().find(exceeded) {
            Some((_, reason)) => Err(*reason),
            None => Ok(()),
        }
    }
}

impl TooMany {
    fn limit(self) -> u32 {
        match self {
            Self::Total(limit)
            | Self::OfPeer(limit)
            | Self::Unauthenticated(limit)
            | Self::UnauthenticatedOfPeer(limit) => limit,
        }
    }
}

impl Entry {
    fn is_permitted(&self) -> bool {
        let described = self.described.as_ref();
        described.is_some_and(|description| description.login.is_some())
    }

    fn named(&self) -> Option<(String, &Served)> {
        let served = self.served.as_ref()?;
        let name = match &self.described {
            Some(description) => &description.connection,
            None => &served.connection,
        };
        Some((name.clone(), served))
    }

    fn session(&self, busy: bool) -> Session {
        let name = self.named().map(|(name, _)| name).unwrap_or_default();
        let Some(description) = self.described.clone() else {
            return Session {
                connection: name,
                peer: self.peer,
                peer_name: String::new(),
                owner: String::new(),
                address: self.address,
                login: None,
                rule: None,
                since: self.since,
                channels: Vec::new(),
                forwards: Vec::new(),
                received: 0,
                sent: 0,
                busy,
            };
        };
        Session {
            connection: name,
            // The worker knows no number of a peer that no rule names.
            peer: self.peer,
            peer_name: description.peer_name,
            owner: description.owner,
            address: Some(description.address),
            login: description.login,
            rule: description.rule,
            since: Some(description.since),
            channels: description.channels,
            forwards: description.forwards,
            received: description.received,
            sent: description.sent,
            busy,
        }
    }
}

impl Slot {
    /// The broker has taken it under this name; orders go there.
    pub(super) fn is_served(&self, connection: &str, orders: mpsc::Sender<Order>) {
        let served = Served {
            connection: connection.to_owned(),
            orders,
        };
        if let Some(entry) = self.connections.table().entries.get_mut(&self.number) {
            entry.served = Some(served);
        }
        self.connections.shared.changed.notify_waiters();
    }

    /// Root's limits, which count from now on.
    pub(super) fn set_limits(&self, limits: ConnectionLimits) {
        self.connections.table().limits = limits;
    }

    /// The worker has said what it is.
    pub(super) fn is(&self, description: Description) {
        if let Some(entry) = self.connections.table().entries.get_mut(&self.number) {
            entry.described = Some(description);
        }
    }

    /// Something has become of its login.
    pub(super) fn happened(&self, event: LoginEvent) {
        self.connections.shared.events.push(event);
    }

    /// Its login waits for a person.
    pub(super) fn is_held(&self) {
        if let Some(entry) = self.connections.table().entries.get_mut(&self.number) {
            entry.is_held = true;
        }
    }

    /// Its session process has said what closes it in.
    pub(super) fn reports(&self, report: SandboxReport) {
        self.connections.table().sandbox.take(report);
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.connections.table().entries.remove(&self.number);
        self.connections.shared.changed.notify_waiters();
    }
}

async fn describe(orders: &mpsc::Sender<Order>) -> bool {
    let (reply, answer) = oneshot::channel();
    let asked = orders.try_send(Order::Describe(reply)).is_ok();
    asked && matches!(timeout(ANSWER, answer).await, Ok(Ok(())))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(crate) const ADDRESS: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(100, 64, 0, 2));

    pub(crate) fn description(connection: &str, login: Option<&str>) -> Description {
        Description {
            connection: connection.to_owned(),
            peer: NodeId(2),
            peer_name: "laptop".to_owned(),
            owner: "alice@example.com".to_owned(),
            address: ADDRESS,
            login: login.map(str::to_owned),
            rule: None,
            since: Timestamp(100),
            channels: Vec::new(),
            forwards: Vec::new(),
            received: 0,
            sent: 0,
        }
    }

    fn limits(connections: &Connections, limits: [u32; 4]) {
        let [unauthenticated, unauthenticated_per_peer, per_peer, total] = limits;
        connections.table().limits = ConnectionLimits {
            unauthenticated,
            unauthenticated_per_peer,
            per_peer,
            total,
        };
    }

    #[test]
    fn logins_that_wait_for_a_person_keep_no_other_peer_out() {
        let connections = Connections::default();
        let default = ConnectionLimits::default();
        let mut waiting = Vec::new();
        for peer in 1..=default.unauthenticated / default.unauthenticated_per_peer + 1 {
            let peer = NodeId(peer.into());
            let all = (0..).map_while(|_| connections.take(peer, ADDRESS).ok());
            let all: Vec<Slot> = all
                .take(default.unauthenticated_per_peer as usize)
                .collect();
            all.iter().for_each(Slot::is_held);
            assert!(
                connections.take(peer, ADDRESS).is_err(),
                "its own share is used"
            );
            waiting.extend(all);
        }
        assert!(waiting.len() > default.unauthenticated as usize);
        assert!(connections.take(NodeId(99), ADDRESS).is_ok());
    }

    #[test]
    fn one_peer_that_does_not_log_in_keeps_no_other_out() {
        let connections = Connections::default();
        let default = ConnectionLimits::default();
        let flood: Vec<_> = (0..)
            .map_while(|_| connections.take(NodeId(1), ADDRESS).ok())
            .collect();
        assert_eq!(flood.len(), default.unauthenticated_per_peer as usize);
        assert!(connections.take(NodeId(2), ADDRESS).is_ok());
        drop(flood);
        assert_eq!(connections.count(), 0);
    }

    #[test]
    fn whoever_has_logged_in_makes_room() {
        let connections = Connections::default();
        limits(&connections, [2, 1, 3, 9]);
        let permitted = |peer| {
            let slot = connections.take(NodeId(peer), ADDRESS).expect("is free");
            assert_eq!(
                connections.take(NodeId(peer), ADDRESS).err(),
                Some(TooMany::UnauthenticatedOfPeer(1))
            );
            slot.is(description("c", Some("alice")));
            slot
        };
        let of_one: Vec<_> = (0..3).map(|_| permitted(1)).collect();
        let of_peer = connections.take(NodeId(1), ADDRESS).err();
        assert_eq!(of_peer, Some(TooMany::OfPeer(3)));
        let new: Vec<_> = (2..4)
            .map(|peer| connections.take(NodeId(peer), ADDRESS).expect("is free"))
            .collect();
        let of_all = connections.take(NodeId(4), ADDRESS).err();
        assert_eq!(of_all, Some(TooMany::Unauthenticated(2)));
        drop((of_one, new));
        limits(&connections, [9, 9, 9, 1]);
        let _only = connections.take(NodeId(1), ADDRESS).expect("is free");
        let total = connections.take(NodeId(2), ADDRESS).err();
        assert_eq!(total, Some(TooMany::Total(1)));
    }

    #[test]
    fn a_prefix_names_a_session_if_it_names_one() {
        let connections = Connections::default();
        let (orders, _received) = mpsc::channel(4);
        let slots: Vec<_> = ["ab-1", "ab-12", "cd-3"]
            .iter()
            .map(|name| {
                let slot = connections.take(NodeId(2), ADDRESS).expect("is free");
                slot.is_served(name, orders.clone());
                slot
            })
            .collect();
        for prefix in ["", "x", "ab-123"] {
            let none = connections.named(prefix).expect_err("is none");
            assert!(matches!(none, ManagerError::NoSuchSession(_)), "{none}");
        }
        let several = connections.named("ab").expect_err("are several");
        assert!(several.to_string().contains("2 connections"), "{several}");
        assert_eq!(connections.named("ab-1").expect("is exact").0, "ab-1");
        assert_eq!(connections.named("c").expect("is one").0, "cd-3");
        drop(slots);
        assert!(connections.named("cd-3").is_err());
    }

    #[tokio::test]
    async fn nobody_is_forgotten_on_the_way_to_the_broker() {
        let connections = Connections::default();
        connections.handed_over().await;
        let slot = connections.take(NodeId(2), ADDRESS).expect("is free");
        let waiting = connections.clone();
        let waiting = tokio::spawn(async move { waiting.handed_over().await });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        let (orders, _received) = mpsc::channel(1);
        slot.is_served("c", orders);
        waiting.await.expect("ends");
    }
}
