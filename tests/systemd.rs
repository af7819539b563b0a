//! Hosts with a real systemd: the project's units there, and logind's view of a session.

use std::collections::BTreeMap;

use meshd_lab::{DEADLINE, Host, Kind, Mesh, Owner, wait_for};

/// What logind says of a session (loginctl(1)).
fn session(host: &Host, id: &str) -> BTreeMap<String, String> {
    let words = ["--no-pager", "show-session", id];
    let shown = host.command("loginctl").args(words).succeed();
    let shown = shown.expect("a session").stdout;
    let pairs = shown.lines().filter_map(|line| line.split_once('='));
    pairs.map(|(k, v)| (k.to_owned(), v.to_owned())).collect()
}

#[test]
fn a_session_is_logind_s_with_its_terminal_and_caller() {
    let mesh = Mesh::of_two_booted().expect("a mesh");
    let (laptop, web1) = (mesh.host("laptop"), mesh.host("web1"));
    let terminal = laptop.terminal().expect("a terminal");
    let mut ssh = mesh
        .ssh("laptop", &["alice@web1"])
        .spawn_on(&terminal)
        .expect("ssh");
    terminal
        .send("echo \"<$XDG_SESSION_ID>\"; echo $XDG_RUNTIME_DIR; stat -c %U:%a $XDG_RUNTIME_DIR; tty\n")
        .expect("typed");
    let shown = terminal.expect("/dev/pts/", DEADLINE).expect("a terminal");
    assert!(shown.contains("/run/user/1000\r\nalice:700\r\n"), "{shown}");
    let id = shown
        .rsplit_once(">\r\n")
        .and_then(|(before, _)| before.rsplit_once('<'))
        .map(|(_, id)| id.to_owned())
        .expect("a session's number");

    let session = session(web1, &id);
    let is = |name: &str, value: &str| {
        assert_eq!(session.get(name).map(String::as_str), Some(value), "{name}");
    };
    is("Name", "alice");
    is("TTY", "pts/0");
    is("Remote", "yes");
    is("RemoteHost", &session_address(&mesh));
    is("Service", "meshd-ssh");
    is("Type", "tty");
    is("Class", "user");
    is("State", "active");

    terminal.send("exit\n").expect("typed");
    ssh.wait(DEADLINE).expect("an end");
    wait_for("end of the session", DEADLINE, || {
        let words = ["show-session", &id];
        let shown = web1.command("loginctl").args(words).output().ok()?;
        (!shown.status.success()).then_some(())
    })
    .expect("logind forgets the session");
}

/// The laptop's mesh address by which ssh reaches web1.
fn session_address(mesh: &Mesh) -> String {
    let asked = mesh.ssh("laptop", &["alice@web1", "echo ${SSH_CLIENT%% *}"]);
    asked.succeed().expect("a login").stdout.trim().to_owned()
}

#[test]
fn a_host_joins_by_itself_with_a_credential_of_systemd_as_the_page_says() {
    const PAGE: &str = include_str!("../docs/installation.md");
    let mesh = Mesh::start_with(&[("web1", Kind::Booted)]).expect("a mesh");
    mesh.set_policy(&meshd_lab::policy_for_alice(&["alice"]))
        .expect("a policy");
    let web1 = mesh.host("web1");
    let key = mesh.auth_key(Owner::Tag("tag:web")).expect("a key");
    web1.write("/etc/meshd/auth-key", format!("{key}\n"))
        .expect("written");
    web1.sh("chmod 600 /etc/meshd/auth-key").expect("root's");
    let (_, unit) = PAGE.split_once("```ini\n").expect("the unit");
    let (unit, _) = unit.split_once("```").expect("its end");
    let control_key = mesh.control_key().expect("control's key");
    let unit = unit
        .replace("https://control.example.com:8443", &mesh.control_url())
        .replace("=KEY\n", &format!("={control_key}\n"));
    web1.write("/etc/systemd/system/meshd-join.service", unit)
        .expect("written");
    web1.sh("systemctl start meshd meshd-join || { journalctl -u meshd-join >&2; exit 1; }")
        .expect("it joins");
    let status = web1.sh("mesh status").expect("a node").stdout;
    assert!(status.contains("tag:web"), "{status}");
    // Once it is a node, a start is no second join.
    web1.sh("systemctl start meshd-join")
        .expect("nothing to do");
    let nodes = mesh
        .meshd_control(&["nodes", "list"])
        .expect("a list")
        .stdout;
    assert_eq!(nodes.matches("web1").count(), 1, "{nodes}");
}

#[test]
fn a_session_outlives_a_restart_of_both_units() {
    let mesh = Mesh::of_two_booted().expect("a mesh");
    let mut talk = mesh.talk();
    talk.assert_alive("first");
    let restart = mesh
        .host("web1")
        .sh("systemctl restart meshd-ssh meshd && systemctl is-active meshd-ssh meshd");
    assert_eq!(restart.expect("restarted").stdout, "active\nactive\n");
    talk.assert_alive("after the restart");
    mesh.wait_until_reachable("laptop", "web1")
        .expect("reachable");
    let output = mesh.ssh("laptop", &["alice@web1", "id -un"]).succeed();
    assert_eq!(output.expect("a login").stdout, "alice\n");
    talk.assert_alive("at the end");
}

#[test]
fn systemd_starts_a_unit_again_that_has_crashed() {
    let mut mesh = Mesh::of_two_booted().expect("a mesh");
    mesh.take_manager("web1").crash().expect("crashed");
    mesh.take_broker("web1").crash().expect("crashed");
    mesh.wait_until_reachable("laptop", "web1")
        .expect("reachable");
    let restarts = "systemctl show --property NRestarts --value meshd meshd-ssh";
    let restarts = mesh.host("web1").sh(restarts).expect("said").stdout;
    assert_eq!(restarts.split_whitespace().collect::<Vec<_>>(), ["1", "1"]);
}

/// A program that ignores SIGHUP in a session of its own, beside one that waits.
const STUBBORN: &str = "setsid sh -c 'trap \"\" HUP TERM; touch /tmp/stubborn; exec sleep 1001' & \
     trap '' HUP; touch /tmp/ready; exec sleep 1002";

/// The stubborn program runs; its ssh.
fn start_stubborn(mesh: &Mesh) -> meshd_lab::Running {
    let ssh = mesh.ssh("laptop", &["alice@web1", STUBBORN]).spawn();
    let ssh = ssh.expect("ssh");
    for file in ["/tmp/stubborn", "/tmp/ready"] {
        mesh.wait_for_file("web1", file).expect("it runs");
    }
    ssh
}

fn worker(mesh: &Mesh) -> i32 {
    let all = mesh.host("web1").processes().expect("processes");
    let worker = all
        .iter()
        .find(|p| p.command.contains("meshd-broker worker"));
    worker.expect("a worker").pid
}

fn assert_nothing_is_left(mesh: &Mesh) {
    wait_for("end of what the session has started", DEADLINE, || {
        let all = mesh.host("web1").processes().ok()?;
        (!all.iter().any(|p| p.command.starts_with("sleep 100"))).then_some(())
    })
    .expect("nothing of the session is left");
    wait_for("end of the active session", DEADLINE, || {
        let words = "loginctl --no-pager --no-legend list-sessions";
        let listed = mesh.host("web1").sh(words).ok()?.stdout;
        (!listed.contains("alice")).then_some(())
    })
    .expect("logind has no session");
}

#[test]
fn nothing_of_a_session_outlives_a_killed_worker() {
    let mesh = Mesh::of_two_booted().expect("a mesh");
    let mut ssh = start_stubborn(&mesh);
    mesh.host("web1")
        .kill("KILL", worker(&mesh))
        .expect("killed");
    ssh.wait(DEADLINE).expect("the client is told");
    assert_nothing_is_left(&mesh);
}

#[test]
fn nothing_outlives_a_worker_whose_listener_was_restarted() {
    let mesh = Mesh::of_two_booted().expect("a mesh");
    let mut ssh = start_stubborn(&mesh);
    let web1 = mesh.host("web1");
    web1.sh("systemctl restart meshd-ssh").expect("restarted");
    web1.kill("KILL", worker(&mesh)).expect("killed");
    ssh.wait(DEADLINE).expect("the client is told");
    assert_nothing_is_left(&mesh);
}

#[test]
fn a_worker_killed_while_no_listener_ran_is_cleaned_up_after() {
    let mesh = Mesh::of_two_booted().expect("a mesh");
    let mut ssh = start_stubborn(&mesh);
    let web1 = mesh.host("web1");
    web1.sh("systemctl stop meshd-ssh").expect("stopped");
    web1.kill("KILL", worker(&mesh)).expect("killed");
    ssh.wait(DEADLINE).expect("the client is told");
    web1.sh("pgrep -f 'sleep 1001'")
        .expect("it has outlived its worker");
    web1.sh("systemctl start meshd-ssh").expect("started");
    assert_nothing_is_left(&mesh);
}

#[test]
fn a_revoked_session_is_killed_with_everything_in_its_scope() {
    let mesh = Mesh::of_two_booted().expect("a mesh");
    let mut ssh = start_stubborn(&mesh);
    mesh.change_policy(&meshd_lab::policy_with(""))
        .expect("saved");
    ssh.wait(DEADLINE).expect("the client is told");
    assert_nothing_is_left(&mesh);
}

#[test]
fn what_a_user_leaves_running_lives_on_after_a_plain_end() {
    let mesh = Mesh::of_two_booted().expect("a mesh");
    let leave =
        "setsid sh -c 'trap \"\" HUP; exec sleep 1001' >/dev/null 2>&1 </dev/null & echo left";
    let ssh = mesh.ssh("laptop", &["alice@web1", leave]).succeed();
    assert_eq!(ssh.expect("a login").stdout, "left\n");
    wait_for("end of the worker", DEADLINE, || {
        let all = mesh.host("web1").processes().ok()?;
        (!all
            .iter()
            .any(|p| p.command.contains("meshd-broker worker")))
        .then_some(())
    })
    .expect("the connection is over");
    let lives = mesh.host("web1").sh("pgrep -f 'sleep 1001'");
    lives.expect("it lives on");
}

/// No limit of the units reaches a session: a user may become root by sudo(8) there, and both the
/// kernel and logind still know who it is.
#[test]
fn sudo_works_in_a_session_and_leaves_its_login_uid() {
    let mesh = Mesh::of_two_booted().expect("a mesh");
    mesh.host("web1")
        .write("/etc/sudoers.d/alice", "alice ALL=(ALL) NOPASSWD: ALL\n")
        .expect("a right");
    let look = "sudo sh -c 'id -u; cat /proc/self/loginuid; echo; mount -t tmpfs none /mnt && touch /mnt/x && echo done'";
    let output = mesh.ssh("laptop", &["alice@web1", look]).succeed();
    assert_eq!(output.expect("a session").stdout, "0\n1000\ndone\n");
}

fn wait_until_gone(mesh: &Mesh, command: &str) {
    wait_for(&format!("end of {command}"), DEADLINE, || {
        let all = mesh.host("web1").processes().ok()?;
        (!all.iter().any(|p| p.command.contains(command))).then_some(())
    })
    .expect("it has ended");
}

#[test]
fn a_revoked_session_takes_its_tmux_along_and_leaves_lingering_services() {
    let mesh = Mesh::of_two_booted().expect("a mesh");
    let (laptop, web1) = (mesh.host("laptop"), mesh.host("web1"));
    web1.sh("loginctl enable-linger alice").expect("lingers");
    let terminal = laptop.terminal().expect("a terminal");
    let begin = "systemd-run --user --quiet sleep 1003 && \
         exec tmux new-session 'touch /tmp/in-tmux; exec sleep 1004'";
    let ssh = mesh.ssh("laptop", &["-tt", "alice@web1", begin]);
    let mut ssh = ssh.spawn_on(&terminal).expect("ssh");
    mesh.wait_for_file("web1", "/tmp/in-tmux")
        .expect("tmux runs");
    mesh.change_policy(&meshd_lab::policy_with(""))
        .expect("saved");
    ssh.wait(DEADLINE).expect("the client is told");
    wait_until_gone(&mesh, "sleep 1004");
    wait_until_gone(&mesh, "tmux");
    web1.sh("pgrep -xf '.*sleep 1003'")
        .expect("a service that the user has moved away stays");
}

#[test]
fn a_tmux_server_lives_on_when_its_client_has_left() {
    let mesh = Mesh::of_two_booted().expect("a mesh");
    let begin = "tmux new-session -d 'exec sleep 1004'";
    let ssh = mesh.ssh("laptop", &["alice@web1", begin]).succeed();
    ssh.expect("a login");
    wait_until_gone(&mesh, "meshd-broker worker");
    let list = mesh.ssh("laptop", &["alice@web1", "tmux list-sessions"]);
    let list = list.succeed().expect("the server answers").stdout;
    assert!(list.starts_with("0: 1 windows"), "{list}");
}
