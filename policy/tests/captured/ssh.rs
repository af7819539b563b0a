//! Captured SSH rules, evaluated as the service's client does.

use std::collections::BTreeSet;

use meshd_contract::identity::Owner;
use meshd_contract::login::Login;
use meshd_contract::ssh_rule::{Account, Decision, SshRule, decide};
use meshd_policy::Node;
use serde_json::Value;

use crate::case::Case;

const LOGINS: [&str; 6] = ["root", "odin", "thor", "freya", "ubuntu", "alice"];

/// What one attempt comes to.
#[derive(Debug, PartialEq, Eq)]
enum Came {
    Accepted(Vec<String>),
    Checked(Vec<String>),
    Denied,
}

/// meshd refuses account names that no account can have, and words of the policy language among
/// them, where the service takes them for a name. Returns the word.
pub(crate) fn where_meshd_is_stricter(case: &Case) -> Option<String> {
    if matches!(case.outcome, crate::Outcome::Rejected { .. }) {
        return None;
    }
    let users = rules(case).flat_map(|rule| rule["users"].as_array().cloned().unwrap_or_default());
    users
        .filter_map(|user| user.as_str().map(|user| user.trim().to_owned()))
        .find(|user| {
            let word = user == "autogroup:nonroot" || user.starts_with("localpart:*@");
            let domain_is_missing = user == "localpart:*@";
            (!word || domain_is_missing) && user.parse::<Login>().is_err()
        })
}

fn rules(case: &Case) -> impl Iterator<Item = &Value> {
    case.policy["ssh"].as_array().into_iter().flatten()
}

/// Compares every source and login; returns how many, and how many are the service's quirk.
pub(crate) fn compare(
    case: &Case,
    destination: &Node,
    expected: &[Value],
    found: &[SshRule],
) -> Result<(usize, usize), String> {
    let (mut compared, mut quirks) = (0, 0);
    for source in &case.topology.nodes {
        for login in logins(case) {
            let wanted = captured(expected, source, &login);
            let came = decided(found, source, &login);
            compared += 1;
            if wanted == came {
                continue;
            }
            if came == Came::Denied && is_quirk(case, source, destination) {
                quirks += 1;
                continue;
            }
            return Err(format!(
                "{} to {} as {login}: {came:?} instead of {wanted:?}",
                source.name, destination.name
            ));
        }
    }
    Ok((compared, quirks))
}

/// The service sends rules with a localpart to their sources too, scoped to the source's own
/// user; meshd does not.
fn is_quirk(case: &Case, source: &Node, destination: &Node) -> bool {
    let labelled = case
        .needs
        .iter()
        .any(|need| need == "quirk:localpart-rules-on-source");
    let same = match (&source.owner, &destination.owner) {
        (Owner::User(a), Owner::User(b)) => a == b,
        _ => source.id == destination.id,
    };
    labelled && same
}

fn logins(case: &Case) -> BTreeSet<String> {
    let literals = rules(case)
        .flat_map(|rule| rule["users"].as_array().cloned().unwrap_or_default())
        .filter_map(|user| Some(user.as_str()?.trim().to_owned()))
        .filter(|user| user.parse::<Login>().is_ok());
    LOGINS
        .map(str::to_owned)
        .into_iter()
        .chain(literals)
        .collect()
}

fn captured(rules: &[Value], source: &Node, login: &str) -> Came {
    let addresses: Vec<String> = source.addresses.both().map(|a| a.to_string()).to_vec();
    for rule in rules {
        let principals = rule["principals"].as_array().expect("principals");
        let named = |principal: &Value| {
            let address = principal["nodeIP"].as_str().expect("an address");
            addresses.iter().any(|own| own == address)
        };
        if !principals.iter().any(named) || !maps(&rule["sshUsers"], login) {
            continue;
        }
        let environment = strings(&rule["acceptEnv"]);
        return if rule["action"]["accept"] == true {
            Came::Accepted(environment)
        } else {
            Came::Checked(environment)
        };
    }
    Came::Denied
}

fn maps(users: &Value, login: &str) -> bool {
    let mapped = users.get(login).or_else(|| users.get("*"));
    match mapped.and_then(Value::as_str) {
        None | Some("") => false,
        Some("=") => login != "root",
        Some(name) => name == login,
    }
}

fn decided(rules: &[SshRule], source: &Node, login: &str) -> Came {
    let account = Account {
        login: login.parse().expect("a login"),
        uid: if login == "root" { 0 } else { 1000 },
    };
    match decide(rules, source.id, Some(&account)) {
        Decision::Accept(rule) => Came::Accepted(rule.accept_env.clone()),
        Decision::Check(rule, _) => Came::Checked(rule.accept_env.clone()),
        Decision::DenyNode | Decision::DenyLogin => Came::Denied,
    }
}

fn strings(value: &Value) -> Vec<String> {
    let items = value.as_array().map_or(&[][..], Vec::as_slice);
    items
        .iter()
        .map(|item| item.as_str().unwrap_or_default().to_owned())
        .collect()
}
