//! The SSH host keys that a node reports.

use meshd_contract::host_key::{HostKey, HostKeyError};

use crate::problem::ApiError;

const MAX_KEYS: usize = 8;

/// Refuses a list in which something is no public key.
///
/// # Errors
/// [`ApiError::Malformed`].
pub(crate) fn check(keys: &[String]) -> Result<(), ApiError> {
    if keys.len() > MAX_KEYS {
        let message = format!("a node has at most {MAX_KEYS} SSH host keys");
        return Err(ApiError::Malformed(message));
    }
    let all: Result<Vec<HostKey>, HostKeyError> = keys.iter().map(|key| key.parse()).collect();
    all.map(drop)
        .map_err(|error| ApiError::Malformed(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGVQd6tEBkUuAvAyLAyBSuIXsLuKGVCAeFAh9NLhnOd2";

    #[test]
    fn a_node_has_a_few_public_keys() {
        assert!(check(&[]).is_ok());
        assert!(check(&[KEY.to_owned()]).is_ok());
        assert!(check(&[KEY.to_owned(), format!("{KEY} root@web1")]).is_err());
        assert!(check(&vec![KEY.to_owned(); MAX_KEYS + 1]).is_err());
    }
}
