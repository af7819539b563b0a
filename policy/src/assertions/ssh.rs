//! `sshTests`.

use meshd_contract::identity::NodeId;
use meshd_contract::login::Login;
use meshd_contract::ssh_rule::{Account, Decision, SshRule, decide};

use super::Run;
use crate::model::{SshTest, Word};

/// What an assertion wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Accept,
    Check,
    Deny,
}

/// Who calls whom.
type Parties = (Vec<Source>, Vec<Target>);

/// A calling node and its name.
type Source = (NodeId, String);

/// A destination: its name and its rules.
struct Target {
    name: String,
    rules: Vec<SshRule>,
}

impl Run<'_> {
    pub(super) fn ssh_test(&mut self, test: &SshTest) {
        let lists = [
            ("accept", &test.accept, Wanted::Accept),
            ("check", &test.check, Wanted::Check),
            ("deny", &test.deny, Wanted::Deny),
        ];
        if lists.iter().all(|(_, words, _)| words.is_empty()) {
            let message = Err("the test asserts nothing: write accept, check or deny".to_owned());
            self.note(test.origin.at, test.origin.to_string(), message);
            return;
        }
        let parties = self.parties(test);
        for (field, words, wanted) in lists {
            for (index, word) in words.iter().enumerate() {
                let path = format!("{}.{field}[{index}]", test.origin);
                let result = match &parties {
                    Ok((sources, targets)) => ssh_assertion(sources, targets, &word.text, wanted),
                    Err(message) => Err(message.clone()),
                };
                self.note(word.at, path, result);
            }
        }
    }

    fn parties(&self, test: &SshTest) -> Result<Parties, String> {
        if test.source.is_empty() {
            return Err("the test has no src".to_owned());
        }
        if test.destinations.is_empty() {
            return Err("the test has no dst".to_owned());
        }
        let sources = self.nodes(&test.source)?;
        let mut targets = Vec::new();
        for Word { text, .. } in &test.destinations {
            for (id, name) in self.nodes(text)? {
                let rules = self.compiled.node(id).ssh_rules;
                targets.push(Target { name, rules });
            }
        }
        Ok((sources, targets))
    }

    fn nodes(&self, word: &str) -> Result<Vec<Source>, String> {
        let mesh = self.compiled.mesh();
        self.endpoints(word)?
            .into_iter()
            .map(|endpoint| {
                let node = endpoint.slot.and_then(|slot| mesh.node(slot));
                let node = node.ok_or_else(|| format!("no node has {word}"))?;
                Ok((node.id, node.name.to_string()))
            })
            .collect()
    }
}

fn ssh_assertion(
    sources: &[Source],
    targets: &[Target],
    user: &str,
    wanted: Wanted,
) -> Result<(), String> {
    let login: Login = user
        .parse()
        .map_err(|error| format!("{user:?} is no account: {error}"))?;
    // A policy cannot know user ids: root stands for 0, and every other name for another.
    let uid = if user == "root" { 0 } else { 1000 };
    let account = Account { login, uid };
    for (source, from) in sources {
        for target in targets {
            let (found, origin) = match decide(&target.rules, *source, Some(&account)) {
                Decision::Accept(rule) => (Wanted::Accept, rule.origin.as_str()),
                Decision::Check(rule, _) => (Wanted::Check, rule.origin.as_str()),
                Decision::DenyNode | Decision::DenyLogin => (Wanted::Deny, ""),
            };
            if found != wanted {
                let to = format!("{from} to {} as {user}", target.name);
                return Err(match found {
                    Wanted::Accept => format!("{to} is accepted without a check, by {origin}"),
                    Wanted::Check => format!("{to} needs a check, by {origin}"),
                    Wanted::Deny => format!("{to} is denied: no rule names it"),
                });
            }
        }
    }
    Ok(())
}
