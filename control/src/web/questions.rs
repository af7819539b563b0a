//! What a browser is asked and answers later, such as to sign in elsewhere or with a passkey.
//!
//! What the answer must fit is kept by the browser, sealed: who asks for many pages pushes nobody's
//! question out, and a restart loses none.

use std::collections::{HashSet, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use meshd_contract::time::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::WebError;
use super::sealed::Sealer;
use crate::auth_key::SecretHash;

/// How long an answer may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(900);
/// Of more answers it is not known any more that they were given.
const MOST: usize = 10_000;

/// Asks, and takes one answer to each question.
#[derive(Debug)]
pub(super) struct Questions {
    sealer: Sealer,
    answered: Mutex<Answered>,
}

#[derive(Serialize, Deserialize)]
struct Question<T> {
    asked_at: Timestamp,
    expected: T,
}

impl Questions {
    /// None was answered yet.
    pub(super) fn new(sealer: Sealer) -> Self {
        Self {
            sealer,
            answered: Mutex::default(),
        }
    }

    /// A text of letters, digits, `-` and `_` for the browser, which brings it back with its answer.
    pub(super) fn ask<T: Serialize>(
        &self,
        purpose: &str,
        expected: T,
        now: Timestamp,
    ) -> Result<String, WebError> {
        let question = Question {
            asked_at: now,
            expected,
        };
        let sealed = self.sealer.seal(purpose, &question);
        sealed.ok_or_else(|| WebError::Fault(format!("{purpose} could not be sealed")))
    }

    /// What an answer must fit that comes with this text: none if it comes too late or for the second
    /// time, or if this was not asked for this purpose.
    ///
    /// After a restart an answer may come a second time.
    pub(super) fn take<T: DeserializeOwned>(
        &self,
        purpose: &str,
        text: &str,
        now: Timestamp,
    ) -> Option<T> {
        let question: Question<T> = self.sealer.open(purpose, text)?;
        if now >= question.asked_at.plus(PATIENCE.as_secs()) {
            return None;
        }
        let mut answered = self.answered.lock().unwrap_or_else(PoisonError::into_inner);
        let is_first = answered.add(SecretHash::of(text), Instant::now());
        is_first.then_some(question.expected)
    }
}

/// The questions that had their answer of late.
#[derive(Debug, Default)]
struct Answered {
    known: HashSet<SecretHash>,
    /// The same, the oldest first.
    in_order: VecDeque<(Instant, SecretHash)>,
}

impl Answered {
    /// Whether it is the first answer to this question.
    fn add(&mut self, question: SecretHash, now: Instant) -> bool {
        while let Some((at, oldest)) = self.in_order.front() {
            if self.in_order.len() < MOST && now.duration_since(*at) < PATIENCE {
                break;
            }
            self.known.remove(oldest);
            self.in_order.pop_front();
        }
        let is_first = self.known.insert(question);
        if is_first {
            self.in_order.push_back((now, question));
        }
        is_first
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_has_one_answer_in_its_time_and_for_its_purpose() {
        let questions = Questions::new(Sealer::new(&[1; 32]).expect("a key"));
        let ask = || questions.ask("a", 7, Timestamp(100)).expect("is sealed");
        let take = |purpose, text: &str, now| questions.take::<u32>(purpose, text, Timestamp(now));
        let text = ask();
        assert_eq!(take("b", &text, 100), None);
        assert_eq!(take("a", &text, 1_000), None);
        assert_eq!(take("a", &text, 999), Some(7));
        assert_eq!(take("a", &text, 999), None);
        assert_eq!(take("a", &format!(" {text}"), 999), None);
        assert_eq!(take("a", &ask(), 100), Some(7), "another one");
    }

    #[test]
    fn what_was_answered_is_known_for_its_time_and_the_number_is_bounded() {
        let mut answered = Answered::default();
        let question = |n: usize| SecretHash::of(&n.to_string());
        let began = Instant::now();
        for n in 0..MOST {
            assert!(answered.add(question(n), began));
        }
        assert!(!answered.add(question(MOST - 1), began));
        assert!(answered.add(question(MOST), began));
        assert_eq!(answered.known.len(), answered.in_order.len());
        assert!(answered.known.len() <= MOST);
        assert!(answered.add(question(MOST), began + PATIENCE));
        assert_eq!(answered.known.len(), 1);
    }
}
