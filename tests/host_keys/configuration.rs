//! Plain `ssh` with the drop-in.

use meshd_lab::{Mesh, Owner, policy_with};

use crate::world::{DROP_IN, WHO, assert_logs_in, new_key, plan, v6, write_own};

/// Names of the user's own.
const ALIASES: &str = "\
Host w
    HostName web1
Host named
    HostName web1
    HostKeyAlias some-name
Host shared
    HostName web1
    ControlMaster auto
    ControlPath /root/.ssh/shared-%C
    ControlPersist 60
";

#[test]
fn a_node_may_be_called_by_any_name_of_its_own_or_of_the_users() {
    let mesh = Mesh::of_two().expect("a mesh");
    write_own(&mesh, "config", ALIASES);
    for host in ["w", "named", "shared", "shared"] {
        assert_logs_in(&mesh, &[&format!("alice@{host}")]);
    }
    let laptop = mesh.host("laptop");
    let shared = laptop.command("ssh").args(["-O", "exit", "alice@shared"]);
    shared.succeed().expect("was shared");
    let v6 = v6(mesh.host("web1"));
    assert_logs_in(
        &mesh,
        &["-oHostKeyAlias=x", "-p", "22", &format!("alice@{v6}")],
    );
    assert_logs_in(
        &mesh,
        &["-oUpdateHostKeys=yes", "-oCheckHostIP=yes", "alice@web1"],
    );
    for copy in [
        "scp -oBatchMode=yes /etc/hostname alice@web1.mesh.internal:/tmp/by-name",
        &format!("scp -oBatchMode=yes /etc/hostname 'alice@[{v6}]:/tmp/by-address'"),
        "echo 'put /etc/hostname /tmp/by-sftp' | sftp -b - alice@WEB1",
    ] {
        laptop.sh(copy).expect("copied");
    }
    for copied in ["by-name", "by-address", "by-sftp"] {
        let text = mesh.host("web1").read_text(format!("/tmp/{copied}"));
        assert_eq!(text.expect("a file"), "laptop\n", "{copied}");
    }
    assert!(!laptop.exists("/root/.ssh/known_hosts"));
    laptop.add_user("carol").expect("an account");
    let by_carol = mesh.ssh("laptop", &["alice@web1", WHO]).user("carol");
    assert_eq!(by_carol.succeed().expect("a login").stdout, "alice\n");
}

#[test]
fn a_jump_through_a_node_asks_nothing_either() {
    let mut mesh = Mesh::start(&["laptop", "web1", "db1"]).expect("a mesh");
    mesh.meshd_control(&["users", "create", "alice@example.com"])
        .expect("a user");
    let rule = r#"{"action": "accept", "src": ["alice@example.com", "tag:web"],
                   "dst": ["tag:web"], "users": ["alice"]}"#;
    mesh.set_policy(&policy_with(rule)).expect("a policy");
    mesh.join("laptop", Owner::User("alice@example.com"))
        .expect("joined");
    for host in ["web1", "db1"] {
        mesh.host(host).add_user("alice").expect("an account");
        mesh.start_broker(host).expect("SSH");
        mesh.join(host, Owner::Tag("tag:web")).expect("joined");
    }
    for (from, to) in [("laptop", "web1"), ("web1", "db1"), ("laptop", "db1")] {
        mesh.wait_until_reachable(from, to).expect("reachable");
    }
    assert_logs_in(&mesh, &["-J", "alice@web1", "alice@db1"]);
    let v6 = v6(mesh.host("db1"));
    assert_logs_in(&mesh, &["-J", "alice@WEB1:22", &format!("alice@{v6}")]);
}

/// As a person has it who logged in to the same host's sshd before.
#[test]
fn an_older_entry_in_the_users_file_neither_blocks_nor_counts() {
    let mesh = Mesh::of_two().expect("a mesh");
    let old = new_key(mesh.host("laptop"), "old");
    let v4 = mesh.address("web1");
    let file = format!("web1,web1.mesh.internal,{v4} {old}\n");
    write_own(&mesh, "known_hosts", &file);
    for host in ["web1", "web1.mesh.internal", &v4.to_string()] {
        assert_logs_in(&mesh, &[&format!("alice@{host}")]);
    }
    let after = mesh.host("laptop").read_text("/root/.ssh/known_hosts");
    assert_eq!(after.expect("a file"), file);
}

#[test]
fn a_host_name_that_is_a_script_runs_nothing() {
    const ALIASES: &str = r#"
Host quote
    HostName "x';touch /run/ran;'"
Host twice
    HostName "';touch /run/ran;'"
Host backslash
    HostName "x\\';touch /run/ran;'"
Host substitution
    HostName "x$(touch /run/ran)`touch /run/ran`"
"#;
    let mesh = Mesh::of_two().expect("a mesh");
    write_own(&mesh, "config", ALIASES);
    let laptop = mesh.host("laptop");
    let ask_with = |shell: &str, host: &str| {
        let ssh = laptop.command("ssh").args(["-G", "--", host]);
        ssh.env("SHELL", shell).output().expect("an end")
    };
    for shell in ["/bin/sh", "/bin/bash"] {
        for host in [
            "quote",
            "twice",
            "backslash",
            "substitution",
            "x';touch /run/ran;'",
            "$(touch /run/ran)",
            "`touch /run/ran`",
            "x;touch /run/ran",
            "x|touch /run/ran",
            "x\ntouch /run/ran",
            "ssh://x%27;touch%20/run/ran;%27/",
            "-oProxyCommand=touch /run/ran",
        ] {
            let output = ask_with(shell, host);
            assert!(!laptop.exists("/run/ran"), "{shell} {host:?}: {output:?}");
        }
    }
    // The names are dangerous: the same command without the condition before it runs one of them.
    let open = laptop.read_text(DROP_IN).expect("a file");
    let open = open.replace(r#"!host "*'*,*\*" "#, "");
    laptop.write(DROP_IN, open).expect("a file");
    ask_with("/bin/sh", "quote");
    assert!(laptop.exists("/run/ran"));
}

#[test]
fn the_users_own_configuration_comes_first() {
    let mesh = Mesh::of_two().expect("a mesh");
    write_own(
        &mesh,
        "config",
        "Host web1\n    StrictHostKeyChecking ask\n",
    );
    let plan = plan(&mesh, "web1");
    for line in [
        "stricthostkeychecking ask\n",
        "userknownhostsfile none\n",
        "globalknownhostsfile none\n",
        "updatehostkeys false\n",
        "verifyhostkeydns false\n",
    ] {
        assert!(plan.contains(line), "{line}{plan}");
    }
}
