//! What has become of logins, until control has taken note of it.
//!
//! It is kept in memory only: what control has not acknowledged when the manager ends is in this
//! host's journal and not in control's log. Control sees the gap where the queue was too short.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use meshd_contract::login_event::LoginEvent;
use meshd_contract::node_api::{LoginReport, MAX_LOGIN_EVENTS};
use tokio::sync::Notify;

/// The most events that wait; of more, the oldest are lost.
const MOST: usize = 2048;

/// Numbered events; shared by those who hear of them and the one who tells control.
#[derive(Debug, Default)]
pub struct LoginEvents {
    queue: Mutex<Queue>,
    more: Notify,
}

#[derive(Debug)]
struct Queue {
    /// Tells these numbers from those of every other queue.
    run: u32,
    waiting: VecDeque<LoginEvent>,
    /// How many have left the queue.
    gone: u64,
}

impl Default for Queue {
    fn default() -> Self {
        Self {
            run: getrandom::u32().unwrap_or_default(),
            waiting: VecDeque::new(),
            gone: 0,
        }
    }
}

impl LoginEvents {
    /// Adds one.
    pub(super) fn push(&self, event: LoginEvent) {
        let mut queue = self.queue();
        if queue.waiting.len() >= MOST {
            queue.take(1);
        }
        queue.waiting.push_back(event);
        drop(queue);
        self.more.notify_one();
    }

    /// Ends when one was added since it has ended last.
    pub async fn more(&self) {
        self.more.notified().await;
    }

    /// The oldest ones, to be told; none if there are none.
    #[must_use]
    pub fn report(&self) -> Option<LoginReport> {
        let queue = self.queue();
        let events = queue.waiting.iter().take(MAX_LOGIN_EVENTS);
        (!queue.waiting.is_empty()).then(|| LoginReport {
            run: queue.run,
            first: queue.gone + 1,
            events: events.cloned().collect(),
        })
    }

    /// Lets go of what was told.
    pub fn told(&self, report: &LoginReport) {
        let mut queue = self.queue();
        if report.run != queue.run {
            return;
        }
        let end = report.first + report.events.len() as u64;
        let told = end.saturating_sub(queue.gone + 1);
        queue.take(usize::try_from(told).unwrap_or(usize::MAX));
    }

    /// Lets go of everything: this host is another node now, or none.
    pub fn clear(&self) {
        *self.queue() = Queue::default();
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    fn take(&mut self, count: usize) {
        let count = count.min(self.waiting.len());
        self.waiting.drain(..count);
        self.gone += count as u64;
    }
}

#[cfg(test)]
mod tests {
    use meshd_contract::identity::NodeId;
    use meshd_contract::login_event::LoginEventKind;
    use meshd_contract::time::Timestamp;

    use super::*;

    fn event(n: u64) -> LoginEvent {
        LoginEvent {
            kind: LoginEventKind::Accepted,
            at: Timestamp(n),
            connection: "c1".to_owned(),
            peer: NodeId(2),
            address: [100, 64, 0, 2].into(),
            login: None,
            rule: None,
            reason: None,
        }
    }

    fn numbers(report: &LoginReport) -> Vec<u64> {
        report.events.iter().map(|event| event.at.0).collect()
    }

    #[test]
    fn what_is_told_leaves_and_the_rest_follows() {
        let events = LoginEvents::default();
        assert_eq!(events.report(), None);
        let most = MAX_LOGIN_EVENTS as u64;
        (1..=most + 2).for_each(|n| events.push(event(n)));
        let first = events.report().expect("some");
        assert_eq!(numbers(&first), (1..=most).collect::<Vec<_>>());
        assert_eq!(events.report().as_ref(), Some(&first), "until it is told");
        events.told(&first);
        events.told(&first);
        let second = events.report().expect("some");
        assert_eq!(
            (second.first, numbers(&second)),
            (most + 1, vec![most + 1, most + 2])
        );
        assert_eq!(second.run, first.run);
        events.told(&second);
        assert_eq!(events.report(), None);
    }

    #[test]
    fn the_oldest_are_lost_and_leave_a_gap() {
        let events = LoginEvents::default();
        (1..=MOST as u64).for_each(|n| events.push(event(n)));
        let early = events.report().expect("some");
        events.push(event(0));
        events.push(event(0));
        assert_eq!(events.report().expect("some").first, 3);
        events.told(&early);
        let after = events.report().expect("some");
        assert_eq!(after.first, MAX_LOGIN_EVENTS as u64 + 1);
        events.clear();
        events.push(event(7));
        let last = events.report().expect("some");
        assert_eq!((last.first, numbers(&last)), (1, vec![7]));
        assert_ne!(last.run, after.run);
        events.told(&after);
        assert_eq!(events.report(), Some(last), "another queue's");
    }
}
