//! The roles of users, as the policy knows them, in their text form.

pub(crate) use meshd_policy::Role;

/// Every role by the name that commands and the database use.
const ROLES: [(&str, Role); 7] = [
    ("member", Role::Member),
    ("owner", Role::Owner),
    ("admin", Role::Admin),
    ("network-admin", Role::NetworkAdmin),
    ("it-admin", Role::ItAdmin),
    ("billing-admin", Role::BillingAdmin),
    ("auditor", Role::Auditor),
];

/// The role's name.
pub(crate) fn name(role: Role) -> &'static str {
    let entry = ROLES.iter().find(|(_, known)| *known == role);
    entry.map_or("member", |(name, _)| name)
}

/// The role with this name.
///
/// # Errors
/// One sentence with all names.
pub(crate) fn parse(text: &str) -> Result<Role, String> {
    let entry = ROLES.iter().find(|(name, _)| *name == text);
    entry.map(|(_, role)| *role).ok_or_else(|| {
        let names: Vec<&str> = ROLES.iter().map(|(name, _)| *name).collect();
        format!("{text:?} is no role: use one of {}", names.join(", "))
    })
}

/// Whether users of this role may change everything in the mesh.
pub(crate) fn administers(role: Role) -> bool {
    matches!(role, Role::Owner | Role::Admin)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_policy() {
        for (text, role) in ROLES {
            assert_eq!(parse(text), Ok(role));
            assert_eq!(name(role), text);
            assert_eq!(serde_json::to_value(role).ok(), Some(text.into()));
            if let Some(autogroup) = role.autogroup() {
                assert_eq!(autogroup, text);
            }
        }
        assert!(parse("Admin").is_err());
    }
}
