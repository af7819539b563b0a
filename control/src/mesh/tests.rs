//! Following change by change gives what reading everything gives.

use std::collections::HashMap;

use meshd_contract::document::Version;
use meshd_contract::identity::Owner;
use meshd_contract::key::{PrivateKey, WireGuardKey};

use super::*;
use crate::audit::{Actor, action};
use crate::auth_key::SecretHash;
use crate::compose::{network_document, peer_document};
use crate::issue::{Occasion, Terms, issue};
use crate::store::{Host, NewAuthKey, Registration};

const POLICIES: [&str; 2] = [
    r#"{"tagOwners": {"tag:web": [], "tag:db": []},
        "groups": {"group:dev": ["bob@example.com"]},
        "grants": [
            {"src": ["autogroup:member"], "dst": ["tag:web"], "ip": ["tcp:22"]},
            {"src": ["tag:web"], "dst": ["tag:db"], "ip": ["tcp:5432"]},
            {"src": ["autogroup:member"], "dst": ["autogroup:self"], "ip": ["*"]},
            {"src": ["autogroup:admin"], "dst": ["100.64.0.0/28"], "ip": ["*"]}],
        "ssh": [
            {"action": "check", "src": ["group:dev"], "dst": ["tag:db"], "users": ["root"]},
            {"action": "accept", "src": ["autogroup:member"], "dst": ["autogroup:self"],
             "users": ["autogroup:nonroot"]},
            {"action": "accept", "src": ["tag:web"], "dst": ["tag:db"], "users": ["backup"]}]}"#,
    r#"{"tagOwners": {"tag:web": [], "tag:db": []},
        "grants": [{"src": ["tag:web"], "dst": ["*"], "ip": ["*"]}],
        "ssh": [{"action": "accept", "src": ["autogroup:admin"], "dst": ["tag:web"],
                 "users": ["deploy"]}]}"#,
];
const LOGINS: [&str; 3] = ["alice@example.com", "bob@example.com", "carol@example.com"];
const STEPS: usize = 100;

/// Numbers that look like chance and are the same each time.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005);
        self.0 = self.0.wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).expect("31 bits") % end
    }
}

/// A store, its time, and what was done to it.
struct Site {
    store: Store,
    now: Timestamp,
    dice: Dice,
    joined: u8,
    _files: tempfile::TempDir,
}

impl Site {
    async fn new(seed: u64) -> Self {
        let files = tempfile::tempdir().expect("a directory");
        let store = Store::open(&files.path().join("control.db")).await;
        let mut site = Self {
            store: store.expect("opens"),
            now: Timestamp(1_000_000),
            dice: Dice(seed),
            joined: 0,
            _files: files,
        };
        site.set_policy().await;
        for login in LOGINS {
            site.create_user(login).await;
        }
        site
    }

    async fn set_policy(&mut self) {
        let text = POLICIES[self.dice.below(2)];
        let over = self.store.policy().await.expect("reads");
        let over = over.map(|policy| policy.id);
        let saved = self
            .store
            .save_policy(text, over, self.now, &Actor::Control);
        saved.await.expect("saves");
    }

    async fn create_user(&mut self, login: &str) {
        let user = UserRow {
            login: login.to_owned(),
            role: [Role::Member, Role::Admin][self.dice.below(2)],
            created_at: self.now,
        };
        // Whoever is there already stays.
        let _ = self.store.create_user(&user, &Actor::Control).await;
    }

    async fn join(&mut self) {
        self.joined += 1;
        let owner = match self.dice.below(5) {
            login @ 0..3 => Owner::User(LOGINS[login].to_owned()),
            3 => Owner::Tags(vec!["tag:web".to_owned()]),
            _ => Owner::Tags(vec!["tag:db".to_owned()]),
        };
        if let Owner::User(login) = &owner {
            self.create_user(login).await;
        }
        let key = NewAuthKey {
            hash: SecretHash::of(&format!("secret {}", self.joined)),
            owner,
            reusable: false,
            ephemeral: false,
            created_at: self.now,
            expires_at: self.now.plus(60),
        };
        let made = self.store.create_auth_key(&key, &Actor::Control).await;
        made.expect("makes a key");
        let registration = Registration {
            hash: key.hash,
            host: Host {
                node_key: PrivateKey::from_seed(&[self.joined; 32]).public(),
                wireguard_key: WireGuardKey([self.joined; 32]),
                name: format!("host{}", self.joined).parse().expect("a name"),
            },
            key_expires_at: self.now.plus(3_600),
        };
        let joined = self.store.register(&registration, self.now).await;
        joined.expect("joins");
    }

    /// One change, of one of the kinds that there are.
    async fn change(&mut self, mesh: &Mesh) {
        let ids: Vec<NodeId> = self
            .store
            .nodes()
            .await
            .expect("reads")
            .iter()
            .map(|n| n.id)
            .collect();
        let (store, now, by) = (self.store.clone(), self.now, &Actor::Control);
        if ids.is_empty() {
            return self.join().await;
        }
        let id = ids[self.dice.below(ids.len())];
        let login = LOGINS[self.dice.below(3)];
        match self.dice.below(16) {
            0..5 => self.join().await,
            5 => {
                let name = format!("other{}", self.dice.below(1_000))
                    .parse()
                    .expect("a name");
                let _ = store.rename_node(id, &name, now, by).await;
            }
            6 | 7 => store
                .delete_node(id, now, by, action::NODE_DELETE)
                .await
                .expect("deletes"),
            8 => {
                let end = Some(now.plus(60));
                store.set_key_expiry(id, end, now, by).await.expect("sets");
            }
            9 => {
                let port = self.dice.below(60_000);
                let endpoint = format!("192.0.2.1:{port}").parse().expect("an endpoint");
                store
                    .save_report(id, &[endpoint], &[], "1", now)
                    .await
                    .expect("saves");
            }
            10 => {
                let role = [Role::Member, Role::Admin][self.dice.below(2)];
                let _ = store.set_role(login, role, now, by).await;
            }
            11 => {
                let _ = store.delete_user(login, now, by).await;
            }
            12 => self.set_policy().await,
            13 => {
                let farewells = mesh.leaving.farewells();
                store.save_documents(&[], &farewells).await.expect("saves");
            }
            14 => {
                let seen = [(id, now)].into();
                store.touch_nodes(&seen).await.expect("saves");
            }
            _ => self.now = now.plus(1),
        }
    }
}

/// What stands in the two documents of every node.
fn contents(mesh: &Mesh) -> HashMap<NodeId, [[u8; 32]; 2]> {
    let key = PrivateKey::from_seed(&[1; 32]);
    let terms = Terms {
        key: &key,
        now: Timestamp(1),
        lifetime: 100,
        digests: &mesh.digests,
    };
    let contents = |node: &NodeRow| {
        let view = mesh.view(node.id);
        let peers = peer_document(node, &view, &mesh.nodes);
        let peers = issue(peers, None, Version(0), Occasion::Change, &terms);
        let network = network_document(node, &view, &mesh.nodes, "mesh.internal");
        let network = issue(network, None, Version(0), Occasion::Change, &terms);
        [peers, network].map(|sealed| {
            let sealed = sealed.expect("is JSON").expect("a first document");
            sealed.issued.content_hash
        })
    };
    let nodes = mesh.nodes.iter();
    nodes.map(|(id, node)| (*id, contents(node))).collect()
}

async fn follow(seed: u64) {
    let mut site = Site::new(seed).await;
    let mut followed = Mesh::read(&site.store, Vec::new(), site.now)
        .await
        .expect("reads");
    let mut before = contents(&followed);
    for step in 0..STEPS {
        for _ in 0..=site.dice.below(3) {
            site.change(&followed).await;
        }
        let affected = followed
            .update(&site.store, site.now)
            .await
            .expect("follows");
        let whole = Mesh::read(&site.store, Vec::new(), site.now)
            .await
            .expect("reads");
        let now = contents(&whole);
        assert_eq!(contents(&followed), now, "seed {seed}, step {step}");
        assert_eq!(followed.leaving.farewells(), whole.leaving.farewells());
        if let Affected::Nodes(affected) = affected {
            let told = |id: &NodeId| affected.contains(id) || before.get(id) == now.get(id);
            let all: BTreeSet<&NodeId> = before.keys().chain(now.keys()).collect();
            let untold: Vec<_> = all.into_iter().filter(|id| !told(id)).collect();
            assert!(untold.is_empty(), "seed {seed}, step {step}: {untold:?}");
        }
        before = now;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn following_gives_what_reading_gives_and_names_whom_it_concerns() {
    for seed in 1..=3 {
        follow(seed).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_new_concerns_nobody() {
    let mut site = Site::new(7).await;
    site.join().await;
    let mut mesh = Mesh::read(&site.store, Vec::new(), site.now)
        .await
        .expect("reads");
    let nodes = site.store.nodes().await.expect("reads");
    let seen = [(nodes[0].id, site.now)].into();
    site.store.touch_nodes(&seen).await.expect("saves");
    let affected = mesh.update(&site.store, site.now).await.expect("follows");
    assert_eq!(affected, Affected::Nodes(BTreeSet::new()));
}
