//! How long somebody who has answered waits for the shell: a check's number at control's page, and a
//! password for sshd's keyboard-interactive.

use meshd_lab::{CONTROL, Mesh, Person, Result, policy_for_alice, policy_with};

use crate::client::number;
use crate::figures::{head, row, turns};
use crate::server::Server;

const TURNS: usize = 25;
const PROGRAM: &str = include_str!("checks.py");
const PLACE: &str = "/tmp/checks.py";
const PASSWORD: &str = "a password";

/// Alice is asked at each login, and bob never is.
const RULES: &str = r#"
    {"action": "check", "src": ["alice@example.com"], "dst": ["tag:web"], "users": ["alice"],
        "checkPeriod": "always"},
    {"action": "accept", "src": ["alice@example.com"], "dst": ["tag:web"], "users": ["bob"]},
"#;

/// The cheapest hash that crypt(5) has of today's kinds, so that it is not what is measured.
const SET_PASSWORD: &str = "hash=$(python3 -W ignore -c 'import crypt, sys
print(crypt.crypt(sys.argv[1], \"$6$rounds=1000$salt\"))' \"$1\") && usermod -p \"$hash\" alice
sed -i '/auth/d' /etc/pam.d/sshd && echo 'auth required pam_unix.so' >>/etc/pam.d/sshd";

pub(crate) fn measure(mesh: &Mesh) -> Result<()> {
    mesh.change_policy(&policy_with(RULES))?;
    mesh.host("laptop").write(PLACE, PROGRAM)?;
    let web1 = mesh.host("web1").command("sh");
    web1.args(["-c", SET_PASSWORD, "sh", PASSWORD]).succeed()?;
    let alice = Person::new(mesh, "laptop", "alice@example.com")?;
    head()?;
    let answered = turns(TURNS, |server| answered(mesh, &alice, server))?;
    row("answer to shell, ms", answered)?;
    let asked_nobody = turns(TURNS, |server| {
        one(mesh, &["none"], &line("", server, "bob"))
    })?;
    row("login without a question, ms", asked_nobody)?;
    mesh.change_policy(&policy_for_alice(&["alice"]))
}

fn answered(mesh: &Mesh, alice: &Person, server: Server) -> Result<f64> {
    let (options, control) = match server {
        Server::Meshd => ("-o LogLevel=INFO", mesh.host(CONTROL).v4().to_string()),
        Server::Sshd => (
            "-o BatchMode=no -o PreferredAuthentications=keyboard-interactive",
            String::new(),
        ),
    };
    let how = match server {
        Server::Meshd => vec!["check", &control, alice.cookies()],
        Server::Sshd => vec!["type", PASSWORD],
    };
    one(mesh, &how, &line(options, server, "alice"))
}

fn line(options: &str, server: Server, account: &str) -> String {
    let more = server.options();
    format!("ssh {options} {more} {account}@web1")
}

/// One turn, in milliseconds.
fn one(mesh: &Mesh, how: &[&str], ssh: &str) -> Result<f64> {
    let person = mesh.host("laptop").command("python3").arg(PLACE);
    let person = person
        .args(how.iter().copied())
        .args(ssh.split_whitespace());
    number(&person.arg("echo a shell").succeed()?.stdout)
}
