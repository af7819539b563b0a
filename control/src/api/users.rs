//! Users.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::failure::{Common, PROBLEM, Problem};
use super::input::{Json, Key, Named};
use super::{ApiFailure, ApiServer, Area};
use crate::role::Role;
use crate::store::UserRow;

/// A person who owns nodes.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct User {
    /// An e-mail address.
    login: String,
    role: RoleName,
    /// When the user was created.
    created_at: u64,
}

/// All users.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Users {
    users: Vec<User>,
}

/// What a user is in the mesh.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum RoleName {
    #[default]
    Member,
    Owner,
    Admin,
    NetworkAdmin,
    ItAdmin,
    BillingAdmin,
    Auditor,
}

/// A user to be created.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewUser {
    /// An e-mail address.
    #[schema(
        max_length = 254,
        pattern = r#"^[^\s\u0000-\u001f\u007f-\u009f"',:*@]+@[^\s\u0000-\u001f\u007f-\u009f"',:*@]+$"#
    )]
    login: String,
    #[serde(default)]
    role: RoleName,
}

/// What is to change of a user.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct UserChange {
    role: RoleName,
}

/// List the users.
#[utoipa::path(
    get, path = "/users", tag = "users", security(("key" = ["users:read"])),
    responses((status = 200, description = "All users, by login", body = Users), Common)
)]
pub(super) async fn list(
    State(server): State<Arc<ApiServer>>,
    key: Key,
) -> Result<axum::Json<Users>, ApiFailure> {
    key.may(Area::Users.read())?;
    let users = server.admin.store.users().await?;
    Ok(axum::Json(Users {
        users: users.into_iter().map(User::from).collect(),
    }))
}

/// Create a user.
#[utoipa::path(
    post, path = "/users", tag = "users", security(("key" = ["users:write"])),
    request_body = NewUser,
    responses(
        (status = 201, description = "The new user", body = User),
        (status = 409, description = "There is one already", body = Problem, content_type = PROBLEM),
        (status = 415, description = "The body is no JSON", body = Problem, content_type = PROBLEM),
        (status = 422, description = "No e-mail address", body = Problem, content_type = PROBLEM),
        Common
    )
)]
pub(super) async fn create(
    State(server): State<Arc<ApiServer>>,
    key: Key,
    Json(new): Json<NewUser>,
) -> Result<(StatusCode, axum::Json<User>), ApiFailure> {
    let by = key.may(Area::Users.write())?;
    let role = new.role.into();
    server
        .admin
        .create_user(new.login.clone(), role, &by)
        .await?;
    let user = find(&server, &new.login).await?;
    Ok((StatusCode::CREATED, axum::Json(user)))
}

/// Show a user.
#[utoipa::path(
    get, path = "/users/{login}", tag = "users", security(("key" = ["users:read"])),
    params(("login" = String, Path, description = "An e-mail address")),
    responses(
        (status = 200, description = "The user", body = User),
        (status = 404, description = "There is none", body = Problem, content_type = PROBLEM),
        Common
    )
)]
pub(super) async fn show(
    State(server): State<Arc<ApiServer>>,
    key: Key,
    Named(login): Named,
) -> Result<axum::Json<User>, ApiFailure> {
    key.may(Area::Users.read())?;
    find(&server, &login).await.map(axum::Json)
}

/// Give a user another role.
#[utoipa::path(
    patch, path = "/users/{login}", tag = "users", security(("key" = ["users:write"])),
    params(("login" = String, Path, description = "An e-mail address")),
    request_body = UserChange,
    responses(
        (status = 200, description = "The user as it is now", body = User),
        (status = 404, description = "There is none", body = Problem, content_type = PROBLEM),
        (status = 409, description = "It is the last administrator", body = Problem, content_type = PROBLEM),
        (status = 415, description = "The body is no JSON", body = Problem, content_type = PROBLEM),
        Common
    )
)]
pub(super) async fn change(
    State(server): State<Arc<ApiServer>>,
    key: Key,
    Named(login): Named,
    Json(change): Json<UserChange>,
) -> Result<axum::Json<User>, ApiFailure> {
    let by = key.may(Area::Users.write())?;
    let role = change.role.into();
    server.admin.set_role(&login, role, &by).await?;
    find(&server, &login).await.map(axum::Json)
}

/// Remove a user with the user's nodes and auth keys.
#[utoipa::path(
    delete, path = "/users/{login}", tag = "users", security(("key" = ["users:write"])),
    params(("login" = String, Path, description = "An e-mail address")),
    responses(
        (status = 204, description = "The user has gone"),
        (status = 404, description = "There is none", body = Problem, content_type = PROBLEM),
        (status = 409, description = "It is the last administrator", body = Problem, content_type = PROBLEM),
        Common
    )
)]
pub(super) async fn remove(
    State(server): State<Arc<ApiServer>>,
    key: Key,
    Named(login): Named,
) -> Result<StatusCode, ApiFailure> {
    let by = key.may(Area::Users.write())?;
    server.admin.delete_user(&login, &by).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn find(server: &ApiServer, login: &str) -> Result<User, ApiFailure> {
    let users = server.admin.store.users().await?;
    let found = users.into_iter().find(|user| user.login == login);
    let none = || ApiFailure::NotFound(format!("user {login}"));
    found.map(User::from).ok_or_else(none)
}

impl From<UserRow> for User {
    fn from(row: UserRow) -> Self {
        Self {
            login: row.login,
            role: row.role.into(),
            created_at: row.created_at.0,
        }
    }
}

impl From<Role> for RoleName {
    fn from(role: Role) -> Self {
        match role {
            Role::Member => Self::Member,
            Role::Owner => Self::Owner,
            Role::Admin => Self::Admin,
            Role::NetworkAdmin => Self::NetworkAdmin,
            Role::ItAdmin => Self::ItAdmin,
            Role::BillingAdmin => Self::BillingAdmin,
            Role::Auditor => Self::Auditor,
        }
    }
}

impl From<RoleName> for Role {
    fn from(name: RoleName) -> Self {
        match name {
            RoleName::Member => Self::Member,
            RoleName::Owner => Self::Owner,
            RoleName::Admin => Self::Admin,
            RoleName::NetworkAdmin => Self::NetworkAdmin,
            RoleName::ItAdmin => Self::ItAdmin,
            RoleName::BillingAdmin => Self::BillingAdmin,
            RoleName::Auditor => Self::Auditor,
        }
    }
}
