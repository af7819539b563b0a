//! The page where a person lets a host into the mesh.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::extract::Path;
use axum::response::Response;
use maud::html;
use meshd_contract::identity::{NodeId, Owner};
use serde::Deserialize;

use super::page::page_for;
use super::{Posted, SignedIn, Token, Web, WebError};
use crate::clock::now;
use crate::engine::Engine;
use crate::store::{Admission, Admitter, JoinRow, NodeRow, StoreError};

const NO_SUCH_PAGE: &str = "Nobody waits at this address. Is the link complete?";

/// What the person says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Decision {
    Approve,
    Refuse,
}

/// The form.
#[derive(Debug, Deserialize)]
pub(super) struct Fields {
    decision: Decision,
}

impl Web {
    /// Whether a host at this address may ask to be let in once more.
    ///
    /// # Errors
    /// How long to wait.
    pub(crate) fn permit_join(&self, address: IpAddr) -> Result<(), Duration> {
        self.limits.permit_join(address)
    }
}

/// Shows who asks.
pub(super) async fn show(
    Extension(web): Extension<Arc<Web>>,
    Path(secret): Path<String>,
    signed_in: SignedIn,
) -> Result<Response, WebError> {
    let token = Token::read(&secret).ok_or(WebError::NotFound(NO_SUCH_PAGE))?;
    let join = web.store.join(&token.hash(), now()).await?;
    let owner = match join.renews {
        Some(node) => Some(renewed(&web, node).await?.owner),
        None => None,
    };
    let obstacle = obstacle(&web, &signed_in, &join, owner.as_ref()).await?;
    let content = html! {
        p {
            @if owner.is_some() { "This host asks for a new sign-in, with new keys." }
            @else { "This host asks to join." }
            " Approve it only if you have just started "
            code { "mesh up" } " there, and the terminal shows the same key."
        }
        dl {
            dt { "Name" } dd { strong { (join.host.name) } }
            dt { "Key" } dd { code { (join.host.node_key.fingerprint()) } }
            dt { "Asks from" } dd { (join.source) }
            dt { "Runs" } dd { "meshd " (join.release) }
            @if let Some(owner) = &owner {
                dt { "Belongs to" }
                dd { (owner) }
            } @else {
                dt { "Will belong to" }
                dd {
                    @if join.tags.is_empty() { (signed_in.login) }
                    @else { "nobody; it will carry " (join.tags.join(", ")) }
                }
            }
        }
        form method="post" action=(format!("/join/{secret}")) {
            (signed_in.csrf_field())
            @match &obstacle {
                Some(sentence) => p .wrong { (sentence) }
                None => button name="decision" value="approve" { "Approve" }
            }
            button name="decision" value="refuse" { "Refuse" }
        }
    };
    Ok(page_for(&signed_in, "Let a host in?", &content))
}

/// Lets it in, or not.
pub(super) async fn submit(
    Extension(web): Extension<Arc<Web>>,
    Path(secret): Path<String>,
    posted: Posted<Fields>,
) -> Result<Response, WebError> {
    let Posted { signed_in, fields } = posted;
    let token = Token::read(&secret).ok_or(WebError::NotFound(NO_SUCH_PAGE))?;
    let content = match fields.decision {
        Decision::Refuse => {
            let by = signed_in.actor();
            web.store.turn_away(&token.hash(), now(), &by).await?;
            tracing::info!(user = signed_in.login, "a host was turned away");
            html! { p { "The host was turned away, and has been told so." } }
        }
        Decision::Approve => {
            let join = web.store.join(&token.hash(), now()).await?;
            let owner = match join.renews {
                Some(node) => Some(renewed(&web, node).await?.owner),
                None => None,
            };
            if let Some(sentence) = obstacle(&web, &signed_in, &join, owner.as_ref()).await? {
                return Err(WebError::Forbidden(sentence));
            }
            let admission = Admission {
                owner: match join.tags.is_empty() {
                    true => Owner::User(signed_in.login.clone()),
                    false => Owner::Tags(join.tags),
                },
                ephemeral: false,
                approved: !web.approve_devices || signed_in.is_admin(),
                key_expires_at: now().plus(web.key_lifetime),
                by: Admitter::User(signed_in.login.clone()),
            };
            let node = web.store.let_in(&token.hash(), &admission, now()).await?;
            tracing::info!(user = signed_in.login, node = %node.node, name = %node.name, "a person let a host in");
            web.hub.request();
            html! {
                p { strong { (node.name) } " is part of the mesh now, at " (node.addresses.v4) "." }
                @if node.needs_approval {
                    p { "An administrator has to approve it before it can reach anything." }
                }
            }
        }
    };
    web.decisions.send_modify(|count| *count += 1);
    Ok(page_for(&signed_in, "Thank you", &content))
}

async fn renewed(web: &Web, node: NodeId) -> Result<NodeRow, WebError> {
    let node = web.store.node(node).await?;
    node.ok_or(WebError::NotFound(NO_SUCH_PAGE))
}

/// Why this person may not approve: a node is renewed by its owner alone, or by who may give it
/// its tags.
async fn obstacle(
    web: &Web,
    signed_in: &SignedIn,
    join: &JoinRow,
    owner: Option<&Owner>,
) -> Result<Option<String>, WebError> {
    let tags = match owner {
        None => &join.tags,
        Some(Owner::Tags(tags)) => tags,
        Some(Owner::User(login)) if *login == signed_in.login => return Ok(None),
        Some(Owner::User(login)) => {
            return Ok(Some(format!(
                "This host belongs to {login}, and you are not."
            )));
        }
    };
    let missing = missing_tag(web, signed_in, tags).await?;
    Ok(missing.map(|tag| may_not(&tag)))
}

/// A tag that this person may not give to a host.
async fn missing_tag(
    web: &Web,
    signed_in: &SignedIn,
    tags: &[String],
) -> Result<Option<String>, WebError> {
    if tags.is_empty() {
        return Ok(None);
    }
    let stored = web.store.policy().await?;
    let text = stored.map(|policy| policy.text).unwrap_or_default();
    let policy = Engine::parse(&text).map_err(|error| StoreError::Content(error.to_string()))?;
    let may = |tag: &&String| policy.may_tag(&signed_in.login, signed_in.role, tag);
    Ok(tags.iter().find(|tag| !may(tag)).cloned())
}

fn may_not(tag: &str) -> String {
    format!("The policy does not make you an owner of {tag}, so you cannot give it to a host.")
}
