//! What the command needs to know of the host.

use meshd_contract::identity::NodeName;

use super::CliError;

/// Insists on user id 0.
pub(super) fn require_root(verb: &'static str) -> Result<(), CliError> {
    if nix::unistd::geteuid().is_root() {
        Ok(())
    } else {
        Err(CliError::NeedsRoot(verb))
    }
}

/// The host's name as a node name: its first label, in lower case.
pub(super) fn node_name() -> Result<NodeName, CliError> {
    let name = nix::unistd::gethostname().unwrap_or_default();
    from_host_name(&name.to_string_lossy())
}

fn from_host_name(name: &str) -> Result<NodeName, CliError> {
    let label = name.split('.').next().unwrap_or_default();
    let legal = label.to_ascii_lowercase().replace('_', "-");
    legal
        .parse()
        .map_err(|_| CliError::HostName(name.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_names_become_node_names() {
        for (host, node) in [("web1", "web1"), ("Web_1.example.com", "web-1")] {
            let name = from_host_name(host).expect("a name");
            assert_eq!(name.as_str(), node);
        }
        for host in ["", "10", "(none)"] {
            assert!(from_host_name(host).is_err(), "{host}");
        }
    }
}
