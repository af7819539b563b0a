//! The top level of the file.

use super::{Path, Reader, place::Names};
use crate::hujson::{Kind, Value};
use crate::model::{Document, NetworkRule, Origin, Permit};
use crate::problem::Errors;
use crate::selector::Selector;
use meshd_contract::filter::PortRange;

/// The sections, in the order in which problems at the same place are told.
pub(super) const SECTIONS: [&str; 18] = [
    "groups",
    "tagOwners",
    "hosts",
    "ipsets",
    "postures",
    "defaultSrcPosture",
    "autoApprovers",
    "nodeAttrs",
    "grants",
    "acls",
    "ssh",
    "tests",
    "sshTests",
    "derpMap",
    "disableIPv4",
    "OneCGNATRoute",
    "randomizeClientPort",
    "$schema",
];

/// Sections that are read past.
const WITHOUT_EFFECT: [&str; 5] = [
    "nodeAttrs",
    "derpMap",
    "disableIPv4",
    "OneCGNATRoute",
    "randomizeClientPort",
];

/// Reads a whole file.
///
/// # Errors
/// Everything that is wrong with it and needs no mesh to be seen.
pub(crate) fn read(text: &str, value: &Value) -> Result<Document, Errors> {
    let mut reader = Reader::new(text);
    let document = reader.document(value);
    let Reader {
        ref mut remarks,
        ref mut domain_uses,
        ref mut user_uses,
        ..
    } = reader;
    let document = Document {
        remarks: std::mem::take(remarks),
        domain_uses: std::mem::take(domain_uses),
        user_uses: std::mem::take(user_uses),
        ..document
    };
    match reader.errors() {
        Some(errors) => Err(errors),
        None => Ok(document),
    }
}

impl Reader<'_> {
    fn document(&mut self, value: &Value) -> Document {
        let root = Path::ROOT;
        let Some(fields) = self.fields(value, &root, &SECTIONS) else {
            return Document::default();
        };
        for name in WITHOUT_EFFECT {
            if let Some(value) = fields.value(name) {
                let message = format!("{name} has no effect in meshd");
                self.remark(value.at, &root.key(name), message);
            }
        }
        self.postures(
            fields.value("postures"),
            fields.value("defaultSrcPosture"),
            &root,
        );
        let mut document = Document {
            groups: self.groups(fields.value("groups"), &root.key("groups")),
            hosts: self.hosts(fields.value("hosts"), &root.key("hosts")),
            ..Document::default()
        };
        let (tags, tag_owners) = (fields.value("tagOwners"), root.key("tagOwners"));
        let tag_names = self.tag_names(tags, &tag_owners);
        let ipset_names = self.ipset_names(fields.value("ipsets"));
        let names = Names {
            groups: document.groups.keys().cloned().collect(),
            tags: tag_names,
            hosts: document.hosts.keys().cloned().collect(),
            ipsets: ipset_names,
        };
        document.tag_owners = self.tag_owners(tags, &tag_owners, &names);
        document.ipsets = self.ipsets(fields.value("ipsets"), &root.key("ipsets"), &document.hosts);
        document.approvers = self.approvers(
            fields.value("autoApprovers"),
            &root.key("autoApprovers"),
            &names,
        );
        let (grants, acls) = (fields.with_null("grants"), fields.with_null("acls"));
        document.network = self.grants(grants, &root.key("grants"), &names);
        document
            .network
            .extend(self.acls(acls, &root.key("acls"), &names));
        if grants.is_none() && acls.is_none() {
            document.network.push(allow_all());
        }
        document.ssh = self.ssh_rules(fields.value("ssh"), &root.key("ssh"), &names);
        document.tests = self.network_tests(fields.value("tests"), &root.key("tests"));
        document.ssh_tests =
            self.ssh_tests(fields.value("sshTests"), &root.key("sshTests"), &names);
        document
    }

    /// A rule section: null is refused there, since it could be read as "allow all" or as
    /// "allow nothing".
    pub(super) fn rule_list<'v>(
        &mut self,
        value: Option<&'v Value>,
        path: &Path<'_>,
    ) -> &'v [Value] {
        match value {
            None => &[],
            Some(value) if value.kind == Kind::Null => {
                self.problem(
                    value.at,
                    path,
                    "null stands where a list must be",
                    "write [] to permit nothing, or remove the key",
                );
                &[]
            }
            Some(value) => self.list(value, path),
        }
    }

    fn postures(&mut self, postures: Option<&Value>, default: Option<&Value>, root: &Path<'_>) {
        if let Some(value) = postures {
            let path = root.key("postures");
            for member in self.members(value, &path) {
                let _ = self.texts(Some(&member.value), &path.key(&member.key));
            }
            self.remark(
                value.at,
                &path,
                "meshd has no device postures: no rule can use one",
            );
        }
        let path = root.key("defaultSrcPosture");
        if !self.texts(default, &path).is_empty() {
            self.posture_problem(default, &path);
        }
    }

    /// Whoever relies on a posture must not be left without it silently.
    pub(super) fn posture_problem(&mut self, value: Option<&Value>, path: &Path<'_>) {
        if let Some(value) = value {
            self.problem(
                value.at,
                path,
                "meshd has no device postures, so that the rule would admit more than it says",
                "remove it, and name fewer sources if the rule needs it",
            );
        }
    }

    /// `srcPosture` of a rule.
    pub(super) fn source_posture(&mut self, value: Option<&Value>, path: &Path<'_>) {
        if !self.texts(value, path).is_empty() {
            self.posture_problem(value, path);
        }
    }
}

/// What a file says that has neither `grants` nor `acls`.
fn allow_all() -> NetworkRule {
    NetworkRule {
        origin: Origin {
            section: "no grants and no acls",
            index: None,
            at: 0,
        },
        sources: vec![Selector::Any],
        permits: vec![Permit {
            destination: Selector::Any,
            protocols: Vec::new(),
            ports: vec![PortRange::ALL],
        }],
        app_destinations: Vec::new(),
        app: Default::default(),
    }
}
