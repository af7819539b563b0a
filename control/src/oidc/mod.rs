//! Signing in with an identity provider (OpenID Connect Core 1.0, authorization code with PKCE).

mod claims;
mod http;
mod proof;
mod provider;
mod settings;

pub(crate) use provider::{Answer, Oidc, OidcError, Person, Question};
pub(crate) use settings::OidcArguments;
