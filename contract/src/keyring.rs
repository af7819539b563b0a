//! Which keys of control count: the one that signs, and for a while the one before it.
//!
//! Control replaces its key by a document that the old key signs. Whoever believes the old key
//! believes the new one from then on, and the old one only until the time that the document names.
//! What the old key signs after it was replaced moves nobody's belief any more.

use serde::{Deserialize, Serialize};

use crate::key::{PrivateKey, PublicKey};
use crate::signed;
use crate::time::Timestamp;

/// The longest list of [`KeyRotation`]s that is read, in bytes.
pub const MAX_ROTATIONS_BYTES: usize = 256 << 10;

/// Control's word that another key takes the place of the one that signs this.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRotation {
    /// The key that signs this.
    pub old_key: PublicKey,
    /// The key that signs everything else from now on.
    pub new_key: PublicKey,
    /// When control made it.
    pub issued_at: Timestamp,
    /// From this second on nothing counts that the old key has signed.
    pub old_ends_at: Timestamp,
}

impl KeyRotation {
    /// Stands in the signed text.
    pub const KIND: &'static str = "key-rotation";

    /// Signs it.
    ///
    /// # Errors
    /// Only when it cannot be written as JSON.
    pub fn seal(&self, old_key: &PrivateKey) -> Result<String, serde_json::Error> {
        let body = serde_json::to_string(self)?;
        Ok(signed::seal_text(Self::KIND, &body, old_key))
    }
}

/// The keys of control that count for one reader.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keyring {
    current: PublicKey,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    previous: Option<Previous>,
}

/// The key before the current one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Previous {
    key: PublicKey,
    ends_at: Timestamp,
}

/// Keys of which any may have signed a text.
#[derive(Debug, Clone, Copy)]
pub struct Keys<'a> {
    first: &'a PublicKey,
    second: Option<&'a PublicKey>,
}

impl Keyring {
    /// The key that signs now.
    #[must_use]
    pub fn current(&self) -> &PublicKey {
        &self.current
    }

    /// The keys whose signatures count at this time.
    #[must_use]
    pub fn at(&self, now: Timestamp) -> Keys<'_> {
        let previous = self.previous.as_ref();
        let previous = previous.filter(|previous| now < previous.ends_at);
        Keys {
            first: &self.current,
            second: previous.map(|previous| &previous.key),
        }
    }

    /// Takes the key that `rotation`, a sealed [`KeyRotation`], names, if the current key has signed
    /// it; whether it has. A key before the previous one ends with this.
    pub fn follow(&mut self, rotation: &str) -> bool {
        let text = rotation.as_bytes();
        let Ok(body) = signed::verified_body(KeyRotation::KIND, text, &self.current) else {
            return false;
        };
        let Ok(rotation) = serde_json::from_slice::<KeyRotation>(body) else {
            return false;
        };
        if rotation.old_key != self.current || rotation.new_key == self.current {
            return false;
        }
        self.previous = Some(Previous {
            key: self.current,
            ends_at: rotation.old_ends_at,
        });
        self.current = rotation.new_key;
        true
    }

    /// Goes as far as a list leads, oldest first, and passes over what leads nowhere from here; the
    /// texts that it has followed.
    pub fn follow_all(&mut self, rotations: Vec<String>) -> Vec<String> {
        let mut followed = rotations;
        followed.retain(|rotation| self.follow(rotation));
        followed
    }

    /// The same for a list as [`write_rotations`] writes it; a text that is no such list leads
    /// nowhere.
    pub fn follow_list(&mut self, list: &[u8]) -> Vec<String> {
        match read_rotations(list) {
            Some(rotations) => self.follow_all(rotations),
            None => Vec::new(),
        }
    }
}

impl From<PublicKey> for Keyring {
    fn from(current: PublicKey) -> Self {
        Self {
            current,
            previous: None,
        }
    }
}

impl<'a> From<&'a PublicKey> for Keys<'a> {
    fn from(key: &'a PublicKey) -> Self {
        Self {
            first: key,
            second: None,
        }
    }
}

impl<'a> IntoIterator for Keys<'a> {
    type Item = &'a PublicKey;
    type IntoIter =
        std::iter::Chain<std::iter::Once<Self::Item>, std::option::IntoIter<Self::Item>>;

    fn into_iter(self) -> Self::IntoIter {
        std::iter::once(self.first).chain(self.second)
    }
}

/// A list of sealed rotations: a JSON array of strings, the oldest first.
///
/// # Errors
/// Only when it cannot be written as JSON.
pub fn write_rotations(rotations: &[String]) -> Result<Vec<u8>, serde_json::Error> {
    serde_json::to_vec(rotations)
}

/// Reads what [`write_rotations`] has written; none of it is verified yet.
#[must_use]
pub fn read_rotations(list: &[u8]) -> Option<Vec<String>> {
    let is_short = list.len() <= MAX_ROTATIONS_BYTES;
    is_short.then(|| serde_json::from_slice(list).ok())?
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(seed: u8) -> PrivateKey {
        PrivateKey::from_seed(&[seed; 32])
    }

    /// From one key to another, which ends the old one at second 100.
    fn rotation(from: u8, to: u8) -> String {
        let rotation = KeyRotation {
            old_key: key(from).public(),
            new_key: key(to).public(),
            issued_at: Timestamp(50),
            old_ends_at: Timestamp(100),
        };
        rotation.seal(&key(from)).expect("seals")
    }

    fn ring(seed: u8) -> Keyring {
        Keyring::from(key(seed).public())
    }

    fn counting(ring: &Keyring, now: u64) -> Vec<PublicKey> {
        ring.at(Timestamp(now)).into_iter().copied().collect()
    }

    #[test]
    fn the_old_key_counts_until_its_end() {
        let mut ring = ring(1);
        assert!(ring.follow(&rotation(1, 2)));
        let (old, new) = (key(1).public(), key(2).public());
        assert_eq!(ring.current(), &new);
        assert_eq!(counting(&ring, 99), [new, old]);
        assert_eq!(counting(&ring, 100), [new]);
    }

    #[test]
    fn a_key_that_was_replaced_moves_nobody() {
        let mut ring = ring(1);
        assert!(ring.follow(&rotation(1, 2)));
        let before = ring.clone();
        assert!(!ring.follow(&rotation(1, 3)), "the old key is stolen");
        assert!(!ring.follow(&rotation(1, 2)), "a repetition");
        assert!(!ring.follow(&rotation(4, 3)), "somebody else's");
        assert_eq!(ring, before);
    }

    #[test]
    fn only_the_signer_hands_its_own_place_over() {
        let mut forged = KeyRotation {
            old_key: key(1).public(),
            new_key: key(3).public(),
            issued_at: Timestamp(50),
            old_ends_at: Timestamp(100),
        };
        assert!(!ring(1).follow(&forged.seal(&key(3)).expect("seals")));
        forged.old_key = key(2).public();
        assert!(!ring(1).follow(&forged.seal(&key(1)).expect("seals")));
        let itself = rotation(1, 1);
        assert!(!ring(1).follow(&itself));
    }

    #[test]
    fn a_list_is_followed_from_where_one_is() {
        let list = [rotation(1, 2), rotation(2, 3), rotation(3, 4)];
        let bytes = write_rotations(&list).expect("writes");
        for from in 1..4 {
            let mut ring = ring(from);
            let followed = ring.follow_list(&bytes);
            assert_eq!(ring.current(), &key(4).public());
            assert_eq!(followed, list[usize::from(from) - 1..]);
        }
        assert!(ring(5).follow_list(&bytes).is_empty());
        assert!(ring(1).follow_list(b"no list").is_empty());
        assert!(
            ring(1)
                .follow_list(&[b'['; MAX_ROTATIONS_BYTES + 1])
                .is_empty()
        );
    }

    #[test]
    fn a_second_rotation_ends_the_key_before_the_previous_one() {
        let mut ring = ring(1);
        assert!(ring.follow(&rotation(1, 2)));
        assert!(ring.follow(&rotation(2, 3)));
        assert_eq!(counting(&ring, 0), [key(3).public(), key(2).public()]);
    }

    proptest! {
        #[test]
        fn no_changed_byte_is_followed(position in 0usize..4096, flip in 1u8..=127) {
            let mut text = rotation(1, 2).into_bytes();
            let position = position % text.len();
            text[position] ^= flip & 0x7f;
            if let Ok(text) = String::from_utf8(text) {
                prop_assert!(!ring(1).follow(&text));
            }
        }
    }
}
