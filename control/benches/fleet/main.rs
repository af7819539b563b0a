//! A fleet of simulated nodes at one control: memory, the way of a policy to every node, requests.
//!
//! `cargo bench --workspace --bench fleet [-- NODES]`; 10,000 unless given. Control and the nodes
//! share the processors of this host, so that control's own processor time is told too.

#![allow(dead_code, unused_imports, reason = "the harness is that of the tests")]

mod bare;
#[path = "../../tests/mesh/harness/mod.rs"]
mod harness;
mod nodes;
mod usage;

use std::fmt::Display;
use std::io::Write as _;
use std::time::{Duration, Instant};

use bare::Bare;
use harness::{Control, Node};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nodes::Fleet;
use usage::Usage;

/// How many nodes hear of policies where not all do, and how many policies they hear of.
const LISTENERS: usize = 1_000;
const POLICIES: usize = 15;

fn main() {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).expect("a limit");
    setrlimit(Resource::RLIMIT_NOFILE, most, most).expect("descriptors");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .expect("threads");
    let mut words = std::env::args().skip(1);
    if words.next().as_deref() == Some(bare::WORD) {
        let length = words.next().and_then(|word| word.parse().ok());
        return runtime.block_on(bare::serve(length.expect("a length")));
    }
    let count = std::env::args().find_map(|word| word.parse().ok());
    runtime.block_on(run(count.unwrap_or(10_000)));
}

/// Alice's laptop may become one account on every agent; agents reach the hub.
pub(crate) fn policy(account: &str) -> String {
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
    row("control idle", Usage::of(control.pid()));
    let hub = control.admin(&["authkeys", "create", "--tag", "tag:hub"]);
    let hub = Node::new(control.address).register(&hub, "hub").await;
    assert_eq!(hub.status, 200, "{}", hub.text());
    let laptop = control.join("laptop", "alice@example.com").await.id();

    let few = LISTENERS.min(count);
    let mut fleet = Fleet::new(&control, laptop);
    register(&control, &mut fleet, few).await;
    fleet.connect(few).await;
    policies(&control, &mut fleet).await;
    if few < count {
        register(&control, &mut fleet, count - few).await;
        policies(&control, &mut fleet).await;
        let began = Instant::now();
        fleet.connect(count - few).await;
        row(
            &format!("{} more nodes connected, in", count - few),
            format!("{:.1} s", began.elapsed().as_secs_f64()),
        );
    }
    row(
        &format!("control, {count} nodes connected"),
        Usage::of(control.pid()),
    );
    if few < count {
        policies(&control, &mut fleet).await;
    }
    requests(&control, &fleet).await;
}

/// Writes a line of the table at once: a run takes minutes.
fn row(what: &str, value: impl Display) {
    let _ = writeln!(std::io::stdout(), "{what:<58} {value}");
}

async fn register(control: &Control, fleet: &mut Fleet, count: usize) {
    let (began, before) = (Instant::now(), Usage::of(control.pid()));
    fleet.register(control, count).await;
    let each = Each::of(began.elapsed(), &before, &Usage::of(control.pid()), count);
    row(&format!("{count} nodes registered"), each);
}

/// How long each connected node waits for each of several policies, from the start of the command.
async fn policies(control: &Control, fleet: &mut Fleet) {
    let before = Usage::of(control.pid());
    let mut ways = Vec::new();
    for _ in 0..POLICIES {
        let account = fleet.next_account();
        let file = control.policy_file(&policy(&account));
        let began = Instant::now();
        let saving = control.command(&["policy", "set", &file]).spawn();
        let times = fleet.wait_for(&account).await;
        let status = saving.expect("runs").wait().expect("an end");
        assert!(status.success(), "the policy is refused");
        ways.extend(times.iter().map(|at| at.duration_since(began)));
    }
    ways.sort();
    let at = |share: usize| ways[(ways.len() - 1) * share / 100].as_millis();
    let spent = (Usage::of(control.pid()).processor - before.processor) / 15;
    row(
        &format!(
            "policy saved to decision, {} of {} connected",
            fleet.connected(),
            fleet.len()
        ),
        format!(
            "p50 {} ms, p99 {} ms; control's processor {} ms a policy",
            at(50),
            at(99),
            spent.as_millis()
        ),
    );
}

/// How many nodes a second get both documents, each over a connection of its own, beside as many
/// bytes from a server that does nothing else.
async fn requests(control: &Control, fleet: &Fleet) {
    let (length, own) = fleet.fetch_documents(control.pid()).await;
    row("both documents fetched, a connection each", &own);
    let bare = Bare::start(length);
    let plain = fleet.fetch_plain(&bare).await;
    row(
        &format!("{length} bytes of a bare axum, a connection each"),
        &plain,
    );
    row(
        "control beside the bare server",
        format!(
            "{:.2} of the rate, {:.2} of the processor time",
            own.rate / plain.rate,
            own.processor.as_secs_f64() / plain.processor.as_secs_f64()
        ),
    );
}

/// What one of many like things takes.
pub(crate) struct Each {
    /// How many a second.
    rate: f64,
    /// The server's processor time for one.
    processor: Duration,
}

impl Each {
    /// What each of `count` things took that were done between two looks at the server.
    pub(crate) fn of(elapsed: Duration, before: &Usage, after: &Usage, count: usize) -> Self {
        let count = u32::try_from(count).expect("not that many").max(1);
        Self {
            rate: f64::from(count) / elapsed.as_secs_f64(),
            processor: (after.processor - before.processor) / count,
        }
    }
}

impl Display for Each {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (rate, micros) = (self.rate, self.processor.as_micros());
        write!(f, "{rate:.0}/s; server's processor {micros} µs each")
    }
}
