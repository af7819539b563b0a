//! A login that waits until the owner of the peer has signed in.

use std::time::{Duration, Instant};

use meshd_contract::broker::{CheckOutcome, Denial, ToManager, ToSession};
use meshd_contract::check::{
    CheckNeed, CheckRefusal, FIRST_WORD_SECONDS, HOLD_SECONDS, LoginClass, Prompt,
};
use meshd_contract::login::Login;
use meshd_contract::ssh_rule::CheckPeriod;

use super::{Connection, waiting};
use crate::authorize::Refusal;
use crate::evidence::Caller;
use crate::record::Event;

/// How long the manager may take to say where the person can sign in.
const FIRST_WORD: Duration = Duration::from_secs(FIRST_WORD_SECONDS);

/// The longest time that a login waits.
const LONGEST: Duration = Duration::from_secs(HOLD_SECONDS);

/// What the login lacks, and how long it waits for that.
pub(super) struct Hold {
    need: CheckNeed,
    /// A grant has been looked at and did not do.
    fresh: bool,
    until: Instant,
    /// The manager must have said something by then; none once it has.
    first_word_by: Option<Instant>,
}

impl Hold {
    /// What the manager is asked.
    pub(super) fn question(&self) -> ToManager {
        ToManager::Check {
            need: self.need.clone(),
            fresh: self.fresh,
        }
    }

    /// After this time the hold may be in vain.
    pub(super) fn next_look(&self) -> Duration {
        const ROUNDING: Duration = Duration::from_millis(1);
        let next = self
            .first_word_by
            .map_or(self.until, |by| by.min(self.until));
        next.saturating_duration_since(Instant::now()) + ROUNDING
    }

    fn is_over(&self) -> Option<CheckRefusal> {
        let now = Instant::now();
        if self.first_word_by.is_some_and(|by| by <= now) {
            return Some(CheckRefusal::Unreachable);
        }
        (self.until <= now).then_some(CheckRefusal::Expired)
    }
}

impl Connection {
    /// Has control ask for the check; everything goes on meanwhile.
    pub(super) fn begin_hold(
        &mut self,
        name: &[u8],
        rule: String,
        period: CheckPeriod,
        class: LoginClass,
    ) {
        let (Caller::Peer(peer), Ok(login)) = (self.basis.bound.caller(), Login::from_bytes(name))
        else {
            return self.deny(name, Denial::Node);
        };
        let need = CheckNeed {
            source: peer.node,
            login,
            class,
            rule,
            period,
            connection: self.basis.records.connection().to_owned(),
        };
        let facts = [
            ("login", need.login.to_string()),
            ("rule", need.rule.clone()),
        ];
        self.basis.records.write(Event::Held, &facts);
        self.hold(need, Instant::now() + LONGEST, false);
    }

    fn hold(&mut self, need: CheckNeed, until: Instant, fresh: bool) {
        let hold = Hold {
            need,
            fresh,
            until,
            first_word_by: Some(Instant::now() + FIRST_WORD),
        };
        self.session.tell(&ToSession::Asking, &[]);
        self.overseer.tell(&hold.question());
        self.login_until = hold.until + waiting::login_grace(&self.basis.config);
        self.hold = Some(hold);
    }

    /// Has the client told where the person can sign in.
    pub(super) fn show_check(&mut self, prompt: Prompt) {
        let Some(hold) = &mut self.hold else {
            return;
        };
        if !prompt.is_printable() {
            return self.end_hold(CheckOutcome::Refused(CheckRefusal::Unknown));
        }
        hold.first_word_by = None;
        self.session.tell(&ToSession::Held(prompt), &[]);
    }

    /// Decides the login again, by the grant and everything that has changed meanwhile.
    pub(super) fn end_hold(&mut self, outcome: CheckOutcome) {
        let Some(hold) = self.hold.take() else {
            return;
        };
        self.login_until = Instant::now() + waiting::login_grace(&self.basis.config);
        let name = hold.need.login.as_str().as_bytes().to_vec();
        let denied = |refusal: CheckRefusal| Denial::Account(refusal.to_string());
        let text = match outcome {
            CheckOutcome::Granted(text) => text,
            CheckOutcome::Refused(refusal) => return self.deny(&name, denied(refusal)),
        };
        let grant = match self.basis.check_grant(&text) {
            Ok(grant) => Some(grant),
            Err(error) => {
                self.basis.records.note(&error.to_string());
                None
            }
        };
        match self.decide(&name, grant.as_ref()) {
            Ok((checked, pam)) => self.permit(checked, pam),
            Err(Refusal::Denied(denial)) => self.deny(&name, denial),
            // The manager had kept one of another time, or the rule is another one by now.
            Err(Refusal::Check {
                rule,
                period,
                class,
            }) if !hold.fresh => {
                let need = CheckNeed {
                    rule,
                    period,
                    class,
                    ..hold.need
                };
                self.hold(need, hold.until, true);
            }
            Err(refusal @ Refusal::Check { .. }) => self.deny(&name, refusal.finally()),
        }
    }

    /// Gives up where nobody can answer any more.
    pub(super) fn end_hold_if_in_vain(&mut self) {
        let Some(hold) = &self.hold else {
            return;
        };
        let nobody = self.overseer.socket().is_none();
        let over = nobody.then_some(CheckRefusal::Unreachable);
        if let Some(refusal) = over.or_else(|| hold.is_over()) {
            self.end_hold(CheckOutcome::Refused(refusal));
        }
    }
}
