//! The page of what a person has approved for logins from their own hosts.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use maud::{Markup, html};
use meshd_contract::check::LoginClass;
use meshd_contract::identity::{NodeId, NodeName, Owner};
use meshd_contract::time::Timestamp;
use serde::Deserialize;

use super::Checks;
use super::pages::minutes;
use crate::clock::now;
use crate::store::{Approval, Whose};
use crate::web::{Posted, SignedIn, WebError, page_for, redirect};

/// Lists it, with a button for each host.
pub(super) async fn show(
    State(checks): State<Arc<Checks>>,
    signed_in: SignedIn,
) -> Result<Response, WebError> {
    let now = now();
    let nodes = checks.store.nodes().await?;
    let names: BTreeMap<NodeId, &NodeName> =
        nodes.iter().map(|node| (node.id, &node.name)).collect();
    let own = Owner::User(signed_in.login.clone());
    let mut hosts = Vec::new();
    for node in nodes.iter().filter(|node| node.owner == own) {
        let approvals = checks.store.approvals(node.id, now).await?;
        if !approvals.is_empty() {
            hosts.push((node, approvals));
        }
    }
    let content = html! {
        @if hosts.is_empty() {
            p { "You have approved nothing that still counts." }
        }
        @for (host, approvals) in &hosts {
            section {
                h2 { "Logins from " (host.name) }
                ul {
                    @for approval in approvals { li { (describe(approval, &names, now)) } }
                }
                form method="post" action="/checks" {
                    (signed_in.csrf_field())
                    button name="node" value=(host.id) { "Take back" }
                }
            }
        }
        @if !hosts.is_empty() {
            p .hint {
                "What is taken back lets nobody in any more, and the sessions that it has let in end."
            }
        }
    };
    Ok(page_for(&signed_in, "What you have approved", &content))
}

fn describe(approval: &Approval, names: &BTreeMap<NodeId, &NodeName>, now: Timestamp) -> Markup {
    let seconds = |from: Timestamp, to: Timestamp| to.0.saturating_sub(from.0);
    html! {
        @match (&approval.destination, &approval.target) {
            (Some(node), _) => {
                "to "
                @match names.get(node) {
                    Some(name) => strong { (name) },
                    None => { "a machine that has gone" },
                }
            }
            (None, Some(target)) => { "to " strong { (target) } }
            (None, None) => { "to every machine" }
        }
        @match approval.class {
            LoginClass::Root => { " as " strong { "root" } },
            LoginClass::Nonroot => { ", but not as root" },
        }
        @if approval.connection.is_some() { ", one connection" }
        ", approved " (minutes(seconds(approval.approved_at, now))) " ago"
    }
}

/// The form.
#[derive(Debug, Deserialize)]
pub(super) struct Fields {
    node: u64,
}

/// Takes back everything for one host.
pub(super) async fn submit(
    State(checks): State<Arc<Checks>>,
    posted: Posted<Fields>,
) -> Result<Response, WebError> {
    let Posted { signed_in, fields } = posted;
    let node = NodeId(fields.node);
    let own = Owner::User(signed_in.login.clone());
    let host = checks.store.node(node).await?;
    if host.is_none_or(|host| host.owner != own) {
        return Err(WebError::NotFound("You have no such host."));
    }
    let whose = Whose::Node(node);
    checks.take_back(&whose, &signed_in.actor()).await?;
    Ok(redirect("/checks"))
}
