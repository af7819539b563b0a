//! As systemd does it.

use meshd_contract::paths;
use meshd_lab::{DEADLINE, Mesh, wait_for};

use crate::traffic::Loop;
use crate::{assert_complete, assert_login};

/// What tells a daemon from its successor: its socket and its number.
fn instance(mesh: &Mesh, unit: &str, socket: &str) -> Option<String> {
    let show = format!("systemctl show --property MainPID --value {unit} && stat -c %i {socket}");
    Some(mesh.host("web1").sh(&show).ok()?.stdout)
}

#[test]
fn restarts_by_systemd_end_no_session_and_lose_sight_of_none() {
    const SESSIONS: usize = 5;
    const RESTARTS: usize = 12;
    let mesh = Mesh::of_two_booted().expect("a mesh");
    let loops: Vec<Loop> = (0..SESSIONS).map(|_| Loop::begin(&mesh)).collect();
    for each in &loops {
        each.wait_for_more_than(0);
    }
    for round in 0..RESTARTS {
        let (unit, socket) = [
            ("meshd", paths::MANAGER_SOCKET),
            ("meshd-ssh", paths::BROKER_SOCKET),
        ][round % 2];
        let web1 = mesh.host("web1");
        if round % 4 < 2 {
            web1.sh(&format!("systemctl restart {unit}"))
                .expect("restarted");
        } else {
            let before = instance(&mesh, unit, socket);
            let kill = format!("systemctl kill --kill-whom=main --signal KILL {unit}");
            web1.sh(&kill).expect("killed");
            // The limit on starts is for units that do not work.
            web1.sh(&format!("systemctl reset-failed {unit}"))
                .expect("forgotten");
            wait_for("the next start", DEADLINE, || {
                let is_up = web1.sh(&format!("systemctl is-active {unit}")).is_ok();
                (is_up && instance(&mesh, unit, socket) != before).then_some(())
            })
            .expect("systemd starts it again");
        }
        let one = &loops[round % SESSIONS];
        one.wait_for_more_than(one.round());
    }
    assert_complete(&mesh, SESSIONS);
    assert_login(&mesh);
    for each in loops {
        each.end();
    }
}
