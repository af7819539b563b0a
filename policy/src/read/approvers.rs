//! autoApprovers.

use ipnet::IpNet;

use super::place::{Names, Place};
use super::{Path, Reader};
use crate::hujson::Value;
use crate::model::Approvers;

pub(super) const FIELDS: [&str; 3] = ["routes", "exitNode", "services"];

impl Reader<'_> {
    pub(super) fn approvers(
        &mut self,
        value: Option<&Value>,
        path: &Path<'_>,
        names: &Names,
    ) -> Approvers {
        let mut approvers = Approvers::default();
        let Some(fields) = value.and_then(|value| self.fields(value, path, &FIELDS)) else {
            return approvers;
        };
        approvers.exit_node = self.selectors(
            fields.value("exitNode"),
            &path.key("exitNode"),
            Place::Approver,
            names,
        );
        if let Some(services) = fields.value("services") {
            let path = path.key("services");
            self.remark(services.at, &path, "meshd has no services to approve");
        }
        let Some(routes) = fields.value("routes") else {
            return approvers;
        };
        let path = path.key("routes");
        for member in self.members(routes, &path) {
            let path = path.key(&member.key);
            let who = self.selectors(Some(&member.value), &path, Place::Approver, names);
            match member.key.trim().parse::<IpNet>() {
                Ok(net) => approvers.routes.push((net.trunc(), who)),
                Err(_) => self.problem(
                    member.key_at,
                    &path,
                    format!("{:?}: invalid prefix", member.key),
                    "write a CIDR prefix, such as 10.0.0.0/8",
                ),
            }
        }
        approvers
    }
}
