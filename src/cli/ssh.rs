//! `mesh ssh`.

use std::ffi::{OsStr, OsString};
use std::net::IpAddr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode};

use meshd_contract::network_document::NetworkDocument;

use super::{CliError, known_hosts};

/// Becomes ssh, which asks this command for the host keys.
pub(super) fn run(socket: &Path, arguments: &[OsString]) -> Result<ExitCode, CliError> {
    let document = known_hosts::document_in_use(socket)?;
    let program = std::env::current_exe().unwrap_or_else(|_| "/usr/bin/mesh".into());
    let mut ssh = Command::new("ssh");
    ssh.args(options(program.as_os_str()));
    if let Some(address) = address(&document, &Destination::of(arguments))? {
        ssh.args(["-o", &format!("HostName={address}")]);
    }
    Err(CliError::NoSsh(ssh.args(arguments).exec()))
}

/// Host keys come from the mesh alone: no file is read or written, and no question asked.
///
/// The first value of an option counts (ssh_config(5)), so that these stand before the user's.
fn options(program: &OsStr) -> Vec<OsString> {
    let mut known_hosts = OsString::from("KnownHostsCommand=");
    known_hosts.push(program);
    known_hosts.push(" known-hosts --as=%H -- %h");
    let fixed = [
        "UserKnownHostsFile=none",
        "GlobalKnownHostsFile=none",
        "VerifyHostKeyDNS=no",
        "StrictHostKeyChecking=yes",
        "UpdateHostKeys=no",
    ];
    let all = fixed.into_iter().map(OsString::from).chain([known_hosts]);
    all.flat_map(|option| ["-o".into(), option]).collect()
}

/// Where the node of this name is, whatever the host's resolver says; none for a word that is no
/// node's name: an address, or a name that the user's own configuration explains.
fn address(document: &NetworkDocument, to: &Destination) -> Result<Option<IpAddr>, CliError> {
    let Some(peer) = crate::known_hosts::named(document, &to.host) else {
        return Ok(None);
    };
    if peer.ssh_host_keys.is_empty() {
        return Err(CliError::SshOffThere(peer.name.clone()));
    }
    let [v4, v6] = peer.addresses.both();
    Ok(Some(if to.by_ipv6 { v6 } else { v4 }))
}

/// Where ssh is told to go.
#[derive(Debug, Default, PartialEq, Eq)]
struct Destination {
    /// Empty where no word says so.
    host: String,
    /// The option -6.
    by_ipv6: bool,
}

impl Destination {
    /// What OpenSSH 9 and 10 make of their arguments: options may also follow the host, and end at
    /// `--` or at the first word of the command.
    fn of(arguments: &[OsString]) -> Self {
        let mut found = Self::default();
        let mut words = arguments.iter().map(|word| word.as_bytes());
        while let Some(word) = words.next() {
            match word {
                b"--" => {
                    if let (true, Some(host)) = (found.host.is_empty(), words.next()) {
                        found.host = host_in(host);
                    }
                    return found;
                }
                [b'-', flags @ ..] if !flags.is_empty() => {
                    if found.take_flags(flags) {
                        words.next();
                    }
                }
                _ if found.host.is_empty() => found.host = host_in(word),
                _ => return found,
            }
        }
        found
    }

    /// Several in one word, of which the first that has a value ends it; true if the next word is
    /// that value.
    fn take_flags(&mut self, flags: &[u8]) -> bool {
        const WITH_VALUE: &[u8] = b"BDEFIJLOPQRSWbceilmopw";
        for (at, flag) in flags.iter().enumerate() {
            match flag {
                b'4' => self.by_ipv6 = false,
                b'6' => self.by_ipv6 = true,
                flag if WITH_VALUE.contains(flag) => return at + 1 == flags.len(),
                _ => {}
            }
        }
        false
    }
}

/// The host in `[USER@]HOST` or `ssh://[USER@]HOST[:PORT][/]`.
fn host_in(word: &[u8]) -> String {
    let word = String::from_utf8_lossy(word);
    let (word, is_uri) = match word.strip_prefix("ssh://") {
        Some(rest) => (rest.trim_end_matches('/'), true),
        None => (&*word, false),
    };
    let host = word.rsplit('@').next().unwrap_or(word);
    let host = match host.rsplit_once(':') {
        Some((host, _)) if is_uri => host,
        _ => host,
    };
    host.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::known_hosts::tests::with_key;

    fn destination(line: &str) -> (String, bool) {
        let words: Vec<OsString> = line.split(' ').map(OsString::from).collect();
        let Destination { host, by_ipv6 } = Destination::of(&words);
        (host, by_ipv6)
    }

    #[test]
    fn ssh_asks_this_program() {
        let options = options(OsStr::new("/usr/bin/mesh"));
        let asks = "KnownHostsCommand=/usr/bin/mesh known-hosts --as=%H -- %h";
        assert!(options.contains(&OsString::from(asks)));
        assert!(options.iter().step_by(2).all(|flag| flag == "-o"));
    }

    #[test]
    fn the_host_is_found_among_the_options_of_ssh() {
        for line in [
            "web1",
            "alice@web1",
            "a@b@web1",
            "ssh://web1",
            "ssh://alice@web1:22/",
            "-p 22 web1",
            "-p22 web1 -l alice",
            "-tt -o User=alice web1 ls -6",
            "-vvp 22 web1",
            "-NfL 1:localhost:2 web1",
            "-- web1",
            "-4 -- alice@web1 -6",
            "web1 -- -6",
            "-l -6 web1",
            "-6 web1 -4",
        ] {
            assert_eq!(destination(line), ("web1".to_owned(), false), "{line}");
        }
        for line in ["-6 web1", "web1 -6", "-v6p 22 web1 -- -4", "web1 -T6 ls -4"] {
            assert_eq!(destination(line), ("web1".to_owned(), true), "{line}");
        }
        for line in ["-V", "-Q key", "-p", "--", "-F web1"] {
            assert_eq!(destination(line).0, "", "{line}");
        }
    }

    #[test]
    fn a_nodes_name_leads_to_its_address() {
        let document = with_key();
        let address = |host: &str, by_ipv6| {
            let host = host.to_owned();
            address(&document, &Destination { host, by_ipv6 })
        };
        let is = |found: Result<Option<IpAddr>, _>| found.ok().flatten().map(|a| a.to_string());
        let (v4, v6) = ("100.64.0.2".to_owned(), "fd7a:115c:a1e0::2".to_owned());
        assert_eq!(is(address("laptop", false)), Some(v4.clone()));
        assert_eq!(is(address("LAPTOP.mesh.internal.", false)), Some(v4));
        assert_eq!(is(address("laptop", true)), Some(v6));
        for host in ["100.64.0.2", "fd7a:115c:a1e0::2", "github.com", ""] {
            assert!(matches!(address(host, false), Ok(None)), "{host}");
        }
        assert!(matches!(
            address("printer", false),
            Err(CliError::SshOffThere(_))
        ));
    }
}
