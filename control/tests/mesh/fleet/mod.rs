//! Thousands of hosts at one control that is killed again and again.
//!
//! `MESHD_FLEET` is the number of hosts, `MESHD_SEED` makes the same throws again.

mod admin;
mod dice;
mod follower;
mod host;
mod owner;
mod place;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use admin::{Admin, policy};
use dice::Seed;
use follower::Follower;
use host::Host;
use place::Place;
use serde_json::Value;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinSet, block_in_place};

use crate::harness::{Control, PATIENCE};

const ALICE: &str = "alice@example.com";
const HOSTS: usize = 10_000;
/// How many do something at the same time.
const AT_ONCE: usize = 32;
/// How often control is killed, more or less.
const KILLS: usize = 12;
/// The first so many follow their documents, the next so many get new keys.
const FOLLOWERS: usize = 24;
const RENEWALS: usize = 12;

/// The auth keys of all hosts.
struct AuthKeys {
    edge: String,
    agent: String,
    alice: String,
}

/// Who takes care of a host that has joined.
struct Desks {
    followers: mpsc::UnboundedSender<Host>,
    owner: mpsc::UnboundedSender<Host>,
    unwanted: mpsc::UnboundedSender<String>,
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fleet_loses_nothing_that_a_killed_control_has_acknowledged() {
    let count = std::env::var("MESHD_FLEET")
        .map_or(HOSTS, |text| text.parse().expect("MESHD_FLEET is a number"));
    let seed = Arc::new(Seed::new());
    let mut control = Control::start_for_people(&[]);
    let (browser, _) = control.person(ALICE, "admin").await;
    control.set_policy(&policy("deploy0"));
    let keys = auth_keys(&control);
    let (moved, place) = watch::channel(control.address);
    let place = Place::new(place);

    let (followers, follow) = mpsc::unbounded_channel();
    let (owner, renew) = mpsc::unbounded_channel();
    let (unwanted, delete) = mpsc::unbounded_channel();
    let desks = Desks {
        followers,
        owner,
        unwanted,
    };
    let (decided, decisions) = mpsc::unbounded_channel();
    let following = follow_all(&control, follow, &place, &seed, decided);
    let following = tokio::spawn(following);
    let renewed = tokio::spawn(owner::renew_all(browser, place.clone(), renew));
    let admin = Admin {
        socket: control.socket(),
        file: control.socket().with_extension("policy"),
    };
    let administered = tokio::spawn(admin.clone().work(delete));
    let (joined, progress) = watch::channel(0);
    let hosts = tokio::spawn(join_all(
        count,
        keys,
        place.clone(),
        Arc::clone(&seed),
        desks,
        joined,
    ));

    let kills = kill_again_and_again(&mut control, count, progress, &moved, &seed).await;
    assert!(kills > 2, "control was killed {kills} times only");
    let mut hosts = hosts.await.expect("all hosts join");
    hosts.extend(renewed.await.expect("every key is renewed"));
    let (followed, streams) = following.await.expect("all follow");
    hosts.extend(followed);
    let acknowledged = administered.await.expect("an administrator");
    assert!(acknowledged > 0, "no policy was saved");

    assert!(admin.save_policy("last").await, "control lives");
    hear(decisions, streams).await;
    block_in_place(|| control.restart_after_kill());
    moved.send_replace(control.address);
    look_at_list(&control, &hosts);
    go_on(hosts, &place).await;
}

fn auth_keys(control: &Control) -> AuthKeys {
    let create = |whose: &[&str]| {
        let secret = control.admin(&[&["authkeys", "create", "--reusable"], whose].concat());
        secret.trim().to_owned()
    };
    AuthKeys {
        edge: create(&["--tag", "tag:edge"]),
        agent: create(&["--tag", "tag:agent"]),
        alice: create(&["--user", ALICE]),
    }
}

/// Kills control after some hosts, and a moment, until all have joined; how often.
async fn kill_again_and_again(
    control: &mut Control,
    count: usize,
    mut progress: watch::Receiver<usize>,
    moved: &watch::Sender<SocketAddr>,
    seed: &Seed,
) -> usize {
    let mut dice = seed.dice(0);
    let mut kills = 0;
    loop {
        let after = *progress.borrow() + 1 + dice.below(2 * count / KILLS);
        // An error is a worker that has ended.
        let reached = progress
            .wait_for(|joined| *joined >= after.min(count))
            .await;
        if reached.is_err() || after >= count {
            return kills;
        }
        drop(reached);
        let moment = Duration::from_micros(u64::try_from(dice.below(30_000)).expect("a number"));
        tokio::time::sleep(moment).await;
        block_in_place(|| control.restart_after_kill());
        moved.send_replace(control.address);
        kills += 1;
    }
}

/// Lets all hosts join, some at the same time; those that stay with nobody else.
async fn join_all(
    count: usize,
    keys: AuthKeys,
    place: Place,
    seed: Arc<Seed>,
    desks: Desks,
    joined: watch::Sender<usize>,
) -> Vec<Host> {
    let next = Arc::new(AtomicUsize::new(0));
    let shared = Arc::new((keys, desks, joined));
    let mut workers = JoinSet::new();
    for _ in 0..AT_ONCE {
        let (next, shared, seed) = (Arc::clone(&next), Arc::clone(&shared), Arc::clone(&seed));
        let mut place = place.clone();
        workers.spawn(async move {
            let (keys, desks, joined) = &*shared;
            let mut own = Vec::new();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= count {
                    return own;
                }
                own.extend(join_one(number, keys, &mut place, &seed, desks).await);
                joined.send_modify(|joined| *joined += 1);
            }
        });
    }
    workers.join_all().await.into_iter().flatten().collect()
}

async fn join_one(
    number: usize,
    keys: &AuthKeys,
    place: &mut Place,
    seed: &Seed,
    desks: &Desks,
) -> Option<Host> {
    let give = |desk: &mpsc::UnboundedSender<Host>, host| desk.send(host).expect("a desk");
    match number {
        0..FOLLOWERS => give(
            &desks.followers,
            Host::join(number, &keys.edge, place).await,
        ),
        _ if number < FOLLOWERS + RENEWALS => {
            give(&desks.owner, Host::join(number, &keys.alice, place).await);
        }
        _ => {
            let mut host = Host::join(number, &keys.agent, place).await;
            let mut dice = seed.dice(u64::try_from(number).expect("a number"));
            if dice.below(200) == 0 {
                let name = host.registered.name.to_string();
                desks.unwanted.send(name).expect("an administrator");
                host.is_gone = true;
            } else {
                host.live(&keys.agent, place, &mut dice).await;
            }
            return Some(host);
        }
    }
    None
}

/// Has each of these hosts follow its documents; the hosts, and what follows them.
fn follow_all(
    control: &Control,
    mut hosts: mpsc::UnboundedReceiver<Host>,
    place: &Place,
    seed: &Arc<Seed>,
    tell: mpsc::UnboundedSender<(u64, String)>,
) -> impl Future<Output = (Vec<Host>, JoinSet<()>)> + use<> {
    let (key, place, seed) = (control.key(), place.clone(), Arc::clone(seed));
    async move {
        let (mut followed, mut streams) = (Vec::new(), JoinSet::new());
        while let Some(host) = hosts.recv().await {
            let follower = Follower {
                node: host.node.clone(),
                key,
                place: place.clone(),
                dice: seed.dice(host.registered.node.0 | 1 << 40),
                tell: tell.clone(),
            };
            streams.spawn(follower.follow());
            followed.push(host);
        }
        (followed, streams)
    }
}

/// Waits until every follower has decided by the last policy, and has found no fault.
async fn hear(mut decisions: mpsc::UnboundedReceiver<(u64, String)>, mut streams: JoinSet<()>) {
    let mut heard = BTreeSet::new();
    while heard.len() < streams.len() {
        tokio::select! {
            decided = tokio::time::timeout(PATIENCE, decisions.recv()) => {
                let (node, account) = decided.expect("in time").expect("a follower");
                if account == "last" {
                    heard.insert(node);
                }
            }
            Some(ended) = streams.join_next() => ended.expect("no fault"),
        }
    }
    drop(decisions);
    streams.abort_all();
}

/// Everybody is there as acknowledged, and nobody twice.
fn look_at_list(control: &Control, hosts: &[Host]) {
    let listed = control.admin(&["nodes", "list", "--json"]);
    let listed: Vec<Value> = serde_json::from_str(&listed).expect("JSON");
    let by_id: BTreeMap<u64, &Value> = listed
        .iter()
        .map(|node| (node["id"].as_u64().expect("a number"), node))
        .collect();
    for host in hosts {
        let registered = &host.registered;
        let name = &registered.name;
        let Some(found) = by_id.get(&registered.node.0) else {
            assert!(host.is_gone, "{name} is lost");
            continue;
        };
        assert!(!host.is_gone, "{name} is there again");
        assert_eq!(found["name"], name.as_str());
        let addresses = serde_json::to_value(registered.addresses).expect("JSON");
        assert_eq!(found["addresses"], addresses, "{name}");
        if let Some(endpoint) = host.endpoint {
            let endpoints = found["endpoints"].to_string();
            assert!(
                endpoints.contains(&endpoint.to_string()),
                "{name}: {endpoints}"
            );
        }
    }
    let living = hosts.iter().filter(|host| !host.is_gone).count();
    assert_eq!(listed.len(), living, "somebody is there whom nobody knows");
    let different = |what: &dyn Fn(&Value) -> &Value| {
        let all: BTreeSet<String> = listed.iter().map(|node| what(node).to_string()).collect();
        all.len()
    };
    for what in [
        different(&|node| &node["id"]),
        different(&|node| &node["name"]),
        different(&|node| &node["addresses"]["v4"]),
        different(&|node| &node["addresses"]["v6"]),
    ] {
        assert_eq!(what, listed.len(), "two nodes share something");
    }
}

/// Every node goes on with the keys that it has, and whoever is gone is told so.
async fn go_on(hosts: Vec<Host>, place: &Place) {
    let mut shares: Vec<Vec<Host>> = (0..AT_ONCE).map(|_| Vec::new()).collect();
    for (number, host) in hosts.into_iter().enumerate() {
        shares[number % AT_ONCE].push(host);
    }
    let mut workers = JoinSet::new();
    for share in shares {
        let mut place = place.clone();
        workers.spawn(async move {
            for mut host in share {
                let endpoints = host.endpoint.into_iter().collect();
                let status = host.tell(&mut place, endpoints).await;
                let expected = if host.is_gone { 410 } else { 204 };
                assert_eq!(status, expected, "{}", host.registered.name);
            }
        });
    }
    workers.join_all().await;
}
