//! What can be noted: an object and what was done to it.

/// A user was added.
pub(crate) const USER_CREATE: &str = "user.create";
/// A user was given another role.
pub(crate) const USER_ROLE: &str = "user.role";
/// A link was made by which a user sets a password.
pub(crate) const USER_INVITE: &str = "user.invite";
/// A user was removed, with nodes and keys.
pub(crate) const USER_DELETE: &str = "user.delete";
/// A user has set a password and an authenticator app.
pub(crate) const ACCOUNT_SET: &str = "account.set";
/// A user has added a passkey.
pub(crate) const PASSKEY_ADD: &str = "passkey.add";
/// A user has removed a passkey.
pub(crate) const PASSKEY_REMOVE: &str = "passkey.remove";
/// A user has signed in.
pub(crate) const SIGN_IN: &str = "sign-in";
/// The owner of a host has approved a login that waited, or logins ahead.
pub(crate) const CHECK_APPROVE: &str = "check.approve";
/// The owner has refused.
pub(crate) const CHECK_REFUSE: &str = "check.refuse";
/// Another number was chosen, or somebody else has answered.
pub(crate) const CHECK_FAIL: &str = "check.fail";
/// What was approved for logins from a node was taken back.
pub(crate) const CHECK_REVOKE: &str = "check.revoke";
/// An auth key was made.
pub(crate) const AUTH_KEY_CREATE: &str = "auth-key.create";
/// An auth key was removed.
pub(crate) const AUTH_KEY_DELETE: &str = "auth-key.delete";
/// An API key was made.
pub(crate) const API_KEY_CREATE: &str = "api-key.create";
/// An API key was removed.
pub(crate) const API_KEY_DELETE: &str = "api-key.delete";
/// A host became a node.
pub(crate) const NODE_JOIN: &str = "node.join";
/// The owner of a node has signed in again, and the node has new keys.
pub(crate) const NODE_RENEW: &str = "node.renew";
/// A user has turned away a host that asked to join.
pub(crate) const JOIN_REFUSE: &str = "join.refuse";
/// An administrator has approved a node.
pub(crate) const NODE_APPROVE: &str = "node.approve";
/// A node was given another name.
pub(crate) const NODE_RENAME: &str = "node.rename";
/// The end of a node's key was set.
pub(crate) const NODE_EXPIRY: &str = "node.expiry";
/// Somebody has removed a node.
pub(crate) const NODE_DELETE: &str = "node.delete";
/// A node has left by itself.
pub(crate) const NODE_LOGOUT: &str = "node.logout";
/// An ephemeral node was away for too long.
pub(crate) const NODE_GONE: &str = "node.gone";
/// A policy was saved.
pub(crate) const POLICY_SET: &str = "policy.set";
/// Another key of control has taken the place of the one before.
pub(crate) const KEY_ROTATE: &str = "key.rotate";
/// A copy of everything was made.
pub(crate) const BACKUP_MAKE: &str = "backup.make";
/// A node has let somebody in.
pub(crate) const LOGIN_ACCEPTED: &str = "login.accepted";
/// A node has turned somebody away.
pub(crate) const LOGIN_DENIED: &str = "login.denied";
/// A node has ended a login whose right has ended.
pub(crate) const LOGIN_REVOKED: &str = "login.revoked";
/// An accepted login is over.
pub(crate) const LOGIN_ENDED: &str = "login.ended";
/// A node had more to tell of logins than it could keep.
pub(crate) const LOGIN_LOST: &str = "login.lost";
