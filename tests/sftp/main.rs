//! File transfer: the helper's server beside OpenSSH's, by packets over their pipes, and real
//! clients through a mesh.

mod attributes;
mod bounds;
#[path = "../bin/puppet/dice.rs"]
mod dice;
mod extensions;
mod forced;
mod large;
mod listing;
mod malformed;
mod opening;
mod packets;
mod paths;
mod through_the_mesh;
mod world;
