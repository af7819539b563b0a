//! ssh.

use meshd_contract::login::Login;
use meshd_contract::ssh_rule::{Action, CheckPeriod};

use super::place::{Names, Place};
use super::{Fields, Path, Reader};
use crate::duration::Duration;
use crate::hujson::Value;
use crate::model::{LoginWords, Origin, SshSection};
use crate::selector::Selector;
use crate::suggest;

pub(super) const FIELDS: [&str; 14] = [
    "action",
    "src",
    "dst",
    "users",
    "checkPeriod",
    "acceptEnv",
    "srcPosture",
    "recorder",
    "enforceRecorder",
    "forwarding",
    "permitOpen",
    "permitListen",
    "command",
    "sessionDuration",
];

/// The longest check period.
const MAX_CHECK_PERIOD: Duration = Duration::hours(168);

const USERS_HELP: &str = "write account names, root, autogroup:nonroot or localpart:*@DOMAIN";

impl Reader<'_> {
    pub(super) fn ssh_rules(
        &mut self,
        value: Option<&Value>,
        path: &Path<'_>,
        names: &Names,
    ) -> Vec<SshSection> {
        let mut rules = Vec::new();
        let Some(value) = value else {
            return rules;
        };
        for (index, item) in self.list(value, path).iter().enumerate() {
            let path = path.index(index);
            let Some(fields) = self.fields(item, &path, &FIELDS) else {
                continue;
            };
            let origin = Origin {
                section: "ssh",
                index: Some(index),
                at: item.at,
            };
            rules.extend(self.ssh_rule(origin, &fields, &path, names));
        }
        rules
    }

    /// None only with a problem.
    fn ssh_rule(
        &mut self,
        origin: Origin,
        fields: &Fields<'_>,
        path: &Path<'_>,
        names: &Names,
    ) -> Option<SshSection> {
        self.source_posture(fields.value("srcPosture"), &path.key("srcPosture"));
        let action = self.ssh_action(origin, fields, path);
        let sources = self.selectors(
            fields.value("src"),
            &path.key("src"),
            Place::SshSource,
            names,
        );
        let destinations = self.selectors(
            fields.value("dst"),
            &path.key("dst"),
            Place::SshDestination,
            names,
        );
        let users = self.login_words(origin, fields, path);
        let accept_env = self.accept_env(fields.value("acceptEnv"), &path.key("acceptEnv"));
        let rights = self.rights(fields, path, names);
        self.ssh_pairs(fields, path, action, &sources, &destinations);
        Some(SshSection {
            origin,
            action: action?,
            sources,
            destinations,
            users,
            accept_env,
            rights,
        })
    }

    fn ssh_action(
        &mut self,
        origin: Origin,
        fields: &Fields<'_>,
        path: &Path<'_>,
    ) -> Option<Action> {
        let action_path = path.key("action");
        let help = "write \"accept\" or \"check\": what no rule names is denied";
        let value = fields.value("action");
        let word = match value {
            Some(value) => self.text(value, &action_path)?,
            None => "",
        };
        let at = value.map_or(origin.at, |value| value.at);
        let period = self.check_period(fields.value("checkPeriod"), &path.key("checkPeriod"));
        match word {
            "accept" => {
                if let Some(value) = fields.value("checkPeriod") {
                    self.problem(
                        value.at,
                        &path.key("checkPeriod"),
                        "checkPeriod means nothing where action is accept",
                        "write \"action\": \"check\" to ask for a sign-in, or remove checkPeriod",
                    );
                }
                Some(Action::Accept)
            }
            "check" => Some(Action::Check(period.unwrap_or(CheckPeriod::Default))),
            "" => {
                self.problem(at, &action_path, "action must be specified", help);
                None
            }
            _ => {
                let message = format!("{word:?} is not a valid action");
                self.problem(at, &action_path, message, help);
                None
            }
        }
    }

    fn check_period(&mut self, value: Option<&Value>, path: &Path<'_>) -> Option<CheckPeriod> {
        let value = value?;
        let text = self.text(value, path)?;
        if text == "always" {
            return Some(CheckPeriod::Always);
        }
        let message = match Duration::parse(text) {
            None => format!("time: invalid duration {text:?}"),
            Some(period) if period < Duration(0) => {
                format!("checkPeriod {period} must be a positive duration")
            }
            Some(period) if period > MAX_CHECK_PERIOD => {
                format!("checkPeriod {period} is above the max (168h)")
            }
            Some(period) => {
                let seconds = u64::try_from(period.seconds()).unwrap_or(0);
                return Some(if seconds == 0 {
                    CheckPeriod::Always
                } else {
                    CheckPeriod::Seconds(seconds)
                });
            }
        };
        self.problem(
            value.at,
            path,
            message,
            "write always, or a duration of at most 168h, such as 12h or 90m",
        );
        None
    }

    fn login_words(&mut self, origin: Origin, fields: &Fields<'_>, path: &Path<'_>) -> LoginWords {
        let path = path.key("users");
        let mut words = LoginWords::default();
        let value = fields.value("users");
        let texts = self.texts(value, &path);
        let nothing_listed = match value.map(|value| &value.kind) {
            Some(crate::hujson::Kind::Array(items)) => items.is_empty(),
            Some(_) => false,
            None => true,
        };
        if nothing_listed {
            let at = value.map_or(origin.at, |value| value.at);
            self.problem(at, &path, "users must be specified", USERS_HELP);
        }
        for (index, item, word) in texts {
            self.login_word(word, item.at, &path.index(index), &mut words);
        }
        words
    }

    fn login_word(&mut self, word: &str, at: usize, path: &Path<'_>, words: &mut LoginWords) {
        if word == "root" {
            words.root = true;
        } else if word == "autogroup:nonroot" {
            words.nonroot = true;
        } else if let Some(domain) = word.strip_prefix("localpart:*@").filter(|d| !d.is_empty()) {
            self.use_domain(domain, at, path);
            words.localpart_domains.insert(domain.to_owned());
        } else {
            match word.parse::<Login>() {
                Ok(login) => {
                    words.named.insert(login);
                }
                Err(_) => {
                    let meant = suggest::did_you_mean(word, ["autogroup:nonroot", "root"]);
                    let help = if meant.is_empty() { USERS_HELP } else { &meant };
                    self.problem(at, path, format!("user {word:?} is not valid"), help);
                }
            }
        }
    }

    fn accept_env(&mut self, value: Option<&Value>, path: &Path<'_>) -> Vec<String> {
        let mut patterns = Vec::new();
        for (index, item, pattern) in self.texts(value, path) {
            if pattern.is_empty() {
                self.problem(
                    item.at,
                    &path.index(index),
                    "acceptEnv values cannot be empty",
                    "write names of variables; * and ? match any characters and one",
                );
            } else {
                patterns.push(pattern.to_owned());
            }
        }
        patterns
    }

    /// Users may enter their own devices and tagged nodes, tagged nodes may enter tagged nodes
    /// without a check, and nothing else.
    fn ssh_pairs(
        &mut self,
        fields: &Fields<'_>,
        path: &Path<'_>,
        action: Option<Action>,
        sources: &[Selector],
        destinations: &[Selector],
    ) {
        let of_users = |selector: &Selector| selector.is_of_users();
        let at = |name| fields.value(name).map_or(0, |value| value.at);
        let tagged_source = sources.iter().find(|source| !of_users(source));
        if let (Some(source), Some(Action::Check(_))) = (tagged_source, action) {
            self.problem(
                at("src"),
                &path.key("src"),
                format!("src \"{source}\" has no user who could pass a check"),
                "write \"action\": \"accept\" in a rule of its own for tagged sources",
            );
        }
        let owned = |d: &&Selector| matches!(d, Selector::SelfDevices | Selector::User(_));
        let Some(destination) = destinations.iter().find(owned) else {
            return;
        };
        if let Some(source) = tagged_source {
            self.problem(
                at("dst"),
                &path.key("dst"),
                format!("src \"{source}\" cannot be used with dst \"{destination}\""),
                "tagged nodes may enter tagged nodes only",
            );
        }
        for destination in destinations {
            let same = |source: &Selector| source == destination;
            let own = !sources.is_empty() && sources.iter().all(same);
            if matches!(destination, Selector::User(_)) && !own {
                self.problem(
                    at("dst"),
                    &path.key("dst"),
                    format!(
                        "users in dst are only allowed from the same user: dst \"{destination}\""
                    ),
                    "write autogroup:self for everybody's own devices, or tag the nodes that \
                     several users share",
                );
            }
        }
    }
}
