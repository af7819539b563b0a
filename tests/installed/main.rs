//! Three machines with systemd and kernel WireGuard, on which the packages are installed: what root
//! and users of such hosts see. The machines are started once for all tests, which take turns.

#[path = "../packages/building.rs"]
#[expect(dead_code, reason = "tests of the packages use the rest")]
mod building;
mod logins;
mod sessions;
mod site;
