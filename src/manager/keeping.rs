//! The manager holds its ground: what somebody else takes away from the mesh is put back.

use std::time::Duration;

use meshd_contract::time::Timestamp;
use tokio::time::Instant;

use super::control::clock;
use super::daemon::Daemon;
use super::error::Error;
use super::kernel_events::Touched;
use super::mesh::Lack;
use super::repair_pace::RepairPace;
use crate::local_api;

/// For how long changes of the underlay are gathered: they come several at a time.
const GATHERING: Duration = Duration::from_millis(300);

/// What was put back since the manager started.
#[derive(Debug, Default)]
pub(super) struct Repairs {
    pace: RepairPace,
    count: u64,
    last: Option<(Timestamp, String)>,
    /// What keeps the next repair from being made.
    pub(super) problem: Option<String>,
}

impl Repairs {
    /// Whether the next repair has to wait, because there were too many.
    pub(super) fn are_paused(&self) -> bool {
        self.pace.is_waiting(Instant::now())
    }

    /// The mesh is as it should be.
    pub(super) fn settle(&mut self) {
        if !self.are_paused() {
            self.problem = None;
        }
    }

    fn made(&mut self, what: String, by: Option<String>) {
        self.problem = None;
        if what.is_empty() {
            tracing::info!("the mesh is open again");
            return;
        }
        let by = by.as_deref();
        tracing::warn!(
            missing = what,
            by,
            "somebody has changed the mesh: repaired"
        );
        self.pace.repaired(Instant::now());
        self.count += 1;
        self.last = Some((clock::now(), what));
    }

    /// For `mesh status`.
    pub(super) fn status(&self) -> Option<local_api::Repairs> {
        let (at, what) = self.last.clone()?;
        Some(local_api::Repairs {
            count: self.count,
            last_at: at,
            what,
        })
    }
}

impl Daemon {
    /// Sees to what the kernel says was touched.
    pub(super) async fn kernel_says(&mut self, touched: Touched) {
        if touched.underlay && self.underlay_at.is_none() {
            self.underlay_at = Some(Instant::now() + GATHERING);
        }
        self.keep(touched, None).await;
    }

    /// The networks below the mesh have changed: how wide they are, and where this host is in them.
    pub(super) async fn underlay_changed(&mut self) {
        self.underlay_at = None;
        if let Some(mesh) = &mut self.mesh
            && let Err(error) = mesh.fit_mtu().await
        {
            tracing::warn!(%error, "the tunnel's MTU stays as it is");
        }
        self.report_at = Instant::now();
        self.report().await;
    }

    /// The regular look: at the peers, and at the rules in case a notice was lost.
    pub(super) async fn look_around(&mut self) {
        let Some(mesh) = &mut self.mesh else {
            return;
        };
        let mut touched = Touched {
            device: self.repairs.problem.is_some() || !self.hears_kernel,
            rules: true,
            ..Touched::default()
        };
        match mesh.look_after_peers(clock::now()).await {
            Ok(lack) => self.keep(touched, lack).await,
            Err(error) => {
                touched.device = true;
                tracing::warn!(%error, "the peers could not be looked after");
                self.keep(touched, Some(Lack::Device)).await;
            }
        }
    }

    /// The device has failed, whatever the kernel says.
    pub(super) async fn device_failed(&mut self) {
        self.keep(Touched::default(), Some(Lack::Device)).await;
    }

    async fn keep(&mut self, touched: Touched, known: Option<Lack>) {
        let Some(mesh) = &mut self.mesh else {
            return;
        };
        let mut lacks: Vec<Lack> = known.into_iter().collect();
        match mesh.lacks(&touched).await {
            Ok(found) => lacks.extend(found),
            Err(error) => tracing::warn!(%error, "it is not known whether the mesh is whole"),
        }
        lacks.dedup();
        if lacks.is_empty() && !mesh.is_closed() {
            return self.repairs.settle();
        }
        match self.repairs.pace.ask(Instant::now()) {
            Ok(()) => self.put_back(&lacks, touched.by).await,
            Err(next) => self.wait_with_repair(&lacks, next).await,
        }
    }

    async fn put_back(&mut self, lacks: &[Lack], by: Option<String>) {
        let what = words(lacks);
        let repaired = if lacks.contains(&Lack::Device) {
            self.bring_up_again().await
        } else {
            self.repair(lacks).await
        };
        match repaired {
            Ok(()) => self.repairs.made(what, by),
            Err(error) => {
                let sentence = format!("{what} is missing and cannot be put back: {error}");
                if self.repairs.problem.as_ref() != Some(&sentence) {
                    tracing::error!(error = sentence, "the mesh is not as it should be");
                }
                self.repairs.problem = Some(sentence);
                self.close_if_open(lacks).await;
            }
        }
    }

    /// A device that comes back with its old number finds the sockets of open connections.
    async fn bring_up_again(&mut self) -> Result<(), Error> {
        self.release().await;
        self.refresh().await;
        match (&self.mesh, &self.problem) {
            (Some(_), _) => Ok(()),
            (None, problem) => Err(Error::NotUp(problem.clone().unwrap_or_default())),
        }
    }

    /// Whoever changes one thing often changes another a moment later, in the middle of this: it is
    /// tried twice.
    async fn repair(&mut self, lacks: &[Lack]) -> Result<(), Error> {
        let Some(mesh) = &mut self.mesh else {
            return Ok(());
        };
        match mesh.repair(lacks, clock::now()).await {
            Ok(()) => Ok(()),
            Err(_) => mesh.repair(lacks, clock::now()).await,
        }
    }

    /// Rather nobody gets in than everybody.
    async fn close_if_open(&mut self, lacks: &[Lack]) {
        if !lacks.iter().any(Lack::opens) {
            return;
        }
        if let Some(mesh) = self.mesh.as_mut().filter(|mesh| !mesh.is_closed())
            && let Err(error) = mesh.close().await
        {
            tracing::error!(%error, "the mesh is open: its rules are gone");
        }
    }

    async fn wait_with_repair(&mut self, lacks: &[Lack], next: Instant) {
        self.close_if_open(lacks).await;
        if lacks.contains(&Lack::Device) {
            self.release().await;
        }
        if self.repairs.problem.is_some() {
            return;
        }
        let seconds = next.duration_since(Instant::now()).as_secs_f64().ceil();
        let is_closed = lacks.iter().any(Lack::opens);
        let meanwhile = if is_closed {
            ", and the device is down until then"
        } else {
            ""
        };
        let sentence = format!(
            "another program keeps changing the mesh ({}): the next repair is in {seconds} \
             s{meanwhile}; find that program (nft monitor, ip monitor) and stop it",
            words(lacks)
        );
        tracing::error!(error = sentence, "the mesh is not as it should be");
        self.repairs.problem = Some(sentence);
    }

    /// What kept a repair from being made is over when the mesh is up and open.
    pub(super) fn settle_repairs(&mut self) {
        if self.mesh.as_ref().is_some_and(|mesh| !mesh.is_closed()) {
            self.repairs.settle();
        }
    }
}

fn words(lacks: &[Lack]) -> String {
    let words: Vec<String> = lacks.iter().map(Lack::to_string).collect();
    words.join(", ")
}
