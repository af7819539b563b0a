//! Time and memory of compiling a policy: `cargo bench -p meshd-policy`.
//!
//! 200 rules (140 for the network, 60 for SSH), 500 groups of 10 users, 50 tags; four nodes of
//! five belong to users with three devices each, the fifth carries a tag. Two rules let all
//! members reach ten shared nodes, one lets everybody reach their own devices.

#![expect(clippy::print_stdout, reason = "figures are what a benchmark is for")]

use std::fmt::Write;
use std::time::{Duration, Instant};

use meshd_contract::address::MeshAddresses;
use meshd_contract::filter::Sources;
use meshd_contract::identity::{NodeId, Owner};
use meshd_policy::{Compiled, Node, Policy, Topology};

const GROUPS: usize = 500;
const TAGS: usize = 50;
const CHANGES: usize = 200;

fn main() {
    let sizes: Vec<usize> = match std::env::var("MESHD_BENCH_NODES") {
        Ok(text) => text.split(',').filter_map(|n| n.parse().ok()).collect(),
        Err(_) => vec![1_000, 10_000, 50_000],
    };
    for nodes in sizes {
        measure(nodes);
    }
}

fn measure(count: usize) {
    let topology = topology(count);
    let text = policy(count);
    let start = Instant::now();
    let policy = Policy::parse(&text).expect("a good policy");
    let parsed = start.elapsed();
    let memory_before = resident_kib();
    let start = Instant::now();
    let mut compiled = policy.compile(&topology);
    let shared = start.elapsed();
    let memory = resident_kib().saturating_sub(memory_before);
    let start = Instant::now();
    let output = Output::of(&compiled);
    let views = start.elapsed();
    println!(
        "{count} nodes: parse {parsed:.1?}, compile {shared:.1?}, every view {views:.1?}, \
         compile and views {:.1?}; {memory} KiB for the mesh and the compiled policy",
        shared + views
    );
    println!(
        "  output: {} peers, {} filter lines with {} source ranges, {} SSH rules with {} \
         principals",
        output.peers, output.lines, output.ranges, output.rules, output.principals
    );
    changes(&mut compiled, &topology);
}

fn changes(compiled: &mut Compiled, topology: &Topology) {
    let mut changes = Vec::new();
    let mut with_views = Vec::new();
    let mut most_affected = 0;
    let mut affected_in_all = 0;
    for n in 0..CHANGES {
        let place = n * 7919 % topology.nodes.len();
        let mut node = topology.nodes[place].clone();
        node.owner = topology.nodes[(place + 13) % topology.nodes.len()]
            .owner
            .clone();
        let start = Instant::now();
        let affected = compiled.set_node(node);
        changes.push(start.elapsed());
        for id in &affected {
            std::hint::black_box(compiled.node(*id));
        }
        with_views.push(start.elapsed());
        most_affected = most_affected.max(affected.len());
        affected_in_all += affected.len();
    }
    println!(
        "  one node changes its owner: {}; with the views of the {} nodes that it touches on \
         average ({most_affected} at most): {}",
        spread(changes),
        affected_in_all / CHANGES,
        spread(with_views)
    );
}

fn spread(mut times: Vec<Duration>) -> String {
    times.sort_unstable();
    format!(
        "median {:.2?}, longest {:.2?}",
        times[times.len() / 2],
        times[times.len() - 1]
    )
}

#[derive(Default)]
struct Output {
    peers: usize,
    lines: usize,
    ranges: usize,
    rules: usize,
    principals: usize,
}

impl Output {
    fn of(compiled: &Compiled) -> Self {
        let mut output = Self::default();
        for id in compiled.nodes() {
            let view = compiled.node(id);
            output.peers += view.peers.len();
            for rule in &view.filter {
                output.lines += rule.destinations.len();
                if let Sources::Ranges(ranges) = &rule.sources {
                    output.ranges += ranges.len();
                }
            }
            output.rules += view.ssh_rules.len();
            let principals = view.ssh_rules.iter().map(|rule| rule.principals.len());
            output.principals += principals.sum::<usize>();
        }
        output
    }
}

fn user_count(nodes: usize) -> usize {
    (nodes * 4 / 5 / 3).max(1)
}

fn topology(count: usize) -> Topology {
    let users = user_count(count);
    let nodes = (0..count)
        .map(|n| {
            let owner = if n % 5 == 4 {
                // Ten nodes serve everybody, however large the mesh is.
                let mut tags = vec![format!("tag:t{}", n / 5 % TAGS)];
                if n / 5 < 10 {
                    tags.insert(0, "tag:shared".to_owned());
                }
                Owner::Tags(tags)
            } else {
                Owner::User(format!("user{}@example.com", n % users))
            };
            let low = u32::try_from(n).expect("a small number") + 1;
            let [_, a, b, c] = low.to_be_bytes();
            let [high, low] = [low >> 16, low & 0xffff].map(|part| part as u16);
            Node {
                id: NodeId(n as u64 + 1),
                name: format!("node{n}").parse().expect("a name"),
                addresses: MeshAddresses {
                    v4: [100, 64 + a, b, c].into(),
                    v6: [0xfd7a, 0x115c, 0xa1e0, 0, 0, 0, high, low].into(),
                },
                owner,
                approved_routes: Vec::new(),
            }
        })
        .collect();
    Topology {
        nodes,
        domains: vec!["example.com".to_owned()],
        ..Topology::default()
    }
}

fn policy(nodes: usize) -> String {
    let users = user_count(nodes);
    let mut text = "{\"groups\": {\n".to_owned();
    let group_members = |group: usize| {
        let logins =
            (0..10).map(|n| format!("\"user{}@example.com\"", (group * 31 + n * 97) % users));
        logins.collect::<Vec<_>>().join(", ")
    };
    for group in 0..GROUPS {
        let _ = writeln!(text, "\"group:g{group}\": [{}],", group_members(group));
    }
    text.push_str("}, \"tagOwners\": {\n");
    for tag in 0..TAGS {
        let _ = writeln!(text, "\"tag:t{tag}\": [\"group:g{tag}\"],");
    }
    text.push_str("\"tag:shared\": []}, \"grants\": [\n");
    for rule in 0..137 {
        let (a, b, tag) = (rule * 3 % GROUPS, (rule * 7 + 1) % GROUPS, rule % TAGS);
        let _ = writeln!(
            text,
            "{{\"src\": [\"group:g{a}\", \"group:g{b}\"], \"dst\": [\"tag:t{tag}\"], \"ip\": \
             [\"tcp:22\", \"tcp:{}\"]}},",
            1000 + rule
        );
    }
    text.push_str(
        "{\"src\": [\"autogroup:member\"], \"dst\": [\"tag:shared\"], \"ip\": [\"443\"]},\n\
         {\"src\": [\"autogroup:member\"], \"dst\": [\"tag:shared\"], \"ip\": [\"80\"]},\n\
         {\"src\": [\"autogroup:member\"], \"dst\": [\"autogroup:self\"], \"ip\": [\"*\"]},\n\
         ], \"ssh\": [\n",
    );
    for rule in 0..59 {
        let (group, tag) = (rule * 5 % GROUPS, rule % TAGS);
        let action = if rule % 3 == 0 { "check" } else { "accept" };
        let _ = writeln!(
            text,
            "{{\"action\": \"{action}\", \"src\": [\"group:g{group}\"], \"dst\": \
             [\"tag:t{tag}\"], \"users\": [\"localpart:*@example.com\", \"deploy\"]}},"
        );
    }
    text.push_str(
        "{\"action\": \"check\", \"src\": [\"autogroup:member\"], \"dst\": [\"autogroup:self\"], \
         \"users\": [\"autogroup:nonroot\", \"root\"]}]}",
    );
    text
}

/// The resident memory of this process (proc(5)); 0 where it cannot be read.
fn resident_kib() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok())
        .unwrap_or(0)
}
