//! A host with both servers, and a directory in which they are asked the same.

use meshd_contract::paths::HELPER_PROGRAM;
use meshd_lab::{Host, Lan};

use crate::packets::{Client, Reply};

/// Where both servers begin; alice's.
pub(crate) const PLACE: &str = "/home/alice/place";

const OPENSSH: &str = "/usr/lib/openssh/sftp-server";

/// Which server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Server {
    OpenSsh,
    Meshd,
}

/// Both.
pub(crate) const BOTH: [Server; 2] = [Server::OpenSsh, Server::Meshd];

impl Server {
    fn command(self) -> &'static str {
        match self {
            Self::OpenSsh => OPENSSH,
            Self::Meshd => concat!("/usr/lib/meshd/meshd-helper", " sftp"),
        }
    }
}

/// A host with alice and bob.
pub(crate) struct World {
    lan: Lan,
}

impl World {
    pub(crate) fn start() -> Self {
        let world = Self {
            lan: Lan::start(&["web1"]).expect("a host"),
        };
        let host = world.host();
        assert!(host.exists(OPENSSH), "install openssh-sftp-server");
        assert!(host.exists(HELPER_PROGRAM), "build the workspace");
        host.add_user("alice").expect("an account");
        host.add_user("bob").expect("an account");
        world
    }

    pub(crate) fn host(&self) -> &Host {
        self.lan.host("web1")
    }

    /// Makes the directory anew, by a shell script that runs in it as root.
    pub(crate) fn prepare(&self, script: &str) {
        let anew = format!(
            "set -e; rm -rf {PLACE}; mkdir {PLACE}; cd {PLACE}; umask 022
             {script}
             chown -h alice:alice {PLACE}; [ -e mine ] || chown -hR alice:alice {PLACE}"
        );
        self.host().sh(&anew).expect("a directory");
    }

    /// A client of a server that runs as alice, in the directory.
    pub(crate) fn client(&self, server: Server) -> Client {
        self.client_after(server, "umask 022")
    }

    /// The same, after a shell script.
    pub(crate) fn client_after(&self, server: Server, script: &str) -> Client {
        Client::new(self.server_after(server, script))
    }

    /// The server alone.
    pub(crate) fn server_after(&self, server: Server, script: &str) -> meshd_lab::Running {
        let line = format!("cd {PLACE}; {script}; exec {}", server.command());
        let shell = self.host().command("sh").args(["-c", &line]).user("alice");
        shell.spawn().expect("a server")
    }

    /// Everything in the directory: names, kinds, modes, owners, links, sizes and contents.
    pub(crate) fn tree(&self) -> String {
        let list = format!(
            "cd {PLACE}; find . ! -type d -printf '%P %y %m %u %n %s %l\\n' -o -printf '%P %y %m %u\\n' \
             | LC_ALL=C sort; find . -type f -size -64k -print0 | LC_ALL=C sort -z \
             | xargs -0 -r md5sum"
        );
        self.host().sh(&list).expect("a tree").stdout
    }

    /// Asks both servers the same, each in a directory made anew; their answers and what is then
    /// in the directory must be the same. Returns the answers.
    pub(crate) fn both(&self, script: &str, ask: impl Fn(&mut Client) -> Vec<Reply>) -> Vec<Reply> {
        let [theirs, ours] = BOTH.map(|server| {
            self.prepare(script);
            let answers = ask(&mut self.client(server));
            let answers: Vec<_> = answers.into_iter().map(Reply::timeless).collect();
            (answers, self.tree())
        });
        for (number, (theirs, ours)) in theirs.0.iter().zip(&ours.0).enumerate() {
            assert_eq!(theirs, ours, "OpenSSH's answer {number} and ours");
        }
        assert_eq!(theirs, ours, "OpenSSH's and ours");
        ours.0
    }
}
