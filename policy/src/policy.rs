//! A policy file that has been read and found good.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use meshd_contract::identity::Owner;

use crate::compile::Compiled;
use crate::hujson;
use crate::mesh::domain_of;
use crate::model::{Document, DomainUse};
use crate::problem::{Errors, MAX_PROBLEMS, Position, Problem};
use crate::read;
use crate::selector::Selector;
use crate::topology::{Node, Role, Topology, User};

/// A policy file that has been read and found good; cheap to clone.
#[derive(Debug, Clone)]
pub struct Policy {
    text: Arc<str>,
    document: Arc<Document>,
}

/// Who wants to give a tag to a node, or to have a route approved.
#[derive(Debug, Clone, Copy)]
pub enum Actor<'a> {
    /// A person.
    User(&'a User),
    /// A node, or an auth key, with these tags.
    Tags(&'a [String]),
}

/// What Tailscale gives a new network: every packet, and SSH into one's own devices after a check.
const DEFAULT: &str = include_str!("default.hujson");

impl Policy {
    /// Reads a policy.
    ///
    /// # Errors
    /// Everything that is wrong with the text alone, in the order of the file; see
    /// [`Self::check_domains`] for what only the mesh can tell.
    pub fn parse(text: &str) -> Result<Self, Errors> {
        let value = hujson::parse(text)?;
        let document = read::read(text, &value)?;
        Ok(Self {
            text: text.into(),
            document: Arc::new(document),
        })
    }

    /// The text of a new mesh's policy.
    #[must_use]
    pub fn default_text() -> &'static str {
        DEFAULT
    }

    /// The text that was read.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Checks that every domain in `user:*@DOMAIN` and `localpart:*@DOMAIN` belongs to the mesh.
    ///
    /// Control calls this when a policy is saved. A policy that skips it is still safe: a domain
    /// that is not the mesh's names nobody.
    ///
    /// # Errors
    /// Each use of another domain.
    pub fn check_domains(&self, domains: &[String]) -> Result<(), Errors> {
        let known = if domains.is_empty() {
            "the mesh has no domain of its own yet: give one to control".to_owned()
        } else {
            format!("the domains of this mesh are {}", domains.join(", "))
        };
        let mut strange: Vec<&DomainUse> = self
            .document
            .domain_uses
            .iter()
            .filter(|used| !domains.contains(&used.domain))
            .collect();
        strange.sort_by_key(|used| used.at);
        let problems = strange.into_iter().take(MAX_PROBLEMS).map(|used| Problem {
            position: self.position(used.at),
            path: used.path.clone(),
            message: format!(
                "{} is not associated with this Tailnet and cannot be used in \
                     user:*@<domain> expressions",
                used.domain
            ),
            help: known.clone(),
        });
        match Errors::from_problems(problems.collect()) {
            Some(errors) => Err(errors),
            None => Ok(()),
        }
    }

    /// What is legal but has no effect: sections that meshd does not have, and users that the
    /// mesh does not know (yet); [`MAX_PROBLEMS`] at most of each kind.
    #[must_use]
    pub fn warnings(&self, topology: &Topology) -> Vec<Problem> {
        let users = topology.users.iter().map(|user| user.login.as_str());
        let owners = topology.nodes.iter().filter_map(Node::user);
        let known: HashSet<&str> = users.chain(owners).collect();
        let remarks = self.document.remarks.iter().take(MAX_PROBLEMS);
        let remarks = remarks.map(|remark| Problem {
            position: self.position(remark.at),
            path: remark.path.clone(),
            message: remark.message.clone(),
            help: String::new(),
        });
        let strangers = self.document.user_uses.iter();
        let strangers = strangers
            .filter(|used| !known.contains(used.login.as_str()))
            .take(MAX_PROBLEMS)
            .map(|used| Problem {
                position: self.position(used.at),
                path: used.path.clone(),
                message: format!("{:?} is no user of this mesh (yet)", used.login),
                help: String::new(),
            });
        let mut warnings: Vec<Problem> = remarks.chain(strangers).collect();
        warnings.sort_by_key(|warning| warning.position);
        warnings
    }

    /// Whether `tagOwners` has this tag, written with `tag:`.
    #[must_use]
    pub fn defines_tag(&self, tag: &str) -> bool {
        self.document.tag_owners.contains_key(tag)
    }

    /// Whether `actor` may give `tag` to a node: as one of its owners, or as the owner of the
    /// mesh. A tag that is not defined is nobody's to give.
    #[must_use]
    pub fn may_tag(&self, actor: Actor<'_>, tag: &str) -> bool {
        let Some(owners) = self.document.tag_owners.get(tag) else {
            return false;
        };
        let is_mesh_owner = matches!(actor, Actor::User(user) if user.role == Role::Owner);
        is_mesh_owner || owners.iter().any(|owner| self.is(actor, owner))
    }

    /// Whether `autoApprovers` approves a route of a node that belongs to `owner` without asking;
    /// `user` is the owner's record where it is a person.
    #[must_use]
    pub fn approves_route(&self, owner: &Owner, user: Option<&User>, route: ipnet::IpNet) -> bool {
        let fallback;
        let actor = match (owner, user) {
            (Owner::Tags(tags), _) => Actor::Tags(tags),
            (Owner::User(_), Some(user)) => Actor::User(user),
            (Owner::User(login), None) => {
                fallback = User {
                    login: login.clone(),
                    role: Role::Member,
                };
                Actor::User(&fallback)
            }
        };
        let approvers = &self.document.approvers;
        if route.prefix_len() == 0 {
            return approvers.exit_node.iter().any(|who| self.is(actor, who));
        }
        approvers
            .routes
            .iter()
            .filter(|(net, _)| net.contains(&route) && net.prefix_len() > 0)
            .any(|(_, who)| who.iter().any(|who| self.is(actor, who)))
    }

    /// The application capabilities of each grant that has any: where it stands, and what it
    /// says. meshd carries them for programs that ask.
    pub fn app_grants(
        &self,
    ) -> impl Iterator<Item = (String, &BTreeMap<String, serde_json::Value>)> {
        self.document
            .network
            .iter()
            .filter(|rule| !rule.app.is_empty())
            .map(|rule| (rule.origin.to_string(), &rule.app))
    }

    /// Applies the policy to a mesh.
    #[must_use]
    pub fn compile(&self, topology: &Topology) -> Compiled {
        Compiled::new(Arc::clone(&self.document), topology)
    }

    pub(crate) fn document(&self) -> &Document {
        &self.document
    }

    pub(crate) fn position(&self, at: usize) -> Position {
        Position::of(&self.text, at)
    }

    fn is(&self, actor: Actor<'_>, selector: &Selector) -> bool {
        match (actor, selector) {
            (Actor::User(user), Selector::User(login)) => user.login == *login,
            (Actor::User(user), Selector::Group(name)) => self
                .document
                .groups
                .get(name)
                .is_some_and(|logins| logins.contains(&user.login)),
            (Actor::User(_), Selector::Member) => true,
            (Actor::User(user), Selector::Role(role)) => user.role == *role,
            (Actor::User(user), Selector::Domain(domain)) => domain_of(&user.login) == Some(domain),
            (Actor::Tags(tags), Selector::Tag(tag)) => tags.contains(tag),
            (Actor::Tags(_), Selector::Tagged) => true,
            (Actor::User(_) | Actor::Tags(_), _) => false,
        }
    }
}
