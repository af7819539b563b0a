//! Messages in every order.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use meshd_lab::{DEADLINE, Host, Process, wait_for};

use crate::site::{Site, addresses};

/// The seed of the first conversation, to have one again; by the clock without it.
const SEED: &str = "MESHD_HOSTILE_SEED";

/// How many conversations; 10,000 without it.
const ORDERS: &str = "MESHD_HOSTILE_ORDERS";

/// What is written meanwhile: logs and records of logins, the message of the day that pam_motd
/// makes, and the test's own record.
const KNOWN_FILES: [&str; 6] = [
    "/run/motd.dynamic",
    "/var/log/broker.log",
    "/var/log/lastlog",
    "/var/log/syslog",
    "/var/log/wtmp",
    "/var/lib/puppet/ran",
];

#[test]
fn no_order_of_messages_starts_anything_as_somebody_else() {
    let site = Site::start("random");
    let web1 = site.lan.host("web1");
    install_recorder(web1);
    let _manager = site.serve();
    warm_up(&site);
    let (listener, descriptors) = listener_descriptors(web1);
    web1.sh("touch /tmp/before").expect("a mark");
    let (first, count) = (number(SEED, by_clock()), number(ORDERS, 10_000));
    let began = Instant::now();
    let said = call(&site, first, count);
    let took = began.elapsed();
    report(&format!("from seed {first}: {said} in {took:?}"));
    assert!(!said.contains("wrong="), "{said}");
    assert!(!said.contains("seed "), "{said}");
    assert_everything_ended(web1);
    assert_only_alice_ran(web1);
    assert_eq!(listener_descriptors(web1), (listener, descriptors));
    assert_no_new_file(web1);
    assert_no_socket_left(web1);
    let log = web1.read_text("/var/log/broker.log").expect("a log");
    assert!(log.contains("kind=forwards"), "nothing was forwarded");
    let refused = web1.read_text("/tmp/manager.log").expect("a log");
    assert_eq!(refused, "listening\n");
}

#[expect(
    clippy::print_stdout,
    reason = "the seed and counts are part of what the test shows"
)]
fn report(line: &str) {
    println!("{line}");
}

fn number(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).map_or(otherwise, |text| text.parse().expect("a number"))
}

/// A multiple of a round number, so that honest conversations are as frequent in every run.
fn by_clock() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.expect("after 1970").as_micros() as u64 / 1000 * 1000
}

/// The shell of every account writes down who runs it.
fn install_recorder(web1: &Host) {
    web1.sh("cp /usr/lib/meshd/puppet /usr/local/bin/recorder; \
         useradd -m bob; useradd --non-unique --uid 0 --gid 0 --no-create-home toor; \
         for name in alice bob root toor; do usermod --shell /usr/local/bin/recorder $name; done; \
         touch /var/lib/puppet/ran; chmod 666 /var/lib/puppet/ran")
        .expect("accounts");
}

fn warm_up(site: &Site) {
    let said = call(site, 0, 1);
    assert_eq!(said, "done honest=1\n");
    assert_everything_ended(site.lan.host("web1"));
}

fn call(site: &Site, first: u64, count: u64) -> String {
    let laptop = site.lan.host("laptop");
    let address = addresses(1).v4.to_string();
    let words = [
        "call",
        &address,
        &first.to_string(),
        &count.to_string(),
        "8",
    ]
    .map(str::to_owned);
    let client = laptop.command("/usr/lib/meshd/puppet").args(words);
    let client = client.deadline(Duration::from_secs(900));
    client.succeed().expect("clients").stdout
}

/// Number and count of descriptors of the broker's listener.
fn listener_descriptors(web1: &Host) -> (i32, usize) {
    let processes = web1.processes().expect("processes");
    let listener = processes
        .iter()
        .find(|p| p.command.ends_with("meshd-broker listen"));
    let pid = listener.expect("a listener").pid;
    let listed = web1.sh(&format!("ls /proc/{pid}/fd")).expect("descriptors");
    (pid, listed.stdout.lines().count())
}

fn is_of_a_connection(process: &Process) -> bool {
    process.command.contains("meshd-broker worker")
        || process.command.contains("meshd-session")
        || process.command.contains("recorder")
        || process.user == "alice"
}

fn assert_everything_ended(web1: &Host) {
    let mut left = Vec::new();
    let ended = wait_for("the end of every process", DEADLINE, || {
        left = web1.processes().ok()?;
        left.retain(is_of_a_connection);
        left.is_empty().then_some(())
    });
    assert!(ended.is_ok(), "{left:?}");
    let terminals = web1.sh("ls /dev/pts").expect("terminals").stdout;
    assert_eq!(terminals, "ptmx\n");
}

fn assert_only_alice_ran(web1: &Host) {
    let id = |option: &str| {
        let id = web1.command("id").args([option, "alice"]);
        id.succeed().expect("an account").stdout.trim().to_owned()
    };
    let (uid, gid) = (id("-u"), id("-g"));
    let ran = web1.read_text("/var/lib/puppet/ran").expect("a record");
    let alice = format!("uid={uid},{uid},{uid} gid={gid},{gid},{gid} groups={gid} extra=0\n");
    // A process that is killed while it writes leaves the beginning of a line.
    let mut others = ran
        .split_inclusive("uid=")
        .map(|part| part.trim_end_matches("uid="));
    assert_eq!(others.next(), Some(""));
    let others: Vec<&str> = others
        .filter(|part| !alice.starts_with(&format!("uid={part}")))
        .collect();
    assert_eq!(others, Vec::<&str>::new());
}

/// Neither a listener's nor an agent's directory.
fn assert_no_socket_left(web1: &Host) {
    let left = web1.sh("ls /tmp | grep -e meshd -e forwarded || true");
    assert_eq!(left.expect("a list").stdout, "");
}

/// Nothing was written beyond logs and the broker's own state.
fn assert_no_new_file(web1: &Host) {
    let find = "find /bin /boot /dev /etc /home /lib /opt /root /run /sbin /srv /tmp /usr /var \
                /var/tmp -xdev -newer /tmp/before -type f 2>/dev/null || true";
    let found = web1.sh(find).expect("files").stdout;
    // What changes on this machine meanwhile shows through.
    let shows_through = |path: &str| std::fs::read(path).ok() == web1.read(path).ok();
    let new: Vec<&str> = found
        .lines()
        .filter(|path| !KNOWN_FILES.contains(path) && !shows_through(path))
        .collect();
    assert_eq!(new, Vec::<&str>::new());
}
