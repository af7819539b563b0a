//! The provider, and what is asked of it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use meshd_contract::time::Timestamp;
use openidconnect::core::{
    CoreAuthDisplay, CoreAuthPrompt, CoreAuthenticationFlow, CoreClientAuthMethod,
    CoreErrorResponseType, CoreGenderClaim, CoreJsonWebKey, CoreJweContentEncryptionAlgorithm,
    CoreJwsSigningAlgorithm, CoreProviderMetadata, CoreRevocableToken, CoreRevocationErrorResponse,
    CoreTokenIntrospectionResponse, CoreTokenType,
};
use openidconnect::{
    AuthType, AuthorizationCode, Client, ClientId, ClientSecret, CsrfToken, EmptyExtraTokenFields,
    EndpointMaybeSet, EndpointNotSet, EndpointSet, IdTokenFields, IssuerUrl, Nonce,
    PkceCodeChallenge, PkceCodeVerifier, RedirectUrl, Scope, StandardErrorResponse,
    StandardTokenResponse,
};
use thiserror::Error;

use super::claims::{OtherClaims, Refused, Rules};
use super::http::Http;
use super::proof::{Asked, Doubt, OLDEST};
use crate::auth_key::SecretHash;
use crate::clock::now;

/// How long the provider's description and keys are believed.
const FRESH: Duration = Duration::from_secs(3_600);
/// How soon they are asked for again because a token is signed by an unknown key.
const PAUSE: Duration = Duration::from_secs(10);
/// How long a provider that did not answer is left alone.
const REST: Duration = Duration::from_secs(5);

/// What the provider gives for a code.
pub(super) type Tokens = StandardTokenResponse<
    IdTokenFields<
        OtherClaims,
        EmptyExtraTokenFields,
        CoreGenderClaim,
        CoreJweContentEncryptionAlgorithm,
        CoreJwsSigningAlgorithm,
    >,
    CoreTokenType,
>;
/// What control is to the provider.
pub(super) type OidcClient = Client<
    OtherClaims,
    CoreAuthDisplay,
    CoreGenderClaim,
    CoreJweContentEncryptionAlgorithm,
    CoreJsonWebKey,
    CoreAuthPrompt,
    StandardErrorResponse<CoreErrorResponseType>,
    Tokens,
    CoreTokenIntrospectionResponse,
    CoreRevocableToken,
    CoreRevocationErrorResponse,
    EndpointSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointMaybeSet,
    EndpointMaybeSet,
>;

/// An identity provider.
pub(crate) struct Oidc {
    pub(super) issuer: IssuerUrl,
    pub(super) client_id: ClientId,
    secret: Option<ClientSecret>,
    scopes: Vec<String>,
    back: String,
    /// Whom control lets in.
    pub(crate) rules: Rules,
    pub(super) http: Http,
    known: Mutex<Known>,
    asking: tokio::sync::Mutex<()>,
}

/// What control has asked the provider, and what an answer must fit.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
pub(crate) struct Question {
    state: CsrfToken,
    nonce: Nonce,
    verifier: PkceCodeVerifier,
    asked_at: Timestamp,
    /// The person has to prove anew who they are.
    again: bool,
}

/// What the browser brings back.
#[derive(Debug, serde::Deserialize)]
pub(crate) struct Answer {
    #[serde(default)]
    state: String,
    code: Option<String>,
    error: Option<String>,
    iss: Option<String>,
}

/// Who somebody has proved to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Person {
    /// Who says so.
    pub(crate) issuer: String,
    /// What the provider calls the person, for ever.
    pub(crate) subject: String,
    /// The address, in lower case.
    pub(crate) login: String,
    /// When the person has proved it to the provider; none where it does not say.
    pub(crate) proved_at: Option<Timestamp>,
}

/// Why nobody is signed in.
#[derive(Debug, Error)]
pub(crate) enum OidcError {
    /// The provider cannot be asked.
    #[error("the identity provider cannot be reached: {0}")]
    Unreachable(String),
    /// The browser brings what this control has not asked for.
    #[error("the answer does not belong to this browser's question")]
    Foreign,
    /// The provider has said no.
    #[error("the identity provider refused: {0}")]
    Denied(String),
    /// The provider's word proves nothing.
    #[error("the identity provider's answer is not to be believed: {0}")]
    Unbelievable(String),
    /// The provider has not asked the person anew, or does not say when.
    #[error("the identity provider does not say that the person has just signed in")]
    NotFresh,
    /// Control does not let the person in.
    #[error(transparent)]
    Refused(#[from] Refused),
}

impl Oidc {
    /// A provider that was not asked for anything yet.
    pub(super) fn new(
        issuer: IssuerUrl,
        client_id: ClientId,
        secret: Option<ClientSecret>,
        scopes: Vec<String>,
        back: String,
        rules: Rules,
        http: Http,
    ) -> Self {
        Self {
            issuer,
            client_id,
            secret,
            scopes,
            back,
            rules,
            http,
            known: Mutex::default(),
            asking: tokio::sync::Mutex::default(),
        }
    }

    /// The provider's name for people.
    pub(crate) fn name(&self) -> &str {
        self.issuer.url().host_str().unwrap_or_default()
    }

    /// Where to send the browser, and what its answer must fit.
    ///
    /// # Errors
    /// [`OidcError::Unreachable`].
    pub(crate) async fn ask(&self, again: bool) -> Result<(String, Question), OidcError> {
        let client = self.client(&*self.description(FRESH).await?)?;
        let (challenge, verifier) = PkceCodeChallenge::new_random_sha256();
        let oldest = if again { 0 } else { OLDEST };
        let mut request = client
            .authorize_url(
                CoreAuthenticationFlow::AuthorizationCode,
                CsrfToken::new_random,
                Nonce::new_random,
            )
            .add_scopes(["email", "profile"].map(|scope| Scope::new(scope.to_owned())))
            .add_scopes(self.scopes.iter().cloned().map(Scope::new))
            .set_pkce_challenge(challenge)
            .set_max_age(Duration::from_secs(oldest));
        if again {
            request = request.add_prompt(CoreAuthPrompt::Login);
        }
        let (url, state, nonce) = request.url();
        let question = Question {
            state,
            nonce,
            verifier,
            asked_at: now(),
            again,
        };
        Ok((url.to_string(), question))
    }

    /// Who the answer proves somebody to be.
    ///
    /// # Errors
    /// [`OidcError`].
    pub(crate) async fn hear(
        &self,
        question: Question,
        answer: Answer,
    ) -> Result<Person, OidcError> {
        // Hashes are compared: how long that takes says nothing about the texts.
        let fits = SecretHash::of(&answer.state) == SecretHash::of(question.state.secret());
        // Another provider's answer must not be taken to this one (RFC 9207).
        let is_own = answer.iss.as_ref().is_none_or(|iss| *iss == *self.issuer);
        if !fits || !is_own {
            return Err(OidcError::Foreign);
        }
        let code = match (answer.code, answer.error) {
            (Some(code), None) => AuthorizationCode::new(code),
            (_, error) => return Err(OidcError::Denied(error.unwrap_or_default())),
        };
        let description = self.description(FRESH).await?;
        let client = self.client(&description)?;
        let Question {
            nonce,
            verifier,
            asked_at,
            again,
            ..
        } = question;
        let request = client
            .exchange_code(code)
            .map_err(|error| OidcError::Unbelievable(error.to_string()))?
            .set_pkce_verifier(verifier);
        let tokens = request.request_async(&self.http).await;
        let tokens = tokens.map_err(|error| OidcError::Denied(chain(&error)))?;
        let asked = Asked {
            nonce,
            asked_at,
            again,
        };
        let told = match self.verify(&tokens, &client, &asked) {
            Err(Doubt::UnknownKey) => {
                // The provider may have changed its keys since it was asked for them.
                let client = self.client(&*self.description(PAUSE).await?)?;
                self.verify(&tokens, &client, &asked)
            }
            verified => verified,
        };
        let told = self.complete(told?, &client, &tokens).await?;
        let address = told.address.as_deref();
        Ok(Person {
            issuer: self.issuer.to_string(),
            subject: told.subject.to_string(),
            login: self.rules.login(address, told.is_verified, &told.others)?,
            proved_at: told.proved_at,
        })
    }

    fn client(&self, description: &CoreProviderMetadata) -> Result<OidcClient, OidcError> {
        let back = RedirectUrl::new(self.back.clone())
            .map_err(|error| OidcError::Unbelievable(error.to_string()))?;
        let client = Client::from_provider_metadata(
            description.clone(),
            self.client_id.clone(),
            self.secret.clone(),
        );
        // The standard's own way unless the provider says that it knows another one only.
        let ways = description.token_endpoint_auth_methods_supported();
        let in_body = ways.is_some_and(|ways| {
            !ways.contains(&CoreClientAuthMethod::ClientSecretBasic)
                && ways.contains(&CoreClientAuthMethod::ClientSecretPost)
        });
        let way = match in_body {
            true => AuthType::RequestBody,
            false => AuthType::BasicAuth,
        };
        Ok(client.set_redirect_uri(back).set_auth_type(way))
    }

    /// What the provider says of itself, not older than `age`. It is asked once for all who wait, and
    /// left alone for a while where it does not answer.
    async fn description(&self, age: Duration) -> Result<Arc<CoreProviderMetadata>, OidcError> {
        if let Some(known) = self.known(age) {
            return known;
        }
        let _turn = self.asking.lock().await;
        if let Some(known) = self.known(age) {
            return known;
        }
        let found = CoreProviderMetadata::discover_async(self.issuer.clone(), &self.http).await;
        let found = found.map(Arc::new).map_err(|error| chain(&error));
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        match &found {
            Ok(description) => known.description = Some((Instant::now(), Arc::clone(description))),
            Err(reason) => known.failure = Some((Instant::now(), reason.clone())),
        }
        found.map_err(OidcError::Unreachable)
    }

    fn known(&self, age: Duration) -> Option<Result<Arc<CoreProviderMetadata>, OidcError>> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        match (&known.description, &known.failure) {
            (Some((at, description)), _) if at.elapsed() < age => Some(Ok(Arc::clone(description))),
            (_, Some((at, reason))) if at.elapsed() < REST => {
                Some(Err(OidcError::Unreachable(reason.clone())))
            }
            _ => None,
        }
    }
}

/// What was found out about the provider.
#[derive(Default)]
struct Known {
    description: Option<(Instant, Arc<CoreProviderMetadata>)>,
    failure: Option<(Instant, String)>,
}

/// An error with its causes, for the log.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text += &format!(": {error}");
        cause = error.source();
    }
    text
}
