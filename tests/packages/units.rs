//! The units: how they begin, how they fail, and what they are kept from.

use meshd_lab::{Host, Kind, Lan};

use crate::building::OLD_DEBS;
use crate::debian::install;

/// A host with the packages, in no mesh.
fn installed() -> Lan {
    let lan = Lan::start_with(&[("web1", Kind::Bare)]).expect("a host");
    install(lan.host("web1"), &OLD_DEBS);
    lan
}

fn property(host: &Host, unit: &str, name: &str) -> String {
    let words = ["show", unit, "--property", name, "--value"];
    let output = host.command("systemctl").args(words).succeed();
    output.expect("systemctl answers").stdout.trim().to_owned()
}

#[test]
fn the_services_that_hold_no_shell_score_below_two() {
    let lan = installed();
    for unit in ["meshd.service", "meshd-control.service"] {
        let words = ["security", "--no-pager", "--threshold=19", unit];
        let analysed = lan
            .host("web1")
            .command("systemd-analyze")
            .args(words)
            .output();
        let analysed = analysed.expect("systemd-analyze answers");
        assert!(analysed.status.success(), "{}", analysed.stdout);
    }
}

#[test]
fn a_broken_configuration_is_said_and_not_tried_again() {
    let lan = installed();
    let web1 = lan.host("web1");
    web1.write("/etc/meshd/ssh.toml", "permit_root = maybe\n")
        .expect("written");
    assert!(web1.sh("systemctl start meshd-ssh").is_err(), "it starts");
    assert_eq!(property(web1, "meshd-ssh", "ActiveState"), "failed");
    assert_eq!(property(web1, "meshd-ssh", "ExecMainStatus"), "78");
    assert_eq!(property(web1, "meshd-ssh", "NRestarts"), "0");
    let log = web1
        .sh("journalctl --no-pager --output cat --unit meshd-ssh")
        .expect("its journal")
        .stdout;
    assert!(log.contains("/etc/meshd/ssh.toml is not in order"), "{log}");
    assert!(log.contains("line 1, column 15"), "{log}");
}

#[test]
fn a_reload_with_a_broken_configuration_changes_nothing() {
    let lan = installed();
    let web1 = lan.host("web1");
    web1.sh("systemctl start meshd-ssh").expect("it starts");
    let listener = property(web1, "meshd-ssh", "MainPID");
    web1.write("/etc/meshd/ssh.toml", "permit_root = maybe\n")
        .expect("written");
    assert!(
        web1.sh("systemctl reload meshd-ssh").is_err(),
        "it is taken"
    );
    web1.write("/etc/meshd/ssh.toml", "permit_root = false\n")
        .expect("written");
    web1.sh("systemctl reload meshd-ssh").expect("reloaded");
    let words = "journalctl --no-pager --output cat --unit meshd-ssh | grep -c 'was read again'";
    meshd_lab::wait_for("the second reading", meshd_lab::DEADLINE, || {
        (web1.sh(words).ok()?.stdout == "1\n").then_some(())
    })
    .expect("it is read");
    assert_eq!(property(web1, "meshd-ssh", "ActiveState"), "active");
    assert_eq!(property(web1, "meshd-ssh", "MainPID"), listener);
}

#[test]
fn a_manager_that_hangs_is_started_anew() {
    let lan = installed();
    let web1 = lan.host("web1");
    // Its own minute is long for a test; its beat is five seconds.
    let settings = "[Service]\nWatchdogSec=10\n";
    web1.sh("mkdir -p /etc/systemd/system/meshd.service.d")
        .expect("a folder");
    web1.write("/etc/systemd/system/meshd.service.d/quick.conf", settings)
        .expect("written");
    web1.sh("systemctl daemon-reload && systemctl restart meshd")
        .expect("restarted");
    let before = property(web1, "meshd", "MainPID");
    web1.sh(&format!("kill -STOP {before}")).expect("stopped");
    meshd_lab::wait_for("another start", meshd_lab::DEADLINE, || {
        (property(web1, "meshd", "NRestarts") == "1").then_some(())
    })
    .expect("the watchdog starts it anew");
    let log = web1
        .sh("journalctl --no-pager --output cat --unit meshd")
        .expect("its journal")
        .stdout;
    assert!(log.contains("Watchdog timeout"), "{log}");
}
