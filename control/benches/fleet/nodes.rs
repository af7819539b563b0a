//! The simulated nodes: each with keys of its own, a connection of its own, and a stream.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use http_body_util::Full;
use hyper::Request;
use hyper::body::Bytes;
use meshd_contract::identity::NodeId;
use meshd_contract::key::PublicKey;
use meshd_contract::peer_document::PeerDocument;
use meshd_contract::ssh_rule::{Account, Decision, decide};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;

use crate::Each;
use crate::bare::Bare;
use crate::harness::{Control, Node, send};
use crate::usage::Usage;

/// How many nodes register, connect or ask at the same time.
const AT_ONCE: usize = 32;
const REQUESTS_FOR: Duration = Duration::from_secs(10);
const LATEST: Duration = Duration::from_secs(300);

/// A node lets the laptop in as this account, since this moment.
struct Decided {
    account: String,
    at: Instant,
}

pub(crate) struct Fleet {
    key: PublicKey,
    /// The peer whose logins nodes decide.
    laptop: NodeId,
    nodes: Vec<Node>,
    streams: JoinSet<()>,
    tell: mpsc::UnboundedSender<Decided>,
    told: mpsc::UnboundedReceiver<Decided>,
    policies: usize,
}

impl Fleet {
    pub(crate) fn new(control: &Control, laptop: NodeId) -> Self {
        let (tell, told) = mpsc::unbounded_channel();
        Self {
            key: control.key(),
            laptop,
            nodes: Vec::new(),
            streams: JoinSet::new(),
            tell,
            told,
            policies: 0,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.nodes.len()
    }

    pub(crate) fn connected(&self) -> usize {
        self.streams.len()
    }

    /// The account of the policy that is in force.
    fn account(&self) -> String {
        format!("deploy{}", self.policies)
    }

    /// That of another policy.
    pub(crate) fn next_account(&mut self) -> String {
        self.policies += 1;
        self.account()
    }

    /// Lets `count` more nodes join.
    pub(crate) async fn register(&mut self, control: &Control, count: usize) {
        let create = ["authkeys", "create", "--tag", "tag:agent", "--reusable"];
        let (key, address) = (control.admin(&create), control.address);
        let room = Arc::new(Semaphore::new(AT_ONCE));
        let mut hosts = JoinSet::new();
        let first = self.nodes.len();
        for number in first..first + count {
            let (key, room) = (key.clone(), Arc::clone(&room));
            hosts.spawn(async move {
                let _permit = room.acquire_owned().await;
                let mut node = Node::new(address);
                let answer = node.register(&key, &format!("agent{number}")).await;
                assert_eq!(answer.status, 200, "{}", answer.text());
                node
            });
        }
        self.nodes.extend(hosts.join_all().await);
    }

    /// Opens the streams of `count` more nodes, and waits until each has decided a login.
    pub(crate) async fn connect(&mut self, count: usize) {
        let room = Arc::new(Semaphore::new(AT_ONCE));
        let first = self.connected();
        for node in &self.nodes[first..first + count] {
            let room = Arc::clone(&room);
            let stream = follow(node.clone(), room, self.key, self.laptop, self.tell.clone());
            self.streams.spawn(stream);
        }
        let account = self.account();
        self.wait_until(&account, count).await;
    }

    /// When each connected node decided by the policy with this account.
    pub(crate) async fn wait_for(&mut self, account: &str) -> Vec<Instant> {
        self.wait_until(account, self.connected()).await
    }

    async fn wait_until(&mut self, account: &str, count: usize) -> Vec<Instant> {
        let mut times = Vec::new();
        let all = async {
            while times.len() < count {
                let decided = self.told.recv().await.expect("a sender");
                if decided.account == account {
                    times.push(decided.at);
                }
            }
        };
        let in_time = tokio::time::timeout(LATEST, all).await;
        assert!(
            in_time.is_ok(),
            "{} of {count} decided in time",
            times.len()
        );
        times
    }

    /// Nodes without a stream get both documents for a while; how long these are, and what one
    /// such request takes.
    pub(crate) async fn fetch_documents(&self, server: u32) -> (usize, Each) {
        let length = Arc::new(AtomicUsize::new(0));
        let measured = Arc::clone(&length);
        let ask = move |mut node: Node| {
            let measured = Arc::clone(&measured);
            async move {
                let mut events = node.follow().await;
                let mut bytes = 0;
                for _ in 0..2 {
                    bytes += events.next().await.expect("a document").data.len();
                }
                measured.store(bytes, Ordering::Relaxed);
            }
        };
        let each = self.ask(server, ask).await;
        (length.load(Ordering::Relaxed), each)
    }

    /// The same number of nodes at the other server.
    pub(crate) async fn fetch_plain(&self, server: &Bare) -> Each {
        let address = server.address;
        let ask = move |_| async move {
            let request = Request::get("/").header("host", "bare");
            let request = request.body(Full::<Bytes>::default()).expect("a request");
            assert_eq!(send(address, request).await.status, 200);
        };
        self.ask(server.pid(), ask).await
    }

    async fn ask<F, Asked>(&self, server: u32, ask: F) -> Each
    where
        F: Fn(Node) -> Asked + Clone + Send + 'static,
        Asked: Future<Output = ()> + Send,
    {
        let fetched = Arc::new(AtomicUsize::new(0));
        let (began, before) = (Instant::now(), Usage::of(server));
        let mut workers = JoinSet::new();
        for worker in 0..AT_ONCE {
            let own: Vec<Node> = self
                .nodes
                .iter()
                .skip(worker)
                .step_by(AT_ONCE)
                .cloned()
                .collect();
            let (fetched, ask) = (Arc::clone(&fetched), ask.clone());
            workers.spawn(async move {
                for node in own.iter().cycle() {
                    if began.elapsed() >= REQUESTS_FOR {
                        return;
                    }
                    ask(node.clone()).await;
                    fetched.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        workers.join_all().await;
        let count = fetched.load(Ordering::Relaxed);
        Each::of(began.elapsed(), &before, &Usage::of(server), count)
    }
}

/// Follows the documents of one node, and decides a login by each.
async fn follow(
    mut node: Node,
    room: Arc<Semaphore>,
    key: PublicKey,
    laptop: NodeId,
    tell: mpsc::UnboundedSender<Decided>,
) {
    let permit = room.acquire_owned().await;
    let mut events = node.follow().await;
    drop(permit);
    while let Some(event) = events.next().await {
        if event.kind != "peers" {
            continue;
        }
        let document: PeerDocument = node.open(&event, &key);
        let login = document.rules[0].logins.named.first().expect("an account");
        let account = Account {
            login: login.clone(),
            uid: 1_000,
        };
        let decision = decide(&document.rules, laptop, Some(&account));
        assert!(matches!(decision, Decision::Accept(_)), "{decision:?}");
        let _ = tell.send(Decided {
            account: login.to_string(),
            at: Instant::now(),
        });
    }
}
