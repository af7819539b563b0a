//! PAM for one connection: account, credentials, session (pam(3)).
//!
//! Runs on the main thread of a process that serves this one connection and nothing else: several
//! modules change the calling process itself (pam_limits, pam_loginuid, pam_systemd). Nobody is
//! authenticated here, so account management is the only local gate, and never optional.

use std::ffi::{CStr, CString};
use std::os::unix::ffi::OsStrExt;

use meshd_contract::broker::Denial;
use meshd_contract::paths;
use pam_client2::{Context, ConversationHandler, ErrorCode, Flag, SessionToken};
use thiserror::Error;

use crate::authorize::Authorized;
use crate::config::ExpiredPassword;
use crate::evidence::Bound;

/// The most messages, and bytes of one message, that are kept for the user.
const MAX_MESSAGES: usize = 32;
const MAX_MESSAGE_BYTES: usize = 4096;

/// PAM refused or failed.
#[derive(Debug, Error)]
#[error("PAM ({step}): {source}")]
pub struct PamError {
    step: &'static str,
    source: pam_client2::Error,
}

/// The account is permitted by policy, and PAM's account management has nothing against it.
///
/// Made by [`Pam::check_account`] alone.
#[derive(Debug)]
pub struct AccountChecked(Authorized);

impl AccountChecked {
    /// What policy said.
    #[must_use]
    pub fn authorized(&self) -> &Authorized {
        &self.0
    }
}

/// PAM's handle for one connection. Closes what it has opened when dropped.
pub struct Pam {
    context: Context<Messages>,
    session: Option<SessionToken>,
}

impl Pam {
    /// Starts PAM for the account that was authorised, as the service `meshd-ssh`.
    ///
    /// # Errors
    /// [`PamError`], such as a service file that cannot be read.
    pub fn start(bound: &Bound, authorized: &Authorized) -> Result<Self, PamError> {
        let login = authorized.passwd().account.login.as_str();
        let context = Context::new(paths::PAM_SERVICE, Some(login), Messages::default());
        let mut pam = Self {
            context: context.map_err(at("start"))?,
            session: None,
        };
        let host = bound.remote().ip().to_string();
        pam.context.set_rhost(Some(&host)).map_err(at("rhost"))?;
        // No PAM_RUSER, as sshd sets none: pam_namespace(8) takes it for an account of this host.
        // Modules that look at PAM_TTY before there is a terminal expect sshd's placeholder.
        pam.context.set_tty(Some("ssh")).map_err(at("tty"))?;
        Ok(pam)
    }

    /// Asks PAM whether the account may be used now (pam_acct_mgmt(3)).
    ///
    /// # Errors
    /// The [`Denial`] with a sentence for the client; the outer error says what to log.
    pub fn check_account(
        &mut self,
        authorized: Authorized,
        expired_password: ExpiredPassword,
    ) -> Result<AccountChecked, (Denial, PamError)> {
        let login = authorized.passwd().account.login.clone();
        match self.context.acct_mgmt(Flag::NONE) {
            Ok(()) => {}
            Err(error)
                if error.code() == ErrorCode::NEW_AUTHTOK_REQD
                    && expired_password == ExpiredPassword::Permit => {}
            Err(source) => {
                let sentence = account_sentence(source.code(), login.as_str());
                let said = self.context.conversation_mut().take();
                let error = PamError {
                    step: "account",
                    source,
                };
                return Err((Denial::Account(with_words(sentence, &said)), error));
            }
        }
        if !self.is_for(login.as_str()) {
            let sentence = format!("PAM wants another account than {login}");
            return Err((Denial::Account(sentence), other_user("account")));
        }
        Ok(AccountChecked(authorized))
    }

    /// Establishes credentials and opens the session; what PAM has to say to the user is returned.
    ///
    /// `tty` is the terminal's path, if the first channel has one.
    ///
    /// # Errors
    /// [`PamError`]; no session is open then.
    pub fn open_session(&mut self, tty: Option<&str>, login: &str) -> Result<Vec<u8>, PamError> {
        self.context
            .set_tty(Some(tty.unwrap_or("ssh")))
            .map_err(at("tty"))?;
        let token = self
            .context
            .open_session(Flag::NONE)
            .map_err(at("session"))?
            .leak();
        self.session = Some(token);
        if !self.is_for(login) {
            self.close();
            return Err(other_user("session"));
        }
        Ok(self.context.conversation_mut().take())
    }

    /// Whether a session is open.
    #[must_use]
    pub fn has_session(&self) -> bool {
        self.session.is_some()
    }

    /// The variables that PAM's modules have set, as `NAME=value`.
    #[must_use]
    pub fn environment(&self) -> Vec<CString> {
        let list = self.context.envlist();
        let pairs = list.iter_tuples().filter_map(|(name, value)| {
            CString::new([name.as_bytes(), b"=", value.as_bytes()].concat()).ok()
        });
        pairs.collect()
    }

    /// Closes the session and deletes the credentials; does nothing when none is open.
    pub fn close(&mut self) {
        if let Some(token) = self.session.take() {
            drop(self.context.unleak_session(token));
        }
    }

    /// A module may have changed PAM_USER; that account was not authorised.
    fn is_for(&self, login: &str) -> bool {
        self.context.user().is_ok_and(|user| user == login)
    }
}

impl Drop for Pam {
    fn drop(&mut self) {
        self.close();
    }
}

fn at(step: &'static str) -> impl FnOnce(pam_client2::Error) -> PamError {
    move |source| PamError { step, source }
}

fn other_user(step: &'static str) -> PamError {
    PamError {
        step,
        source: ErrorCode::USER_UNKNOWN.into(),
    }
}

fn account_sentence(code: ErrorCode, login: &str) -> String {
    if code == ErrorCode::ACCT_EXPIRED {
        format!("the account {login} has expired")
    } else if code == ErrorCode::NEW_AUTHTOK_REQD {
        format!("the password of {login} has expired and must be changed on the host first")
    } else if matches!(code, ErrorCode::PERM_DENIED | ErrorCode::AUTH_ERR) {
        format!("this host does not let {login} log in now")
    } else {
        format!("this host could not check the account {login}")
    }
}

/// The sentence, and what PAM's modules had to say, such as the text of /etc/nologin.
fn with_words(sentence: String, said: &[u8]) -> String {
    let said = String::from_utf8_lossy(said);
    let visible = |c: &char| *c == '\n' || !c.is_control();
    let said: String = said.trim().chars().filter(visible).collect();
    if said.is_empty() {
        sentence
    } else {
        format!("{sentence}\n{said}")
    }
}

/// Keeps what PAM says; answers no question, since nobody is there to be asked.
#[derive(Debug, Default)]
struct Messages(Vec<Vec<u8>>);

impl Messages {
    fn keep(&mut self, text: &CStr) {
        let bytes = text.to_bytes();
        if self.0.len() < MAX_MESSAGES && !bytes.is_empty() {
            self.0
                .push(bytes[..bytes.len().min(MAX_MESSAGE_BYTES)].to_vec());
        }
    }

    fn take(&mut self) -> Vec<u8> {
        let mut text = Vec::new();
        for message in self.0.drain(..) {
            text.extend_from_slice(&message);
            if !text.ends_with(b"\n") {
                text.push(b'\n');
            }
        }
        text
    }
}

impl ConversationHandler for Messages {
    fn prompt_echo_on(&mut self, _prompt: &CStr) -> Result<CString, ErrorCode> {
        Err(ErrorCode::CONV_ERR)
    }

    fn prompt_echo_off(&mut self, _prompt: &CStr) -> Result<CString, ErrorCode> {
        Err(ErrorCode::CONV_ERR)
    }

    fn text_info(&mut self, text: &CStr) {
        self.keep(text);
    }

    fn error_msg(&mut self, text: &CStr) {
        self.keep(text);
    }
}
