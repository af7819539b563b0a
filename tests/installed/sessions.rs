//! A session as the rest of the system sees it: logind, the journal, auditd; and what works in it.

use meshd_lab::wait_for;

use crate::site::{PATIENCE, Site, site};

/// Messages of packaging/journal/meshd.catalog.
const STARTED: &str = "593335a61c474803b823141a2df39a13";
const PERMITTED: &str = "14d1c42f37964352a5f60e743d753678";
const CONNECTION_ENDED: &str = "baf16f2714b943ab848c4e313f980d20";

#[test]
fn logind_knows_a_session_by_its_terminal_and_its_caller() {
    let site = site();
    let look = "loginctl --no-pager show-session $XDG_SESSION_ID; echo IsTTY=$(tty); echo From=${SSH_CLIENT%% *}";
    let said = site.ssh(&format!("-tt alice@web1 '{look}'")).succeed();
    let said = said.expect("a login").stdout;
    let value = |name: &str| {
        let line = said
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        line.unwrap_or_else(|| panic!("no {name}: {said}")).trim()
    };
    for (name, expected) in [
        ("Name", "alice"),
        ("Class", "user"),
        ("Type", "tty"),
        ("Service", "meshd-ssh"),
        ("Remote", "yes"),
        ("RemoteHost", value("From")),
        ("State", "active"),
    ] {
        assert_eq!(value(name), expected, "{name}: {said}");
    }
    assert_eq!(format!("/dev/{}", value("TTY")), value("IsTTY"));
}

#[test]
fn the_user_s_own_manager_runs() {
    let site = site();
    let units = "systemctl --user is-system-running --wait; stat -c %U:%a $XDG_RUNTIME_DIR";
    assert_eq!(site.login(units), "running\nalice:700\n");
}

#[test]
fn the_journal_has_start_and_end_with_fields_of_their_own() {
    let site = site();
    let connection = site.login("systemctl show --property Leader --value session-$XDG_SESSION_ID.scope >/dev/null; echo $PPID");
    let worker = connection.trim();
    for (message, fields) in [
        (
            PERMITTED,
            &[
                "MESHD_LOGIN=alice",
                "MESHD_PEER=laptop",
                "MESHD_USER=alice@example.com",
                "MESHD_RULE=",
            ][..],
        ),
        (STARTED, &["MESHD_LOGIN=alice", "MESHD_KIND=", "MESHD_PID="]),
        (
            CONNECTION_ENDED,
            &[
                "MESHD_LOGIN=alice",
                "MESHD_REASON=",
                "MESHD_SENT=",
                "SYSLOG_IDENTIFIER=meshd-ssh",
            ],
        ),
    ] {
        let record = record(&site, message, worker);
        for field in fields {
            assert!(
                record.lines().any(|line| line.starts_with(field)),
                "{field}: {record}"
            );
        }
    }
    let explained =
        format!("journalctl --no-pager --catalog --output short MESSAGE_ID={STARTED} -n 1");
    let explained = site.on("web1", &explained).stdout;
    assert!(
        explained.contains("A program was started for alice"),
        "{explained}"
    );
}

/// The fields of a worker's message, once it is there.
fn record(site: &Site, message: &str, worker: &str) -> String {
    let read = format!("journalctl --no-pager --output export MESSAGE_ID={message} _PID={worker}");
    let record = wait_for("record in the journal", PATIENCE, || {
        let said = site.on("web1", &read).stdout;
        said.contains("MESHD_CONNECTION").then_some(said)
    });
    record.unwrap_or_else(|error| panic!("{error}: {message}"))
}

#[test]
fn auditd_records_logins_and_denials() {
    let site = site();
    site.on("web1", "systemctl start auditd");
    site.login("true");
    let denied = site.ssh("bob@web1 true").output().expect("an end");
    assert_eq!(denied.status.code(), Some(255));
    for words in [
        [
            "op=login id=alice",
            "exe=/usr/sbin/meshd-broker",
            "addr=fd7a:",
            "res=success",
        ],
        [
            "op=login acct=bob",
            "exe=/usr/sbin/meshd-broker",
            "addr=fd7a:",
            "res=failed",
        ],
    ] {
        let search = "ausearch --input-logs --interpret --message USER_LOGIN";
        let found = wait_for("record of auditd", PATIENCE, || {
            let found = site.machine("web1").command(search).output().ok()?.stdout;
            let has = |line: &str| words.iter().all(|word| line.contains(word));
            found.lines().any(has).then_some(())
        });
        found.unwrap_or_else(|error| panic!("{error}: {words:?}"));
    }
}

/// With NoNewPrivileges, a bounding set, PrivateMounts or MemoryDenyWriteExecute on its unit one of
/// these would not work.
#[test]
fn sudo_su_mounts_and_programs_that_write_code_work() {
    let site = site();
    site.on(
        "web1",
        "echo 'alice ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/alice; echo alice:word | chpasswd",
    );
    assert_eq!(
        site.login("sudo id -un; sudo cat /proc/self/loginuid"),
        "root\n1000"
    );
    let su = site.login("echo word | su alice -c \"id -un\" 2>/dev/null");
    assert_eq!(su, "alice\n");
    site.login("sudo mount -t tmpfs -o size=1m meshd-test /mnt");
    let seen = site.on(
        "web1",
        "findmnt --noheadings --output SOURCE /mnt; umount /mnt",
    );
    assert_eq!(
        seen.stdout, "meshd-test\n",
        "the host sees what a session has mounted"
    );
    site.machine("web1")
        .write("/usr/local/bin/write-code", WRITE_CODE)
        .expect("written");
    assert_eq!(site.login("python3 /usr/local/bin/write-code"), "42\n");
}

/// Calls memory that it has written: mov eax, 42; ret.
const WRITE_CODE: &str = "\
import ctypes, mmap
memory = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
memory.write(bytes.fromhex('b82a000000c3'))
address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
print(ctypes.CFUNCTYPE(ctypes.c_int)(address)())
";

#[test]
fn a_session_has_what_one_of_sshd_has() {
    let site = site();
    site.machine("web1")
        .write("/usr/local/bin/look", LOOK)
        .expect("written");
    site.on(
        "laptop",
        "[ -e .ssh/id_ed25519 ] || ssh-keygen -q -t ed25519 -N '' -f .ssh/id_ed25519 </dev/null",
    );
    let key = site.on("laptop", "cat .ssh/id_ed25519.pub").stdout;
    let accept =
        "install -d -m 700 -o alice -g alice ~alice/.ssh; cat >~alice/.ssh/authorized_keys";
    let accept = site
        .machine("web1")
        .command(accept)
        .input(key)
        .deadline(PATIENCE);
    accept.succeed().expect("written");
    let through_the_mesh = site.login("sh /usr/local/bin/look");
    let beside = site.machine("web1").v4();
    let by_sshd =
        format!("-o StrictHostKeyChecking=accept-new alice@{beside} sh /usr/local/bin/look");
    let by_sshd = site.ssh(&by_sshd).succeed().expect("a login").stdout;
    assert_eq!(through_the_mesh, by_sshd);
}

/// Limits, mask, privilege, cgroup, namespaces and variables of a session.
const LOOK: &str = "\
cat /proc/self/limits; umask; nice
grep -E '^(Uid|Gid|Groups|Cap|Seccomp|NoNewPrivs|SigIgn|SigBlk)' /proc/self/status
cat /proc/self/oom_score_adj /proc/self/loginuid; echo
sed 's/session-[0-9]*/session-N/' /proc/self/cgroup
readlink /proc/self/ns/* | sort -u
env | cut -d= -f1 | grep -v ^MESH_ | sort
";
