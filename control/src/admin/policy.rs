//! What the commands do with the policy.

use meshd_policy::Topology;

use super::failure::Failure;
use super::operations::Admin;
use super::protocol::Done;
use crate::audit::Actor;
use crate::clock::now;
use crate::engine::{Engine, PolicyError, topology};
use crate::store::{Refusal, StoreError, StoredPolicy};

/// A policy that may be saved.
struct Examined {
    warnings: Vec<String>,
    /// What it would take from those who administer the mesh, against the policy that counts.
    cuts: Vec<String>,
    /// The number of the policy that counts.
    over: Option<u64>,
}

impl Admin {
    /// The text of the policy that counts.
    pub(super) async fn policy_text(&self) -> Result<String, StoreError> {
        let stored = self.store.policy().await?;
        Ok(stored.map(|policy| policy.text).unwrap_or_default())
    }

    /// Checks a policy and saves it, over the one with the number `over` if one is given; one that
    /// cuts what an administrator has now, only if that is `meant`. Returns its number too.
    pub(crate) async fn set_policy(
        &self,
        text: &str,
        meant: bool,
        over: Option<u64>,
        by: &Actor,
    ) -> Result<(u64, Done), Failure> {
        let examined = self.examine(text, over).await?;
        if !meant && !examined.cuts.is_empty() {
            return Err(Failure::WouldCut(examined.cuts));
        }
        let id = self
            .store
            .save_policy(text, examined.over, now(), by)
            .await?;
        tracing::info!(%by, "the policy was saved");
        let warnings = [examined.warnings, examined.cuts].concat();
        Ok((id, self.published("saved the policy", warnings).await))
    }

    /// Checks a policy; what `set_policy` would refuse to cut is a warning.
    pub(crate) async fn check_policy(&self, text: &str) -> Result<Done, Failure> {
        let examined = self.examine(text, None).await?;
        Ok(Done {
            message: "the policy is correct, and its tests pass".to_owned(),
            warnings: [examined.warnings, examined.cuts].concat(),
            published: true,
        })
    }

    /// Logs what stands against the saved policy. It counts all the same: a change of users or
    /// nodes that makes one of its tests fail must not lock anybody out at the next start.
    pub(crate) async fn warn_about_policy(&self) -> Result<(), StoreError> {
        match self.examine(&self.policy_text().await?, None).await {
            Ok(_) => Ok(()),
            Err(Failure::Store(error)) => Err(error),
            Err(Failure::PolicyRefused(problems)) => {
                for problem in problems {
                    tracing::warn!(problem, "the saved policy would be refused today");
                }
                Ok(())
            }
            Err(other) => {
                tracing::warn!(%other, "the saved policy would be refused today");
                Ok(())
            }
        }
    }

    async fn examine(&self, text: &str, over: Option<u64>) -> Result<Examined, Failure> {
        let stored = self.store.policy().await?;
        if over.is_some() && over != stored.as_ref().map(|stored| stored.id) {
            return Err(StoreError::from(Refusal::PolicyChanged).into());
        }
        let engine = Engine::parse(text)
            .map_err(|PolicyError(problems)| Failure::PolicyRefused(problems))?;
        let topology = self.topology().await?;
        tokio::task::block_in_place(|| {
            let objections = engine.objections(&topology);
            if !objections.is_empty() {
                return Err(Failure::PolicyRefused(objections));
            }
            Ok(Examined {
                warnings: engine.warnings(&topology),
                cuts: cuts(stored.as_ref(), &engine, &topology),
                over: stored.map(|policy| policy.id),
            })
        })
    }

    /// Users, nodes and domains, as a policy is applied to them.
    pub(super) async fn topology(&self) -> Result<Topology, StoreError> {
        let users = self.store.users().await?;
        let nodes = self.store.policy_nodes().await?;
        Ok(topology(&users, nodes, &self.login_domains))
    }
}

/// A policy that this release cannot read is in force nowhere, so that nothing of it is cut.
fn cuts(stored: Option<&StoredPolicy>, new: &Engine, topology: &Topology) -> Vec<String> {
    let old = stored.and_then(|stored| Engine::parse(&stored.text).ok());
    old.map(|old| new.cuts(&old, topology)).unwrap_or_default()
}
