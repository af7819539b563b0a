//! What the commands do.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use meshd_contract::identity::{NodeName, Owner};
use meshd_contract::key::PublicKey;
use meshd_policy::Topology;

use super::protocol::{Answer, AuthKeyWish, ControlKey, Done, NewKey, NodeEntry, Request};
use crate::auth_key::{Secret, SecretHash};
use crate::backup;
use crate::clock::now;
use crate::engine::{Engine, PolicyError, topology};
use crate::hub::Hub;
use crate::role::Role;
use crate::store::{NewAuthKey, NodeRow, Store, StoreError, UserRow};

/// How long a command waits for the news of its change to go out.
const PATIENCE: Duration = Duration::from_secs(10);

/// What the commands work on.
#[derive(Debug, Clone)]
pub(crate) struct Admin {
    /// What control remembers.
    pub(crate) store: Store,
    /// Where streams and changes meet.
    pub(crate) hub: Arc<Hub>,
    /// Control's public key.
    pub(crate) key: PublicKey,
    /// The e-mail domains that belong to this mesh.
    pub(crate) login_domains: Vec<String>,
    /// The state directory.
    pub(crate) state: PathBuf,
}

impl Admin {
    /// Does what `request` asks for, on behalf of the Unix user `by`.
    pub(crate) async fn perform(&self, request: Request, by: u32) -> Answer {
        let done = match request {
            Request::UsersCreate { login, role } => self.create_user(login, role).await,
            Request::UsersList => self.store.users().await.map(Answer::Users),
            Request::UsersDelete { login } => self.delete_user(&login).await,
            Request::AuthkeysCreate(wish) => self.create_auth_key(wish).await,
            Request::AuthkeysList => self.store.auth_keys().await.map(Answer::AuthKeys),
            Request::AuthkeysDelete { id } => self.delete_auth_key(id).await,
            Request::NodesList => self.store.nodes().await.map(|nodes| self.entries(nodes)),
            Request::NodesDelete { node } => self.delete_node(&node).await,
            Request::NodesRename { node, name } => self.rename_node(&node, &name).await,
            Request::NodesExpiry { node, in_seconds } => self.set_expiry(&node, in_seconds).await,
            Request::PolicyGet => self.policy_text().await.map(Answer::Policy),
            Request::PolicyTopology => self.topology().await.map(Answer::Topology),
            Request::PolicySet { text } => self.set_policy(&text, by).await,
            Request::PolicyCheck { text } => self.check_policy(&text).await,
            Request::Backup => Ok(self.back_up().await),
            Request::Key => Ok(Answer::Key(ControlKey {
                key: self.key.to_string(),
                fingerprint: self.key.fingerprint(),
            })),
        };
        done.unwrap_or_else(|error| {
            if !matches!(error, StoreError::Refused(_)) {
                tracing::error!(%error, "a command failed");
            }
            Answer::Failed(error.to_string())
        })
    }

    async fn create_user(&self, login: String, role: Role) -> Result<Answer, StoreError> {
        if !is_login(&login) {
            return Ok(Answer::Failed(format!(
                "{login:?} is no login: a user is known by an e-mail address, such as \
                 alice@example.com"
            )));
        }
        let user = UserRow {
            login,
            role,
            created_at: now(),
        };
        self.store.create_user(&user).await?;
        tracing::info!(user = user.login, "a user was created");
        Ok(self
            .published(format!("created user {}", user.login), Vec::new())
            .await)
    }

    async fn delete_user(&self, login: &str) -> Result<Answer, StoreError> {
        let nodes = self.store.delete_user(login, now()).await?.len();
        tracing::info!(user = login, nodes, "a user was deleted");
        let message = format!("deleted user {login} and {nodes} of the user's nodes");
        Ok(self.published(message, Vec::new()).await)
    }

    async fn create_auth_key(&self, wish: AuthKeyWish) -> Result<Answer, StoreError> {
        let owner = match wish.owner {
            Owner::User(login) => Owner::User(login),
            Owner::Tags(tags) => match self.known_tags(tags).await? {
                Ok(tags) => Owner::Tags(tags),
                Err(sentence) => return Ok(Answer::Failed(sentence)),
            },
        };
        let secret = match Secret::generate() {
            Ok(secret) => secret,
            Err(error) => {
                let sentence = format!("the system gives no random bytes: {error}");
                return Ok(Answer::Failed(sentence));
            }
        };
        let created_at = now();
        let key = NewAuthKey {
            hash: SecretHash::of(secret.expose()),
            owner,
            reusable: wish.reusable,
            ephemeral: wish.ephemeral,
            created_at,
            expires_at: created_at.plus(wish.expires_in_seconds),
        };
        let id = self.store.create_auth_key(&key).await?;
        tracing::info!(id, owner = %key.owner, "an auth key was created");
        let secret = secret.expose().to_owned();
        Ok(Answer::AuthKey(NewKey { id, secret }))
    }

    /// The tags sorted and without duplicates, or a sentence about one that the policy lacks.
    async fn known_tags(
        &self,
        tags: Vec<String>,
    ) -> Result<Result<Vec<String>, String>, StoreError> {
        let tags: BTreeSet<String> = tags.into_iter().collect();
        if tags.is_empty() {
            return Ok(Err("give --user or at least one --tag".to_owned()));
        }
        let policy = match Engine::parse(&self.policy_text().await?) {
            Ok(policy) => policy,
            Err(error) => return Ok(Err(error.to_string())),
        };
        Ok(match tags.iter().find(|tag| !policy.defines_tag(tag)) {
            Some(tag) => Err(format!(
                "the policy does not define {tag}; add it under \"tagOwners\" with \
                 `meshd-control policy set`"
            )),
            None => Ok(tags.into_iter().collect()),
        })
    }

    async fn delete_auth_key(&self, id: u64) -> Result<Answer, StoreError> {
        self.store.delete_auth_key(id).await?;
        tracing::info!(id, "an auth key was deleted");
        Ok(Answer::Done(Done {
            message: format!("deleted auth key {id}; the nodes that joined with it stay"),
            warnings: Vec::new(),
            published: true,
        }))
    }

    fn entries(&self, nodes: Vec<NodeRow>) -> Answer {
        let entry = |node: NodeRow| NodeEntry {
            id: node.id,
            name: node.name,
            owner: node.owner,
            addresses: node.slot.addresses(),
            connected: self.hub.is_listening(node.id),
            last_seen: node.last_seen,
            key_expires_at: node.key_expires_at,
            ephemeral: node.ephemeral,
            endpoints: node.endpoints,
            release: node.release,
            created_at: node.created_at,
        };
        Answer::Nodes(nodes.into_iter().map(entry).collect())
    }

    async fn delete_node(&self, text: &str) -> Result<Answer, StoreError> {
        let node = self.store.find_node(text).await?;
        self.store.delete_node(node.id, now()).await?;
        tracing::info!(node = %node.id, name = %node.name, "a node was deleted");
        let message = format!("deleted node {} ({})", node.name, node.id);
        Ok(self.published(message, Vec::new()).await)
    }

    async fn rename_node(&self, text: &str, name: &NodeName) -> Result<Answer, StoreError> {
        let node = self.store.find_node(text).await?;
        self.store.rename_node(node.id, name).await?;
        tracing::info!(node = %node.id, old = %node.name, new = %name, "a node was renamed");
        let message = format!("renamed node {} ({}) to {name}", node.name, node.id);
        Ok(self.published(message, Vec::new()).await)
    }

    async fn set_expiry(&self, text: &str, in_seconds: Option<u64>) -> Result<Answer, StoreError> {
        let node = self.store.find_node(text).await?;
        let expires_at = in_seconds.map(|seconds| now().plus(seconds));
        self.store.set_key_expiry(node.id, expires_at).await?;
        tracing::info!(node = %node.id, name = %node.name, ?in_seconds, "a key's expiry was set");
        let when = match in_seconds {
            None => "never expires".to_owned(),
            Some(0) => "has expired".to_owned(),
            Some(seconds) => format!("expires in {seconds} s"),
        };
        let message = format!("the key of node {} ({}) {when}", node.name, node.id);
        Ok(self.published(message, Vec::new()).await)
    }

    async fn back_up(&self) -> Answer {
        match backup::make(&self.store, &self.state, now()).await {
            Ok(copy) => {
                tracing::info!(copy = %copy.display(), "a backup was made");
                Answer::Copied(copy)
            }
            Err(error) => {
                tracing::error!(%error, "no backup could be made");
                Answer::Failed(error.to_string())
            }
        }
    }

    async fn policy_text(&self) -> Result<String, StoreError> {
        let stored = self.store.policy().await?;
        Ok(stored.map(|policy| policy.text).unwrap_or_default())
    }

    async fn set_policy(&self, text: &str, by: u32) -> Result<Answer, StoreError> {
        let warnings = match self.examine(text).await? {
            Ok(warnings) => warnings,
            Err(problems) => return Ok(Answer::PolicyRefused(problems)),
        };
        self.store.save_policy(text, Some(by), now()).await?;
        tracing::info!(by, "the policy was saved");
        Ok(self.published("saved the policy", warnings).await)
    }

    async fn check_policy(&self, text: &str) -> Result<Answer, StoreError> {
        Ok(match self.examine(text).await? {
            Ok(warnings) => Answer::Done(Done {
                message: "the policy is correct, and its tests pass".to_owned(),
                warnings,
                published: true,
            }),
            Err(problems) => Answer::PolicyRefused(problems),
        })
    }

    /// Logs what stands against the saved policy. It counts all the same: a change of users or
    /// nodes that makes one of its tests fail must not lock anybody out at the next start.
    pub(crate) async fn warn_about_policy(&self) -> Result<(), StoreError> {
        if let Err(problems) = self.examine(&self.policy_text().await?).await? {
            for problem in problems {
                tracing::warn!(problem, "the saved policy would be refused today");
            }
        }
        Ok(())
    }

    /// The warnings about a policy in this mesh, or what stands against it.
    async fn examine(&self, text: &str) -> Result<Result<Vec<String>, Vec<String>>, StoreError> {
        let engine = match Engine::parse(text) {
            Ok(engine) => engine,
            Err(PolicyError(problems)) => return Ok(Err(problems)),
        };
        let topology = self.topology().await?;
        let objections = engine.objections(&topology);
        Ok(match objections.is_empty() {
            true => Ok(engine.warnings(&topology)),
            false => Err(objections),
        })
    }

    async fn topology(&self) -> Result<Topology, StoreError> {
        let users = self.store.users().await?;
        let nodes = self.store.nodes().await?;
        Ok(topology(&users, &nodes, &self.login_domains))
    }

    /// The answer to a change that is stored, once the connected nodes were told.
    async fn published(&self, message: impl Into<String>, warnings: Vec<String>) -> Answer {
        let request = self.hub.request();
        let published = self.hub.finished(request, PATIENCE).await;
        Answer::Done(Done {
            message: message.into(),
            warnings,
            published,
        })
    }
}

/// Whether a text can be the login of a user: an e-mail address that the policy language can
/// name.
fn is_login(text: &str) -> bool {
    let is_permitted = |c: char| !c.is_whitespace() && !c.is_control() && !"\"',:*".contains(c);
    let has_both_parts = text.split_once('@').is_some_and(|(local, domain)| {
        !local.is_empty() && !domain.is_empty() && !domain.contains('@')
    });
    has_both_parts && text.len() <= 254 && text.chars().all(is_permitted)
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
