//! What is not permitted, by policy, by root of the host, or by a bound.

use meshd_contract::paths::HELPER_PROGRAM;
use meshd_lab::{DEADLINE, Mesh};

use crate::world::{ask, client, forward, policy, serve, wait_for_port};

const PROHIBITED: &str = "administratively prohibited: policy does not permit this forward";

fn refusal(mesh: &Mesh, target: &str) -> String {
    let ssh = mesh.ssh("laptop", &["-W", target, "alice@web1"]);
    let output = ssh.output().expect("an end");
    assert_eq!(output.status.code(), Some(255), "{}", output.stderr);
    output.stderr
}

#[test]
fn a_rule_permits_the_ports_that_it_names() {
    let mesh = Mesh::of_two().expect("a mesh");
    let rights = r#", "permitOpen": ["127.0.0.1:8001"], "permitListen": ["localhost:7001"]"#;
    mesh.change_policy(&policy(rights)).expect("saved");
    let _echo = serve(&mesh, "web1", "bob", ["echo", "tcp", "127.0.0.1", "8001"]);
    let through = mesh.ssh("laptop", &["-W", "127.0.0.1:8001", "alice@web1"]);
    assert_eq!(
        through.input("hello").succeed().expect("an end").stdout,
        "hello"
    );
    for target in ["127.0.0.1:8002", "localhost:8001", "[::1]:8001"] {
        let said = refusal(&mesh, target);
        assert!(said.contains(PROHIBITED), "{target}: {said}");
    }
    let _permitted = forward(&mesh, &["-R", "7001:localhost:1"]);
    wait_for_port(&mesh, "web1", 7001);
    let refused = forward(&mesh, &["-R", "7002:localhost:1"]).wait(DEADLINE);
    assert_eq!(refused.expect("an end").code(), Some(255));
}

#[test]
fn stars_and_ipv6_addresses_name_targets_and_places() {
    let mesh = Mesh::of_two().expect("a mesh");
    let rights =
        r#", "permitOpen": ["[0:0::1]:*", "*.invalid:80"], "permitListen": ["*:7001", "[::1]:*"]"#;
    mesh.change_policy(&policy(rights)).expect("saved");
    let _echo = serve(&mesh, "web1", "bob", ["echo", "tcp6", "::1", "8001"]);
    let through = mesh.ssh("laptop", &["-W", "[::1]:8001", "alice@web1"]);
    let said = through.input("hello").succeed().expect("an end");
    assert_eq!(said.stdout, "hello");
    let unknown = refusal(&mesh, "no-such-host.invalid:80");
    assert!(unknown.contains("connect failed:"), "{unknown}");
    for target in ["127.0.0.1:8001", "[::2]:8001", "a.invalid:81", "/tmp/x"] {
        let said = match target.strip_prefix('/') {
            Some(_) => by_path(&mesh, target),
            None => refusal(&mesh, target),
        };
        assert!(said.contains(PROHIBITED), "{target}: {said}");
    }
    let permitted = ["-R", "7001:localhost:1", "-R", "[::1]:0:localhost:1"];
    let _permitted = forward(&mesh, &permitted);
    wait_for_port(&mesh, "web1", 7001);
    for place in [
        "7002:localhost:1",
        "127.0.0.1:7002:localhost:1",
        "/tmp/x:localhost:1",
    ] {
        let refused = forward(&mesh, &["-R", place]).wait(DEADLINE);
        assert_eq!(refused.expect("an end").code(), Some(255), "{place}");
    }
}

/// What ssh says when a Unix socket of the host cannot be reached.
fn by_path(mesh: &Mesh, path: &str) -> String {
    let mut ssh = forward(mesh, &["-L", &format!("7009:{path}")]);
    wait_for_port(mesh, "laptop", 7009);
    let client = client(mesh, "laptop", "127.0.0.1", 7009).input("hello");
    assert_eq!(client.output().expect("an end").stdout, "");
    let mut line = String::new();
    let said = ssh.stderr.take().expect("its errors");
    std::io::BufRead::read_line(&mut std::io::BufReader::new(said), &mut line).expect("a line");
    line
}

#[test]
fn a_rule_without_forwarding_permits_none_also_on_an_old_connection() {
    let mesh = Mesh::of_two().expect("a mesh");
    let _echo = serve(&mesh, "web1", "bob", ["echo", "tcp", "127.0.0.1", "8001"]);
    let _here = serve(
        &mesh,
        "laptop",
        "root",
        ["echo", "tcp", "127.0.0.1", "8001"],
    );
    let mut ssh = forward(
        &mesh,
        &["-L", "7001:localhost:8001", "-R", "7002:localhost:8001"],
    );
    wait_for_port(&mesh, "web1", 7002);
    assert_eq!(ask(&mesh, "laptop", 7001, "hello").stdout, "hello");
    assert_eq!(ask(&mesh, "web1", 7002, "hello").stdout, "hello");
    mesh.change_policy(&policy(r#", "forwarding": "none""#))
        .expect("saved");
    for (host, port) in [("laptop", 7001), ("web1", 7002)] {
        let refused = client(&mesh, host, "127.0.0.1", port).input("hello");
        assert_eq!(refused.output().expect("an end").stdout, "", "{host}");
    }
    assert_eq!(ssh.ended(), None);
    assert!(refusal(&mesh, "127.0.0.1:8001").contains(PROHIBITED));
}

#[test]
fn root_of_the_host_narrows_what_policy_permits() {
    let mesh = Mesh::of_two().expect("a mesh");
    mesh.host("web1")
        .write(
            "/etc/meshd/ssh.toml",
            "forwarding = \"remote\"\n[limits]\nlisteners = 1\n",
        )
        .expect("written");
    let said = refusal(&mesh, "127.0.0.1:22");
    assert!(
        said.contains("this host does not permit such forwards"),
        "{said}"
    );
    let _one = forward(&mesh, &["-R", "7001:localhost:1"]);
    wait_for_port(&mesh, "web1", 7001);
    let two = ["-R", "7002:localhost:1", "-R", "7003:localhost:1"];
    let refused = forward(&mesh, &two).wait(DEADLINE);
    assert_eq!(refused.expect("an end").code(), Some(255));
}

#[test]
fn nobody_reads_the_memory_of_a_helper_nor_stays_in_its_way() {
    let mesh = Mesh::of_two().expect("a mesh");
    let _echo = serve(&mesh, "web1", "bob", ["echo", "tcp", "127.0.0.1", "8001"]);
    let _ssh = forward(&mesh, &["-L", "7001:localhost:8001"]);
    wait_for_port(&mesh, "laptop", 7001);
    assert_eq!(ask(&mesh, "laptop", 7001, "hello").stdout, "hello");
    // A second login of the same account.
    let look = "ls /proc/$(pgrep -x meshd-helper)/fd >/dev/null 2>&1 || echo closed; \
                dd if=/proc/$(pgrep -x meshd-helper)/mem count=1 >/dev/null 2>&1 || echo unread";
    let said = mesh.ssh("laptop", &["alice@web1", look]).succeed();
    assert_eq!(said.expect("a session").stdout, "closed\nunread\n");
    // The user may end it; the next forward has another one.
    let ended = mesh.ssh("laptop", &["alice@web1", "pkill -KILL -x meshd-helper"]);
    ended.succeed().expect("killed");
    meshd_lab::wait_for("another helper", DEADLINE, || {
        let said = client(&mesh, "laptop", "127.0.0.1", 7001).input("hello");
        (said.output().ok()?.stdout == "hello").then_some(())
    })
    .expect("an answer");
}

/// Puts the puppet in the helper's place.
fn replace_helper(mesh: &Mesh, script: &str) {
    let web1 = mesh.host("web1");
    web1.sh("mkdir -p /var/lib/puppet").expect("a directory");
    web1.write("/var/lib/puppet/script", script)
        .expect("a script");
    web1.replace_program(HELPER_PROGRAM, "/usr/lib/meshd/puppet")
        .expect("replaced");
}

#[test]
fn a_helper_that_breaks_the_form_is_killed_and_the_session_goes_on() {
    let mesh = Mesh::of_two().expect("a mesh");
    replace_helper(&mesh, "nonsense");
    let said = refusal(&mesh, "127.0.0.1:22");
    assert!(
        said.contains("the helper of this connection has ended"),
        "{said}"
    );
    let both = ["-L", "7001:localhost:22", "alice@web1", "echo on"];
    let session = mesh.ssh("laptop", &both).succeed().expect("a session");
    assert_eq!(session.stdout, "on\n");
    mesh.wait_until_empty("web1", "alice")
        .expect("it is killed");
}

#[test]
fn a_silent_helper_fails_by_its_deadline_and_holds_up_nothing() {
    let mesh = Mesh::of_two().expect("a mesh");
    mesh.host("web1")
        .write("/etc/meshd/ssh.toml", "[limits]\nconnect = 1\n")
        .expect("written");
    replace_helper(&mesh, "silence");
    let master = ["-M", "-S", "/tmp/mux", "-L", "7001:localhost:22"];
    let mut ssh = forward(&mesh, &master);
    wait_for_port(&mesh, "laptop", 7001);
    let mut waiting = client(&mesh, "laptop", "127.0.0.1", 7001)
        .spawn()
        .expect("a client");
    meshd_lab::wait_for("the helper", DEADLINE, || {
        let all = mesh.host("web1").processes().ok()?;
        let helper = |p: &meshd_lab::Process| p.command == "meshd-helper sockets";
        all.iter().any(helper).then_some(())
    })
    .expect("a helper");
    let beside = mesh.ssh("laptop", &["-S", "/tmp/mux", "web1", "echo on"]);
    assert_eq!(beside.succeed().expect("a session").stdout, "on\n");
    assert_eq!(waiting.ended(), None);
    waiting.wait(DEADLINE).expect("the forward fails");
    assert_eq!(ssh.ended(), None);
}
