//! What the commands do.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use meshd_contract::identity::{NodeName, Owner};
use meshd_contract::time::Timestamp;

use super::failure::Failure;
use super::protocol::{Answer, AuthKeyWish, ControlKey, Done, NewKey, NodeEntry, Request};
use crate::audit::{Actor, Entry, action};
use crate::auth_key::{Secret, SecretHash};
use crate::backup;
use crate::clock::now;
use crate::engine::Engine;
use crate::hub::Hub;
use crate::public_url::PublicUrl;
use crate::role::{self, Role};
use crate::signer::Signer;
use crate::store::{NewAuthKey, NodeRow, Store, UserRow};

/// How long a command waits for the news of its change to go out.
const PATIENCE: Duration = Duration::from_secs(10);

/// What the commands work on.
#[derive(Debug, Clone)]
pub(crate) struct Admin {
    /// What control remembers.
    pub(crate) store: Store,
    /// Where streams and changes meet.
    pub(crate) hub: Arc<Hub>,
    /// Control's key.
    pub(crate) signer: Arc<Signer>,
    /// How long a document counts, in seconds.
    pub(crate) document_lifetime: u64,
    /// The e-mail domains that belong to this mesh.
    pub(crate) login_domains: Vec<String>,
    /// Where browsers find control.
    pub(crate) url: PublicUrl,
    /// The state directory.
    pub(crate) state: PathBuf,
}

impl Admin {
    /// Does what `request` asks for, on behalf of `by`.
    pub(crate) async fn perform(&self, request: Request, by: &Actor) -> Answer {
        let done = self.attempt(request, by).await;
        done.unwrap_or_else(Answer::from)
    }

    async fn attempt(&self, request: Request, by: &Actor) -> Result<Answer, Failure> {
        Ok(match request {
            Request::UsersCreate { login, role } => {
                Answer::Done(self.create_user(login, role, by).await?)
            }
            Request::UsersInvite { login, role } => {
                Answer::Link(self.invite(login, role, by).await?)
            }
            Request::UsersList => Answer::Users(self.store.users().await?),
            Request::UsersRole { login, role } => {
                Answer::Done(self.set_role(&login, role, by).await?)
            }
            Request::UsersDelete { login } => Answer::Done(self.delete_user(&login, by).await?),
            Request::AuthkeysCreate(wish) => Answer::AuthKey(self.create_auth_key(wish, by).await?),
            Request::AuthkeysList => Answer::AuthKeys(self.store.auth_keys().await?),
            Request::AuthkeysDelete { id } => Answer::Done(self.delete_auth_key(id, by).await?),
            Request::NodesList => Answer::Nodes(self.nodes().await?),
            Request::NodesDelete { node } => Answer::Done(self.delete_node(&node, by).await?),
            Request::NodesApprove { node } => Answer::Done(self.approve_node(&node, by).await?),
            Request::NodesRename { node, name } => {
                Answer::Done(self.rename_node(&node, &name, by).await?)
            }
            Request::NodesExpiry { node, in_seconds } => {
                let expires_at = in_seconds.map(|seconds| now().plus(seconds));
                Answer::Done(self.set_expiry(&node, expires_at, by).await?)
            }
            Request::ChecksList => Answer::Approvals(self.approvals().await?),
            Request::ChecksRevoke { node } => {
                Answer::Done(self.take_back_of_node(&node, by).await?)
            }
            Request::ChecksRevokeUser { login } => {
                Answer::Done(self.take_back_of_user(&login, by).await?)
            }
            Request::PolicyGet => Answer::Policy(self.policy_text().await?),
            Request::PolicyTopology => Answer::Topology(self.topology().await?),
            Request::PolicySet { text, yes } => {
                Answer::Done(self.set_policy(&text, yes, None, by).await?.1)
            }
            Request::ApikeysCreate(wish) => Answer::AuthKey(self.create_api_key(&wish, by).await?),
            Request::ApikeysList => Answer::ApiKeys(self.store.api_keys().await?),
            Request::ApikeysDelete { id } => Answer::Done(self.delete_api_key(id, by).await?),
            Request::PolicyCheck { text } => Answer::Done(self.check_policy(&text).await?),
            Request::Audit(query) => Answer::Audit(self.store.audit(&query).await?),
            Request::Backup => Answer::Copied(self.back_up(by).await?),
            Request::Key => {
                let key = self.signer.current().key.public();
                Answer::Key(ControlKey {
                    key: key.to_string(),
                    fingerprint: key.fingerprint(),
                })
            }
            Request::KeysRotate { overlap_seconds } => {
                Answer::Done(self.rotate_key(overlap_seconds, by).await?)
            }
            Request::KeysList => Answer::Keys(self.keys()),
        })
    }

    /// Adds a user.
    pub(crate) async fn create_user(
        &self,
        login: String,
        role: Role,
        by: &Actor,
    ) -> Result<Done, Failure> {
        if !is_login(&login) {
            return Err(Failure::Unfit(format!(
                "{login:?} is no login: a user is known by an e-mail address, such as \
                 alice@example.com"
            )));
        }
        let user = UserRow {
            login,
            role,
            created_at: now(),
        };
        self.store.create_user(&user, by).await?;
        tracing::info!(user = user.login, "a user was created");
        Ok(self
            .published(format!("created user {}", user.login), Vec::new())
            .await)
    }

    /// Gives a user another role.
    pub(crate) async fn set_role(
        &self,
        login: &str,
        role: Role,
        by: &Actor,
    ) -> Result<Done, Failure> {
        let old = self.store.set_role(login, role, now(), by).await?;
        let (old, new) = (role::name(old), role::name(role));
        tracing::info!(user = login, old, new, "a user was given another role");
        let message = format!("{login} has the role {new} now, and had {old}");
        Ok(self.published(message, Vec::new()).await)
    }

    /// Removes a user with the user's nodes and auth keys.
    pub(crate) async fn delete_user(&self, login: &str, by: &Actor) -> Result<Done, Failure> {
        let nodes = self.store.delete_user(login, now(), by).await?.len();
        tracing::info!(user = login, nodes, "a user was deleted");
        let message = format!("deleted user {login} and {nodes} of the user's nodes");
        Ok(self.published(message, Vec::new()).await)
    }

    /// Makes an auth key.
    pub(crate) async fn create_auth_key(
        &self,
        wish: AuthKeyWish,
        by: &Actor,
    ) -> Result<NewKey, Failure> {
        let owner = match wish.owner {
            Owner::User(login) => Owner::User(login),
            Owner::Tags(tags) => Owner::Tags(self.known_tags(tags).await?),
        };
        let secret = Secret::generate()?;
        let created_at = now();
        let key = NewAuthKey {
            hash: SecretHash::of(secret.expose()),
            owner,
            reusable: wish.reusable,
            ephemeral: wish.ephemeral,
            created_at,
            expires_at: created_at.plus(wish.expires_in_seconds),
        };
        let id = self.store.create_auth_key(&key, by).await?;
        tracing::info!(id, owner = %key.owner, "an auth key was created");
        let secret = secret.expose().to_owned();
        Ok(NewKey { id, secret })
    }

    /// The tags sorted and without duplicates; refused when the policy lacks one.
    async fn known_tags(&self, tags: Vec<String>) -> Result<Vec<String>, Failure> {
        let tags: BTreeSet<String> = tags.into_iter().collect();
        if tags.is_empty() {
            let sentence = "give --user or at least one --tag";
            return Err(Failure::Unfit(sentence.to_owned()));
        }
        let policy = Engine::parse(&self.policy_text().await?)
            .map_err(|error| Failure::Broken(error.to_string()))?;
        match tags.iter().find(|tag| !policy.defines_tag(tag)) {
            Some(tag) => Err(Failure::UnknownTag(tag.clone())),
            None => Ok(tags.into_iter().collect()),
        }
    }

    /// Removes an auth key.
    pub(crate) async fn delete_auth_key(&self, id: u64, by: &Actor) -> Result<Done, Failure> {
        self.store.delete_auth_key(id, now(), by).await?;
        tracing::info!(id, "an auth key was deleted");
        Ok(Done {
            message: format!("deleted auth key {id}; the nodes that joined with it stay"),
            warnings: Vec::new(),
            published: true,
        })
    }

    /// All nodes, by number.
    pub(crate) async fn nodes(&self) -> Result<Vec<NodeEntry>, Failure> {
        let nodes = self.store.nodes().await?.into_iter();
        Ok(nodes.map(|node| self.entry(node)).collect())
    }

    /// The node with this number or name.
    pub(crate) async fn node(&self, text: &str) -> Result<NodeEntry, Failure> {
        Ok(self.entry(self.store.find_node(text).await?))
    }

    fn entry(&self, node: NodeRow) -> NodeEntry {
        NodeEntry {
            id: node.id,
            name: node.name,
            owner: node.owner,
            addresses: node.slot.addresses(),
            connected: self.hub.is_listening(node.id),
            last_seen: node.last_seen,
            key_expires_at: node.key_expires_at,
            approved: node.approved,
            ephemeral: node.ephemeral,
            endpoints: node.endpoints,
            release: node.release,
            created_at: node.created_at,
        }
    }

    /// Removes the node with this number or name.
    pub(crate) async fn delete_node(&self, text: &str, by: &Actor) -> Result<Done, Failure> {
        let node = self.store.find_node(text).await?;
        self.store
            .delete_node(node.id, now(), by, action::NODE_DELETE)
            .await?;
        tracing::info!(node = %node.id, name = %node.name, "a node was deleted");
        let message = format!("deleted node {} ({})", node.name, node.id);
        Ok(self.published(message, Vec::new()).await)
    }

    /// Gives the node with this number or name another name.
    pub(crate) async fn rename_node(
        &self,
        text: &str,
        name: &NodeName,
        by: &Actor,
    ) -> Result<Done, Failure> {
        let node = self.store.find_node(text).await?;
        self.store.rename_node(node.id, name, now(), by).await?;
        tracing::info!(node = %node.id, old = %node.name, new = %name, "a node was renamed");
        let message = format!("renamed node {} ({}) to {name}", node.name, node.id);
        Ok(self.published(message, Vec::new()).await)
    }

    /// Sets when the key of the node with this number or name expires; none for never.
    pub(crate) async fn set_expiry(
        &self,
        text: &str,
        expires_at: Option<Timestamp>,
        by: &Actor,
    ) -> Result<Done, Failure> {
        let node = self.store.find_node(text).await?;
        let now = now();
        self.store
            .set_key_expiry(node.id, expires_at, now, by)
            .await?;
        let in_seconds = expires_at.map(|at| at.0.saturating_sub(now.0));
        tracing::info!(node = %node.id, name = %node.name, ?in_seconds, "a key's expiry was set");
        let when = match in_seconds {
            None => "never expires".to_owned(),
            Some(0) => "has expired".to_owned(),
            Some(seconds) => format!("expires in {seconds} s"),
        };
        let message = format!("the key of node {} ({}) {when}", node.name, node.id);
        Ok(self.published(message, Vec::new()).await)
    }

    async fn back_up(&self, by: &Actor) -> Result<PathBuf, Failure> {
        let _held = self.signer.hold().await;
        match backup::make(&self.store, &self.state, now()).await {
            Ok(copy) => {
                tracing::info!(copy = %copy.display(), "a backup was made");
                let entry = Entry::new(now(), by, action::BACKUP_MAKE, copy.display());
                self.store.note_alone(&entry).await?;
                Ok(copy)
            }
            Err(error) => Err(Failure::Broken(error.to_string())),
        }
    }

    /// The answer to a change that is stored, once the connected nodes were told.
    pub(super) async fn published(
        &self,
        message: impl Into<String>,
        warnings: Vec<String>,
    ) -> Done {
        let request = self.hub.request();
        let published = self.hub.finished(request, PATIENCE).await;
        Done {
            message: message.into(),
            warnings,
            published,
        }
    }
}

/// Whether a text can be the login of a user: an e-mail address that the policy language can
/// name.
pub(crate) fn is_login(text: &str) -> bool {
    let is_permitted = |c: char| !c.is_whitespace() && !c.is_control() && !"\"',:*".contains(c);
    let has_both_parts = text.split_once('@').is_some_and(|(local, domain)| {
        !local.is_empty() && !domain.is_empty() && !domain.contains('@')
    });
    has_both_parts && text.chars().count() <= 254 && text.chars().all(is_permitted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_is_an_address() {
        for login in [
            "alice@example.com",
            "a.b+c@corp.example",
            "jörg@example.com",
        ] {
            assert!(is_login(login), "{login}");
        }
        for login in [
            "",
            "alice",
            "@x",
            "a@",
            "a@b@c",
            "a b@c",
            "a\n@c",
            "group:a@c",
            "*@c",
        ] {
            assert!(!is_login(login), "{login:?}");
        }
    }
}
