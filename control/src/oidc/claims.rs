//! What a provider says of a person, and whether control lets that person in. Pure.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use thiserror::Error;

/// The claims that the standard does not name.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct OtherClaims {
    #[serde(flatten)]
    all: BTreeMap<String, Value>,
}

impl openidconnect::AdditionalClaims for OtherClaims {}

/// Whom of a provider's people control lets in. Each list that is not empty has to fit; where all
/// are empty, only users who were made before are let in.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rules {
    /// Domains of addresses, in lower case.
    pub(crate) domains: BTreeSet<String>,
    /// Groups.
    pub(crate) groups: BTreeSet<String>,
    /// Logins, in lower case.
    pub(crate) users: BTreeSet<String>,
    /// The claim with a person's groups.
    pub(crate) groups_claim: String,
}

/// Why a person is not let in.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum Refused {
    /// No address.
    #[error("The identity provider does not say what your e-mail address is.")]
    NoAddress,
    /// An address that may be anybody's.
    #[error("The identity provider has not verified that {0} is yours.")]
    Unverified(String),
    /// One of the lists does not have the person.
    #[error("{0} may not sign in here. An administrator of this mesh can change that.")]
    NotListed(String),
}

impl Rules {
    /// The login of a person with this address and these claims.
    pub(super) fn login(
        &self,
        address: Option<&str>,
        is_verified: bool,
        claims: &OtherClaims,
    ) -> Result<String, Refused> {
        let address = address.ok_or(Refused::NoAddress)?;
        if !is_verified {
            return Err(Refused::Unverified(address.to_owned()));
        }
        // Providers write an address as the person once did; a user has one.
        let login = address.to_ascii_lowercase();
        let domain = login.rsplit_once('@').map_or("", |(_, domain)| domain);
        let groups = claims.groups(&self.groups_claim);
        let fits = (self.domains.is_empty() || self.domains.contains(domain))
            && (self.users.is_empty() || self.users.contains(&login))
            && (self.groups.is_empty() || groups.iter().any(|group| self.groups.contains(*group)));
        match fits {
            true => Ok(login),
            false => Err(Refused::NotListed(login)),
        }
    }

    /// Whether these claims are enough to tell who is in which group, as far as it matters.
    pub(super) fn knows_groups(&self, claims: &OtherClaims) -> bool {
        self.groups.is_empty() || claims.all.contains_key(&self.groups_claim)
    }

    /// Whether a person who is let in and is no user yet becomes one.
    pub(crate) fn make_users(&self) -> bool {
        !(self.domains.is_empty() && self.groups.is_empty() && self.users.is_empty())
    }
}

impl OtherClaims {
    /// Some providers write a single group as a text.
    fn groups(&self, claim: &str) -> Vec<&str> {
        match self.all.get(claim) {
            Some(Value::String(group)) => vec![group],
            Some(Value::Array(groups)) => groups.iter().filter_map(Value::as_str).collect(),
            _ => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(texts: &[&str]) -> BTreeSet<String> {
        texts.iter().map(ToString::to_string).collect()
    }

    fn claims(groups: Value) -> OtherClaims {
        OtherClaims {
            all: [("groups".to_owned(), groups)].into(),
        }
    }

    fn rules(domains: &[&str], groups: &[&str], users: &[&str]) -> Rules {
        Rules {
            domains: set(domains),
            groups: set(groups),
            users: set(users),
            groups_claim: "groups".to_owned(),
        }
    }

    #[test]
    fn every_list_that_is_given_has_to_fit() {
        let ops = claims(serde_json::json!(["ops", "staff"]));
        let alice = |rules: &Rules, claims: &OtherClaims| {
            rules.login(Some("Alice@Example.com"), true, claims).is_ok()
        };
        assert!(alice(&rules(&[], &[], &[]), &ops));
        assert!(alice(
            &rules(&["example.com"], &["ops"], &["alice@example.com"]),
            &ops
        ));
        assert!(alice(&rules(&[], &["ops"], &[]), &claims("ops".into())));
        for refusing in [
            rules(&["example.org"], &[], &[]),
            rules(&["ple.com"], &[], &[]),
            rules(&[], &["op"], &[]),
            rules(&[], &[], &["bob@example.com"]),
            rules(&["example.com"], &["admins"], &[]),
        ] {
            assert!(!alice(&refusing, &ops), "{refusing:?}");
        }
        assert!(!alice(&rules(&[], &["ops"], &[]), &OtherClaims::default()));
        assert!(!alice(
            &rules(&[], &["7"], &[]),
            &claims(serde_json::json!([7]))
        ));
    }

    #[test]
    fn an_address_has_to_be_verified() {
        let (rules, claims) = (rules(&[], &[], &[]), OtherClaims::default());
        let login = rules.login(Some("Alice@Example.com"), true, &claims);
        assert_eq!(login.as_deref(), Ok("alice@example.com"));
        let unverified = rules.login(Some("a@b"), false, &claims);
        assert_eq!(unverified, Err(Refused::Unverified("a@b".to_owned())));
        assert_eq!(rules.login(None, true, &claims), Err(Refused::NoAddress));
    }
}
