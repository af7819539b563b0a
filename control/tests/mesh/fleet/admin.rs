//! An administrator who saves policies and deletes nodes, whether control lives or not.

use std::path::PathBuf;
use std::process::{Command, Output};

use tokio::sync::mpsc;
use tokio::task::spawn_blocking;

/// Where control's commands go.
#[derive(Clone)]
pub(super) struct Admin {
    pub(super) socket: PathBuf,
    /// A file of this administrator's own.
    pub(super) file: PathBuf,
}

/// Every edge may become one account on every other, and the laptop on everything.
pub(super) fn policy(account: &str) -> String {
    format!(
        r#"{{"tagOwners": {{"tag:edge": [], "tag:agent": []}},
            "grants": [{{"src": ["tag:edge"], "dst": ["tag:edge"], "ip": ["tcp:443"]}},
                       {{"src": ["alice@example.com"], "dst": ["tag:agent"], "ip": ["tcp:22"]}}],
            "ssh": [{{"action": "accept", "src": ["tag:edge"], "dst": ["tag:edge"],
                      "users": ["{account}"]}}]}}"#
    )
}

impl Admin {
    /// Saves one policy after the other, and deletes the nodes of these names, until there are no
    /// more to come; how many policies control has acknowledged.
    pub(super) async fn work(self, mut unwanted: mpsc::UnboundedReceiver<String>) -> usize {
        let mut acknowledged = 0;
        let mut tried = 0;
        loop {
            tried += 1;
            if self.save_policy(&format!("deploy{tried}")).await {
                acknowledged = tried;
            }
            self.look_for_policy(acknowledged, tried).await;
            let mut names = Vec::new();
            if unwanted.recv_many(&mut names, 8).await == 0 {
                return acknowledged;
            }
            for name in names {
                self.delete(&name).await;
            }
        }
    }

    /// Whether control has said yes.
    pub(super) async fn save_policy(&self, account: &str) -> bool {
        std::fs::write(&self.file, policy(account)).expect("writes");
        let file = self.file.to_str().expect("UTF-8").to_owned();
        self.run(&["policy", "set", &file]).await.status.success()
    }

    /// What was acknowledged counts, or what came after it.
    async fn look_for_policy(&self, acknowledged: usize, tried: usize) {
        let output = self.run(&["policy", "get"]).await;
        if output.status.success() && acknowledged > 0 {
            let text = String::from_utf8_lossy(&output.stdout);
            let counts = (acknowledged..=tried).any(|n| text.contains(&format!("\"deploy{n}\"")));
            assert!(counts, "policy {acknowledged} is lost: {text}");
        }
    }

    /// Until control has said so, or knows no such node.
    async fn delete(&self, name: &str) {
        loop {
            let output = self.run(&["nodes", "delete", name]).await;
            let error = String::from_utf8_lossy(&output.stderr);
            if output.status.success() || error.contains("there is no node") {
                return;
            }
        }
    }

    async fn run(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_meshd-control"));
        command.arg("--socket").arg(&self.socket).args(arguments);
        let output = spawn_blocking(move || command.output()).await;
        output.expect("ends").expect("runs")
    }
}
