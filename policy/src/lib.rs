//! The policy language: from the text of a policy file to what each node must know.
//!
//! The language is the one of Tailscale's and Headscale's policy files. [`Policy::parse`] reads a
//! text, or says everything that is wrong with it; [`Policy::compile`] applies it to a
//! [`Topology`]; [`Compiled::node`] is what one node must know, and [`Compiled::set_node`] and its
//! kin change one node or user at a time. Nothing here reads a file, a clock or the network.
//!
//! For the `mesh policy` commands: [`check()`], [`test()`], [`explain()`], [`diff()`] and
//! [`format()`] each take texts and a topology, and return a value that is `Display` for people
//! and `Serialize` for programs.
//!
//! # When control saves a policy
//! [`Policy::parse`], [`Policy::check_domains`] with the domains of the mesh, and
//! [`Policy::run_tests`]; a failure of any refuses the save. When control starts, failing tests of
//! the stored policy are only a warning, since a change of users or nodes can cause them.
//!
//! # Decisions
//! Where the observed service or its documentation leave a choice, or where meshd is stricter:
//!
//! - **Several devices per user.** A rule that names a user names all of its devices, on both
//!   sides; `autogroup:self` lets each of them into each, itself included.
//! - **Check and accept.** Every check rule decides before the first accept rule, and a rule
//!   decides only for the logins that it lists: a check rule for root does not stand in the way of
//!   an accept rule for `deploy`.
//! - **`accept` in `sshTests`** needs an accept rule, and `check` needs a check rule, as the
//!   deciding rule.
//! - **Unknown users** in rules and groups are legal, since they may join later, and are told of
//!   by [`Policy::warnings`]. In `tests` they fail the test.
//! - **Unknown fields** are errors at every level, field names match without regard to case, and
//!   of repeated keys the second is an error. `null` means absent, but not for `grants` and
//!   `acls`, where "absent" would permit everything: there it is an error.
//! - **Errors** are all told, in the order of the file, at most [`MAX_PROBLEMS`].
//! - **Groups, `autogroup:member`, roles and `*` as `dst` of an SSH rule** are refused: they let
//!   one user into the devices of another. `autogroup:tagged` is accepted. A user as `dst` needs
//!   that user as the only `src`.
//! - **A check with a tagged source** is refused: nobody could sign in. So is a tagged source with
//!   `autogroup:self` or a user as `dst`, even beside other sources.
//! - **`checkPeriod` with accept** is refused. `0s`, and anything below a second, means `always`;
//!   there is no other minimum.
//! - **`users` of an SSH rule** must be names that an account can have. The service takes
//!   `group:x`, `localpart:x` or an emoji for the name of an account.
//! - **`localpart:*@DOMAIN`** gives a rule's destinations nothing on its sources (the service
//!   does), never gives root, and gives nothing where the local part is no account name.
//! - **Domains** in `user:*@DOMAIN` and `localpart:*@DOMAIN` must be domains of the mesh. A mesh
//!   without domains has none that may be named, and a domain that is not the mesh's names nobody
//!   even where nobody checked.
//! - **`tagOwners`**: the owner of the mesh may give every defined tag; an empty list means
//!   `autogroup:admin`.
//! - **Tests before nodes**: a tag or a user of a test that has no node yet gets one while tests
//!   run. Without `proto`, `accept` needs TCP or UDP, and `deny` forbids both. Autogroups are no
//!   source or destination of a test.
//! - **Postures, `via` and `svc:`** are refused where a rule depends on them; `postures` alone,
//!   `nodeAttrs` and network options are warnings. `app` is carried and makes nodes peers, but
//!   permits no packet. `autogroup:shared` names nobody. IP sets serve on both sides of a rule,
//!   nested at most 64 deep.
//! - **IPv6 destinations of `acls`** need brackets, since the last group could be a port.
//! - **User ids**: only a host knows them. Tests, [`explain()`] and [`diff()`] take root for user
//!   id 0 and every other name for another id.
//!
//! # Checking it
//! `tests/captured.rs` compares decisions with what the service was seen to do,
//! `tests/decisions.rs` with a plain reading on generated policies, `tests/properties.rs` holds
//! what is true of every policy. `tests/fuzz.rs` runs the targets of `fuzz/` on a stable compiler,
//! for `MESHD_FUZZ_SECONDS`; with a nightly one, `cargo fuzz run policy` in this folder. `cargo
//! bench -p meshd-policy` prints times and sizes.

#![forbid(unsafe_code)]

mod assertions;
mod check;
mod compile;
mod diff;
mod duration;
mod endpoint;
mod explain;
mod format;
mod hujson;
mod mesh;
mod model;
mod nodeset;
mod packet;
mod policy;
mod ports;
mod problem;
mod ranges;
mod read;
mod selector;
mod suggest;
mod topology;

pub use assertions::{TestFailure, TestReport};
pub use check::{CheckReport, check, test};
pub use compile::{Compiled, NodeView};
pub use diff::{
    ChangeKind, Cut, DiffError, Difference, Endpoint, LoginClass, Loss, NetworkChange, SshAccess,
    SshChange, Traffic, diff,
};
pub use endpoint::{EndpointError, NodeLabel};
pub use explain::{
    ExplainError, Explanation, Near, NetworkGate, Question, RuleLabel, SshGate, SshOutcome, explain,
};
pub use format::format;
pub use hujson::{MAX_DEPTH, MAX_POLICY_BYTES};
pub use policy::{Actor, Policy};
pub use problem::{Errors, MAX_PROBLEMS, Position, Problem};
pub use topology::{Node, Role, Topology, User};
