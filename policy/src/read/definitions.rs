//! groups, tagOwners, hosts, ipsets.

use std::collections::{BTreeMap, BTreeSet};

use meshd_contract::address::AddressRange;

use super::place::{Names, Place};
use super::{Path, Reader};
use crate::hujson::{Kind, Value};
use crate::ranges::RangeSet;
use crate::selector::{Selector, address_range};

impl Reader<'_> {
    pub(super) fn groups(
        &mut self,
        value: Option<&Value>,
        path: &Path<'_>,
    ) -> BTreeMap<String, Vec<String>> {
        let mut groups = BTreeMap::new();
        let Some(value) = value else {
            return groups;
        };
        for member in self.members(value, path) {
            let path = path.key(&member.key);
            if member.key.strip_prefix("group:").is_none_or(str::is_empty) {
                self.problem(
                    member.key_at,
                    &path,
                    format!("{:?} is no group name", member.key),
                    format!(
                        "write \"group:{}\"",
                        member.key.trim_start_matches("group:")
                    ),
                );
            }
            let mut logins = Vec::new();
            for (index, item, login) in self.texts(Some(&member.value), &path) {
                if self.is_group_member(item.at, &path.index(index), &member.key, login) {
                    self.use_user(login, item.at, &path.index(index));
                    logins.push(login.to_owned());
                }
            }
            groups.insert(member.key.clone(), logins);
        }
        groups
    }

    fn is_group_member(&mut self, at: usize, path: &Path<'_>, group: &str, word: &str) -> bool {
        if word.starts_with("group:") {
            self.problem(
                at,
                path,
                format!("groups[{group:?}]: {word:?}: group members cannot be recursive"),
                "list the users of that group here",
            );
            return false;
        }
        let is_login = word.contains('@')
            && !word.contains(['*', ' ', ','])
            && !["tag:", "autogroup:", "user:", "host:", "ipset:"]
                .iter()
                .any(|prefix| word.starts_with(prefix));
        if !is_login {
            self.problem(
                at,
                path,
                format!("groups[{group:?}]: {word:?} is not a user"),
                "write the user's whole login, such as alice@example.com",
            );
        }
        is_login
    }

    pub(super) fn tag_names(&mut self, value: Option<&Value>, path: &Path<'_>) -> BTreeSet<String> {
        let mut names = BTreeSet::new();
        let Some(value) = value else {
            return names;
        };
        for member in self.members(value, path) {
            let path = path.key(&member.key);
            match member.key.strip_prefix("tag:") {
                None => self.problem(
                    member.key_at,
                    &path,
                    format!(
                        "tagOwners[{:?}]: tag names must start with 'tag:'",
                        member.key
                    ),
                    format!("write \"tag:{}\"", member.key),
                ),
                Some(name) if !name.starts_with(|c: char| c.is_ascii_alphabetic()) => self.problem(
                    member.key_at,
                    &path,
                    format!(
                        "tagOwners[{:?}]: tag names must start with a letter, after 'tag:'",
                        member.key
                    ),
                    "start it with one of a to z",
                ),
                Some(_) => {}
            }
            names.insert(member.key.clone());
        }
        names
    }

    /// Called after [`Self::tag_names`], which has told of repeated keys.
    pub(super) fn tag_owners(
        &mut self,
        value: Option<&Value>,
        path: &Path<'_>,
        names: &Names,
    ) -> BTreeMap<String, Vec<Selector>> {
        let mut owners = BTreeMap::new();
        let Some(Kind::Object(members)) = value.map(|value| &value.kind) else {
            return owners;
        };
        for member in members {
            let path = path.key(&member.key);
            let words = self.selectors(Some(&member.value), &path, Place::TagOwner, names);
            let words = if words.is_empty() {
                vec![Selector::Role(crate::topology::Role::Admin)]
            } else {
                words
            };
            owners.entry(member.key.clone()).or_insert(words);
        }
        owners
    }

    pub(super) fn hosts(
        &mut self,
        value: Option<&Value>,
        path: &Path<'_>,
    ) -> BTreeMap<String, AddressRange> {
        let mut hosts = BTreeMap::new();
        let Some(value) = value else {
            return hosts;
        };
        for member in self.members(value, path) {
            let path = path.key(&member.key);
            let usable = matches!(Selector::parse(&member.key), Ok(Selector::Host(_)));
            if !usable || member.key.trim() != member.key {
                self.problem(
                    member.key_at,
                    &path,
                    format!("{:?} is no host name", member.key),
                    "write a name without @, * or blanks that is no address and no prefix of \
                     another kind of name",
                );
            }
            let Some(text) = self.text(&member.value, &path) else {
                continue;
            };
            match address_range(text) {
                Some(range) => {
                    hosts.insert(member.key.clone(), range);
                }
                None => self.problem(
                    member.value.at,
                    &path,
                    format!("{text:?}: invalid address"),
                    "write one address or one CIDR prefix, such as 10.0.0.0/8",
                ),
            }
        }
        hosts
    }

    pub(super) fn ipset_names(&self, value: Option<&Value>) -> BTreeSet<String> {
        match value.map(|value| &value.kind) {
            Some(Kind::Object(members)) => members.iter().map(|m| m.key.clone()).collect(),
            _ => BTreeSet::new(),
        }
    }

    pub(super) fn ipsets(
        &mut self,
        value: Option<&Value>,
        path: &Path<'_>,
        hosts: &BTreeMap<String, AddressRange>,
    ) -> BTreeMap<String, Vec<AddressRange>> {
        let Some(value) = value else {
            return BTreeMap::new();
        };
        let mut sets: BTreeMap<&str, Ipset> = BTreeMap::new();
        for member in self.members(value, path) {
            let path = path.key(&member.key);
            if member.key.strip_prefix("ipset:").is_none_or(str::is_empty) {
                self.problem(
                    member.key_at,
                    &path,
                    format!("{:?} is no IP set name", member.key),
                    format!("write \"ipset:{}\"", member.key),
                );
            }
            let mut set = Ipset {
                at: member.key_at,
                lines: Vec::new(),
            };
            for (index, item, text) in self.texts(Some(&member.value), &path) {
                let line = self.ipset_line(text, item.at, &path.index(index), hosts);
                set.lines.extend(line);
            }
            sets.insert(&member.key, set);
        }
        self.resolve_ipsets(&sets, path)
    }

    fn ipset_line(
        &mut self,
        text: &str,
        at: usize,
        path: &Path<'_>,
        hosts: &BTreeMap<String, AddressRange>,
    ) -> Option<IpsetLine> {
        let (adds, target) = match text.split_once(char::is_whitespace) {
            Some(("add", target)) => (true, target.trim()),
            Some(("remove", target)) => (false, target.trim()),
            _ => (true, text),
        };
        let host = target.strip_prefix("host:").unwrap_or(target);
        let target = if target == "autogroup:internet" {
            IpsetTarget::Internet
        } else if target.starts_with("ipset:") {
            IpsetTarget::Set(target.to_owned())
        } else if let Some(range) = address_range(target).or_else(|| hosts.get(host).copied()) {
            IpsetTarget::Range(range)
        } else {
            self.problem(
                at,
                path,
                format!("{text:?} is no line of an IP set"),
                "write \"add T\" or \"remove T\" where T is an address, a CIDR prefix, host:NAME, \
                 ipset:NAME or autogroup:internet",
            );
            return None;
        };
        Some(IpsetLine { adds, target })
    }

    /// Looks sets up in one another, those first that need no other.
    fn resolve_ipsets(
        &mut self,
        sets: &BTreeMap<&str, Ipset>,
        path: &Path<'_>,
    ) -> BTreeMap<String, Vec<AddressRange>> {
        let mut resolved: BTreeMap<String, RangeSet> = BTreeMap::new();
        for _ in 0..MAX_IPSET_NESTING {
            let ready: Vec<_> = sets
                .iter()
                .filter(|(name, _)| !resolved.contains_key(**name))
                .filter_map(|(name, set)| Some(((*name).to_owned(), set.resolve(&resolved)?)))
                .collect();
            if ready.is_empty() {
                break;
            }
            resolved.extend(ready);
        }
        for (name, set) in sets {
            if !resolved.contains_key(*name) {
                self.unresolved_ipset(name, set, sets, path);
            }
        }
        resolved
            .into_iter()
            .map(|(name, set)| (name, set.into_ranges()))
            .collect()
    }

    fn unresolved_ipset(
        &mut self,
        name: &str,
        set: &Ipset,
        sets: &BTreeMap<&str, Ipset>,
        path: &Path<'_>,
    ) {
        let missing = set.lines.iter().find_map(|line| match &line.target {
            IpsetTarget::Set(other) if !sets.contains_key(other.as_str()) => Some(other),
            _ => None,
        });
        let (message, help) = match missing {
            Some(other) => (
                format!("IP set not found: {other:?}"),
                self.suggest(other, sets.keys().copied(), "define it in ipsets"),
            ),
            None => (
                format!("{name:?} needs itself, or a set that is at fault"),
                "IP sets must not form a circle".to_owned(),
            ),
        };
        self.problem(set.at, &path.key(name), message, help);
    }
}

/// How many sets may stand in one another; bounds the time that resolving takes.
const MAX_IPSET_NESTING: usize = 64;

struct Ipset {
    at: usize,
    lines: Vec<IpsetLine>,
}

struct IpsetLine {
    adds: bool,
    target: IpsetTarget,
}

enum IpsetTarget {
    Range(AddressRange),
    Internet,
    Set(String),
}

impl Ipset {
    /// None while a set that it needs is not resolved.
    fn resolve(&self, resolved: &BTreeMap<String, RangeSet>) -> Option<RangeSet> {
        let mut set = RangeSet::default();
        for lines in self.lines.chunk_by(|a, b| a.adds == b.adds) {
            let mut ranges: Vec<AddressRange> = Vec::new();
            for line in lines {
                match &line.target {
                    IpsetTarget::Range(range) => ranges.push(*range),
                    IpsetTarget::Internet => ranges.extend(RangeSet::internet().ranges()),
                    IpsetTarget::Set(name) => ranges.extend(resolved.get(name)?.ranges()),
                }
            }
            let target = RangeSet::from_ranges(ranges);
            set = if lines.iter().all(|line| line.adds) {
                set.union(&target)
            } else {
                set.minus(&target)
            };
        }
        Some(set)
    }
}
