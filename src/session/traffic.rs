//! How much the connection has carried.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::sleep;

use super::worker::Worker;

/// How old the worker's figures may be while there is traffic.
const EVERY: Duration = Duration::from_secs(10);

/// Bytes of channels; the worker is told the sums.
#[derive(Debug, Default)]
pub(super) struct Traffic {
    received: AtomicU64,
    sent: AtomicU64,
    /// Since the worker was told.
    has_changed: AtomicBool,
    changed: Notify,
}

impl Traffic {
    /// Bytes from the client.
    pub(super) fn received(&self, bytes: usize) {
        self.add(&self.received, bytes);
    }

    /// Bytes to the client.
    pub(super) fn sent(&self, bytes: usize) {
        self.add(&self.sent, bytes);
    }

    /// What the worker does not know yet.
    pub(super) fn news(&self) -> Option<(u64, u64)> {
        let is_new = self.has_changed.swap(false, Ordering::Relaxed);
        let sums = [&self.received, &self.sent].map(|sum| sum.load(Ordering::Relaxed));
        is_new.then_some(sums.into())
    }

    fn add(&self, sum: &AtomicU64, bytes: usize) {
        sum.fetch_add(bytes as u64, Ordering::Relaxed);
        if !self.has_changed.swap(true, Ordering::Relaxed) {
            self.changed.notify_one();
        }
    }
}

/// Tells the worker now and then, and nothing while nothing comes.
pub(super) async fn report(traffic: Arc<Traffic>, worker: Arc<Worker>) {
    loop {
        traffic.changed.notified().await;
        sleep(EVERY).await;
        worker.report_traffic();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_news_once() {
        let traffic = Traffic::default();
        assert_eq!(traffic.news(), None);
        traffic.received(3);
        traffic.sent(4);
        traffic.sent(5);
        assert_eq!(traffic.news(), Some((3, 9)));
        assert_eq!(traffic.news(), None);
        traffic.received(1);
        assert_eq!(traffic.news(), Some((4, 9)));
    }
}
