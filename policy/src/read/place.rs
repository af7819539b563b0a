//! Which selectors may stand where.

use std::collections::BTreeSet;

use super::{Path, Reader};
use crate::hujson::Value;
use crate::model::{DomainUse, UserUse};
use crate::selector::{Selector, SelectorError};

/// The names that the file defines.
pub(super) struct Names {
    pub(super) groups: BTreeSet<String>,
    pub(super) tags: BTreeSet<String>,
    pub(super) hosts: BTreeSet<String>,
    pub(super) ipsets: BTreeSet<String>,
}

/// Where a selector stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Source,
    Destination,
    SshSource,
    SshDestination,
    TagOwner,
    Approver,
}

impl Reader<'_> {
    /// The good ones of a list of selectors; each bad one is a problem.
    pub(super) fn selectors(
        &mut self,
        value: Option<&Value>,
        path: &Path<'_>,
        place: Place,
        names: &Names,
    ) -> Vec<Selector> {
        let words = self.texts(value, path);
        let mut selectors = Vec::with_capacity(words.len());
        for (index, item, word) in words {
            selectors.extend(self.selector(word, item.at, &path.index(index), place, names));
        }
        selectors
    }

    /// One selector; none, and a problem, when it may not stand there or names nothing.
    pub(super) fn selector(
        &mut self,
        word: &str,
        at: usize,
        path: &Path<'_>,
        place: Place,
        names: &Names,
    ) -> Option<Selector> {
        let checked = Selector::parse(word).and_then(|selector| {
            self.is_defined(&selector, place, names)?;
            place.permits(&selector)?;
            Ok(selector)
        });
        match checked {
            Ok(selector) => {
                self.note_uses(&selector, at, path);
                Some(selector)
            }
            Err(error) => {
                let prefix = match place {
                    Place::Source if error.message.starts_with("tag not found") => "src=",
                    Place::Destination if error.message.starts_with("tag not found") => {
                        &format!("dst={word:?}: ")
                    }
                    _ => "",
                };
                self.problem(at, path, format!("{prefix}{}", error.message), error.help);
                None
            }
        }
    }

    fn note_uses(&mut self, selector: &Selector, at: usize, path: &Path<'_>) {
        if let Selector::Domain(domain) = selector {
            self.use_domain(domain, at, path);
        }
        if let Selector::User(login) = selector {
            self.use_user(login, at, path);
        }
    }

    pub(super) fn use_domain(&mut self, domain: &str, at: usize, path: &Path<'_>) {
        self.domain_uses.push(DomainUse {
            domain: domain.to_owned(),
            at,
            path: path.to_string(),
        });
    }

    pub(super) fn use_user(&mut self, login: &str, at: usize, path: &Path<'_>) {
        self.user_uses.push(UserUse {
            login: login.to_owned(),
            at,
            path: path.to_string(),
        });
    }
}

impl Reader<'_> {
    /// Whether what the selector names is defined in this file.
    fn is_defined(
        &mut self,
        selector: &Selector,
        place: Place,
        names: &Names,
    ) -> Result<(), SelectorError> {
        let (kind, section, word, defined) = match selector {
            Selector::Group(word) => ("group", "groups", word, &names.groups),
            Selector::Tag(word) => ("tag", "tagOwners", word, &names.tags),
            Selector::Ipset(word) => ("IP set", "ipsets", word, &names.ipsets),
            Selector::Host(_) if place == Place::SshDestination => return Ok(()),
            Selector::Host(word) => ("host", "hosts", word, &names.hosts),
            Selector::Any
            | Selector::DangerAll
            | Selector::User(_)
            | Selector::Member
            | Selector::Tagged
            | Selector::SelfDevices
            | Selector::Internet
            | Selector::Shared
            | Selector::Role(_)
            | Selector::Domain(_)
            | Selector::Range(_) => return Ok(()),
        };
        if defined.contains(word) {
            return Ok(());
        }
        let candidates = defined.iter().map(String::as_str);
        Err(SelectorError {
            message: format!("{kind} not found: {word:?}"),
            help: self.suggest(word, candidates, &format!("define it in {section}")),
        })
    }
}

impl Place {
    fn permits(self, selector: &Selector) -> Result<(), SelectorError> {
        let refusal = match self {
            Self::Source => source(selector),
            Self::Destination => destination(selector),
            Self::SshSource => ssh_source(selector),
            Self::SshDestination => ssh_destination(selector),
            Self::TagOwner => owner(selector, "tagOwners"),
            Self::Approver => owner(selector, "autoApprovers"),
        };
        match refusal {
            None => Ok(()),
            Some((message, help)) => Err(SelectorError {
                message,
                help: help.to_owned(),
            }),
        }
    }
}

type Refusal = Option<(String, &'static str)>;

fn source(selector: &Selector) -> Refusal {
    match selector {
        Selector::SelfDevices | Selector::Internet => Some((
            format!("\"{selector}\" not valid on the src side of a rule"),
            "name users, groups or tags there, and put it into dst",
        )),
        Selector::Any
        | Selector::DangerAll
        | Selector::User(_)
        | Selector::Group(_)
        | Selector::Tag(_)
        | Selector::Member
        | Selector::Tagged
        | Selector::Shared
        | Selector::Role(_)
        | Selector::Domain(_)
        | Selector::Host(_)
        | Selector::Ipset(_)
        | Selector::Range(_) => None,
    }
}

fn destination(selector: &Selector) -> Refusal {
    match selector {
        Selector::DangerAll => Some((
            "cannot use autogroup:danger-all as a dst".to_owned(),
            "write * for every node and network of the mesh",
        )),
        Selector::Shared => Some((
            "cannot use autogroup:shared as a dst".to_owned(),
            "it names people of other meshes, who have no node here",
        )),
        Selector::Any
        | Selector::User(_)
        | Selector::Group(_)
        | Selector::Tag(_)
        | Selector::Member
        | Selector::Tagged
        | Selector::SelfDevices
        | Selector::Internet
        | Selector::Role(_)
        | Selector::Domain(_)
        | Selector::Host(_)
        | Selector::Ipset(_)
        | Selector::Range(_) => None,
    }
}

fn ssh_source(selector: &Selector) -> Refusal {
    let help = "name users, groups, tags, autogroup:member, autogroup:tagged, a role or \
                user:*@DOMAIN";
    match selector {
        Selector::User(_)
        | Selector::Group(_)
        | Selector::Tag(_)
        | Selector::Member
        | Selector::Tagged
        | Selector::Role(_)
        | Selector::Domain(_) => None,
        Selector::Any
        | Selector::DangerAll
        | Selector::SelfDevices
        | Selector::Internet
        | Selector::Shared
        | Selector::Host(_)
        | Selector::Ipset(_)
        | Selector::Range(_) => Some((format!("invalid src \"{selector}\""), help)),
    }
}

fn ssh_destination(selector: &Selector) -> Refusal {
    let help = match selector {
        Selector::Tag(_) | Selector::Tagged | Selector::SelfDevices | Selector::User(_) => {
            return None;
        }
        Selector::Group(_) | Selector::Member | Selector::Role(_) | Selector::Domain(_) => {
            "it would let one user into the devices of another: write autogroup:self for \
             everybody's own devices, or tag the nodes that several users share"
        }
        Selector::Host(_) | Selector::Ipset(_) | Selector::Range(_) => {
            "SSH rules name nodes by tag, not by address"
        }
        Selector::Any | Selector::DangerAll | Selector::Internet | Selector::Shared => {
            "name tags, autogroup:tagged or autogroup:self"
        }
    };
    Some((format!("invalid dst \"{selector}\""), help))
}

fn owner(selector: &Selector, section: &str) -> Refusal {
    match selector {
        Selector::User(_)
        | Selector::Group(_)
        | Selector::Tag(_)
        | Selector::Member
        | Selector::Tagged
        | Selector::Role(_)
        | Selector::Domain(_) => None,
        Selector::Any
        | Selector::DangerAll
        | Selector::SelfDevices
        | Selector::Internet
        | Selector::Shared
        | Selector::Host(_)
        | Selector::Ipset(_)
        | Selector::Range(_) => Some((
            format!("{section}: \"{selector}\" is no owner"),
            "name users, groups, tags, autogroup:member, autogroup:tagged or a role",
        )),
    }
}
