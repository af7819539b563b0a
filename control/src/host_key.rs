//! The SSH host keys that a node reports. Other nodes write them into known_hosts lines, so that
//! nothing else may stand in them.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::problem::ApiError;

const MAX_KEYS: usize = 8;
const MAX_KEY_BYTES: usize = 4096;

/// Refuses a list in which something is no public key (`TYPE BASE64`, as in `ssh_host_*_key.pub`
/// without the comment).
///
/// # Errors
/// [`ApiError::Malformed`].
pub(crate) fn check(keys: &[String]) -> Result<(), ApiError> {
    if keys.len() > MAX_KEYS {
        let message = format!("a node has at most {MAX_KEYS} SSH host keys");
        return Err(ApiError::Malformed(message));
    }
    match keys.iter().find(|key| !is_public_key(key)) {
        Some(_) => Err(ApiError::Malformed(
            "an SSH host key is its type and its base64, as in ssh_host_ed25519_key.pub".to_owned(),
        )),
        None => Ok(()),
    }
}

fn is_public_key(text: &str) -> bool {
    let Some((kind, blob)) = text.split_once(' ') else {
        return false;
    };
    let Ok(blob) = STANDARD.decode(blob) else {
        return false;
    };
    // The blob begins with the type's name and its length (RFC 4253, section 6.6).
    let Ok(length) = u32::try_from(kind.len()) else {
        return false;
    };
    let is_name = |b: u8| b.is_ascii_alphanumeric() || b"-@.".contains(&b);
    text.len() <= MAX_KEY_BYTES
        && !kind.is_empty()
        && kind.bytes().all(is_name)
        && blob
            .strip_prefix(&length.to_be_bytes())
            .is_some_and(|rest| rest.starts_with(kind.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGVQd6tEBkUuAvAyLAyBSuIXsLuKGVCAeFAh9NLhnOd2";

    #[test]
    fn public_keys_are_accepted() {
        assert!(check(&[KEY.to_owned()]).is_ok());
        assert!(check(&[]).is_ok());
    }

    #[test]
    fn nothing_else_is() {
        let comment = format!("{KEY} root@web1");
        let two_lines = format!("{KEY}\n* {KEY}");
        let other_type = KEY.replace("ssh-ed25519", "ssh-rsa");
        for text in [
            "",
            "ssh-ed25519",
            "ssh-ed25519 AAAA",
            &comment,
            &two_lines,
            &other_type,
        ] {
            assert!(check(&[text.to_owned()]).is_err(), "{text}");
        }
        assert!(check(&vec![KEY.to_owned(); MAX_KEYS + 1]).is_err());
    }
}
