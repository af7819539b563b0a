//! The page at the start.

use std::sync::Arc;

use axum::Extension;
use axum::response::Response;
use maud::html;
use meshd_contract::identity::Owner;

use super::page::page_for;
use super::{SignedIn, Web, WebError, redirect};
use crate::role;

/// For who comes back to an address that only a form is for.
pub(super) async fn instead() -> Response {
    redirect("/")
}

/// Who somebody is here, and which hosts they have.
pub(super) async fn show(
    Extension(web): Extension<Arc<Web>>,
    signed_in: SignedIn,
) -> Result<Response, WebError> {
    let own = Owner::User(signed_in.login.clone());
    let mut hosts = web.store.nodes().await?;
    hosts.retain(|host| host.owner == own);
    let has_account = web.store.account(&signed_in.login).await?.is_some();
    let content = html! {
        p { "Your role in this mesh is " (role::name(signed_in.role)) "." }
        @if signed_in.is_admin() {
            p { a href="/devices" { "Hosts to approve" } }
        }
        p { a href="/checks" { "What you have approved for logins" } }
        @if has_account { p { a href="/passkeys" { "Passkeys" } } }
        @if hosts.is_empty() {
            p { "None of its hosts is yours." }
        } @else {
            table {
                thead { tr { th { "Your hosts" } th { "Address" } } }
                tbody {
                    @for host in &hosts {
                        tr { td { (host.name) } td { (host.slot.addresses().v4) } }
                    }
                }
            }
        }
    };
    Ok(page_for(&signed_in, "The mesh", &content))
}
