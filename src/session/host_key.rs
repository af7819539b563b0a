//! Host keys whose private half stays with the worker.

use russh::keys::{Algorithm, PrivateKey, PublicKey};

/// The host keys of this connection, in the worker's order.
pub(super) struct HostKeys(Vec<(u8, PublicKey)>);

impl HostKeys {
    /// Reads the worker's public keys; kinds that the process cannot serve are left out.
    pub(super) fn new(blobs: &[Vec<u8>]) -> Self {
        let keys = (0..=u8::MAX).zip(blobs).filter_map(|(index, blob)| {
            let key = PublicKey::from_bytes(blob).ok()?;
            let served = matches!(
                key.algorithm(),
                Algorithm::Ed25519 | Algorithm::Ecdsa { .. }
            );
            served.then_some((index, key))
        });
        Self(keys.collect())
    }

    /// The algorithms of the keys, in their order.
    pub(super) fn algorithms(&self) -> Vec<Algorithm> {
        let mut algorithms: Vec<Algorithm> = Vec::new();
        for (_, key) in &self.0 {
            if !algorithms.contains(&key.algorithm()) {
                algorithms.push(key.algorithm());
            }
        }
        algorithms
    }

    /// The worker's number of `key`.
    pub(super) fn index(&self, key: &PublicKey) -> Option<u8> {
        let same = |(_, known): &&(u8, PublicKey)| known.key_data() == key.key_data();
        self.0.iter().find(same).map(|(index, _)| *index)
    }

    /// The keys as russh wants them: it reads the public half only, as the worker signs.
    pub(super) fn locked(&self) -> Vec<PrivateKey> {
        self.0.iter().filter_map(|(_, key)| locked(key)).collect()
    }
}

/// A private key of which nothing is there but its public half: the encrypted form of OpenSSH's
/// file format (PROTOCOL.key) with an empty secret part.
fn locked(key: &PublicKey) -> Option<PrivateKey> {
    let mut file = b"openssh-key-v1\0".to_vec();
    let mut kdf = Vec::new();
    push_string(&mut kdf, &[0; 16]);
    kdf.extend(1_u32.to_be_bytes());
    push_string(&mut file, b"aes256-ctr");
    push_string(&mut file, b"bcrypt");
    push_string(&mut file, &kdf);
    file.extend(1_u32.to_be_bytes());
    push_string(&mut file, &key.to_bytes().ok()?);
    push_string(&mut file, b"");
    PrivateKey::from_bytes(&file).ok()
}

fn push_string(to: &mut Vec<u8>, bytes: &[u8]) {
    to.extend((bytes.len() as u32).to_be_bytes());
    to.extend(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    const ED25519: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqti";
    const P256: &str = "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBHwf2HMM5TRXvo2SQJjsNkiDD5KqiiNjrGVv3UUh+mMT5RHxiRtOnlqvjhQtBq0VpmpCV/PwUdhOig4vkbqAcEc=";

    fn blob(line: &str) -> Vec<u8> {
        let key = PublicKey::from_openssh(line).expect("a public key");
        key.to_bytes().expect("encodes")
    }

    #[test]
    fn the_order_is_the_workers_and_unknown_kinds_are_left_out() {
        let keys = HostKeys::new(&[b"nonsense".to_vec(), blob(P256), blob(ED25519)]);
        let names: Vec<String> = keys.algorithms().iter().map(Algorithm::to_string).collect();
        assert_eq!(names, ["ecdsa-sha2-nistp256", "ssh-ed25519"]);
        let ed25519 = PublicKey::from_openssh(ED25519).expect("a public key");
        assert_eq!(keys.index(&ed25519), Some(2));
    }

    #[test]
    fn a_locked_key_has_its_public_half_and_nothing_else() {
        let keys = HostKeys::new(&[blob(ED25519)]);
        let locked = keys.locked();
        assert_eq!(locked.len(), 1);
        assert!(locked[0].is_encrypted());
        assert_eq!(locked[0].public_key().to_bytes().ok(), Some(blob(ED25519)));
    }
}
