//! The clock of the machine itself, by which documents count and grants end.

use meshd_lab::unix_time;

use crate::machine;

/// How far the clock may lag: the machine reads whole seconds when it starts, and starts slowly.
const LAG: u64 = 30;

#[test]
fn a_machine_that_is_wrong_about_its_processor_s_frequency_has_the_right_time() {
    let output = machine()
        .args(["-a", "tsc_early_khz=10000", "date", "+%s"])
        .output()
        .expect("a virtual machine");
    let said = String::from_utf8_lossy(&output.stdout);
    let complained = String::from_utf8_lossy(&output.stderr);
    let there: u64 = said.trim().parse().expect("a time");
    let here = unix_time();
    assert!(
        (here.saturating_sub(LAG)..=here + 1).contains(&there),
        "{there} there, {here} here\n{complained}"
    );
}
