//! The three machines: `control`, `laptop` and `web1`.

use std::path::PathBuf;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use meshd_lab::{DEADLINE, HostCommand, Machine, Output, Rack, Talk, policy_for_alice, wait_for};

use crate::building::{self, OLD_DEBS};

/// How long anything may take in machines that are emulated, three on as many processors as there
/// are.
pub(crate) const PATIENCE: Duration = DEADLINE.saturating_mul(4);

/// Where a machine has the packages of this build.
pub(crate) const SHARE: &str = "/srv/packages";

const MOUNT: &str = "mkdir -p /srv/packages; mountpoint -q /srv/packages ||
    mount -t 9p -o trans=virtio,version=9p2000.L,ro share /srv/packages";

/// Keeps changed configuration files, as an administrator who is asked would; without a network
/// there are no lists of packages, and none are needed.
pub(crate) const APT: &str = "DEBIAN_FRONTEND=noninteractive apt-get install -y \
    --allow-downgrades -o Dpkg::Options::=--force-confold";

/// Where control listens.
const CONTROL_PORT: u16 = 8443;

/// The machines: three nodes, of which `control` has the control server and `web1` (tag:web) SSH and
/// the account alice. Alice's are the others, and she may become alice and root on web1.
pub(crate) struct Site {
    rack: Rack,
    control_key: String,
    /// What [`UNITS`] and [`MODULE`] said of web1 while it was installed and joined.
    pub(crate) begun: String,
    /// From the start of the first machine until SSH answered.
    pub(crate) took: Duration,
}

/// Name, packages, owner.
type Plan = (&'static str, &'static [&'static str], &'static str);

pub(crate) const WEB1: Plan = ("web1", &["meshd", "meshd-ssh"], "--tag tag:web");

pub(crate) const MACHINES: [Plan; 3] = [
    (
        "control",
        &["meshd", "meshd-control"],
        "--user alice@example.com",
    ),
    ("laptop", &["meshd"], "--user alice@example.com"),
    WEB1,
];

/// Whether the manager runs, and SSH.
const UNITS: &str = "systemctl is-active meshd; systemctl is-enabled meshd
    systemctl is-active meshd-ssh; systemctl is-enabled meshd-ssh";

/// Whether the kernel has WireGuard yet.
const MODULE: &str = "grep -q '^wireguard ' /proc/modules && echo loaded || echo not loaded";

static SITE: LazyLock<Mutex<Site>> = LazyLock::new(|| Mutex::new(Site::start()));

/// The machines, for one test at a time; every test leaves them as it has found them.
pub(crate) fn site() -> MutexGuard<'static, Site> {
    SITE.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Site {
    fn start() -> Self {
        let began = Instant::now();
        let share = building::packages();
        std::fs::create_dir_all(&share).expect("a folder");
        let names = MACHINES.map(|(name, ..)| name);
        let rack = thread::scope(|scope| {
            let packages = scope.spawn(|| OLD_DEBS.len());
            let rack = Rack::start(&names, &share).unwrap_or_else(|error| panic!("{error}"));
            packages.join().expect("packages");
            rack
        });
        let mut site = Self {
            rack,
            control_key: String::new(),
            begun: String::new(),
            took: Duration::ZERO,
        };
        thread::scope(|scope| {
            for (name, packages, _) in MACHINES {
                let site = &site;
                scope.spawn(move || site.install(name, &OLD_DEBS, packages));
            }
        });
        site.begun = site.said("web1", UNITS) + &site.said("web1", MODULE);
        site.begin();
        for (name, _, owner) in MACHINES {
            site.join(name, owner);
        }
        site.begun += &site.said("web1", "systemctl is-active meshd-ssh");
        site.begun += &site.said("web1", MODULE);
        site.on(
            "web1",
            "useradd --create-home --shell /bin/bash alice; systemctl enable --now meshd-ssh",
        );
        site.wait_until_reachable();
        site.took = began.elapsed();
        site
    }

    /// Control, its user and its policy.
    fn begin(&mut self) {
        let control = self.machine("control");
        let policy = policy_for_alice(&["alice", "root"]);
        control
            .write("/root/policy.hujson", policy)
            .expect("written");
        self.on(
            "control",
            "systemctl enable --now meshd-control
            until meshd-control key >/dev/null 2>&1; do sleep 0.2; done
            meshd-control users create alice@example.com
            meshd-control policy set /root/policy.hujson",
        );
        let key = self.on("control", "meshd-control key").stdout;
        self.control_key = key.split_whitespace().next().expect("a key").to_owned();
    }

    /// Brings a machine into the mesh, as its root would; SSH stays as it is.
    pub(crate) fn join(&self, name: &str, owner: &str) {
        let key = self.on("control", &format!("meshd-control authkeys create {owner}"));
        let machine = self.machine(name);
        machine.write("/run/auth-key", key.stdout).expect("written");
        let control = self.machine("control").v4();
        self.on(
            name,
            &format!(
                "mesh up --control https://{control}:{CONTROL_PORT} --auth-key-file /run/auth-key \
                     --control-key {} || {{ journalctl -u meshd; exit 1; }}
                 printf 'nameserver %s\\nsearch mesh.internal\\n' $(mesh ip | head -n 1) >/etc/resolv.conf",
                self.control_key
            ),
        );
    }

    /// Has apt install these of the packages of a version.
    pub(crate) fn install(&self, name: &str, packages: &[PathBuf], wanted: &[&str]) {
        self.mount_share(name);
        let files = packages_in_share(packages, wanted);
        self.on(name, &format!("{APT} {files} </dev/null"));
    }

    /// After a restart of the machine it is not mounted any more.
    pub(crate) fn mount_share(&self, name: &str) {
        self.on(name, MOUNT);
    }

    pub(crate) fn machine(&self, name: &str) -> &Machine {
        self.rack.machine(name)
    }

    /// Runs a script as root of a machine.
    ///
    /// # Panics
    /// With what it said, if it fails.
    pub(crate) fn on(&self, name: &str, script: &str) -> Output {
        let command = self.machine(name).command(script).deadline(PATIENCE);
        command.succeed().unwrap_or_else(|error| panic!("{error}"))
    }

    /// What a script says, however it ends.
    pub(crate) fn said(&self, name: &str, script: &str) -> String {
        let command = self.machine(name).command(script).deadline(PATIENCE);
        command.output().expect("an end").stdout
    }

    /// `ssh` on the laptop, as a person there would type it, but never waiting for an answer.
    pub(crate) fn ssh(&self, words: &str) -> HostCommand {
        let ssh = format!("exec ssh -o BatchMode=yes -o ConnectTimeout=30 {words}");
        self.machine("laptop").command(&ssh).deadline(PATIENCE)
    }

    /// A session of alice's on web1 that answers each line.
    pub(crate) fn talk(&self) -> Talk {
        let ssh = self.ssh(&format!("alice@web1 '{}'", Talk::SCRIPT));
        Talk::begin_within(ssh, PATIENCE)
    }

    /// What a login as alice on web1 says.
    ///
    /// # Panics
    /// As [`Self::succeed`].
    pub(crate) fn login(&self, script: &str) -> String {
        self.succeed(self.ssh(&format!("alice@web1 '{script}'")))
    }

    /// What a command says that logs in from the laptop to web1.
    ///
    /// # Panics
    /// With the journals of both ends, if it fails.
    pub(crate) fn succeed(&self, command: HostCommand) -> String {
        let done = command.succeed();
        let done = done.unwrap_or_else(|error| panic!("{error}\n{}", self.journals()));
        done.stdout
    }

    /// What laptop and web1 have said of late, and what they look like.
    fn journals(&self) -> String {
        let look = "mesh status; ip -brief address; nft list ruleset;
            journalctl --no-pager -n 60 -u meshd -u meshd-ssh -t meshd-ssh";
        ["laptop", "web1"]
            .map(|name| self.said(name, look))
            .concat()
    }

    /// Waits until SSH on web1 answers the laptop, which knows its host keys.
    pub(crate) fn wait_until_reachable(&self) {
        let ask = "mesh known-hosts web1 | grep -q . || exit 1
            exec timeout 5 bash -c 'exec 3<>/dev/tcp/web1/22; head -c 4 <&3'";
        let answered = wait_for("SSH of web1", PATIENCE, || {
            let asked = self.machine("laptop").command(ask).output().ok()?;
            (asked.stdout == "SSH-").then_some(())
        });
        answered.unwrap_or_else(|error| panic!("{error}\n{}", self.journals()));
    }
}

/// These of the packages of a version, as a machine sees them.
pub(crate) fn packages_in_share(packages: &[PathBuf], wanted: &[&str]) -> String {
    let files = packages.iter().filter_map(|path| {
        let folder = path.parent()?.file_name()?.to_str()?;
        let file = path.file_name()?.to_str()?;
        let (package, _) = file.split_once('_')?;
        let file = format!("{SHARE}/{folder}/{file}");
        wanted.contains(&package).then_some(file)
    });
    files.collect::<Vec<_>>().join(" ")
}
