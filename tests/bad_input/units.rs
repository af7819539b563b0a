//! What systemd makes of a manager that cannot start.

use meshd_lab::{Host, Kind, Lan};

fn booted() -> Lan {
    Lan::start_with(&[("web1", Kind::Booted)]).expect("a host")
}

/// The unit has failed with this status, and systemd has left it at that.
fn assert_failed_for_good(host: &Host, status: &str, words: &str) {
    assert!(host.sh("systemctl start meshd").is_err(), "it starts");
    let shown = host.sh(
        "systemctl show meshd --property ActiveState --property ExecMainStatus \
         --property NRestarts | sort",
    );
    let wanted = format!("ActiveState=failed\nExecMainStatus={status}\nNRestarts=0\n");
    assert_eq!(shown.expect("its properties").stdout, wanted);
    let journal = host.sh("journalctl --no-pager --output cat --unit meshd");
    let journal = journal.expect("its journal").stdout;
    assert!(journal.contains(words), "{journal}");
}

#[test]
fn broken_settings_are_not_tried_again() {
    let lan = booted();
    let web1 = lan.host("web1");
    web1.sh("mkdir -p /etc/meshd; echo 'mtu = 12' >/etc/meshd/meshd.toml")
        .expect("settings");
    assert_failed_for_good(
        web1,
        "78",
        "/etc/meshd/meshd.toml is not in order: line 1, column 7: an MTU is",
    );
    web1.sh("echo 'mtu = 1280' >/etc/meshd/meshd.toml; systemctl start meshd")
        .expect("it starts again");
}

#[test]
fn a_missing_user_is_not_tried_again() {
    let lan = booted();
    let web1 = lan.host("web1");
    web1.sh("userdel meshd").expect("no user");
    assert_failed_for_good(web1, "217", "status=217/USER");
}

#[test]
fn a_missing_capability_is_not_tried_again() {
    let lan = booted();
    let web1 = lan.host("web1");
    web1.sh("mkdir -p /etc/systemd/system/meshd.service.d; \
         printf '[Service]\\nAmbientCapabilities=\\n' >/etc/systemd/system/meshd.service.d/x.conf; \
         systemctl daemon-reload")
        .expect("an override");
    assert_failed_for_good(web1, "78", "AmbientCapabilities=CAP_NET_ADMIN");
}
