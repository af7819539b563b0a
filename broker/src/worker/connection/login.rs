//! The one login of a connection.

use meshd_contract::broker::{Denial, Permitted, ToManager, ToSession};
use meshd_contract::check::CheckGrant;
use meshd_contract::login_event::{LoginEvent, LoginEventKind};

use super::Connection;
use crate::authorize::Refusal;
use crate::pam::{AccountChecked, Pam};
use crate::record::Event;
use crate::{audit, deadline};

impl Connection {
    /// Decides, and tells everybody.
    pub(super) fn login(&mut self, name: &[u8]) {
        match self.decide(name, None) {
            Ok((checked, pam)) => self.permit(checked, pam),
            Err(Refusal::Denied(denial)) => self.deny(name, denial),
            Err(Refusal::Check {
                rule,
                period,
                class,
            }) => self.begin_hold(name, rule, period, class),
        }
    }

    /// The user database and PAM may take their time, in which the right may have ended.
    pub(super) fn decide(
        &mut self,
        name: &[u8],
        grant: Option<&CheckGrant>,
    ) -> Result<(AccountChecked, Pam), Refusal> {
        let decided = deadline::within(self.patience(), || self.basis.decide(name, grant));
        let (checked, pam) = decided?;
        self.basis.refresh();
        self.basis.still_permits(&checked)?;
        Ok((checked, pam))
    }

    pub(super) fn permit(&mut self, checked: AccountChecked, pam: Pam) {
        let authorized = checked.authorized();
        let login = authorized.passwd().account.login.to_string();
        let fact = ("login", login.clone());
        self.basis.records.know(fact.clone());
        self.channels.know(fact.clone());
        self.forwards.know(fact);
        let rule = authorized.rule().origin.clone();
        let mut facts = vec![("rule", rule.clone())];
        if let Some(grant) = authorized.check() {
            facts.push(("checked_at", grant.approved_at.to_string()));
        }
        self.basis.records.write(Event::Accepted, &facts);
        self.channels.set_pam(pam);
        self.machine.permit(checked);
        self.login = Some(login.clone());
        self.overseer.happened(LoginEvent {
            rule: Some(rule),
            ..self.event(LoginEventKind::Accepted)
        });
        self.session
            .tell(&ToSession::Permitted(Permitted { login }), &[]);
        self.overseer.tell(&ToManager::Described(self.describe()));
    }

    pub(super) fn deny(&mut self, name: &[u8], denial: Denial) {
        let facts = [("reason", denial.message())];
        self.basis.records.write(Event::Denied, &facts);
        self.overseer.happened(LoginEvent {
            login: Some(String::from_utf8_lossy(name).into_owned()),
            reason: Some(denial.message()),
            ..self.event(LoginEventKind::Denied)
        });
        let attempt = audit::Login {
            account: audit::Account::Named(name),
            address: self.basis.bound.remote().ip(),
            terminal: "ssh",
            success: false,
        };
        // The kernel makes the caller wait while nobody empties a full trail (auditctl(8)).
        let recorded = deadline::within(self.patience(), || audit::record(&attempt));
        if let Err(error) = recorded {
            self.basis.records.note(&error.to_string());
        }
        self.machine.end();
        self.session.tell(&ToSession::Denied(denial), &[]);
    }
}
