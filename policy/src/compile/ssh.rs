//! SSH rules.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use meshd_contract::identity::NodeId;
use meshd_contract::login::Login;
use meshd_contract::ssh_rule::{Account, Action, Logins, Rights, SshRule};

use super::{Compiled, Interner};
use crate::mesh::{Mesh, domain_of};
use crate::model::{LoginWords, Origin, SshSection};
use crate::nodeset::NodeSet;
use crate::selector::Selector;
use crate::topology::Node;

/// One rule of `ssh`.
#[derive(Debug, Clone)]
pub(super) struct Rule {
    origin: Origin,
    action: Action,
    users: LoginWords,
    accept_env: Vec<String>,
    rights: Rights,
    pub(super) source: usize,
    /// Destinations that are tagged nodes.
    pub(super) destinations: Vec<usize>,
    own: OwnDevices,
    /// Who may become whom on a tagged destination: users whose login gives them an account by
    /// themselves, and under no name all others.
    admitted: BTreeMap<Option<String>, Admitted>,
}

/// Whose own devices are destinations.
#[derive(Debug, Clone, PartialEq, Eq)]
enum OwnDevices {
    Nobodys,
    Everybodys,
    Of(BTreeSet<String>),
}

#[derive(Debug, Clone)]
struct Admitted {
    principals: Arc<BTreeSet<NodeId>>,
    logins: Logins,
}

impl Rule {
    pub(super) fn new(section: &SshSection, interner: &mut Interner) -> Self {
        let mut own = OwnDevices::Nobodys;
        let mut destinations = Vec::new();
        for selector in &section.destinations {
            match selector {
                Selector::SelfDevices => own = OwnDevices::Everybodys,
                Selector::User(login) => own.add(login),
                other => destinations.push(interner.destination(other)),
            }
        }
        Self {
            origin: section.origin,
            action: section.action,
            users: section.users.clone(),
            accept_env: section.accept_env.clone(),
            rights: section.rights.clone(),
            source: interner.source(&section.sources),
            destinations,
            own,
            admitted: BTreeMap::new(),
        }
    }

    /// Check rules decide before accept rules.
    pub(super) fn class(&self) -> u8 {
        match self.action {
            Action::Check(_) => 0,
            Action::Accept => 1,
        }
    }

    pub(super) fn concerns_own_devices(&self) -> bool {
        self.own != OwnDevices::Nobodys
    }

    /// Under whose name the devices of a node's owner are admitted.
    fn admitted_as(&self, node: &Node, mesh: &Mesh) -> Option<String> {
        let user = node.user()?;
        self.users.localpart(user, mesh).map(|_| user.to_owned())
    }

    fn admit(&mut self, node: &Node, mesh: &Mesh) {
        let name = self.admitted_as(node, mesh);
        let logins = match &name {
            Some(user) => self.users.of_user(user, mesh),
            None => self.users.common(),
        };
        if is_empty(&logins) {
            return;
        }
        let admitted = self.admitted.entry(name).or_insert_with(|| Admitted {
            principals: Arc::default(),
            logins,
        });
        Arc::make_mut(&mut admitted.principals).insert(node.id);
    }

    fn expel(&mut self, node: &Node, mesh: &Mesh) {
        let name = self.admitted_as(node, mesh);
        if let Some(admitted) = self.admitted.get_mut(&name) {
            Arc::make_mut(&mut admitted.principals).remove(&node.id);
            if admitted.principals.is_empty() {
                self.admitted.remove(&name);
            }
        }
    }

    fn rule(&self, admitted: &Admitted) -> SshRule {
        SshRule {
            origin: self.origin.to_string(),
            action: self.action,
            principals: BTreeSet::clone(&admitted.principals),
            logins: admitted.logins.clone(),
            accept_env: self.accept_env.clone(),
            rights: self.rights.clone(),
        }
    }
}

impl OwnDevices {
    fn add(&mut self, login: &str) {
        match self {
            Self::Everybodys => {}
            Self::Of(users) => {
                users.insert(login.to_owned());
            }
            Self::Nobodys => *self = Self::Of([login.to_owned()].into()),
        }
    }

    fn include(&self, user: &str) -> bool {
        match self {
            Self::Nobodys => false,
            Self::Everybodys => true,
            Self::Of(users) => users.contains(user),
        }
    }
}

impl LoginWords {
    /// The accounts that every source may become.
    pub(crate) fn common(&self) -> Logins {
        Logins {
            root: self.root,
            nonroot: self.nonroot,
            named: self.named.clone(),
        }
    }

    /// The accounts that the devices of `user` may become.
    pub(crate) fn of_user(&self, user: &str, mesh: &Mesh) -> Logins {
        let mut logins = self.common();
        logins.named.extend(self.localpart(user, mesh));
        logins
    }

    /// The account that `localpart:*@DOMAIN` gives to `user`: never root, nor what is no account
    /// name at all.
    pub(crate) fn localpart(&self, user: &str, mesh: &Mesh) -> Option<Login> {
        let domain = domain_of(user)?;
        if !self.localpart_domains.contains(domain) || !mesh.has_domain(domain) {
            return None;
        }
        let name = user.strip_suffix(domain)?.strip_suffix('@')?;
        name.parse::<Login>()
            .ok()
            .filter(|login| login.as_str() != "root")
    }
}

fn is_empty(logins: &Logins) -> bool {
    !logins.root && !logins.nonroot && logins.named.is_empty()
}

impl Compiled {
    pub(super) fn rebuild_admitted(&mut self, place: usize) {
        let rule = &mut self.ssh[place];
        rule.admitted.clear();
        if rule.destinations.is_empty() {
            return;
        }
        let members = &self.sources[rule.source].members;
        for node in members.iter().filter_map(|slot| self.mesh.node(slot)) {
            rule.admit(node, &self.mesh);
        }
    }

    /// Replaces one node by another among those whom a rule admits.
    pub(super) fn replace_admitted(
        &mut self,
        place: usize,
        old: Option<&Node>,
        new: Option<&Node>,
    ) {
        let rule = &mut self.ssh[place];
        if let Some(node) = old {
            rule.expel(node, &self.mesh);
        }
        if let Some(node) = new.filter(|_| !rule.destinations.is_empty()) {
            rule.admit(node, &self.mesh);
        }
    }

    pub(super) fn ssh_rules(&self, slot: u32) -> Vec<SshRule> {
        let Some(node) = self.mesh.node(slot) else {
            return Vec::new();
        };
        let mut rules = Vec::new();
        for rule in &self.ssh {
            match node.user() {
                Some(user) if rule.own.include(user) => rules.extend(self.own_rule(rule, user)),
                Some(_) => {}
                None if self.is_destination(rule, slot) => {
                    rules.extend(rule.admitted.values().map(|admitted| rule.rule(admitted)));
                }
                None => {}
            }
        }
        rules
    }

    fn own_rule(&self, rule: &Rule, user: &str) -> Option<SshRule> {
        let source = &self.sources[rule.source];
        let principals: BTreeSet<NodeId> = self
            .own_sources(source, user)
            .filter_map(|slot| Some(self.mesh.node(slot)?.id))
            .collect();
        let logins = rule.users.of_user(user, &self.mesh);
        (!principals.is_empty() && !is_empty(&logins)).then(|| {
            rule.rule(&Admitted {
                principals: Arc::new(principals),
                logins,
            })
        })
    }

    fn is_destination(&self, rule: &Rule, slot: u32) -> bool {
        rule.destinations
            .iter()
            .any(|place| self.destinations[*place].nodes.contains(slot))
    }

    /// The tagged nodes that a rule lets somebody into.
    pub(super) fn ssh_destinations(&self, place: usize) -> NodeSet {
        let sets = self.ssh[place].destinations.iter();
        NodeSet::union(sets.map(|place| &self.destinations[*place].nodes))
    }
}

/// How far an SSH rule is from deciding a login; every field true means that it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SshFit {
    pub(crate) origin: Origin,
    pub(crate) action: Action,
    pub(crate) source: bool,
    pub(crate) destination: bool,
    pub(crate) login: bool,
}

impl SshFit {
    pub(crate) fn lacks(&self) -> usize {
        [self.source, self.destination, self.login]
            .iter()
            .filter(|fits| !**fits)
            .count()
    }
}

impl Compiled {
    /// Every SSH rule, in the order in which they decide.
    pub(crate) fn ssh_fits<'a>(
        &'a self,
        source: &'a Node,
        destination: &'a Node,
        account: &'a Account,
    ) -> impl Iterator<Item = SshFit> + 'a {
        let of = |node: &Node| self.mesh.slot(node.id);
        let (from, to) = (of(source), of(destination));
        self.ssh.iter().map(move |rule| {
            let named = from.is_some_and(|slot| self.sources[rule.source].members.contains(slot));
            let own = destination
                .user()
                .is_some_and(|user| rule.own.include(user));
            let tagged = destination.user().is_none()
                && to.is_some_and(|slot| self.is_destination(rule, slot));
            let logins = match source.user() {
                Some(user) => rule.users.of_user(user, &self.mesh),
                None => rule.users.common(),
            };
            SshFit {
                origin: rule.origin,
                action: rule.action,
                source: named && (!own || source.user() == destination.user()),
                destination: own || tagged,
                login: logins.include(account),
            }
        })
    }
}
