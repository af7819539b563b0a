//! tests and sshTests: their form. What they say is looked at when they run.

use super::place::Names;
use super::{Path, Reader};
use crate::hujson::Value;
use crate::model::{NetworkTest, Origin, SshTest, Word};
use crate::selector::Selector;

pub(super) const TEST_FIELDS: [&str; 7] = [
    "src",
    "user",
    "proto",
    "accept",
    "allow",
    "deny",
    "srcPostureAttrs",
];

pub(super) const SSH_TEST_FIELDS: [&str; 6] =
    ["src", "dst", "accept", "check", "deny", "srcPostureAttrs"];

impl Reader<'_> {
    pub(super) fn network_tests(
        &mut self,
        value: Option<&Value>,
        path: &Path<'_>,
    ) -> Vec<NetworkTest> {
        let mut tests = Vec::new();
        let Some(value) = value else {
            return tests;
        };
        for (index, item) in self.list(value, path).iter().enumerate() {
            let path = path.index(index);
            let Some(fields) = self.fields(item, &path, &TEST_FIELDS) else {
                continue;
            };
            let first = |a, b| fields.value(a).or_else(|| fields.value(b));
            tests.push(NetworkTest {
                origin: Origin {
                    section: "tests",
                    index: Some(index),
                    at: item.at,
                },
                source: self.optional_text(first("src", "user"), &path.key("src")),
                protocol: self.optional_text(fields.value("proto"), &path.key("proto")),
                accept: self.words(first("accept", "allow"), &path.key("accept")),
                deny: self.words(fields.value("deny"), &path.key("deny")),
            });
        }
        tests
    }

    pub(super) fn ssh_tests(
        &mut self,
        value: Option<&Value>,
        path: &Path<'_>,
        names: &Names,
    ) -> Vec<SshTest> {
        let mut tests = Vec::new();
        let Some(value) = value else {
            return tests;
        };
        for (index, item) in self.list(value, path).iter().enumerate() {
            let path = path.index(index);
            let Some(fields) = self.fields(item, &path, &SSH_TEST_FIELDS) else {
                continue;
            };
            let source = self.optional_text(fields.value("src"), &path.key("src"));
            let source_at = fields.value("src").map_or(item.at, |value| value.at);
            self.ssh_test_element(&source, "src", source_at, &path.key("src"), names);
            let destinations = self.words(fields.value("dst"), &path.key("dst"));
            for (index, word) in destinations.iter().enumerate() {
                let path = path.key("dst");
                self.ssh_test_element(&word.text, "dst", word.at, &path.index(index), names);
            }
            tests.push(SshTest {
                origin: Origin {
                    section: "sshTests",
                    index: Some(index),
                    at: item.at,
                },
                source,
                destinations,
                accept: self.words(fields.value("accept"), &path.key("accept")),
                check: self.words(fields.value("check"), &path.key("check")),
                deny: self.words(fields.value("deny"), &path.key("deny")),
            });
        }
        tests
    }

    /// What an SSH test may not name at all is an error of the file, as in the service.
    fn ssh_test_element(
        &mut self,
        word: &str,
        side: &str,
        at: usize,
        path: &Path<'_>,
        names: &Names,
    ) {
        let selector = Selector::parse(word);
        let unknown_tag = word.starts_with("tag:") && !names.tags.contains(word);
        if unknown_tag {
            let help = self.suggest(word, names.tags.iter().map(String::as_str), "");
            self.problem(
                at,
                path,
                format!("SSH tests {side} contains unknown tag {word:?}"),
                help,
            );
            return;
        }
        let disallowed = match selector {
            Ok(Selector::Range(range)) => range.first() != range.last(),
            Ok(Selector::Group(_)) => side == "dst",
            Ok(Selector::User(_) | Selector::Tag(_) | Selector::Host(_)) => false,
            Ok(_) => true,
            Err(_) => word.starts_with("autogroup:") || word.starts_with("svc:"),
        };
        if disallowed {
            self.problem(
                at,
                path,
                format!("SSH tests {side} contains disallowed element {word:?}"),
                "write a user, a tag, a host with one address, or an address",
            );
        }
    }

    fn optional_text(&mut self, value: Option<&Value>, path: &Path<'_>) -> String {
        value
            .and_then(|value| self.text(value, path))
            .unwrap_or_default()
            .to_owned()
    }

    fn words(&mut self, value: Option<&Value>, path: &Path<'_>) -> Vec<Word> {
        self.texts(value, path)
            .into_iter()
            .map(|(_, item, text)| Word {
                text: text.to_owned(),
                at: item.at,
            })
            .collect()
    }
}
