//! Forwarded connections whose sockets the session process has.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::{Ask, Made};

/// How long the session process may take to let go of a socket. It does so at once.
const PATIENCE: Duration = Duration::from_secs(5);

/// By number, from the hand-over to the session process's word that it has ended.
#[derive(Default)]
pub(in crate::worker) struct OpenForwards(BTreeMap<u32, Open>);

struct Open {
    made: Made,
    /// It is not permitted any more, and must have ended by then.
    until: Option<Instant>,
}

impl OpenForwards {
    /// The session process is about to be given one more.
    pub(in crate::worker) fn add(&mut self, number: u32, made: Made) {
        let until = None;
        self.0.insert(number, Open { made, until });
    }

    /// It has ended; false if there was none.
    pub(super) fn remove(&mut self, number: u32) -> bool {
        self.0.remove(&number).is_some()
    }

    /// Everything that is open.
    pub(super) fn all(&self) -> impl Iterator<Item = &Made> {
        self.0.values().map(|open| &open.made)
    }

    /// What is open and was not told to end.
    pub(super) fn asks(&self) -> impl Iterator<Item = (u32, &Ask)> {
        let permitted = self.0.iter().filter(|(_, open)| open.until.is_none());
        permitted.map(|(number, open)| (*number, &open.made.ask))
    }

    /// The session process is told to end it; false if there is none.
    pub(in crate::worker) fn condemn(&mut self, number: u32) -> bool {
        let open = self.0.get_mut(&number);
        let open = open.map(|open| open.until = Some(Instant::now() + PATIENCE));
        open.is_some()
    }

    /// When the first that was told to end must have ended.
    pub(in crate::worker) fn deadline(&self) -> Option<Instant> {
        self.0.values().filter_map(|open| open.until).min()
    }
}

#[cfg(test)]
mod tests {
    use meshd_contract::forward::Endpoint;

    use super::*;

    #[test]
    fn what_was_told_to_end_has_a_deadline_until_it_has() {
        let mut open = OpenForwards::default();
        let ask = Ask::Connect(Endpoint::Unix {
            path: b"/run/x".to_vec(),
        });
        for number in [1, 2] {
            let ask = ask.clone();
            open.add(number, Made { ask, port: 0 });
        }
        assert_eq!(open.deadline(), None);
        assert!(!open.condemn(3));
        assert!(open.condemn(2));
        assert!(open.deadline().is_some_and(|at| at > Instant::now()));
        assert_eq!(
            open.asks().map(|(number, _)| number).collect::<Vec<_>>(),
            [1]
        );
        assert_eq!(open.all().count(), 2);
        assert!(open.remove(2) && !open.remove(2));
        assert_eq!(open.deadline(), None);
    }
}
