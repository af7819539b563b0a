//! What the provider's tokens prove.

use std::collections::HashSet;

use meshd_contract::time::Timestamp;
use openidconnect::core::{CoreGenderClaim, CoreJsonWebKey, CoreJwsSigningAlgorithm};
use openidconnect::{
    AccessTokenHash, ClaimsVerificationError, IdTokenVerifier, Nonce, OAuth2TokenResponse,
    SignatureVerificationError, SubjectIdentifier, TokenResponse, UserInfoClaims,
};

use super::claims::OtherClaims;
use super::provider::{Oidc, OidcClient, OidcError, Tokens, chain};
use crate::clock::now;

/// How old a sign-in at the provider may be that nobody has asked to be new, in seconds; a session
/// here lasts as long.
pub(super) const OLDEST: u64 = 12 * 3_600;
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

/// What a token must fit beside its signature.
pub(super) struct Asked {
    /// The chance in the question.
    pub(super) nonce: Nonce,
    /// When it was asked.
    pub(super) asked_at: Timestamp,
    /// The person has to prove anew who they are.
    pub(super) again: bool,
}

/// What the provider says of somebody.
pub(super) struct Told {
    /// The provider's own name for the person.
    pub(super) subject: SubjectIdentifier,
    /// When the person has proved it.
    pub(super) proved_at: Option<Timestamp>,
    /// The e-mail address.
    pub(super) address: Option<String>,
    /// It is the person's.
    pub(super) is_verified: bool,
    /// Everything else.
    pub(super) others: OtherClaims,
}

/// What is wrong with a token.
pub(super) enum Doubt {
    /// No key that the provider has told of has signed it.
    UnknownKey,
    /// The person has proved it too long ago.
    NotFresh,
    /// Anything else.
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

impl Oidc {
    pub(super) fn verify(
        &self,
        tokens: &Tokens,
        client: &OidcClient,
        asked: &Asked,
    ) -> Result<Told, Doubt> {
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
    pub(super) async fn complete(
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
}
