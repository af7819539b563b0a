//! What the installed system costs: time, memory, and what systemd thinks of the units.

use std::io::Write;

use crate::site::site;

#[test]
fn units_that_hold_no_shell_score_below_two_and_the_daemons_stay_small() {
    let site = site();
    let score = |machine: &str, unit: &str| {
        let ask = format!("systemd-analyze security --no-pager {unit} | tail -n 1");
        let said = site.on(machine, &ask).stdout;
        let (_, number) = said.split_once(": ").expect("a score");
        let number = number.split_whitespace().next().expect("a score");
        number.parse::<f32>().expect("a number")
    };
    let resident = |unit: &str| {
        let pid = format!("$(systemctl show --property MainPID --value {unit})");
        let ask = format!("awk '/^VmRSS/ {{print $2}}' /proc/{pid}/status");
        let kibibytes = site.on("web1", &ask).stdout;
        kibibytes.trim().parse::<u32>().expect("a size")
    };
    let (manager, control) = (score("web1", "meshd"), score("control", "meshd-control"));
    let (ours, theirs) = (score("web1", "meshd-ssh"), score("web1", "ssh"));
    let (of_manager, of_listener) = (resident("meshd"), resident("meshd-ssh"));
    let _ = writeln!(
        std::io::stderr(),
        "first login {:.1} s after the machines' start, their sshd after {:.1} s; \
         systemd-analyze security: meshd {manager}, meshd-control {control}, meshd-ssh {ours}, \
         ssh {theirs}; resident: meshd {of_manager} KiB, the listener {of_listener} KiB",
        site.took.as_secs_f32(),
        site.machine("web1").start_took().as_secs_f32(),
    );
    assert!(manager < 2.0 && control < 2.0, "{manager} {control}");
    assert!(ours <= theirs, "{ours} {theirs}");
    assert!(
        of_manager < 48 << 10 && of_listener < 16 << 10,
        "{of_manager} {of_listener}"
    );
}
