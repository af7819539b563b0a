//! A fleet of simulated nodes at one control: memory, the way of a policy to every node, requests.
//!
//! `cargo bench -p meshd-control --bench fleet [-- NODES]`; 10,000 unless given.

#![allow(dead_code, unused_imports, reason = "the harness is that of the tests")]

#[path = "../tests/mesh/harness/mod.rs"]
mod harness;

use std::fmt::Write as _;
use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use harness::{Control, Node};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinSet;

/// How many nodes do something at the same time.
const AT_ONCE: usize = 32;
/// How many nodes hear of policies, and how many policies they hear of.
const LISTENERS: usize = 1_000;
const POLICIES: usize = 15;
const REQUESTS_FOR: Duration = Duration::from_secs(10);
const LATEST: Duration = Duration::from_secs(120);

fn main() {
    let count = std::env::args().filter_map(|word| word.parse().ok()).next();
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).expect("a limit");
    setrlimit(Resource::RLIMIT_NOFILE, most, most).expect("descriptors");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    runtime
        .expect("threads")
        .block_on(run(count.unwrap_or(10_000)));
}

/// Alice's laptop may become one account on every agent; agents reach the hub.
fn policy(account: &str) -> String {
    format!(
        r#"{{"tagOwners": {{"tag:agent": [], "tag:hub": []}},
            "grants": [{{"src": ["tag:agent", "alice@example.com"], "dst": ["tag:hub"], "ip": ["*"]}},
                       {{"src": ["alice@example.com"], "dst": ["tag:agent"], "ip": ["tcp:22"]}}],
            "ssh": [{{"action": "accept", "src": ["alice@example.com"], "dst": ["tag:agent"],
                      "users": ["{account}"]}}]}}"#
    )
}

async fn run(count: usize) {
    let control = Control::start();
    control.admin(&["users", "create", "alice@example.com"]);
    control.set_policy(&policy("deploy0"));
    let mut table = String::new();
    let mut row = |what: &str, value: String| {
        let _ = writeln!(table, "{what:<64} {value}");
    };
    row(
        "control, idle, resident",
        format!("{} MiB", control.resident_mib()),
    );
    let hub = control.admin(&["authkeys", "create", "--tag", "tag:hub"]);
    assert_eq!(
        Node::new(control.address)
            .register(&hub, "hub")
            .await
            .status,
        200
    );
    control.join("laptop", "alice@example.com").await;

    let began = Instant::now();
    let nodes = register(&control, count).await;
    let seconds = began.elapsed().as_secs_f64();
    row(
        "nodes registered",
        format!("{count}, {:.0}/s", as_f64(count) / seconds),
    );

    let (heard, mut hears) = mpsc::unbounded_channel();
    let (stop, stopped) = watch::channel(false);
    let mut streams = follow(&nodes[..LISTENERS.min(count)], &heard, &stopped).await;
    wait_for_all(&mut hears, LISTENERS.min(count)).await;
    let ways = policies(&control, &mut hears, LISTENERS.min(count)).await;
    let at = |share: usize| ways[(ways.len() - 1) * share / 100].as_millis();
    let what = format!(
        "policy save to decision, {} nodes connected",
        LISTENERS.min(count)
    );
    row(&what, format!("p50 {} ms, p99 {} ms", at(50), at(99)));

    let more = follow(&nodes[LISTENERS.min(count)..], &heard, &stopped).await;
    wait_for_all(&mut hears, count - LISTENERS.min(count)).await;
    let resident = control.resident_mib();
    row(
        &format!("control, {count} nodes connected, resident"),
        format!("{resident} MiB"),
    );

    let rate = requests(&nodes).await;
    row(
        "documents fetched, a connection each",
        format!("{rate:.0}/s"),
    );
    stop.send_replace(true);
    streams.abort_all();
    drop(more);
    let _ = std::io::stdout().write_all(table.as_bytes());
}

fn as_f64(count: usize) -> f64 {
    u32::try_from(count).map_or(f64::MAX, f64::from)
}

async fn register(control: &Control, count: usize) -> Vec<Node> {
    let create = ["authkeys", "create", "--tag", "tag:agent", "--reusable"];
    let (key, address) = (control.admin(&create), control.address);
    let room = Arc::new(Semaphore::new(AT_ONCE));
    let mut hosts = JoinSet::new();
    for number in 0..count {
        let (key, room) = (key.clone(), Arc::clone(&room));
        hosts.spawn(async move {
            let _permit = room.acquire_owned().await;
            let mut node = Node::new(address);
            let answer = node.register(&key, &format!("agent{number}")).await;
            assert_eq!(answer.status, 200, "{}", answer.text());
            node
        });
    }
    hosts.join_all().await
}

/// Opens a stream for each; every event is told with its time.
async fn follow(
    nodes: &[Node],
    heard: &mpsc::UnboundedSender<(u64, String, Instant)>,
    stopped: &watch::Receiver<bool>,
) -> JoinSet<()> {
    let room = Arc::new(Semaphore::new(AT_ONCE));
    let mut streams = JoinSet::new();
    for node in nodes {
        let (mut node, heard, room) = (node.clone(), heard.clone(), Arc::clone(&room));
        let mut stopped = stopped.clone();
        streams.spawn(async move {
            let permit = room.acquire_owned().await;
            let mut events = node.follow().await;
            drop(permit);
            loop {
                let event = tokio::select! {
                    event = events.next() => event.expect("a stream that goes on"),
                    _ = stopped.changed() => return,
                };
                let _ = heard.send((node.id().0, event.kind, Instant::now()));
            }
        });
    }
    streams
}

/// Until each of so many more nodes has its peer document.
async fn wait_for_all(
    hears: &mut mpsc::UnboundedReceiver<(u64, String, Instant)>,
    count: usize,
) -> Vec<Instant> {
    let mut times = Vec::new();
    let all = async {
        while times.len() < count {
            let (_, kind, at) = hears.recv().await.expect("streams");
            if kind == "peers" {
                times.push(at);
            }
        }
    };
    tokio::time::timeout(LATEST, all).await.expect("in time");
    times
}

/// How long each node waited for each of several policies, in order of size.
async fn policies(
    control: &Control,
    hears: &mut mpsc::UnboundedReceiver<(u64, String, Instant)>,
    count: usize,
) -> Vec<Duration> {
    let mut ways = Vec::new();
    for number in 1..=POLICIES {
        let file = control.policy_file(&policy(&format!("deploy{number}")));
        let began = Instant::now();
        let mut saving = control
            .command(&["policy", "set", &file])
            .spawn()
            .expect("runs");
        let times = wait_for_all(hears, count).await;
        assert!(saving.wait().expect("an end").success());
        ways.extend(times.iter().map(|at| at.duration_since(began)));
    }
    ways.sort();
    ways
}

/// How many nodes a second get both documents, each over a connection of its own.
async fn requests(nodes: &[Node]) -> f64 {
    let fetched = Arc::new(AtomicU64::new(0));
    let end = Instant::now() + REQUESTS_FOR;
    let mut workers = JoinSet::new();
    for worker in 0..AT_ONCE {
        let own: Vec<Node> = nodes
            .iter()
            .skip(worker)
            .step_by(AT_ONCE)
            .cloned()
            .collect();
        let fetched = Arc::clone(&fetched);
        workers.spawn(async move {
            for mut node in own.into_iter().cycle() {
                if Instant::now() >= end {
                    return;
                }
                let mut events = node.follow().await;
                for _ in 0..2 {
                    events.next().await.expect("a document");
                }
                fetched.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    workers.join_all().await;
    as_f64(usize::try_from(fetched.load(Ordering::Relaxed)).unwrap_or(0))
        / REQUESTS_FOR.as_secs_f64()
}
