//! Authentication requests, between the SSH engine and the worker.

use std::borrow::Cow;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use meshd_contract::check::Prompt;
use russh::server::{Auth, Handle};
use russh::{MethodKind, MethodSet};
use tokio::time::{Instant, interval, sleep_until};

use super::algorithms::Family;
use super::end::End;
use super::login::{Login, Method, Methods, Step};
use super::memory;
use super::worker::{Unanswered, Verdict, Verdicts, Worker};

/// The methods that are named to a client; `none` never is (RFC 4252, section 5.2).
pub(super) const SERVED: &[MethodKind] = &[
    MethodKind::PublicKey,
    MethodKind::KeyboardInteractive,
    MethodKind::Password,
];

/// A client that hears nothing for longer may take the connection for dead.
const SIGN_OF_LIFE: Duration = Duration::from_secs(10);

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
    /// How the newest one asks; none before the first.
    method: Option<Method>,
    /// What the user is to do first.
    prompt: Option<Prompt>,
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
        let method = Method::new(method, fields);
        state.method = Some(method);
        match state.login.request(user, method) {
            Step::Ask(login) => Outcome::Ask(login, pending),
            Step::Wait => Outcome::Answer(match &state.prompt {
                Some(prompt) if method == Method::KeyboardInteractive => dialogue(prompt),
                _ => pending,
            }),
            Step::Accept => Outcome::Answer(Auth::Accept),
            Step::Refuse(Methods::All) => Outcome::Answer(refuse(SERVED)),
            Step::Refuse(Methods::Password) => Outcome::Answer(refuse(&[MethodKind::Password])),
            Step::OtherLogin => Outcome::End(End::OtherLogin),
        }
    }

    /// Takes the answer to a dialogue in which there is nothing to answer.
    pub(super) fn responded(&self) -> Auth {
        let mut state = self.state();
        state.newest += 1;
        if state.login.is_permitted() {
            return Auth::Accept;
        }
        Auth::Pending(state.newest)
    }

    /// Waits until `deadline` has passed without a permitted login; for ever, if there is one, or
    /// if it waits for a person: the worker bounds that time.
    pub(super) async fn grace(&self, deadline: Instant) {
        sleep_until(deadline).await;
        let goes_on = {
            let state = self.state();
            state.login.is_permitted() || state.prompt.is_some()
        };
        if goes_on {
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
        let mut verdicts = worker.login(login).await.map_err(End::Unanswered)?;
        let mut verdict = verdicts.next().await;
        while let Ok(Verdict::Asking | Verdict::Held(_)) = verdict {
            if let Ok(Verdict::Held(prompt)) = verdict {
                self.show(prompt, &handle, client);
            }
            verdict = with_signs_of_life(&mut verdicts, &handle).await;
        }
        match verdict {
            Ok(Verdict::Permitted) => {
                let mut state = self.state();
                state.login.permit();
                // A client that is gone needs no answer.
                if state.prompt.is_some() {
                    let _ = handle.auth_banner("# Authentication checked with meshd.\r\n");
                }
                let _ = handle.auth_reply(state.newest, Auth::Accept);
                drop(state);
                memory::give_back();
                Ok(())
            }
            // Taken by the loop.
            Ok(Verdict::Asking | Verdict::Held(_)) => Ok(()),
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

    /// Tells the user where to sign in. Clients that hide banners get it in a dialogue
    /// (RFC 4256), for which those that ask by `none` must ask once more.
    fn show(&self, prompt: Prompt, handle: &Handle, client: Family) {
        let mut state = self.state();
        // A manager that has been restarted says it once more.
        if state.prompt.as_ref() == Some(&prompt) {
            return;
        }
        let _ = handle.auth_banner(words(&prompt));
        let shows_banners = match client {
            Family::OpenSsh | Family::OldOpenSsh | Family::Dropbear => true,
            Family::LibSsh | Family::LibSsh2 | Family::Other => false,
        };
        let answer = match state.method {
            Some(Method::KeyboardInteractive) => Some(dialogue(&prompt)),
            Some(Method::None) if !shows_banners => Some(refuse(SERVED)),
            _ => None,
        };
        if let Some(answer) = answer {
            let _ = handle.auth_reply(state.newest, answer);
        }
        state.prompt = Some(prompt);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The next word of the worker, while the client sees that somebody is there.
async fn with_signs_of_life(
    verdicts: &mut Verdicts,
    handle: &Handle,
) -> Result<Verdict, Unanswered> {
    let mut signs = interval(SIGN_OF_LIFE);
    let next = verdicts.next();
    tokio::pin!(next);
    loop {
        tokio::select! {
            verdict = &mut next => return verdict,
            _ = signs.tick() => {
                // A client that is gone ends the connection by itself.
                let _ = handle.auth_ignore();
            }
        }
    }
}

/// What the user reads; the first two lines are what tools look for.
fn words(prompt: &Prompt) -> String {
    let Prompt { url, number } = prompt;
    format!(
        "# meshd requires an additional check.\r\n# To authenticate, visit: {url}\r\n# The page \
         asks for this number: {number}\r\n"
    )
}

/// The same as a dialogue without a question.
fn dialogue(prompt: &Prompt) -> Auth {
    Auth::Partial {
        name: Cow::Borrowed(""),
        instructions: Cow::Owned(words(prompt).replace('\r', "")),
        prompts: Cow::Borrowed(&[]),
    }
}

fn refuse(methods: &[MethodKind]) -> Auth {
    Auth::Reject {
        proceed_with_methods: Some(MethodSet::from(methods)),
        partial_success: false,
    }
}
