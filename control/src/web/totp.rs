//! Codes of authenticator apps (RFC 6238, with the values that every app knows: SHA-1, six digits,
//! 30 seconds).

use std::fmt;

use aws_lc_rs::hmac;
use meshd_contract::time::Timestamp;

use crate::public_url::PublicUrl;

/// In seconds.
const STEP: u64 = 30;
/// How many steps the clocks may be apart.
const SKEW: u64 = 1;

/// What control and an app share: 160 bits, the length of SHA-1's output (RFC 4226, section 4).
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Secret([u8; 20]);

impl Secret {
    /// New random bits.
    pub(crate) fn generate() -> Result<Self, getrandom::Error> {
        let mut random = [0; 20];
        getrandom::fill(&mut random)?;
        Ok(Self(random))
    }

    /// From the bytes that were stored.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// The bytes to store.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// For typing into an app: base32 (RFC 4648) in groups of four.
    pub(super) fn as_text(&self) -> String {
        let letters = base32(&self.0);
        let groups: Vec<&str> = (0..letters.len())
            .step_by(4)
            .map(|n| &letters[n..n + 4])
            .collect();
        groups.join(" ")
    }

    /// What apps read from a QR code.
    pub(super) fn as_uri(&self, login: &str, url: &PublicUrl) -> String {
        let encode =
            |text: &str| -> String { form_urlencoded::byte_serialize(text.as_bytes()).collect() };
        format!(
            "otpauth://totp/{issuer}:{login}?secret={secret}&issuer={issuer}",
            issuer = encode(url.host()),
            login = encode(login),
            secret = base32(&self.0),
        )
    }

    /// The time step whose code `text` is, if it is one about `now` and later than `used`, the last
    /// step whose code was used.
    pub(super) fn step_of(&self, text: &str, now: Timestamp, used: u64) -> Option<u64> {
        let digits: String = text.chars().filter(|c| !c.is_whitespace()).collect();
        let is_code = digits.len() == 6 && digits.bytes().all(|b| b.is_ascii_digit());
        let code: u32 = is_code.then(|| digits.parse().ok())??;
        let current = now.0 / STEP;
        let steps = current.saturating_sub(SKEW)..=current + SKEW;
        steps
            .filter(|step| *step > used)
            .find(|step| self.code(*step) == code)
    }

    fn code(&self, step: u64) -> u32 {
        let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &self.0);
        let tag = hmac::sign(&key, &step.to_be_bytes());
        let tag = tag.as_ref();
        let start = usize::from(tag[tag.len() - 1] & 0xf);
        let four = tag[start..start + 4].iter();
        let number = four.fold(0, |number: u32, byte| number << 8 | u32::from(*byte));
        (number & 0x7fff_ffff) % 1_000_000
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// 20 bytes are 32 letters, without a rest.
fn base32(bytes: &[u8; 20]) -> String {
    const LETTERS: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let groups = bytes
        .chunks(5)
        .map(|five| five.iter().fold(0u64, |n, byte| n << 8 | u64::from(*byte)));
    groups
        .flat_map(|group| (0..8).rev().map(move |n| (group >> (5 * n)) & 31))
        .map(|index| char::from(LETTERS[index as usize]))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The secret of RFC 6238, appendix B.
    fn secret() -> Secret {
        Secret(*b"12345678901234567890")
    }

    #[test]
    fn codes_are_those_of_the_standard() {
        for (time, code) in [
            (59, 287_082),
            (1_111_111_109, 81_804),
            (1_111_111_111, 50_471),
            (1_234_567_890, 5_924),
            (2_000_000_000, 279_037),
        ] {
            assert_eq!(secret().code(time / STEP), code);
        }
    }

    #[test]
    fn a_code_counts_about_its_time_and_once() {
        let text = "081 804";
        let step = 1_111_111_109 / STEP;
        let at = |seconds: u64, used| secret().step_of(text, Timestamp(seconds), used);
        for time in [1_111_111_109 - 30, 1_111_111_109, 1_111_111_109 + 30] {
            assert_eq!(at(time, 0), Some(step));
            assert_eq!(at(time, step), None, "it was used");
        }
        assert_eq!(at(1_111_111_109 - 90, 0), None);
        assert_eq!(at(1_111_111_109 + 90, 0), None);
    }

    #[test]
    fn other_texts_are_no_codes() {
        for text in ["", "81804", "0081804", "08180x", "+81804", "-81804"] {
            assert_eq!(
                secret().step_of(text, Timestamp(1_111_111_109), 0),
                None,
                "{text}"
            );
        }
    }

    #[test]
    fn apps_and_people_get_the_secret_in_base32() {
        assert_eq!(
            secret().as_text(),
            "GEZD GNBV GY3T QOJQ GEZD GNBV GY3T QOJQ"
        );
        let url = "https://control.example.com:8443"
            .parse()
            .expect("an address");
        let uri = secret().as_uri("a+b@example.com", &url);
        assert_eq!(
            uri,
            "otpauth://totp/control.example.com:a%2Bb%40example.com\
             ?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ&issuer=control.example.com"
        );
        assert_eq!(format!("{:?}", secret()), "Secret");
    }
}
