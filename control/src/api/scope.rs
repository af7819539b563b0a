//! What an API key may do.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// One kind of things, and whether they may be changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct Scope {
    /// The things.
    pub(crate) of: Area,
    /// Also to change them; reading them is part of it.
    pub(crate) write: bool,
}

/// A kind of things.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Area {
    /// Users and their roles.
    Users,
    /// Nodes.
    Nodes,
    /// Auth keys.
    AuthKeys,
    /// The policy.
    Policy,
    /// The audit log, which nobody changes.
    Audit,
}

impl Area {
    const ALL: [Self; 5] = [
        Self::Users,
        Self::Nodes,
        Self::AuthKeys,
        Self::Policy,
        Self::Audit,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Users => "users",
            Self::Nodes => "nodes",
            Self::AuthKeys => "auth-keys",
            Self::Policy => "policy",
            Self::Audit => "audit",
        }
    }

    /// To read them.
    pub(crate) fn read(self) -> Scope {
        Scope {
            of: self,
            write: false,
        }
    }

    /// To read and to change them.
    pub(crate) fn write(self) -> Scope {
        Scope {
            of: self,
            write: true,
        }
    }
}

impl Scope {
    /// Every scope there is.
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        let both = |area: Area| [area.read(), area.write()];
        let all = Area::ALL.into_iter().flat_map(both);
        all.filter(|scope| *scope != Area::Audit.write())
    }

    /// Whether a key of this scope may do what asks for `wanted`.
    pub(crate) fn permits(self, wanted: Self) -> bool {
        self.of == wanted.of && (self.write || !wanted.write)
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verb = if self.write { "write" } else { "read" };
        write!(f, "{}:{verb}", self.of.name())
    }
}

impl FromStr for Scope {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let named = |scope: &Self| scope.to_string() == text;
        Self::all().find(named).ok_or_else(|| {
            let all: Vec<String> = Self::all().map(|scope| scope.to_string()).collect();
            format!("{text:?} is no scope: use some of {}", all.join(", "))
        })
    }
}

impl TryFrom<String> for Scope {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Scope> for String {
    fn from(scope: Scope) -> Self {
        scope.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scope_has_a_name() {
        for scope in Scope::all() {
            assert_eq!(scope.to_string().parse(), Ok(scope));
        }
        for text in [
            "",
            "nodes",
            "nodes:",
            "nodes:delete",
            "audit:write",
            "Nodes:read",
        ] {
            assert!(text.parse::<Scope>().is_err(), "{text}");
        }
    }

    #[test]
    fn who_may_change_may_read_the_same_and_nothing_else() {
        let (read, write) = (Area::Nodes.read(), Area::Nodes.write());
        assert!(read.permits(read) && write.permits(write) && write.permits(read));
        assert!(!read.permits(write));
        assert!(!write.permits(Area::Users.read()));
    }
}
