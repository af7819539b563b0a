//! When control is told what has become of logins.

use std::time::Duration;

use meshd_contract::node_api::LoginReport;
use tokio::time::Instant;

use super::control;
use super::daemon::{Daemon, Done, TICK};
use super::error::Error;

/// What happens within this time is told at once.
const GATHERING: Duration = Duration::from_secs(1);

impl Daemon {
    /// There may be something to tell.
    pub(super) fn tell_logins_soon(&mut self) {
        if self.connected && !self.is_telling_logins {
            self.logins_at
                .get_or_insert_with(|| Instant::now() + GATHERING);
        }
    }

    /// Tells control of the oldest that it does not know; one report at a time.
    pub(super) fn tell_logins(&mut self) {
        self.logins_at = None;
        let may = self.connected && !self.is_telling_logins;
        let (Some((state, membership)), true) = (self.membership(), may) else {
            return;
        };
        let Some(report) = self.login_events.report() else {
            return;
        };
        let Ok((server, credentials)) = self.credentials(&state, &membership) else {
            return;
        };
        self.is_telling_logins = true;
        self.tasks.spawn(async move {
            let told = control::report_logins(&server, &credentials, &report).await;
            Done::ToldLogins(report, told)
        });
    }

    /// What control cannot make use of is not told again: the journal has it.
    pub(super) fn logins_told(&mut self, report: &LoginReport, outcome: Result<(), Error>) {
        self.is_telling_logins = false;
        match outcome {
            Ok(()) => {}
            Err(Error::Problem {
                status: 400 | 404 | 405 | 413,
                detail,
            }) => {
                let events = report.events.len();
                tracing::warn!(events, detail, "control takes no note of these logins");
            }
            Err(error) => {
                tracing::debug!(%error, "control was not told of logins");
                self.logins_at = Some(Instant::now() + TICK);
                return;
            }
        }
        self.login_events.told(report);
        self.tell_logins_soon();
    }
}
