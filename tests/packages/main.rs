//! The packages: what is in them, and their life on a Debian with systemd.

mod building;
mod contents;
mod debian;
mod repository;
mod rpm;
mod units;
