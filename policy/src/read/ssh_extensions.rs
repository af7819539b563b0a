//! What an SSH rule says beyond who may log in: recording, and meshd's own fields.

use meshd_contract::ssh_rule::{Forwarding, Rights};

use super::place::Names;
use super::{Fields, Path, Reader};
use crate::duration::Duration;
use crate::hujson::Value;
use crate::suggest;

pub(super) const FORWARDING: [(&str, Forwarding); 5] = [
    ("all", Forwarding::All),
    ("none", Forwarding::None),
    ("local", Forwarding::Local),
    ("remote", Forwarding::Remote),
    ("agent", Forwarding::Agent),
];

impl Reader<'_> {
    pub(super) fn rights(&mut self, fields: &Fields<'_>, path: &Path<'_>, names: &Names) -> Rights {
        let forwarding = self.forwarding(fields.value("forwarding"), &path.key("forwarding"));
        let mut endpoints = |name, permitted: [Forwarding; 2]| {
            let value = fields.value(name);
            let list = self.endpoints(value, &path.key(name));
            if let Some(value) = value
                && !list.is_empty()
                && !permitted.contains(&forwarding)
            {
                self.problem(
                    value.at,
                    &path.key(name),
                    format!("{name} means nothing where forwarding does not permit it"),
                    "remove it, or write \"forwarding\": \"all\"",
                );
            }
            list
        };
        let permit_open = endpoints("permitOpen", [Forwarding::All, Forwarding::Local]);
        let permit_listen = endpoints("permitListen", [Forwarding::All, Forwarding::Remote]);
        let enforce_recorder = fields.value("enforceRecorder");
        Rights {
            forwarding,
            permit_open,
            permit_listen,
            command: self.command(fields.value("command"), &path.key("command")),
            session_seconds: self.session_seconds(
                fields.value("sessionDuration"),
                &path.key("sessionDuration"),
            ),
            recorders: self.recorders(fields.value("recorder"), &path.key("recorder"), names),
            enforce_recorder: enforce_recorder
                .and_then(|value| self.bool(value, &path.key("enforceRecorder")))
                .unwrap_or(false),
        }
    }

    fn forwarding(&mut self, value: Option<&Value>, path: &Path<'_>) -> Forwarding {
        let Some(value) = value else {
            return Forwarding::default();
        };
        let Some(word) = self.text(value, path) else {
            return Forwarding::default();
        };
        let known = FORWARDING.iter().find(|(name, _)| *name == word);
        if known.is_none() {
            let help = suggest::did_you_mean(word, FORWARDING.map(|(name, _)| name));
            let help = if help.is_empty() {
                "write all, none, local, remote or agent".to_owned()
            } else {
                help
            };
            self.problem(
                value.at,
                path,
                format!("{word:?} is no kind of forwarding"),
                help,
            );
        }
        known.map_or_else(Forwarding::default, |(_, forwarding)| *forwarding)
    }

    fn endpoints(&mut self, value: Option<&Value>, path: &Path<'_>) -> Vec<String> {
        let mut endpoints = Vec::new();
        for (index, item, word) in self.texts(value, path) {
            if is_endpoint(word) {
                endpoints.push(word.to_owned());
            } else {
                self.problem(
                    item.at,
                    &path.index(index),
                    format!("{word:?} is no host and port"),
                    "write HOST:PORT, such as db1:5432 or [fd00::1]:*; * stands for any host or \
                     port",
                );
            }
        }
        endpoints
    }

    fn command(&mut self, value: Option<&Value>, path: &Path<'_>) -> Option<String> {
        let value = value?;
        let command = self.text(value, path)?;
        if command.is_empty() || command.contains('\0') {
            self.problem(
                value.at,
                path,
                "the command is empty",
                "write the command line that is to run whatever the client asks for",
            );
            return None;
        }
        Some(command.to_owned())
    }

    fn session_seconds(&mut self, value: Option<&Value>, path: &Path<'_>) -> Option<u64> {
        let value = value?;
        let text = self.text(value, path)?;
        let seconds = Duration::parse(text)
            .map(Duration::seconds)
            .filter(|seconds| *seconds > 0)
            .and_then(|seconds| u64::try_from(seconds).ok());
        if seconds.is_none() {
            self.problem(
                value.at,
                path,
                format!("sessionDuration {text:?} is no duration of at least one second"),
                "write a duration such as 8h or 30m",
            );
        }
        seconds
    }

    fn recorders(&mut self, value: Option<&Value>, path: &Path<'_>, names: &Names) -> Vec<String> {
        let mut recorders = Vec::new();
        for (index, item, word) in self.texts(value, path) {
            if names.tags.contains(word) {
                recorders.push(word.to_owned());
            } else {
                let help = self.suggest(
                    word,
                    names.tags.iter().map(String::as_str),
                    "write the tag of the recorders, and define it in tagOwners",
                );
                self.problem(
                    item.at,
                    &path.index(index),
                    format!("recorder {word:?}: tag not found"),
                    help,
                );
            }
        }
        recorders
    }
}

/// `HOST:PORT`, either of them `*`, an IPv6 address in brackets.
fn is_endpoint(word: &str) -> bool {
    let Some((host, port)) = word.rsplit_once(':') else {
        return false;
    };
    let port_fits = port == "*"
        || port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|n| n > 0);
    let host_fits = match host.strip_prefix('[') {
        Some(rest) => rest
            .strip_suffix(']')
            .is_some_and(|address| address.parse::<std::net::Ipv6Addr>().is_ok()),
        None => {
            !host.is_empty()
                && host
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b'*'))
        }
    };
    port_fits && host_fits
}
