//! The fuzz target without a nightly compiler: real messages, changed at random, for as many
//! seconds as `MESHD_FUZZ_SECONDS` says (one without it). An input that leads to something new is
//! changed further; one that panics, or takes more memory than it should, is printed.

#[path = "../fuzz/targets.rs"]
mod targets;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use meshd_contract::broker::{
    ChannelDescription, ConnectionLimits, Denial, Description, ExitStatus, FIRST_ACCEPTED,
    ForwardDescription, FromManager, FromSession, Hello, Leaving, MAX_MESSAGE_BYTES, Open,
    OpenKind, PROTOCOL, Permitted, SandboxReport, ToManager, ToManagerLink, ToSession,
};
use meshd_contract::forward::{Endpoint, ForwardFailure, Origin};
use meshd_contract::helper::{FromHelper, ToHelper};
use meshd_contract::identity::NodeId;
use meshd_contract::login_event::{LoginEvent, LoginEventKind};
use meshd_contract::time::Timestamp;
use meshd_contract::wire::{Encoding, Message};

/// Counts what the running thread has allocated.
struct Counting;

thread_local! {
    static ALLOCATED: Cell<usize> = const { Cell::new(0) };
    static LARGEST: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: every call goes to the system's allocator unchanged; the counters allocate nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _ = ALLOCATED.try_with(|n| n.set(n.get() + layout.size()));
        let _ = LARGEST.try_with(|n| n.set(n.get().max(layout.size())));
        // SAFETY: the caller's promises are the system allocator's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as before.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The most that one packet may make the receiver allocate at once: a packet of the longest kind,
/// or as many elements as serde reserves room for before it has seen any (1 MiB).
const LARGEST_ALLOWED: usize = 2 << 20;

/// The most that one packet may make a sender and two receivers allocate in all.
const ALLOCATED_ALLOWED: usize = 64 << 20;

/// The most inputs that a run keeps.
const MOST_KEPT: usize = 4096;

#[test]
#[expect(
    clippy::print_stdout,
    reason = "the counts are part of what the test shows"
)]
fn fuzz_messages() {
    let seconds = std::env::var("MESHD_FUZZ_SECONDS")
        .map_or(1, |text| text.parse().expect("a number of seconds"));
    let mut pool = seeds();
    let known = pool.len();
    let mut seen: HashSet<String> = pool.iter().map(|input| run(input)).collect();
    let mut dice = Dice(seconds ^ 0x6d65_7368);
    let (start, mut runs) = (Instant::now(), 0u64);
    while start.elapsed() < Duration::from_secs(seconds) {
        let input = changed(&mut dice, &pool);
        let outcome = run(&input);
        if seen.insert(outcome) && pool.len() < MOST_KEPT {
            pool.push(input);
        }
        runs += 1;
    }
    println!(
        "messages: {runs} inputs in {seconds} s from {known} messages, {} kinds of outcome",
        seen.len()
    );
    assert!(runs > 0 && seen.len() > known);
}

#[test]
fn every_message_arrives_as_it_was_sent() {
    for seed in seeds() {
        let outcome = targets::messages(&seed);
        assert!(!outcome.contains(' '), "{outcome}: {seed:?}");
    }
}

fn run(input: &[u8]) -> String {
    ALLOCATED.set(0);
    LARGEST.set(0);
    let outcome = catch_unwind(AssertUnwindSafe(|| targets::messages(input)));
    let (allocated, largest) = (ALLOCATED.get(), LARGEST.get());
    let shown = || input.escape_ascii().to_string();
    let Ok(outcome) = outcome else {
        panic!("panics on {}", shown());
    };
    assert!(
        allocated <= ALLOCATED_ALLOWED && largest <= LARGEST_ALLOWED,
        "{allocated} bytes, {largest} at once, for {}",
        shown()
    );
    outcome
}

/// One input for each variant of each message.
fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    let mut add = |kind: u8, message: Vec<u8>| seeds.push([vec![kind], message].concat());
    for message in [FromManager::Bind, FromManager::Describe, FromManager::End] {
        add(0, encoded(&message));
    }
    for message in to_manager() {
        add(1, encoded(&message));
    }
    for message in from_session() {
        add(2, encoded(&message));
    }
    for message in to_session() {
        add(3, encoded(&message));
    }
    add(
        4,
        encoded(&ToManagerLink::Sandbox(SandboxReport {
            landlock_abi: 6,
            system_calls: 40,
            missing: vec!["no Landlock".to_owned()],
        })),
    );
    for message in to_helper() {
        add(5, encoded(&message));
    }
    for message in from_helper() {
        add(6, encoded(&message));
    }
    seeds
}

fn encoded<M: Message>(message: &M) -> Vec<u8> {
    match M::ENCODING {
        Encoding::Compact => postcard::to_extend(message, vec![PROTOCOL]).expect("encodes"),
        Encoding::Extensible => serde_json::to_vec(message).expect("encodes"),
    }
}

fn to_manager() -> Vec<ToManager> {
    let connection = "65a1-7".to_owned();
    vec![
        ToManager::Bound {
            connection: connection.clone(),
            peer: 2,
            limits: ConnectionLimits::default(),
        },
        ToManager::Refused {
            reason: "no connected TCP socket".to_owned(),
        },
        ToManager::Described(Description {
            connection,
            peer: NodeId(2),
            peer_name: "laptop".to_owned(),
            owner: "alice@example.com".to_owned(),
            address: [100, 64, 0, 2].into(),
            login: Some("alice".to_owned()),
            rule: Some("ssh[0]".to_owned()),
            since: Timestamp(1),
            channels: vec![ChannelDescription {
                channel: 0,
                kind: "shell".to_owned(),
                terminal: Some("/dev/pts/0".to_owned()),
                pid: 7,
                since: Timestamp(2),
            }],
            forwards: vec![ForwardDescription {
                kind: "local".to_owned(),
                endpoint: "db1:5432".to_owned(),
                connections: 1,
            }],
            received: 3,
            sent: 4,
        }),
        ToManager::Login(LoginEvent {
            kind: LoginEventKind::Denied,
            at: Timestamp(3),
            connection: "65a1-7".to_owned(),
            peer: NodeId(2),
            address: [100, 64, 0, 2].into(),
            login: Some("root".to_owned()),
            rule: None,
            reason: Some("not permitted".to_owned()),
        }),
    ]
}

fn from_session() -> Vec<FromSession> {
    let open = |kind| {
        FromSession::Open(Open {
            channel: 3,
            kind,
            term: b"xterm".to_vec(),
            environment: vec![(b"LANG".to_vec(), b"C.UTF-8".to_vec()); 3],
        })
    };
    vec![
        FromSession::Sign {
            key: 0,
            hash: vec![7; 32],
        },
        FromSession::Login {
            name: b"alice".to_vec(),
        },
        FromSession::AllocatePty { channel: 0 },
        FromSession::Release { channel: u32::MAX },
        open(OpenKind::Shell),
        open(OpenKind::Exec(b"id".to_vec())),
        open(OpenKind::Exec(vec![b'x'; MAX_MESSAGE_BYTES - 100])),
        open(OpenKind::Sftp),
        FromSession::Signal {
            channel: 0,
            name: "TERM".to_owned(),
        },
        FromSession::Traffic {
            received: u64::MAX,
            sent: 0,
        },
        FromSession::Leaving(Leaving::Silent),
        FromSession::Connect {
            forward: 1,
            target: endpoint(),
        },
        FromSession::Listen {
            forward: 2,
            at: Endpoint::Unix {
                path: b"/run/user/1000/gnupg/S.gpg-agent".to_vec(),
            },
        },
        FromSession::ForwardAgent {
            forward: 3,
            channel: 0,
        },
        FromSession::Taken {
            forward: FIRST_ACCEPTED,
        },
        FromSession::EndForward { forward: 1 },
    ]
}

fn to_session() -> Vec<ToSession> {
    let name = "bob".to_owned();
    vec![
        ToSession::Hello(Hello {
            connection: "65a1-7".to_owned(),
            host_keys: vec![vec![1; 51]],
            login_grace: 120,
            answer: 60,
            max_channels: 10,
            max_variables: 128,
            max_variable_bytes: 64 << 10,
            max_forwards: 256,
            connect: 60,
            client_alive_interval: 0,
            client_alive_count_max: 3,
            rekey_bytes: 1 << 30,
            rekey_seconds: 0,
        }),
        ToSession::Signed {
            signature: vec![9; 83],
        },
        ToSession::Permitted(Permitted {
            login: "alice".to_owned(),
        }),
        ToSession::Denied(Denial::Node),
        ToSession::Denied(Denial::Login { name }),
        ToSession::Denied(Denial::Account("the account has expired".to_owned())),
        ToSession::Pty { channel: 0 },
        ToSession::Opened { channel: 0 },
        ToSession::Failed {
            channel: 1,
            message: "too many sessions".to_owned(),
        },
        ToSession::Notice {
            channel: 0,
            text: b"news\n".to_vec(),
        },
        ToSession::Exited {
            channel: 0,
            status: ExitStatus::Code(3),
        },
        ToSession::Exited {
            channel: 0,
            status: ExitStatus::Signal {
                number: 9,
                core: false,
            },
        },
        ToSession::Revoked,
        ToSession::Connected { forward: 1 },
        ToSession::Listening {
            forward: 2,
            port: 8080,
        },
        ToSession::NotForwarded {
            forward: 1,
            failure: ForwardFailure::Failed("Connection refused".to_owned()),
        },
        ToSession::Accepted {
            listener: 2,
            forward: FIRST_ACCEPTED,
            origin: origin(),
        },
    ]
}

fn endpoint() -> Endpoint {
    Endpoint::Tcp {
        host: "db1.example.com".to_owned(),
        port: 5432,
    }
}

fn origin() -> Origin {
    Origin {
        address: "fd00::1".to_owned(),
        port: 40_000,
    }
}

fn to_helper() -> Vec<ToHelper> {
    vec![
        ToHelper::Connect {
            number: 1,
            target: endpoint(),
            seconds: 60,
        },
        ToHelper::Listen {
            number: 2,
            at: endpoint(),
            anywhere: false,
        },
        ToHelper::ListenAgent { number: 3 },
        ToHelper::Close { number: 2 },
        ToHelper::Accept { more: 32 },
    ]
}

fn from_helper() -> Vec<FromHelper> {
    vec![
        FromHelper::Connected { number: 1 },
        FromHelper::Listening {
            number: 3,
            port: 0,
            path: b"/tmp/meshd-0123456789abcdef/agent.7".to_vec(),
        },
        FromHelper::Failed {
            number: 1,
            words: "Connection refused".to_owned(),
        },
        FromHelper::Accepted {
            number: 2,
            origin: origin(),
        },
    ]
}

/// SplitMix64.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % limit.max(1) as u64).expect("below the limit")
    }

    fn byte(&mut self) -> u8 {
        u8::try_from(self.below(256)).expect("a byte")
    }

    fn part(&mut self, length: usize) -> std::ops::Range<usize> {
        let start = self.below(length + 1);
        let end = start + self.below((length - start).min(64) + 1);
        start..end
    }
}

fn changed(dice: &mut Dice, pool: &[Vec<u8>]) -> Vec<u8> {
    let mut input = pool[dice.below(pool.len())].clone();
    for _ in 0..=dice.below(3) {
        change_once(dice, &mut input, pool);
    }
    input
}

fn change_once(dice: &mut Dice, input: &mut Vec<u8>, pool: &[Vec<u8>]) {
    // Most of what decides is at the beginning: kind, version, variant, lengths.
    let early = dice.below(input.len().min(24));
    let part = dice.part(input.len());
    match dice.below(9) {
        0 if !input.is_empty() => input[early] = dice.byte(),
        1 if !input.is_empty() => input[early] ^= 1 << dice.below(8),
        2 => drop(input.drain(part)),
        3 => input.truncate(dice.below(input.len() + 1)),
        4 => {
            let other = &pool[dice.below(pool.len())];
            let from = dice.part(other.len());
            input.splice(part, other[from].to_vec());
        }
        5 => {
            let length = varint(1 << dice.below(64));
            let end = (early + dice.below(3)).min(input.len());
            input.splice(early..end, length);
        }
        6 => {
            let again = input[part.clone()].to_vec();
            input.splice(part.start..part.start, again);
        }
        7 if dice.below(50) == 0 => input.resize(MAX_MESSAGE_BYTES + dice.below(3), 0),
        _ => input.push(dice.byte()),
    }
}

/// A length as postcard writes it: seven bits a byte, the lowest first.
fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    bytes.push(value.to_le_bytes()[0]);
    bytes
}
