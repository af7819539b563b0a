//! The provider: what is asked of it, and what its answers prove.

use std::collections::HashSet;
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
    AccessTokenHash, AuthType, AuthorizationCode, ClaimsVerificationError, Client, ClientId,
    ClientSecret, CsrfToken, EmptyExtraTokenFields, EndpointMaybeSet, EndpointNotSet, EndpointSet,
    IdTokenFields, IdTokenVerifier, IssuerUrl, Nonce, OAuth2TokenResponse, PkceCodeChallenge,
    PkceCodeVerifier, RedirectUrl, Scope, SignatureVerificationError, StandardErrorResponse,
    StandardTokenResponse, SubjectIdentifier, TokenResponse, UserInfoClaims,
};
use thiserror::Error;

use super::claims::{OtherClaims, Refused, Rules};
use super::http::Http;
use crate::auth_key::SecretHash;
use crate::clock::now;

/// How long the provider's description and keys are believed.
const FRESH: Duration = Duration::from_secs(3_600);
/// How soon they are asked for again because a token is signed by an unknown key.
const PAUSE: Duration = Duration::from_secs(10);
/// How old a sign-in at the provider may be that nobody has asked to be new, in seconds; a session
/// here lasts as long.
const OLDEST: u64 = 12 * 3_600;
/// How far the provider's clock may be behind, in seconds.
const SKEW: u64 = 60;

/// Signatures that need the provider's own key. A token that is signed with the client's secret,
/// or not at all, proves nothing here.
const ALGORITHMS: [CoreJwsSigningAlgorithm; 9] = [
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha256,
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha384,
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha512,
    CoreJwsSigningAlgorithm::RsaSsaPssSha256,
    CoreJwsSigningAlgorithm::RsaSsaPssSha384,
    CoreJwsSigningAlgorithm::RsaSsaPssSha512,
    CoreJwsSigningAlgorithm::EcdsaP256Sha256,
    CoreJwsSigningAlgorithm::EcdsaP384Sha384,
    CoreJwsSigningAlgorithm::EdDsa,
];

type Tokens = StandardTokenResponse<
    IdTokenFields<
        OtherClaims,
        EmptyExtraTokenFields,
        CoreGenderClaim,
        CoreJweContentEncryptionAlgorithm,
        CoreJwsSigningAlgorithm,
    >,
    CoreTokenType,
>;
type OidcClient = Client<
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
    issuer: IssuerUrl,
    client_id: ClientId,
    secret: Option<ClientSecret>,
    scopes: Vec<String>,
    back: String,
    /// Whom control lets in.
    pub(crate) rules: Rules,
    http: Http,
    known: Mutex<Option<(Instant, Arc<CoreProviderMetadata>)>>,
}

/// What control has asked the provider, and what an answer must fit.
#[derive(Debug)]
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

    fn verify(&self, tokens: &Tokens, client: &OidcClient, asked: &Asked) -> Result<Told, Doubt> {
        let token = tokens.id_token();
        let token = token.ok_or_else(|| Doubt::Other("there is no ID token".to_owned()))?;
        let verifier: IdTokenVerifier<'_, CoreJsonWebKey> = client.id_token_verifier();
        let verifier = verifier.set_allowed_algs(HashSet::from(ALGORITHMS));
        let claims = token.claims(&verifier, &asked.nonce)?;
        let party = claims.authorized_party();
        if party.is_some_and(|party| **party != *self.client_id) {
            return Err(Doubt::Other("it is for another client".to_owned()));
        }
        if let Some(expected) = claims.access_token_hash() {
            let strange = |error: &dyn std::error::Error| Doubt::Other(chain(error));
            let algorithm = token.signing_alg().map_err(|error| strange(&error))?;
            let key = token
                .signing_key(&verifier)
                .map_err(|error| strange(&error))?;
            let access = tokens.access_token();
            let found = AccessTokenHash::from_token(access, algorithm, key);
            if found.map_err(|error| strange(&error))? != *expected {
                return Err(Doubt::Other("its access token is another one".to_owned()));
            }
        }
        let proved_at = claims.auth_time().map(|time| {
            let seconds = u64::try_from(time.timestamp()).unwrap_or(0);
            Timestamp(seconds.min(now().0))
        });
        let oldest = if asked.again { 0 } else { OLDEST };
        let earliest = asked.asked_at.0.saturating_sub(oldest + SKEW);
        let is_fresh = match proved_at {
            Some(proved_at) => proved_at.0 >= earliest,
            None => !asked.again,
        };
        if !is_fresh {
            return Err(Doubt::NotFresh);
        }
        Ok(Told {
            subject: claims.subject().clone(),
            proved_at,
            address: claims.email().map(|address| address.to_string()),
            is_verified: claims.email_verified().unwrap_or(false),
            others: claims.additional_claims().clone(),
        })
    }

    /// Many providers say in the token only who somebody is, and the rest when they are asked with
    /// the other token (OpenID Connect Core 1.0, section 5.4).
    async fn complete(
        &self,
        told: Told,
        client: &OidcClient,
        tokens: &Tokens,
    ) -> Result<Told, OidcError> {
        if told.address.is_some() && self.rules.knows_groups(&told.others) {
            return Ok(told);
        }
        let access = tokens.access_token().clone();
        let Ok(request) = client.user_info(access, Some(told.subject.clone())) else {
            return Ok(told);
        };
        let claims: UserInfoClaims<OtherClaims, CoreGenderClaim> = request
            .request_async(&self.http)
            .await
            .map_err(|error| OidcError::Unbelievable(chain(&error)))?;
        Ok(Told {
            address: claims.email().map(|address| address.to_string()),
            is_verified: claims.email_verified().unwrap_or(false),
            others: claims.additional_claims().clone(),
            ..told
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

    /// What the provider says of itself, not older than `age`.
    async fn description(&self, age: Duration) -> Result<Arc<CoreProviderMetadata>, OidcError> {
        let known = || self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, description)) = known().as_ref()
            && at.elapsed() < age
        {
            return Ok(Arc::clone(description));
        }
        let description =
            CoreProviderMetadata::discover_async(self.issuer.clone(), &self.http).await;
        let description =
            Arc::new(description.map_err(|error| OidcError::Unreachable(chain(&error)))?);
        *known() = Some((Instant::now(), Arc::clone(&description)));
        Ok(description)
    }
}

/// What a token must fit beside its signature.
struct Asked {
    nonce: Nonce,
    asked_at: Timestamp,
    again: bool,
}

/// What the provider says of somebody.
struct Told {
    subject: SubjectIdentifier,
    proved_at: Option<Timestamp>,
    address: Option<String>,
    is_verified: bool,
    others: OtherClaims,
}

/// What is wrong with a token.
enum Doubt {
    UnknownKey,
    NotFresh,
    Other(String),
}

impl From<ClaimsVerificationError> for Doubt {
    fn from(error: ClaimsVerificationError) -> Self {
        match error {
            // A key that was changed in place has the old one's name.
            ClaimsVerificationError::SignatureVerification(
                SignatureVerificationError::NoMatchingKey
                | SignatureVerificationError::CryptoError(_),
            ) => Self::UnknownKey,
            other => Self::Other(chain(&other)),
        }
    }
}

impl From<Doubt> for OidcError {
    fn from(doubt: Doubt) -> Self {
        match doubt {
            Doubt::UnknownKey => {
                Self::Unbelievable("no key of the provider has signed it".to_owned())
            }
            Doubt::NotFresh => Self::NotFresh,
            Doubt::Other(reason) => Self::Unbelievable(reason),
        }
    }
}

/// An error with its causes, for the log.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text += &format!(": {error}");
        cause = error.source();
    }
    text
}
