//! Logins that wait until the owner of the peer has signed in.

#[path = "../site.rs"]
mod site;

mod ahead;
mod answers;
mod periods;
mod tagged;
mod taken_back;
mod waiting;
mod worker;
