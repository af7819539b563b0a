//! One observation, as its file has it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use meshd_contract::address::MeshAddresses;
use meshd_contract::identity::{NodeId, Owner};
use meshd_policy::{Node, Role, Topology, User};
use serde_json::Value;

use crate::DOMAINS;

pub(crate) struct Case {
    pub(crate) id: String,
    pub(crate) text: String,
    pub(crate) policy: Value,
    pub(crate) topology: Topology,
    pub(crate) has_caveat: bool,
    /// Labels of what the case depends on.
    pub(crate) needs: Vec<String>,
    pub(crate) outcome: Outcome,
}

pub(crate) enum Outcome {
    Rejected {
        error: String,
        by_tests: bool,
    },
    /// By node name; a node that is missing was not captured.
    Accepted {
        ssh: BTreeMap<String, Vec<Value>>,
        filter: BTreeMap<String, Vec<Value>>,
        peers: BTreeMap<String, Vec<String>>,
    },
}

/// The cases of a kind, and a word for where they are from.
pub(crate) fn load(kind: &str) -> (Vec<Case>, String) {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let (folder, place) = match std::env::var_os("MESHD_POLICY_CASES") {
        Some(folder) => {
            let folder = PathBuf::from(folder);
            let place = folder.display().to_string();
            (folder, place)
        }
        None => (
            own,
            "the project's own few (MESHD_POLICY_CASES is not set)".to_owned(),
        ),
    };
    let mut files = Vec::new();
    json_files(&folder, &mut files);
    files.sort();
    assert!(!files.is_empty(), "{} has no case", folder.display());
    let cases = files
        .iter()
        .map(|file| {
            let text = std::fs::read_to_string(file).expect("a readable case");
            serde_json::from_str::<Value>(&text)
                .unwrap_or_else(|error| panic!("{}: {error}", file.display()))
        })
        .filter(|value| value["kind"] == kind)
        .map(case)
        .collect();
    (cases, place)
}

fn json_files(folder: &Path, files: &mut Vec<PathBuf>) {
    let entries = std::fs::read_dir(folder)
        .unwrap_or_else(|error| panic!("{} cannot be read: {error}", folder.display()));
    for entry in entries {
        let path = entry.expect("a folder entry").path();
        if path.is_dir() {
            json_files(&path, files);
        } else if path
            .extension()
            .is_some_and(|extension| extension == "json")
        {
            files.push(path);
        }
    }
}

/// The parts of a message in double quotes.
pub(crate) fn quoted(message: &str) -> Vec<&str> {
    message.split('"').skip(1).step_by(2).collect()
}

fn case(value: Value) -> Case {
    let expect = &value["expect"];
    let outcome = if value["api_response_code"] == 200 {
        Outcome::Accepted {
            ssh: by_node(expect, "ssh"),
            filter: by_node(expect, "filter"),
            peers: by_node(expect, "peers"),
        }
    } else {
        Outcome::Rejected {
            error: text(&expect["error"]),
            by_tests: expect["tests"] == "fail",
        }
    };
    Case {
        id: text(&value["id"]),
        text: text(&value["policy_hujson"]),
        policy: value["policy"].clone(),
        topology: topology(&value["topology"]),
        has_caveat: !value["caveat"].is_null(),
        needs: texts(&value["needs"]),
        outcome,
    }
}

fn by_node<T: serde::de::DeserializeOwned>(expect: &Value, part: &str) -> BTreeMap<String, Vec<T>> {
    let mut nodes: BTreeMap<String, Vec<T>> =
        serde_json::from_value(expect[part].clone()).expect("rules by node");
    for name in texts(&expect["uncaptured_nodes"]) {
        nodes.remove(&name);
    }
    nodes
}

fn topology(value: &Value) -> Topology {
    let users = value["users"].as_array().expect("users");
    let login = |user: &Value| match text(&user["email"]) {
        email if email.is_empty() => text(&user["name"]),
        email => email,
    };
    let logins: BTreeMap<String, String> = users
        .iter()
        .map(|user| (text(&user["name"]), login(user)))
        .collect();
    let nodes = value["nodes"].as_object().expect("nodes");
    Topology {
        users: logins
            .values()
            .map(|login| User {
                login: login.clone(),
                role: Role::Member,
            })
            .collect(),
        nodes: (1..)
            .zip(nodes)
            .map(|(id, (name, node))| self::node(id, name, node, &logins))
            .collect(),
        domains: DOMAINS.map(str::to_owned).to_vec(),
    }
}

fn node(id: u64, name: &str, value: &Value, logins: &BTreeMap<String, String>) -> Node {
    let mut tags = texts(&value["tags"]);
    tags.sort();
    Node {
        id: NodeId(id),
        name: name.parse().expect("a node name"),
        addresses: MeshAddresses {
            v4: text(&value["ipv4"]).parse().expect("an IPv4 address"),
            v6: text(&value["ipv6"]).parse().expect("an IPv6 address"),
        },
        owner: if tags.is_empty() {
            Owner::User(logins[&text(&value["user"])].clone())
        } else {
            Owner::Tags(tags)
        },
        approved_routes: texts(&value["approved_routes"])
            .iter()
            .map(|route| route.parse().expect("a prefix"))
            .collect(),
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn texts(value: &Value) -> Vec<String> {
    let items = value.as_array().map_or(&[][..], Vec::as_slice);
    items.iter().map(text).collect()
}
