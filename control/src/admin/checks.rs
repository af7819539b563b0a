//! What owners have approved for logins that a rule checks, as administrators see it and take it
//! back.

use std::collections::BTreeMap;

use meshd_contract::identity::{NodeId, NodeName};

use super::failure::Failure;
use super::operations::Admin;
use super::protocol::{ApprovalEntry, Done};
use crate::audit::Actor;
use crate::clock::now;
use crate::store::{Approval, Whose};

impl Admin {
    /// Everything that is approved and still counts, the oldest first.
    pub(crate) async fn approvals(&self) -> Result<Vec<ApprovalEntry>, Failure> {
        let nodes = self.store.nodes().await?.into_iter();
        let names: BTreeMap<NodeId, NodeName> = nodes.map(|node| (node.id, node.name)).collect();
        let approvals = self.store.all_approvals(now()).await?.into_iter();
        Ok(approvals
            .map(|approval| ApprovalEntry::of(approval, &names))
            .collect())
    }

    /// Takes back everything that is approved for logins from the node with this number or name.
    pub(crate) async fn take_back_of_node(&self, text: &str, by: &Actor) -> Result<Done, Failure> {
        let node = self.store.find_node(text).await?;
        self.take_back(&Whose::Node(node.id), by).await
    }

    /// The same for logins from all nodes of a user.
    pub(crate) async fn take_back_of_user(&self, login: &str, by: &Actor) -> Result<Done, Failure> {
        self.take_back(&Whose::User(login.to_owned()), by).await
    }

    async fn take_back(&self, whose: &Whose, by: &Actor) -> Result<Done, Failure> {
        let taken_back = self.store.take_back(whose, now(), by).await?;
        let (count, nodes) = (taken_back.approvals, taken_back.nodes);
        let names: Vec<&str> = nodes.iter().map(NodeName::as_str).collect();
        tracing::info!(?names, count, "what was approved was taken back");
        let message = match nodes.is_empty() {
            true => "this user has no hosts, and so nothing is approved".to_owned(),
            false => format!(
                "took back {count} approval{} for logins from {}; sessions that a check has let in \
                 from there end",
                if count == 1 { "" } else { "s" },
                names.join(", ")
            ),
        };
        Ok(self.published(message, Vec::new()).await)
    }
}

impl ApprovalEntry {
    fn of(approval: Approval, names: &BTreeMap<NodeId, NodeName>) -> Self {
        let name = |node: &NodeId| names.get(node).map(NodeName::to_string);
        Self {
            source: name(&approval.source).unwrap_or_else(|| approval.source.to_string()),
            destination: approval
                .destination
                .map(|node| name(&node).unwrap_or_else(|| node.to_string())),
            owner: approval.owner,
            class: approval.class,
            target: approval.target,
            one_connection: approval.connection.is_some(),
            is_ahead: approval.is_ahead,
            approved_at: approval.approved_at,
            expires_at: approval.expires_at,
        }
    }
}
