//! The same on kernel WireGuard, in a virtual machine where this kernel has none.

#[path = "vm/audit_trail.rs"]
mod audit_trail;
#[path = "vm/beside_wg_quick.rs"]
mod beside_wg_quick;
#[path = "vm/clock.rs"]
mod clock;
#[path = "vm/lacking.rs"]
mod lacking;
#[path = "vm/many_peers.rs"]
mod many_peers;
#[path = "vm/repair.rs"]
mod repair;

use std::io::Write;
use std::path::Path;
use std::process::Command;

use audit_trail::AuditTrail;
use meshd_lab::{Mesh, WIREGUARD_VARIABLE};

/// Outside, runs this test again in the virtual machine; true inside.
fn is_inside(test: &str) -> bool {
    if std::env::var(WIREGUARD_VARIABLE).is_ok_and(|choice| choice == "kernel") {
        return true;
    }
    let output = machine()
        .arg("env")
        .arg(format!("{WIREGUARD_VARIABLE}=kernel"))
        .arg(std::env::current_exe().expect("this program"))
        .args(["--exact", test, "--nocapture"])
        .output()
        .expect("a virtual machine");
    let said = String::from_utf8_lossy(&output.stdout);
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "in the machine:\n{said}\n{complained}"
    );
    assert!(said.contains("1 passed"), "in the machine:\n{said}");
    said.lines()
        .filter(|line| line.contains(" ms "))
        .for_each(say);
    false
}

/// Runs in a virtual machine what follows.
fn machine() -> Command {
    Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("lab/vm/run"))
}

/// A figure, for whoever reads along.
fn say(line: &str) {
    writeln!(std::io::stdout(), "{line}").expect("written");
}

#[test]
fn logins_and_sessions_on_kernel_wireguard() {
    if !is_inside("logins_and_sessions_on_kernel_wireguard") {
        return;
    }
    let mut mesh = Mesh::of_two().expect("a mesh");
    let shown = mesh
        .host("web1")
        .sh("ip -d link show mesh0")
        .expect("a device");
    assert!(shown.stdout.contains("wireguard"), "{}", shown.stdout);
    assert_managers_privilege(&mesh);

    let mut talk = mesh.talk();
    talk.assert_alive("first");
    mesh.take_manager("web1").stop().expect("stopped");
    talk.assert_alive("without a manager");
    mesh.start_manager("web1").expect("started");
    talk.assert_alive("after a restart");
    mesh.wait_until_reachable("laptop", "web1")
        .expect("reachable");
    let output = mesh.ssh("laptop", &["alice@web1", "id -un"]).succeed();
    assert_eq!(output.expect("a login").stdout, "alice\n");
    assert_audited(&mesh);
}

/// The kernel's audit trail has the login and the denial (AUDIT_USER_LOGIN, linux/audit.h).
fn assert_audited(mesh: &Mesh) {
    const USER_LOGIN: u16 = 1112;
    let trail = AuditTrail::open();
    let web1 = mesh.host("web1");
    let uid = web1.sh("id -u alice").expect("an account").stdout;
    let output = mesh.ssh("laptop", &["alice@web1", "true"]).succeed();
    output.expect("a login");
    let login = trail.next(USER_LOGIN);
    for words in [
        &format!("op=login id={} ", uid.trim()),
        " addr=",
        "res=success",
    ] {
        assert!(login.contains(words), "{words}: {login}");
    }
    let denied = mesh.ssh("laptop", &["bob@web1", "true"]).output();
    assert_eq!(denied.expect("an end").status.code(), Some(255));
    let denial = trail.next(USER_LOGIN);
    for words in ["op=login acct=\"bob\" ", " addr=", "res=failed"] {
        assert!(denial.contains(words), "{words}: {denial}");
    }
}

/// Not root, and nothing but CAP_NET_ADMIN, which is number 12 (capabilities(7)).
fn assert_managers_privilege(mesh: &Mesh) {
    let web1 = mesh.host("web1");
    let status = web1
        .sh("cat /proc/$(pgrep -x meshd)/status")
        .expect("a manager");
    let value = |name: &str| {
        let line = status
            .stdout
            .lines()
            .find_map(|line| line.strip_prefix(name));
        line.map(|rest| rest.split_whitespace().collect::<Vec<_>>().join(" "))
    };
    let uid = web1.sh("id -u meshd").expect("an account").stdout;
    let uid = uid.trim();
    assert_eq!(value("Uid:"), Some([uid; 4].join(" ")));
    for set in ["CapEff:", "CapPrm:", "CapBnd:", "CapAmb:"] {
        assert_eq!(value(set).as_deref(), Some("0000000000001000"), "{set}");
    }
}
