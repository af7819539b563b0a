//! Three machines with systemd and kernel WireGuard, on which the packages are installed: what root
//! and users of such hosts see. The machines are started once for all tests, which take turns.

#[path = "../packages/building.rs"]
mod building;
mod clocks;
mod debs;
mod figures;
mod logins;
mod neighbours;
mod repair;
#[path = "../packages/repository.rs"]
mod repository;
mod rpms;
mod sessions;
mod site;
mod underlay;
