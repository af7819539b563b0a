//! Looks after one connection that the broker serves, to its end.

use std::time::Duration;

use meshd_contract::broker::{FromManager, ToManager, ToManagerLink};
use meshd_contract::wire::{Message, WireError};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until};

use super::checks::{Checks, News};
use super::connections::{Order, Slot};
use super::packets::Packets;

/// Orders that may wait; a worker that does not read is busy.
pub(super) const ORDERS: usize = 16;

/// How long a worker that an earlier manager has begun may take to prove that it is one: longer
/// than it waits for a slow directory.
pub(super) const PROOF: Duration = Duration::from_secs(120);

/// The two sockets of a connection. It has ended when both are closed: the session process ends
/// before the worker does, which has programs to end and records to write.
pub(super) struct Watch {
    worker: Option<Packets>,
    link: Option<Packets>,
    slot: Slot,
    checks: Checks,
    /// What the login waits for.
    check: Option<watch::Receiver<News>>,
    /// Whether the worker still has to say what it is.
    proof: Option<Instant>,
    /// The worker has been asked what it is; it is asked once at a time.
    is_asked: bool,
    /// Those who wait for its answer.
    asking: Vec<oneshot::Sender<()>>,
    has_reported: bool,
}

impl Watch {
    pub(super) fn new(worker: Packets, link: Option<Packets>, slot: Slot, checks: Checks) -> Self {
        Self {
            worker: Some(worker),
            link,
            slot,
            checks,
            check: None,
            proof: None,
            is_asked: false,
            asking: Vec::new(),
            has_reported: false,
        }
    }

    /// The worker is believed only when it has said what it is, and must do so soon.
    pub(super) fn unproven(mut self) -> Self {
        self.proof = Some(Instant::now() + PROOF);
        self.ask();
        self
    }

    /// Ends with the connection.
    pub(super) async fn run(mut self, mut orders: mpsc::Receiver<Order>) {
        while self.worker.is_some() || self.link.is_some() {
            tokio::select! {
                heard = receive::<ToManager>(self.worker.as_ref()) => self.worker_says(heard),
                heard = receive::<ToManagerLink>(self.link.as_ref()) => self.session_says(heard),
                Some(order) = orders.recv() => self.obey(order),
                news = next(self.check.as_mut()) => self.check_says(news),
                () = until(self.proof) => {
                    tracing::warn!(peer = %self.slot.peer, "no worker behind a kept descriptor");
                    (self.worker, self.link) = (None, None);
                }
            }
        }
    }

    fn obey(&mut self, order: Order) {
        match order {
            Order::Describe(reply) => {
                self.asking.retain(|waiting| !waiting.is_closed());
                if self.asking.len() < ORDERS {
                    self.asking.push(reply);
                }
                if !self.is_asked {
                    self.ask();
                }
            }
            Order::Look => {
                let _ = self.tell(&FromManager::Look);
            }
            Order::End => {
                if let Some(Err(error)) = self.tell(&FromManager::End) {
                    tracing::warn!(peer = %self.slot.peer, %error, "a worker was not told to end");
                }
            }
        }
    }

    /// One that has no room for the question answers nothing: it is busy.
    fn ask(&mut self) {
        self.is_asked = matches!(self.tell(&FromManager::Describe), Some(Ok(())));
        if !self.is_asked {
            self.asking.clear();
        }
    }

    fn tell(&self, message: &FromManager) -> Option<Result<(), WireError>> {
        self.worker.as_ref().map(|worker| worker.send(message))
    }

    fn worker_says(&mut self, heard: Result<ToManager, WireError>) {
        match heard {
            Ok(ToManager::Described(description)) => {
                self.slot.is(description);
                (self.proof, self.is_asked) = (None, false);
                for reply in self.asking.drain(..) {
                    // Whoever asked may have gone.
                    let _ = reply.send(());
                }
            }
            // Also from one that has ended while no manager was there, and proves nothing more.
            Ok(ToManager::Login(event)) => self.slot.happened(event),
            Ok(ToManager::Check { need, fresh }) => {
                self.slot.is_held();
                let mut news = self.checks.ask(&need, fresh);
                news.mark_changed();
                self.check = Some(news);
            }
            Ok(ToManager::Unknown) => {}
            Ok(ToManager::Bound { .. } | ToManager::Refused { .. }) => self.drop_worker(None),
            Err(WireError::Closed) => self.drop_worker(None),
            Err(error) => self.drop_worker(Some(error)),
        }
    }

    fn check_says(&mut self, news: News) {
        let message = match news {
            News::None => return,
            News::Prompt(prompt) => FromManager::Checking(prompt),
            News::Done(outcome) => {
                self.check = None;
                FromManager::Checked(outcome)
            }
        };
        if let Some(Err(error)) = self.tell(&message) {
            tracing::warn!(peer = %self.slot.peer, %error, "a worker was not told of a check");
        }
    }

    fn drop_worker(&mut self, error: Option<WireError>) {
        if let Some(error) = error {
            tracing::warn!(peer = %self.slot.peer, %error, "a worker is not understood");
        }
        self.worker = None;
        self.check = None;
        self.asking.clear();
        if self.proof.is_some() {
            // Not one that serves a connection: the link is not believed either.
            self.link = None;
        }
    }

    /// It has one thing to say; one that says more is not listened to.
    fn session_says(&mut self, heard: Result<ToManagerLink, WireError>) {
        match heard {
            Ok(ToManagerLink::Sandbox(report)) if !self.has_reported => {
                self.has_reported = true;
                self.slot.reports(report);
            }
            Ok(ToManagerLink::Unknown) => {}
            Ok(ToManagerLink::Sandbox(_)) | Err(_) => self.link = None,
        }
    }
}

async fn receive<M: Message>(socket: Option<&Packets>) -> Result<M, WireError> {
    match socket {
        Some(socket) => socket.receive().await,
        None => std::future::pending().await,
    }
}

/// What is new of a check. The end of this process is none of the check: the next manager asks
/// again.
async fn next(check: Option<&mut watch::Receiver<News>>) -> News {
    if let Some(check) = check
        && check.changed().await.is_ok()
    {
        return check.borrow_and_update().clone();
    }
    std::future::pending().await
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
