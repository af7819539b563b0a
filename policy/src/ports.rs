//! Port lists and IP protocols as rules write them.

use meshd_contract::filter::PortRange;

/// TCP's protocol number (<https://www.iana.org/assignments/protocol-numbers>).
pub(crate) const TCP: u8 = 6;
/// UDP's.
pub(crate) const UDP: u8 = 17;
/// SCTP's.
pub(crate) const SCTP: u8 = 132;
/// What a rule means that names no protocol: TCP, UDP, ICMP, ICMPv6.
pub(crate) const UNNAMED: [u8; 4] = [TCP, UDP, 1, 58];

const NAMES: [(&str, u8); 14] = [
    ("icmp", 1),
    ("igmp", 2),
    ("ipv4", 4),
    ("ip-in-ip", 4),
    ("tcp", TCP),
    ("egp", 8),
    ("igp", 9),
    ("udp", UDP),
    ("gre", 47),
    ("esp", 50),
    ("ah", 51),
    ("ipv6-icmp", 58),
    ("sctp", SCTP),
    ("fc", 133),
];

/// The number of a protocol that is written as a name or as 1 to 255.
pub(crate) fn protocol(word: &str) -> Option<u8> {
    if let Some((_, number)) = NAMES.iter().find(|(name, _)| *name == word) {
        return Some(*number);
    }
    let number = word
        .bytes()
        .all(|b| b.is_ascii_digit())
        .then(|| word.parse().ok())??;
    (number > 0).then_some(number)
}

/// The name of a protocol, or its number.
pub(crate) fn protocol_name(number: u8) -> String {
    NAMES
        .iter()
        .find(|(_, known)| *known == number)
        .map_or_else(|| number.to_string(), |(name, _)| (*name).to_owned())
}

/// Whether packets of it have ports.
pub(crate) fn has_ports(protocol: u8) -> bool {
    matches!(protocol, TCP | UDP | SCTP)
}

/// Reads `*`, `22`, `80-443`, or a list of them with commas.
///
/// # Errors
/// The first fault, in the service's words.
pub(crate) fn parse(text: &str) -> Result<Vec<PortRange>, String> {
    if text.trim() == "*" {
        return Ok(vec![PortRange::ALL]);
    }
    text.split(',').map(|item| range(item.trim())).collect()
}

fn range(item: &str) -> Result<PortRange, String> {
    if item == "*" {
        return Ok(PortRange::ALL);
    }
    let (first, last) = item.split_once('-').unwrap_or((item, item));
    let number = |text: &str, which| {
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        digits
            .then(|| text.parse::<u16>().ok())
            .flatten()
            .ok_or_else(|| format!("port range {item:?}: invalid {which} integer"))
    };
    let (first, last) = (number(first, "first")?, number(last, "last")?);
    if first == 0 {
        return Err(format!(
            "port range {item:?}: first port must be >0, or use '*' for wildcard"
        ));
    }
    if last < first {
        return Err(format!(
            "port range {item:?}: the last port is below the first"
        ));
    }
    Ok(PortRange { first, last })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn port_lists_are_read() {
        let of = |text: &str| {
            parse(text).map(|ranges| ranges.iter().map(|r| (r.first, r.last)).collect::<Vec<_>>())
        };
        assert_eq!(of("*"), Ok(vec![(0, 65535)]));
        assert_eq!(of("22"), Ok(vec![(22, 22)]));
        assert_eq!(of("80-443, 22"), Ok(vec![(80, 443), (22, 22)]));
        for text in ["", "ssh", "0", "65536", "-1", "443-80", "80-", "+1", "22,"] {
            assert!(of(text).is_err(), "{text}");
        }
    }

    #[test]
    fn protocols_have_names_and_numbers() {
        assert_eq!(protocol("udp"), Some(17));
        assert_eq!(protocol("17"), Some(17));
        assert_eq!(protocol_name(17), "udp");
        assert_eq!(protocol_name(200), "200");
        for word in ["", "0", "256", "+6", "TCP", "6 "] {
            assert_eq!(protocol(word), None, "{word}");
        }
    }
}
