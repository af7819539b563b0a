//! The machines' clocks, by which documents count and grants end.

use meshd_lab::unix_time;

use crate::site::{MACHINES, site};

#[test]
fn the_machines_have_one_time_and_none_counts_it_by_the_frequency_of_its_processor() {
    const SOURCE: &str = "/sys/devices/system/clocksource/clocksource0/current_clocksource";
    let site = site();
    for (name, ..) in MACHINES {
        let said = site.on(name, &format!("date +%s; cat {SOURCE}")).stdout;
        let here = unix_time();
        let (time, source) = said.split_once('\n').expect("two lines");
        let there: u64 = time.parse().expect("a time");
        assert!(there.abs_diff(here) < 60, "{name}: {there}, {here} here");
        assert!(!source.contains("tsc"), "{name}: {source}");
    }
}
