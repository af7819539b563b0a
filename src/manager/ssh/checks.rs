//! Asks control for the checks that logins wait for: once for all that wait for the same.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use meshd_contract::broker::CheckOutcome;
use meshd_contract::check::{CheckNeed, CheckRefusal, HOLD_SECONDS, LoginClass, Prompt};
use meshd_contract::identity::NodeId;
use meshd_contract::login::Login;
use meshd_contract::node_api::{AheadRequest, CheckId, CheckRequest, CheckState};
use meshd_contract::ssh_rule::CheckPeriod;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use super::grants::{Grants, Signer};
use crate::local_api::{Request, Response};
use crate::manager::control::backoff::{Backoff, chance};
use crate::manager::control::clock;
use crate::manager::control::connection::{Connection, Credentials, Server};
use crate::manager::error::Error;

/// How long control may be away before a login that has just begun gives up.
const FIRST_ANSWER: Duration = Duration::from_secs(20);
/// How long control may take to hear that nobody waits any more.
const FAREWELL: Duration = Duration::from_secs(10);

/// Control, and this node's place in the mesh.
#[derive(Debug, Clone)]
pub struct Contact {
    /// Where it is.
    pub server: Server,
    /// What this node signs with.
    pub credentials: Credentials,
}

/// What is known of a check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum News {
    /// Nothing yet.
    None,
    /// The person can sign in there.
    Prompt(Prompt),
    /// It has come to its end.
    Done(CheckOutcome),
}

/// All checks of this node; shared by everybody who asks.
#[derive(Debug, Clone)]
pub struct Checks {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    contact: watch::Sender<Option<Contact>>,
    under_way: Mutex<HashMap<Key, watch::Sender<News>>>,
    grants: Grants,
}

/// Logins that wait for the same.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    source: NodeId,
    login: Login,
    class: LoginClass,
    rule: String,
    /// Where each connection needs its own.
    connection: Option<String>,
}

impl Key {
    fn of(need: &CheckNeed) -> Self {
        let always = need.period == CheckPeriod::Always;
        Self {
            source: need.source,
            login: need.login.clone(),
            class: need.class,
            rule: need.rule.clone(),
            connection: always.then(|| need.connection.clone()),
        }
    }
}

impl Checks {
    /// Without control, until [`Self::set_contact`]; grants are kept in `directory`.
    #[must_use]
    pub fn new(directory: PathBuf) -> Self {
        Self {
            shared: Arc::new(Shared {
                contact: watch::Sender::new(None),
                under_way: Mutex::default(),
                grants: Grants::in_directory(directory),
            }),
        }
    }

    /// Whom to ask from now on; nobody outside a mesh.
    pub fn set_contact(&self, contact: Option<Contact>) {
        if let Some(signer) = contact.as_ref().and_then(Contact::signer) {
            self.shared.grants.load(&signer, clock::now());
        }
        self.shared.contact.send_replace(contact);
    }

    /// Asks, or joins those who have asked for the same. When nobody listens any more, control is
    /// told so. With `fresh`, a grant that is kept is not looked at.
    pub(super) fn ask(&self, need: &CheckNeed, fresh: bool) -> watch::Receiver<News> {
        let kept = (!fresh).then(|| self.shared.grants.find(need, clock::now()));
        if let Some(text) = kept.flatten() {
            return watch::Sender::new(News::Done(CheckOutcome::Granted(text))).subscribe();
        }
        let key = Key::of(need);
        let mut under_way = self.shared.under_way();
        if let Some(news) = under_way.get(&key)
            && !matches!(*news.borrow(), News::Done(_))
        {
            return news.subscribe();
        }
        let (news, received) = watch::channel(News::None);
        under_way.insert(key.clone(), news.clone());
        let shared = Arc::clone(&self.shared);
        let need = need.clone();
        tokio::spawn(async move { shared.run(key, &need, &news).await });
        received
    }

    /// Asks control what a person at this host asks.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn answer(&self, request: Request) -> Result<Response, Error> {
        let contact = self.shared.contact().ok_or(Error::NotJoined)?;
        let mut connection = Connection::open(&contact.server).await?;
        let credentials = &contact.credentials;
        let turn = turn();
        if let Request::Check {
            seconds,
            target,
            class,
        } = request
        {
            let wish = AheadRequest {
                seconds,
                target,
                class,
                turn,
            };
            let state = connection.post("/v1/checks/ahead", credentials, &wish);
            return state.await.map(|state| Response::Check { state });
        }
        if let Request::CheckNews { id } = request {
            let waited = CheckId {
                id,
                connection: String::new(),
                turn,
            };
            let state = connection.post("/v1/checks/wait", credentials, &waited);
            return state.await.map(|state| Response::Check { state });
        }
        if matches!(request, Request::RevokeChecks) {
            let revoked = connection.post_for_nothing("/v1/checks/revoke", credentials, &turn);
            return revoked.await.map(|()| Response::Done);
        }
        let approved = connection.post("/v1/checks/approved", credentials, &turn);
        approved
            .await
            .map(|approved| Response::Approved { approved })
    }
}

impl Contact {
    fn signer(&self) -> Option<Signer> {
        let node = self.credentials.node?;
        Some(Signer {
            control: self.server.keys.clone(),
            node,
        })
    }
}

impl Shared {
    /// One check, to its end or until nobody waits for it.
    async fn run(&self, key: Key, need: &CheckNeed, news: &watch::Sender<News>) {
        let mut id = None;
        let outcome = {
            let asking = self.converse(need, news, &mut id);
            tokio::pin!(asking);
            loop {
                tokio::select! {
                    outcome = &mut asking => break Some(outcome),
                    () = news.closed() => {
                        let mut under_way = self.under_way();
                        // Somebody may have come meanwhile.
                        if news.receiver_count() == 0 {
                            under_way.remove(&key);
                            break None;
                        }
                    }
                }
            }
        };
        match outcome {
            Some(outcome) => {
                news.send_replace(News::Done(outcome));
                self.forget(&key, news);
            }
            None => {
                if let Some(id) = id {
                    let _ = timeout(FAREWELL, self.say_goodbye(&id)).await;
                }
            }
        }
    }

    fn forget(&self, key: &Key, news: &watch::Sender<News>) {
        let mut under_way = self.under_way();
        if under_way
            .get(key)
            .is_some_and(|known| known.same_channel(news))
        {
            under_way.remove(key);
        }
    }

    async fn converse(
        &self,
        need: &CheckNeed,
        news: &watch::Sender<News>,
        id: &mut Option<String>,
    ) -> CheckOutcome {
        let began = Instant::now();
        let mut backoff = Backoff::default();
        let mut line = None;
        loop {
            let state = match id.clone() {
                None => {
                    let (need, turn) = (need.clone(), turn());
                    let asked = CheckRequest { need, turn };
                    self.post(&mut line, "/v1/checks", &asked).await
                }
                Some(id) => {
                    let connection = need.connection.clone();
                    let waited = CheckId {
                        id,
                        connection,
                        turn: turn(),
                    };
                    self.post(&mut line, "/v1/checks/wait", &waited).await
                }
            };
            match state {
                Ok(CheckState::Waiting { id: named, prompt }) => {
                    backoff.succeeded();
                    *id = Some(named);
                    let new = News::Prompt(prompt);
                    news.send_if_modified(|known| {
                        let is_new = *known != new;
                        *known = new;
                        is_new
                    });
                }
                Ok(CheckState::Granted { grant }) => {
                    if let Some(signer) = self.contact().as_ref().and_then(Contact::signer) {
                        self.grants.keep(&grant, &signer, clock::now());
                    }
                    return CheckOutcome::Granted(grant);
                }
                Ok(CheckState::Refused { reason }) => return CheckOutcome::Refused(reason),
                Ok(CheckState::Approved { .. }) => {
                    return CheckOutcome::Refused(CheckRefusal::Unknown);
                }
                // Control does not know it: it is asked anew.
                Err(Error::Problem { status: 404, .. }) if id.is_some() => *id = None,
                Err(error) => {
                    tracing::debug!(%error, "control was not asked for a check");
                    line = None;
                    let patience = match &id {
                        None => FIRST_ANSWER,
                        Some(_) => Duration::from_secs(HOLD_SECONDS),
                    };
                    if began.elapsed() > patience || is_final(&error) {
                        tracing::warn!(%error, "a login could not be checked");
                        return CheckOutcome::Refused(CheckRefusal::Unreachable);
                    }
                    sleep(backoff.failed(chance())).await;
                }
            }
        }
    }

    async fn say_goodbye(&self, id: &str) -> Result<(), Error> {
        let contact = self.contact().ok_or(Error::NotJoined)?;
        let mut connection = Connection::open(&contact.server).await?;
        let ended = CheckId {
            id: id.to_owned(),
            connection: String::new(),
            turn: turn(),
        };
        connection
            .post_for_nothing("/v1/checks/end", &contact.credentials, &ended)
            .await
    }

    /// Over the same connection as before, as long as there is one.
    async fn post<B: serde::Serialize>(
        &self,
        line: &mut Option<Connection>,
        path: &str,
        body: &B,
    ) -> Result<CheckState, Error> {
        let contact = self.contact().ok_or(Error::NotJoined)?;
        let mut connection = match line.take() {
            Some(connection) => connection,
            None => Connection::open(&contact.server).await?,
        };
        let state = connection.post(path, &contact.credentials, body).await?;
        *line = Some(connection);
        Ok(state)
    }

    fn contact(&self) -> Option<Contact> {
        self.contact.borrow().clone()
    }

    fn under_way(&self) -> MutexGuard<'_, HashMap<Key, watch::Sender<News>>> {
        // Every change to the table is one insertion or removal, whole whoever panicked beside it.
        self.under_way
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether control has said that it will not do this. That it stops, or has too much to do, is a
/// matter of time.
fn is_final(error: &Error) -> bool {
    match error {
        Error::Problem { status, .. } => *status < 500 && !matches!(status, 408 | 409 | 429),
        _ => false,
    }
}

/// A number that no other request has; without random bytes the same request counts once a second.
fn turn() -> u64 {
    getrandom::u64().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_control_that_stops_is_asked_again_and_one_that_refuses_is_not() {
        let problem = |status| Error::Problem {
            status,
            detail: String::new(),
        };
        for status in [408, 409, 429, 500, 503] {
            assert!(!is_final(&problem(status)), "{status}");
        }
        for status in [400, 401, 403, 410] {
            assert!(is_final(&problem(status)), "{status}");
        }
        assert!(!is_final(&Error::NotJoined));
    }
}
