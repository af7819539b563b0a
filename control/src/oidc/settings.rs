//! Which identity provider, and whom of its people control lets in.

use std::path::{Path, PathBuf};

use clap::Args;
use openidconnect::{ClientId, ClientSecret, IssuerUrl};
use thiserror::Error;

use super::claims::Rules;
use super::http::{self, Http};
use super::provider::Oidc;
use crate::public_url::PublicUrl;

/// How people sign in with an identity provider.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct OidcArguments {
    /// The identity provider that people sign in with (OpenID Connect), by the address that it
    /// calls itself.
    #[arg(long, value_name = "URL", requires = "oidc_client_id")]
    pub(crate) oidc_issuer: Option<String>,
    /// What the provider calls this control server.
    #[arg(long, value_name = "ID", requires = "oidc_issuer")]
    pub(crate) oidc_client_id: Option<String>,
    /// The file with the secret that the provider has given to this control server.
    #[arg(long, value_name = "FILE", requires = "oidc_issuer")]
    pub(crate) oidc_client_secret_file: Option<PathBuf>,
    /// Let in whoever has an address of this domain; may be repeated.
    #[arg(long, value_name = "DOMAIN", requires = "oidc_issuer")]
    pub(crate) oidc_domain: Vec<String>,
    /// Let in only who is in this group, or in another one that is named so; may be repeated.
    #[arg(long, value_name = "GROUP", requires = "oidc_issuer")]
    pub(crate) oidc_group: Vec<String>,
    /// Let in only this user, or another one that is named so; may be repeated.
    #[arg(long, value_name = "LOGIN", requires = "oidc_issuer")]
    pub(crate) oidc_user: Vec<String>,
    /// The claim with a person's groups.
    #[arg(
        long,
        value_name = "CLAIM",
        default_value = "groups",
        requires = "oidc_issuer"
    )]
    pub(crate) oidc_groups_claim: String,
    /// A scope to ask for beside openid, email and profile; may be repeated.
    #[arg(long, value_name = "SCOPE", requires = "oidc_issuer")]
    pub(crate) oidc_scope: Vec<String>,
    /// A PEM file with the certificate authorities to believe about the provider, in the place of
    /// the system's.
    #[arg(long, value_name = "FILE", requires = "oidc_issuer")]
    pub(crate) oidc_ca: Option<PathBuf>,
}

/// Why the settings cannot be used.
#[derive(Debug, Error)]
pub(crate) enum SettingsError {
    /// No address, or one that others could listen to.
    #[error(
        "{0:?} is no address of an identity provider: write https://HOST and the path that the \
         provider calls itself by"
    )]
    Issuer(String),
    /// The secret cannot be read.
    #[error("cannot read the client's secret from {}: {error}", path.display())]
    Secret {
        /// The file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// The secret's file is empty.
    #[error("{} holds no secret: write the one that the provider gave, in one line", .0.display())]
    NoSecret(PathBuf),
    /// No certificate authorities.
    #[error(transparent)]
    Authorities(#[from] http::HttpError),
}

impl OidcArguments {
    /// The provider, if there is to be one; it is not asked for anything yet.
    ///
    /// # Errors
    /// [`SettingsError`].
    pub(crate) fn provider(&self, url: &PublicUrl) -> Result<Option<Oidc>, SettingsError> {
        let (Some(issuer), Some(client_id)) = (&self.oidc_issuer, &self.oidc_client_id) else {
            return Ok(None);
        };
        let bad = || SettingsError::Issuer(issuer.clone());
        let issuer = IssuerUrl::new(issuer.clone()).map_err(|_| bad())?;
        if !http::is_safe(issuer.url()) {
            return Err(bad());
        }
        let http = match (issuer.url().scheme(), &self.oidc_ca) {
            ("http", None) => Http::without_authorities()?,
            (_, file) => Http::new(file.as_deref())?,
        };
        let secret = self.oidc_client_secret_file.as_deref().map(secret);
        let lower = |texts: &[String]| texts.iter().map(|text| text.to_ascii_lowercase()).collect();
        Ok(Some(Oidc::new(
            issuer,
            ClientId::new(client_id.clone()),
            secret.transpose()?,
            self.oidc_scope.clone(),
            url.at("/sign-in/provider/back"),
            Rules {
                domains: lower(&self.oidc_domain),
                groups: self.oidc_group.iter().cloned().collect(),
                users: lower(&self.oidc_user),
                groups_claim: self.oidc_groups_claim.clone(),
            },
            http,
        )))
    }
}

fn secret(path: &Path) -> Result<ClientSecret, SettingsError> {
    let text = std::fs::read_to_string(path).map_err(|error| SettingsError::Secret {
        path: path.to_owned(),
        error,
    })?;
    match text.trim() {
        "" => Err(SettingsError::NoSecret(path.to_owned())),
        text => Ok(ClientSecret::new(text.to_owned())),
    }
}
