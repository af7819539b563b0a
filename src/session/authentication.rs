//! Authentication requests, between the SSH engine and the worker.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use russh::server::{Auth, Handle};
use russh::{MethodKind, MethodSet};
use tokio::time::{Instant, sleep_until};

use super::algorithms::Family;
use super::end::End;
use super::login::{Login, Method, Methods, Step};
use super::memory;
use super::worker::{Verdict, Worker};

/// The methods that are named to a client; `none` never is (RFC 4252, section 5.2).
pub(super) const SERVED: &[MethodKind] = &[
    MethodKind::PublicKey,
    MethodKind::KeyboardInteractive,
    MethodKind::Password,
];

/// The authentication of one connection.
#[derive(Default)]
pub(super) struct Authentication {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    login: Login,
    /// Numbers the requests; the worker's answer is for the newest.
    newest: u64,
}

/// What follows from a request.
pub(super) enum Outcome {
    /// Answer it so.
    Answer(Auth),
    /// Ask the worker about this login, and call [`Authentication::decide`].
    Ask(Vec<u8>, Auth),
    /// The connection is over.
    End(End),
}

impl Authentication {
    /// Takes the client's next request.
    pub(super) fn request(&self, user: &[u8], method: &str, fields: &[u8]) -> Outcome {
        let mut state = self.state();
        state.newest += 1;
        let pending = Auth::Pending(state.newest);
        match state.login.request(user, Method::new(method, fields)) {
            Step::Ask(login) => Outcome::Ask(login, pending),
            Step::Wait => Outcome::Answer(pending),
            Step::Accept => Outcome::Answer(Auth::Accept),
            Step::Refuse(Methods::All) => Outcome::Answer(refuse(SERVED)),
            Step::Refuse(Methods::Password) => Outcome::Answer(refuse(&[MethodKind::Password])),
            Step::OtherLogin => Outcome::End(End::OtherLogin),
        }
    }

    /// Waits until `deadline` has passed without a permitted login; for ever, if there is one.
    pub(super) async fn grace(&self, deadline: Instant) {
        sleep_until(deadline).await;
        if self.state().login.is_permitted() {
            std::future::pending().await
        }
    }

    /// Asks the worker, and answers the newest request. The end of the connection is returned,
    /// where the answer is one.
    pub(super) async fn decide(
        self: Arc<Self>,
        worker: Arc<Worker>,
        handle: Handle,
        client: Family,
        login: Vec<u8>,
    ) -> Result<(), End> {
        match worker.login(login).await {
            Ok(Verdict::Permitted) => {
                let mut state = self.state();
                state.login.permit();
                // A client that is gone needs no answer.
                let _ = handle.auth_reply(state.newest, Auth::Accept);
                memory::give_back();
                Ok(())
            }
            Ok(Verdict::Denied(denial)) => {
                let message = denial.message();
                let _ = handle.auth_banner(format!("{message}\r\n"));
                if client != Family::Other {
                    // OpenSSH's client shows the banner, and "Permission denied (policy)." with it;
                    // the disconnection would repeat the sentence. dbclient ends with status 0 when
                    // it is disconnected, libssh may wait for ever, and curl calls it an error of
                    // SSH. Others show that, and may hide the banner.
                    let finally = Auth::RejectFinally("policy");
                    let _ = handle.auth_reply(self.state().newest, finally);
                }
                Err(End::Denied(message))
            }
            Err(reason) => Err(End::Unanswered(reason)),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn refuse(methods: &[MethodKind]) -> Auth {
    Auth::Reject {
        proceed_with_methods: Some(MethodSet::from(methods)),
        partial_success: false,
    }
}
