//! The page where administrators approve hosts that others have let in.

use std::sync::Arc;

use axum::Extension;
use axum::response::Response;
use maud::html;
use meshd_contract::identity::NodeId;
use serde::Deserialize;

use super::page::page_for;
use super::{Posted, SignedIn, Web, WebError, redirect};
use crate::audit::action;
use crate::clock::now;

/// How long ago an administrator may have signed in, in seconds: a browser that was left open is
/// not enough.
const FRESH: u64 = 3_600;

/// The form.
#[derive(Debug, Deserialize)]
pub(super) struct Fields {
    node: u64,
    decision: Decision,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Decision {
    Approve,
    Remove,
}

/// Shows the hosts that wait.
pub(super) async fn show(
    Extension(web): Extension<Arc<Web>>,
    signed_in: SignedIn,
) -> Result<Response, WebError> {
    insist_on_admin(&signed_in)?;
    signed_in.demand_fresh(FRESH, "/devices")?;
    let mut hosts = web.store.nodes().await?;
    hosts.retain(|host| !host.approved);
    let content = html! {
        @if hosts.is_empty() {
            p { "No host waits for an approval." }
        }
        @for host in &hosts {
            section {
                h2 { (host.name) }
                dl {
                    dt { "Belongs to" } dd { (host.owner) }
                    dt { "Key" } dd { code { (host.node_key.fingerprint()) } }
                }
                form method="post" action="/devices" {
                    (signed_in.csrf_field())
                    input type="hidden" name="node" value=(host.id);
                    button name="decision" value="approve" { "Approve" }
                    button name="decision" value="remove" { "Remove" }
                }
            }
        }
    };
    Ok(page_for(&signed_in, "Hosts to approve", &content))
}

/// Approves a host, or removes it.
pub(super) async fn submit(
    Extension(web): Extension<Arc<Web>>,
    posted: Posted<Fields>,
) -> Result<Response, WebError> {
    let Posted { signed_in, fields } = posted;
    insist_on_admin(&signed_in)?;
    signed_in.demand_fresh(FRESH, "/devices")?;
    let (node, by) = (NodeId(fields.node), signed_in.actor());
    match fields.decision {
        Decision::Approve => {
            web.store.approve_node(node, now(), &by).await?;
            tracing::info!(user = signed_in.login, %node, "a node was approved");
        }
        Decision::Remove => {
            web.store
                .delete_node(node, now(), &by, action::NODE_DELETE)
                .await?;
            tracing::info!(user = signed_in.login, %node, "a node was deleted");
        }
    }
    web.hub.request();
    Ok(redirect("/devices"))
}

fn insist_on_admin(signed_in: &SignedIn) -> Result<(), WebError> {
    match signed_in.is_admin() {
        true => Ok(()),
        false => Err(WebError::Forbidden(
            "Only administrators approve hosts. Ask one of them.".to_owned(),
        )),
    }
}
