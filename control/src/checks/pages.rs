//! The page on which the owner of a node answers a check.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, State};
use axum::response::Response;
use axum::routing::get;
use maud::{Markup, html};
use meshd_contract::check::LoginClass;
use serde::Deserialize;

use super::{Checks, own};
use crate::clock::now;
use crate::store::{Answer, Check, StoreError, Subject};
use crate::web::{Posted, SignedIn, WebError, page_for};

/// How long ago the person may have signed in, in seconds: that is what is checked.
const FRESH_SECONDS: u64 = 300;

/// The pages about checks.
pub(crate) fn pages(checks: Arc<Checks>) -> Router {
    Router::new()
        .route("/check/{id}", get(show).post(submit))
        .route("/checks", get(own::show).post(own::submit))
        .with_state(checks)
}

async fn show(
    State(checks): State<Arc<Checks>>,
    Path(id): Path<String>,
    signed_in: SignedIn,
) -> Result<Response, WebError> {
    let check = found(&checks, &id).await?;
    if check.owner != signed_in.login {
        return Ok(somebody_else(&check, &signed_in));
    }
    if let Some(sentence) = over(&check) {
        return Ok(page_for(&signed_in, "Check", &html! { p { (sentence) } }));
    }
    signed_in.demand_fresh(FRESH_SECONDS, &format!("/check/{id}"))?;
    let content = html! {
        (checks.question(&check).await?)
        p { "Choose the number that your terminal shows:" }
        form method="post" .choices {
            (signed_in.csrf_field())
            @for choice in &check.choices {
                button name="choice" value=(choice) { (choice) }
            }
            button .quiet name="choice" value="refuse" { "It is not me: refuse" }
        }
        p .note {
            "If you have not just typed this yourself, refuse: somebody else uses that machine."
        }
    };
    Ok(page_for(&signed_in, "Check", &content))
}

#[derive(Debug, Deserialize)]
struct Choice {
    choice: String,
}

async fn submit(
    State(checks): State<Arc<Checks>>,
    Path(id): Path<String>,
    posted: Posted<Choice>,
) -> Result<Response, WebError> {
    let signed_in = &posted.signed_in;
    let check = found(&checks, &id).await?;
    let chosen = match posted.fields.choice.as_str() {
        "refuse" => None,
        number => Some(number.parse().map_err(|_| WebError::Unreadable)?),
    };
    if check.owner == signed_in.login && chosen.is_some() {
        signed_in.demand_fresh(FRESH_SECONDS, &format!("/check/{id}"))?;
    }
    let Some(answer) = checks.answer(&check, &signed_in.login, chosen).await? else {
        return answered_before(&checks, &id, signed_in).await;
    };
    let sentence = match answer {
        Answer::Approved => "Approved. You can close this page; your terminal goes on.",
        Answer::Refused => "Refused. Nobody was let in.",
        Answer::WrongNumber => {
            "That was another number than the terminal's. Nobody was let in: begin again there."
        }
        Answer::WrongPerson => "You do not own that machine. Nobody was let in.",
        Answer::Ended => "Nobody waits for this check any more.",
    };
    Ok(page_for(signed_in, "Check", &html! { p { (sentence) } }))
}

/// The same form again, from another tab or because the page was loaded anew: nothing changes, and
/// the person learns what the first one has done.
async fn answered_before(
    checks: &Checks,
    id: &str,
    signed_in: &SignedIn,
) -> Result<Response, WebError> {
    let check = found(checks, id).await?;
    let content = html! {
        p { "This check was answered before, or its time is over." }
        @if let Some(sentence) = over(&check) { p { (sentence) } }
    };
    Ok(page_for(signed_in, "Check", &content))
}

async fn found(checks: &Checks, id: &str) -> Result<Check, WebError> {
    let check = checks.store.check(id).await?;
    check.ok_or(WebError::NotFound(
        "There is no such check. Begin again in the terminal.",
    ))
}

/// Why there is nothing to answer any more.
fn over(check: &Check) -> Option<&'static str> {
    match check.outcome {
        Some(Answer::Approved) => Some("This check was approved."),
        Some(Answer::Ended) => Some("Nobody waits for this check any more."),
        Some(Answer::Refused | Answer::WrongPerson | Answer::WrongNumber) => {
            Some("This check was not passed. Begin again in the terminal.")
        }
        None if check.expires_at <= now() => {
            Some("The time for this check is over. Begin again in the terminal.")
        }
        None => None,
    }
}

/// Somebody else can only end it.
fn somebody_else(check: &Check, signed_in: &SignedIn) -> Response {
    let content = html! {
        p {
            "This check is for " strong { (check.owner) } ", and you are signed in as "
            strong { (signed_in.login) } "."
        }
        @if over(check).is_none() {
            form method="post" {
                (signed_in.csrf_field())
                button name="choice" value="refuse" { "End this login" }
            }
        }
    };
    page_for(signed_in, "Check", &content)
}

impl Checks {
    async fn question(&self, check: &Check) -> Result<Markup, StoreError> {
        let source = self.store.node(check.source).await?;
        let source = source.map_or_else(|| check.source.to_string(), |node| node.name.to_string());
        Ok(match &check.subject {
            Subject::Login {
                destination, login, ..
            } => {
                let node = self.store.node(*destination).await?;
                let name = node.map_or_else(|| destination.to_string(), |n| n.name.to_string());
                html! {
                    p {
                        "Your machine " strong { (source) } " wants to log in to "
                        strong { (name) } " as " strong { (login) } "."
                    }
                }
            }
            Subject::Ahead { seconds, target } => html! {
                p {
                    "Your machine " strong { (source) } " wants to log in without being asked for "
                    strong { (minutes(*seconds)) }
                    @match target {
                        Some(target) => { ", to " strong { (target) } }
                        None => { ", to every machine" }
                    }
                    @match check.class {
                        LoginClass::Root => { ", as " strong { "root" } "." }
                        LoginClass::Nonroot => { ", but not as root." }
                    }
                }
            },
        })
    }
}

pub(super) fn minutes(seconds: u64) -> String {
    match seconds.div_ceil(60) {
        1 => "1 minute".to_owned(),
        minutes => format!("{minutes} minutes"),
    }
}
