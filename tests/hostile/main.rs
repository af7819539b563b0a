//! A session process in wrong hands, with the real descriptors, against the real broker.
//!
//! The puppet takes the place of meshd-session, without its sandbox: what holds here, root's code
//! and the kernel's users alone hold.

mod gates;
mod orders;
mod secrets;
#[path = "../site.rs"]
mod site;
mod trespass;
