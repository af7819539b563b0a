//! When control is told about this node.

use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use meshd_contract::node_api::Report;
use meshd_contract::paths;
use tokio::time::Instant;

use super::control;
use super::daemon::{Daemon, Done, TICK};
use super::error::Error;
use super::report;
use super::state::{Membership, State};

/// How often this host's addresses are looked up again.
const REPORT_EVERY: Duration = Duration::from_secs(30);

impl Daemon {
    /// Tells control about this node if it has changed.
    pub(super) async fn report(&mut self) {
        let due = self.connected && !self.is_reporting && Instant::now() >= self.report_at;
        let (true, Some(mesh), Some((state, membership))) = (due, &self.mesh, self.membership())
        else {
            return;
        };
        self.report_at = Instant::now() + REPORT_EVERY;
        let addresses = match mesh.underlay().await {
            Ok(addresses) => addresses,
            Err(error) => {
                tracing::warn!(%error, "this host's addresses are not known");
                return;
            }
        };
        self.follow_from_here(&addresses, &state, &membership);
        let ssh = *self.ssh.borrow();
        let keys = if ssh {
            report::read_host_keys(Path::new(paths::HOST_KEYS))
        } else {
            String::new()
        };
        let report = report::report(&addresses, self.options.wireguard_port, &keys);
        if self.reported.as_ref() == Some(&report) {
            return;
        }
        let Ok((server, credentials)) = self.credentials(&state, &membership) else {
            return;
        };
        self.is_reporting = true;
        self.tasks.spawn(async move {
            let sent = control::report(&server, &credentials, &report).await;
            Done::Reported(sent.map(|()| report))
        });
    }

    /// A connection from an address that this host has no more hears nothing, and does not end.
    fn follow_from_here(&mut self, now: &[IpAddr], state: &State, membership: &Membership) {
        let before = std::mem::replace(&mut self.underlay, now.to_vec());
        if before.iter().any(|address| !now.contains(address)) {
            self.stop_following();
            self.follow(state, membership);
        }
    }

    pub(super) async fn report_ended(&mut self, outcome: Result<Report, Error>) {
        self.is_reporting = false;
        self.was_reported = true;
        match outcome {
            Ok(report) => {
                tracing::info!(endpoints = ?report.endpoints, "control was told about this node");
                self.reported = Some(report);
            }
            Err(error) => {
                tracing::warn!(%error, "control was not told about this node");
                self.report_at = Instant::now() + TICK;
            }
        }
        self.settle().await;
    }
}
