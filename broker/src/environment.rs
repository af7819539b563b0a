//! The variables of a session, made from nothing; later ones win.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;

use crate::account::Passwd;

/// Always accepted from a client: the terminal's and the language's.
const ALWAYS: [&[u8]; 3] = [b"TERM", b"LANG", b"LC_*"];

/// Never accepted, whatever the policy says: what changes the code that a program runs before
/// its first line, and what meshd itself sets.
const NEVER: [&[u8]; 19] = [
    b"LD_*",
    b"DYLD_*",
    b"GLIBC_TUNABLES",
    b"GCONV_PATH",
    b"LOCPATH",
    b"NLSPATH",
    b"IFS",
    b"BASH_ENV",
    b"BASH_FUNC*",
    b"ENV",
    b"SHELLOPTS",
    b"BASHOPTS",
    b"PYTHON*",
    b"PERL*",
    b"SSH_*",
    b"MESH_*",
    b"MAIL",
    b"XDG_*",
    b"TMPDIR",
];

/// What a session's variables are made from.
#[derive(Debug)]
pub struct Sources<'a> {
    /// The account.
    pub passwd: &'a Passwd,
    /// Patterns of the rule that decided.
    pub accept: &'a [String],
    /// What the client sent.
    pub client: &'a [(Vec<u8>, Vec<u8>)],
    /// The most bytes of these, names and values.
    pub client_bytes: usize,
    /// The terminal's type; empty without a terminal.
    pub term: &'a [u8],
    /// What PAM's modules set, as `NAME=value`.
    pub pam: &'a [CString],
    /// What meshd says of the connection.
    pub connection: &'a [(&'static str, Vec<u8>)],
}

/// The variables as `NAME=value`, for execve(2).
#[must_use]
pub fn build(sources: &Sources<'_>) -> Vec<CString> {
    let mut variables: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
    let mut room = sources.client_bytes;
    for (name, value) in sources.client {
        let size = name.len() + value.len();
        if size <= room && accepted(name, sources.accept) {
            room -= size;
            variables.insert(name.clone(), value.clone());
        }
    }
    let passwd = sources.passwd;
    let login = passwd.account.login.as_str().as_bytes();
    let mut set = |name: &str, value: &[u8]| variables.insert(name.into(), value.to_vec());
    set("USER", login);
    set("LOGNAME", login);
    set("HOME", passwd.home.as_os_str().as_bytes());
    set("SHELL", passwd.shell.as_os_str().as_bytes());
    set("PATH", default_path(passwd.account.uid).as_bytes());
    if !sources.term.is_empty() {
        set("TERM", sources.term);
    }
    for pair in sources.pam {
        let bytes = pair.to_bytes();
        if let Some(middle) = bytes.iter().position(|byte| *byte == b'=') {
            variables.insert(bytes[..middle].to_vec(), bytes[middle + 1..].to_vec());
        }
    }
    for (name, value) in sources.connection {
        variables.insert(name.as_bytes().to_vec(), value.clone());
    }
    let joined = variables
        .into_iter()
        .map(|(name, value)| [name, value].join(&b'='));
    joined.filter_map(|pair| CString::new(pair).ok()).collect()
}

/// Debian's defaults for sshd; PAM may say otherwise.
fn default_path(uid: u32) -> &'static str {
    if uid == 0 {
        "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    } else {
        "/usr/local/bin:/usr/bin:/bin:/usr/games"
    }
}

fn accepted(name: &[u8], patterns: &[String]) -> bool {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
    let legal = !name.is_empty() && name.iter().all(plain) && !name[0].is_ascii_digit();
    legal
        && !NEVER.iter().any(|pattern| matches(pattern, name))
        && (ALWAYS.iter().any(|pattern| matches(pattern, name))
            || patterns
                .iter()
                .any(|pattern| matches(pattern.as_bytes(), name)))
}

/// `*` stands for any run of bytes, `?` for one byte. Linear in the product of the lengths.
fn matches(pattern: &[u8], name: &[u8]) -> bool {
    let (mut p, mut n) = (0, 0);
    let mut star = None;
    while n < name.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, n));
                p += 1;
            }
            Some(c) if *c == b'?' || *c == name[n] => {
                p += 1;
                n += 1;
            }
            _ => match star {
                Some((star_p, star_n)) => {
                    p = star_p + 1;
                    n = star_n + 1;
                    star = Some((star_p, n));
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|c| *c == b'*')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::authorize::tests::passwd;

    fn built(client: &[(&str, &str)], accept: &[&str]) -> Vec<String> {
        let client: Vec<_> = client
            .iter()
            .map(|(n, v)| ((*n).into(), (*v).into()))
            .collect();
        let accept: Vec<String> = accept.iter().map(|p| (*p).to_owned()).collect();
        let pam = [c"XDG_SESSION_ID=7".to_owned(), c"PATH=/from/pam".to_owned()];
        let variables = build(&Sources {
            passwd: &passwd("alice", 1000),
            accept: &accept,
            client: &client,
            client_bytes: 64 << 10,
            term: b"xterm",
            pam: &pam,
            connection: &[("SSH_TTY", b"/dev/pts/0".to_vec())],
        });
        variables
            .into_iter()
            .map(|v| v.into_string().expect("text"))
            .collect()
    }

    #[test]
    fn language_comes_through_and_the_rest_by_rule_only() {
        let client = [
            ("LANG", "C.UTF-8"),
            ("LC_ALL", "C"),
            ("FOO", "1"),
            ("FOOT", "2"),
        ];
        let variables = built(&client, &["FO?"]);
        assert!(variables.contains(&"LANG=C.UTF-8".to_owned()));
        assert!(variables.contains(&"LC_ALL=C".to_owned()));
        assert!(variables.contains(&"FOO=1".to_owned()));
        assert!(!variables.iter().any(|v| v.starts_with("FOOT=")));
    }

    #[test]
    fn no_policy_lets_dangerous_names_through() {
        let names = [
            "LD_PRELOAD",
            "LD_LIBRARY_PATH",
            "GLIBC_TUNABLES",
            "GCONV_PATH",
            "IFS",
            "BASH_ENV",
            "ENV",
            "SHELLOPTS",
            "PYTHONSTARTUP",
            "PERL5OPT",
            "SSH_AUTH_SOCK",
            "MESH_PEER",
            "A B",
            "A=B",
            "",
            "1A",
        ];
        for name in names {
            let variables = built(&[(name, "evil")], &["*"]);
            assert!(!variables.iter().any(|v| v.contains("evil")), "{name}");
        }
    }

    #[test]
    fn the_account_outranks_the_client_and_pam_the_account() {
        let variables = built(
            &[("HOME", "/evil"), ("USER", "root"), ("PATH", "/evil")],
            &["*"],
        );
        assert!(variables.contains(&"HOME=/".to_owned()));
        assert!(variables.contains(&"USER=alice".to_owned()));
        assert!(variables.contains(&"PATH=/from/pam".to_owned()));
        assert!(variables.contains(&"SSH_TTY=/dev/pts/0".to_owned()));
    }

    #[test]
    fn client_variables_are_bounded() {
        let big = "x".repeat(40 << 10);
        let variables = built(&[("AA", &big), ("AB", &big), ("AC", "small")], &["*"]);
        assert!(variables.iter().any(|v| v.starts_with("AA=")));
        assert!(!variables.iter().any(|v| v.starts_with("AB=")));
        assert!(variables.iter().any(|v| v.starts_with("AC=")));
    }

    proptest! {
        #[test]
        fn matching_equals_its_definition(pattern in "[ab*?]{0,6}", name in "[ab]{0,6}") {
            prop_assert_eq!(
                matches(pattern.as_bytes(), name.as_bytes()),
                by_definition(pattern.as_bytes(), name.as_bytes())
            );
        }
    }

    fn by_definition(pattern: &[u8], name: &[u8]) -> bool {
        match (pattern.split_first(), name.split_first()) {
            (None, None) => true,
            (Some((b'*', rest)), _) => {
                (0..=name.len()).any(|skipped| by_definition(rest, &name[skipped..]))
            }
            (Some((p, rest)), Some((n, tail))) => {
                (*p == b'?' || p == n) && by_definition(rest, tail)
            }
            (Some(_), None) | (None, Some(_)) => false,
        }
    }
}
