//! A mesh whose rules want checks, and logins that wait there.

use meshd_lab::{DEADLINE, Mesh, Owner, Person, Running, policy_with, wait_for};

pub(crate) const ALICE: &str = "alice@example.com";

/// Alice may become alice on tag:web after a check, and root after another one.
pub(crate) fn policy(period: &str) -> String {
    let period = match period {
        "" => String::new(),
        period => format!(r#", "checkPeriod": "{period}""#),
    };
    policy_with(&format!(
        r#"{{"action": "check", "src": ["{ALICE}"], "dst": ["tag:web"],
            "users": ["alice", "root"]{period}}}"#
    ))
}

/// The mesh of [`Mesh::of_two`] with these rules, and alice, who is signed in.
pub(crate) fn mesh(period: &str) -> (Mesh, Person) {
    let mesh = Mesh::of_two().expect("a mesh");
    mesh.change_policy(&policy(period)).expect("a policy");
    let alice = Person::new(&mesh, "laptop", ALICE).expect("an account");
    (mesh, alice)
}

/// The same with one more host like web1, or one more of alice's.
pub(crate) fn mesh_with(period: &str, more: &[(&'static str, Owner<'static>)]) -> (Mesh, Person) {
    let names: Vec<&str> = more.iter().map(|(name, _)| *name).collect();
    let hosts = [&["laptop", "web1"], names.as_slice()].concat();
    let mut mesh = Mesh::start(&hosts).expect("a mesh");
    mesh.meshd_control(&["users", "create", ALICE])
        .expect("alice");
    mesh.set_policy(&policy(period)).expect("a policy");
    let first = [
        ("laptop", Owner::User(ALICE)),
        ("web1", Owner::Tag("tag:web")),
    ];
    let all = first.iter().chain(more);
    for (name, owner) in all {
        if matches!(owner, Owner::Tag(_)) {
            mesh.host(name).add_user("alice").expect("an account");
            mesh.start_broker(name).expect("a broker");
        }
        mesh.join(name, *owner).expect("a node");
    }
    for (name, owner) in first.iter().chain(more) {
        if matches!(owner, Owner::Tag(_)) {
            mesh.wait_until_reachable("laptop", name).expect("SSH");
        }
    }
    let alice = Person::new(&mesh, "laptop", ALICE).expect("an account");
    (mesh, alice)
}

/// A login that waits for a check.
pub(crate) struct Waiting {
    pub(crate) ssh: Running,
    log: String,
    from: &'static str,
    pub(crate) url: String,
    pub(crate) number: String,
}

/// How a login has ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) said: String,
}

impl Waiting {
    /// Begins `ssh` on a host, which waits then. `name` is its alone.
    pub(crate) fn begin(mesh: &Mesh, name: &str, from: &'static str, arguments: &[&str]) -> Self {
        let (ssh, log) = start(mesh, name, from, arguments);
        Self::shown(mesh, ssh, log, from)
    }

    /// Waits for the words of a login that has been begun.
    pub(crate) fn shown(mesh: &Mesh, ssh: Running, log: String, from: &'static str) -> Self {
        let host = mesh.host(from);
        let shown = wait_for("where to sign in", DEADLINE, || {
            let said = host.read_text(&log).ok()?;
            let url = after(&said, "# To authenticate, visit: ")?;
            let number = after(&said, "# The page asks for this number: ")?;
            Some((url, number))
        });
        let (url, number) = shown.unwrap_or_else(|error| {
            let said = host.read_text(&log).unwrap_or_default();
            let broker = mesh.log("web1", "meshd-broker");
            panic!("{error}\n{said}\n{broker}\n{}", mesh.log("web1", "meshd"))
        });
        Self {
            ssh,
            log,
            from,
            url,
            number,
        }
    }

    /// Has the person choose the right number.
    pub(crate) fn approve(&self, mesh: &Mesh, person: &Person) {
        let answer = person
            .press(mesh, &self.url, "choice", &self.number)
            .expect("a page");
        assert_eq!(answer.status, 200, "{}", answer.page);
        assert!(answer.page.contains("Approved"), "{}", answer.page);
    }

    pub(crate) fn end(&mut self, mesh: &Mesh) -> Ended {
        let status = self.ssh.wait(DEADLINE).expect("an end");
        let said = mesh.host(self.from).read_text(&self.log);
        Ended {
            code: status.code(),
            said: said.expect("its words"),
        }
    }

    /// Waits until the login is permitted.
    pub(crate) fn assert_let_in(&mut self, mesh: &Mesh) {
        let ended = self.end(mesh);
        assert_eq!(ended.code, Some(0), "{}", ended.said);
        assert!(
            ended.said.contains("# Authentication checked with meshd."),
            "{}",
            ended.said
        );
    }

    pub(crate) fn assert_denied(&mut self, mesh: &Mesh, words: &str) {
        let ended = self.end(mesh);
        assert_eq!(ended.code, Some(255), "{}", ended.said);
        assert!(ended.said.contains(words), "{words}: {}", ended.said);
    }
}

/// Begins `ssh`; its words go to a file.
pub(crate) fn start(
    mesh: &Mesh,
    name: &str,
    from: &'static str,
    arguments: &[&str],
) -> (Running, String) {
    let log = format!("/tmp/ssh-{name}.log");
    let file = mesh.host(from).append(&log).expect("a log");
    let ssh = mesh.ssh(from, arguments).spawn_into(&file);
    (ssh.expect("ssh"), log)
}

/// A login that is not asked to wait.
pub(crate) fn assert_not_asked(mesh: &Mesh, from: &'static str, arguments: &[&str]) {
    let output = mesh.ssh(from, arguments).output().expect("an end");
    assert_eq!(output.status.code(), Some(0), "{}", output.stderr);
    let asked = output.stderr.contains("additional check");
    assert!(!asked, "{}", output.stderr);
}

fn after(said: &str, words: &str) -> Option<String> {
    let (_, rest) = said.split_once(words)?;
    let (rest, _) = rest.split_once('\n')?;
    Some(rest.trim().to_owned())
}
