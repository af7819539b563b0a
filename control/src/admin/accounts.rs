//! What administrators do for people who sign in: links to accounts, and the approval of hosts.

use super::failure::Failure;
use super::operations::{Admin, is_login};
use super::protocol::Done;
use crate::audit::Actor;
use crate::clock::now;
use crate::role::Role;
use crate::store::Invitation;
use crate::web::{Token, TotpSecret};

/// How long a link can be used, in seconds.
const LINK_LIFE: u64 = 86_400;

impl Admin {
    /// Makes a one-time link for `login`, a user who is made if need be; its address.
    pub(super) async fn invite(
        &self,
        login: String,
        role: Option<Role>,
        by: &Actor,
    ) -> Result<String, Failure> {
        if !is_login(&login) {
            return Err(Failure::Unfit(format!(
                "{login:?} is no login: a user is known by an e-mail address, such as \
                 alice@example.com"
            )));
        }
        let (link, now) = (Token::generate()?, now());
        let invitation = Invitation {
            login,
            secret: link.hash(),
            totp_secret: TotpSecret::generate()?,
            expires_at: now.plus(LINK_LIFE),
        };
        self.store.invite(&invitation, role, now, by).await?;
        tracing::info!(user = invitation.login, "a link to an account was made");
        self.hub.request();
        Ok(self.url.at(&format!("/account/{}", link.expose())))
    }

    /// Lets a node be somebody's peer.
    pub(crate) async fn approve_node(&self, text: &str, by: &Actor) -> Result<Done, Failure> {
        let node = self.store.find_node(text).await?;
        self.store.approve_node(node.id, now(), by).await?;
        tracing::info!(node = %node.id, name = %node.name, "a node was approved");
        let message = format!("approved node {} ({})", node.name, node.id);
        Ok(self.published(message, Vec::new()).await)
    }
}
