//! Which algorithms are offered.

use std::borrow::Cow;

use russh::keys::Algorithm;
use russh::{Preferred, cipher, compression, kex, mac};

const KEX: &[kex::Name] = &[
    kex::MLKEM768X25519_SHA256,
    kex::CURVE25519,
    kex::CURVE25519_PRE_RFC_8731,
    kex::EXTENSION_SUPPORT_AS_SERVER,
    kex::EXTENSION_OPENSSH_STRICT_KEX_AS_SERVER,
];

const AES_GCM: &[cipher::Name] = &[cipher::AES_256_GCM, cipher::AES_128_GCM];

const AES_CTR: &[cipher::Name] = &[
    cipher::AES_256_CTR,
    cipher::AES_192_CTR,
    cipher::AES_128_CTR,
];

const MAC: &[mac::Name] = &[mac::HMAC_SHA512_ETM, mac::HMAC_SHA256_ETM];

/// libssh2 before 1.11 (the curl of Debian 12) knows neither encrypt-then-MAC nor AES-GCM.
const MAC_LIBSSH2: &[mac::Name] = &[
    mac::HMAC_SHA512_ETM,
    mac::HMAC_SHA256_ETM,
    mac::HMAC_SHA512,
    mac::HMAC_SHA256,
];

/// What is known of a client by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    /// OpenSSH's, from 10 on.
    OpenSsh,
    /// OpenSSH's before 10, which asks for AES-CTR before AES-GCM.
    OldOpenSsh,
    /// dbclient.
    Dropbear,
    /// Programs with libssh.
    LibSsh,
    /// Programs with libssh2, such as curl.
    LibSsh2,
    /// Any other.
    Other,
}

impl Family {
    /// Reads the beginning of the identification line.
    pub(super) fn of(identification: &[u8]) -> Self {
        const NAMES: [(&[u8], Family); 5] = [
            (b"SSH-2.0-OpenSSH_1", Family::OpenSsh),
            (b"SSH-2.0-OpenSSH", Family::OldOpenSsh),
            (b"SSH-2.0-dropbear", Family::Dropbear),
            (b"SSH-2.0-libssh2", Family::LibSsh2),
            (b"SSH-2.0-libssh_", Family::LibSsh),
        ];
        let known = NAMES
            .iter()
            .find(|(name, _)| identification.starts_with(name));
        known.map_or(Self::Other, |(_, family)| *family)
    }
}

/// The offer to a client, on a machine with or without AES instructions.
///
/// The client's order decides. OpenSSH asks for ChaCha20 first, and before 10 for AES-CTR second;
/// where the CPU has AES, both cost several times what AES-GCM does, which every OpenSSH since 6.2
/// knows. Other clients may not, and are offered all.
pub(super) fn offer(client: Family, has_aes: bool, host_keys: Vec<Algorithm>) -> Preferred {
    let mut ciphers = AES_GCM.to_vec();
    if !has_aes || client != Family::OldOpenSsh {
        ciphers.extend(AES_CTR);
    }
    if !has_aes {
        ciphers.insert(0, cipher::CHACHA20_POLY1305);
    } else if !matches!(client, Family::OpenSsh | Family::OldOpenSsh) {
        ciphers.push(cipher::CHACHA20_POLY1305);
    }
    Preferred {
        kex: Cow::Borrowed(KEX),
        key: Cow::Owned(host_keys),
        host_key_certificates: Cow::Borrowed(&[]),
        cipher: Cow::Owned(ciphers),
        mac: Cow::Borrowed(if client == Family::LibSsh2 {
            MAC_LIBSSH2
        } else {
            MAC
        }),
        compression: Cow::Borrowed(&[compression::NONE]),
    }
}

/// Whether this CPU encrypts AES-GCM in hardware.
pub(super) fn cpu_has_aes() -> bool {
    #[cfg(target_arch = "x86_64")]
    return std::is_x86_feature_detected!("aes") && std::is_x86_feature_detected!("pclmulqdq");
    #[cfg(target_arch = "aarch64")]
    return std::arch::is_aarch64_feature_detected!("aes");
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    return false;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ciphers(client: &[u8], has_aes: bool) -> Vec<String> {
        let offer = offer(Family::of(client), has_aes, Vec::new());
        offer
            .cipher
            .iter()
            .map(|name| name.as_ref().to_owned())
            .collect()
    }

    #[test]
    fn chacha_is_not_offered_to_openssh_where_aes_is_fast() {
        let chacha = "chacha20-poly1305@openssh.com".to_owned();
        for openssh in [&b"SSH-2.0-OpenSSH_9.2p1"[..], b"SSH-2.0-OpenSSH_10.0p1"] {
            assert!(!ciphers(openssh, true).contains(&chacha));
        }
        assert_eq!(
            ciphers(b"SSH-2.0-dropbear_2022.83", true).last(),
            Some(&chacha)
        );
        assert_eq!(
            ciphers(b"SSH-2.0-OpenSSH_9.2p1", false).first(),
            Some(&chacha)
        );
    }

    #[test]
    fn an_openssh_that_prefers_ctr_to_gcm_is_offered_gcm_alone_where_aes_is_fast() {
        let ctr = "aes128-ctr".to_owned();
        assert!(!ciphers(b"SSH-2.0-OpenSSH_9.9p2", true).contains(&ctr));
        for (client, has_aes) in [
            (&b"SSH-2.0-OpenSSH_9.9p2"[..], false),
            (b"SSH-2.0-OpenSSH_10.0p1", true),
            (b"SSH-2.0-paramiko_5.1.0", true),
        ] {
            assert!(ciphers(client, has_aes).contains(&ctr));
        }
    }

    #[test]
    fn every_exchange_hash_has_the_length_that_the_worker_signs() {
        let exchanges = KEX
            .iter()
            .filter(|name| !name.as_ref().contains("ext-info"));
        let exchanges = exchanges.filter(|name| !name.as_ref().contains("strict"));
        for exchange in exchanges {
            assert!(exchange.as_ref().contains("-sha256"), "{exchange:?}");
        }
    }

    #[test]
    fn only_libssh2_is_offered_macs_of_plain_text() {
        let plain = |client: &[u8]| {
            let offer = offer(Family::of(client), true, Vec::new());
            offer.mac.contains(&mac::HMAC_SHA256)
        };
        assert!(plain(b"SSH-2.0-libssh2_1.10.0"));
        for other in [
            &b"SSH-2.0-libssh_0.10.6"[..],
            b"SSH-2.0-OpenSSH_9.2p1",
            b"SSH-2.0-x",
        ] {
            assert!(!plain(other));
        }
    }

    #[test]
    fn nothing_old_is_offered() {
        let offer = offer(Family::Other, false, Vec::new());
        let names = offer.kex.iter().map(|name| name.as_ref().to_owned());
        let names = names.chain(offer.mac.iter().map(|name| name.as_ref().to_owned()));
        let names: Vec<String> = names.chain(ciphers(b"SSH-2.0-x", false)).collect();
        for name in &names {
            assert!(!name.contains("sha1") && !name.contains("cbc"), "{name}");
        }
        assert_eq!(names[0], "mlkem768x25519-sha256");
        assert!(offer.mac.iter().all(|name| name.as_ref().contains("-etm@")));
    }
}
