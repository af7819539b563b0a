//! Sign-ins that are under way.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::auth_key::SecretHash;

/// How long somebody may take at the provider.
pub(crate) const PATIENCE: Duration = Duration::from_secs(900);
/// More are not kept; the oldest goes first.
const MOST: usize = 10_000;

/// What has to come back from the provider, or was promised to the person.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Flow<T> {
    /// Known to control and to the browser only.
    pub(crate) question: T,
    /// Where the person goes on to.
    pub(crate) next: String,
}

/// Flows by the hash of the browser's cookie. They are not stored: what control's restart interrupts
/// begins anew.
#[derive(Debug)]
pub(crate) struct Flows<T> {
    open: Mutex<HashMap<[u8; 32], Open<T>>>,
}

#[derive(Debug)]
struct Open<T> {
    began: Instant,
    flow: Flow<T>,
}

impl<T> Flows<T> {
    /// None.
    pub(crate) fn new() -> Self {
        Self {
            open: Mutex::default(),
        }
    }

    /// Keeps a flow for the browser with this cookie.
    pub(crate) fn begin(&self, cookie: &SecretHash, flow: Flow<T>) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if open.len() >= MOST {
            open.retain(|_, open| now.duration_since(open.began) < PATIENCE);
        }
        if open.len() >= MOST {
            let oldest = open.iter().min_by_key(|(_, open)| open.began);
            let oldest = oldest.map(|(key, _)| *key);
            oldest.and_then(|key| open.remove(&key));
        }
        open.insert(key(cookie), Open { began: now, flow });
    }

    /// Takes the flow of the browser with this cookie: it is good for one answer.
    pub(crate) fn take(&self, cookie: &SecretHash) -> Option<Flow<T>> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let open = open.remove(&key(cookie))?;
        (open.began.elapsed() < PATIENCE).then_some(open.flow)
    }
}

/// Questions that have had their answer, so that none gets a second one. After a restart only the
/// provider knows, which takes no code twice either (RFC 6749, section 4.1.2).
#[derive(Debug)]
pub(crate) struct Answered(Flows<()>);

impl Answered {
    /// None.
    pub(crate) fn new() -> Self {
        Self(Flows::new())
    }

    /// Takes note of an answer; whether it is the first one to the question that is known by this.
    pub(crate) fn is_first(&self, question: &SecretHash) -> bool {
        let is_first = self.0.take(question).is_none();
        let next = String::new();
        self.0.begin(question, Flow { question: (), next });
        is_first
    }
}

fn key(cookie: &SecretHash) -> [u8; 32] {
    // A hash has 32 bytes.
    cookie.as_bytes().try_into().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flow(question: usize) -> Flow<usize> {
        Flow {
            question,
            next: "/".to_owned(),
        }
    }

    #[test]
    fn a_flow_is_good_for_one_answer_and_the_number_is_bounded() {
        let flows = Flows::new();
        let cookie = SecretHash::of("one");
        flows.begin(&cookie, flow(1));
        assert_eq!(flows.take(&cookie).map(|flow| flow.question), Some(1));
        assert!(flows.take(&cookie).is_none());
        for n in 0..=MOST {
            flows.begin(&SecretHash::of(&n.to_string()), flow(n));
        }
        assert!(flows.take(&SecretHash::of("0")).is_none(), "the oldest");
        assert!(flows.take(&SecretHash::of("1")).is_some());
    }

    #[test]
    fn only_one_answer_is_the_first() {
        let answered = Answered::new();
        let (one, other) = (SecretHash::of("one"), SecretHash::of("other"));
        assert!(answered.is_first(&one));
        assert!(answered.is_first(&other));
        for _ in 0..3 {
            assert!(!answered.is_first(&one));
        }
    }
}
