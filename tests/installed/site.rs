//! The three machines: `control`, `laptop` and `web1`.

use std::path::PathBuf;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use meshd_lab::{DEADLINE, HostCommand, Machine, Output, Rack, policy_for_alice, wait_for};

use crate::building::OLD_DEBS;

/// How long anything may take in machines that are emulated, three on as many processors as there
/// are.
pub(crate) const PATIENCE: Duration = DEADLINE.saturating_mul(4);

/// Where a machine has the packages of this build.
pub(crate) const SHARE: &str = "/srv/packages";

/// Mounts it; after a restart of the machine again.
const MOUNT: &str = "mkdir -p /srv/packages; mountpoint -q /srv/packages ||
    mount -t 9p -o trans=virtio,version=9p2000.L,ro share /srv/packages";

/// Keeps changed configuration files, as an administrator who is asked would; without a network
/// there are no lists of packages, and none are needed.
pub(crate) const APT: &str = "DEBIAN_FRONTEND=noninteractive apt-get install -y \
    --allow-downgrades -o Dpkg::Options::=--force-confold";

/// Where control listens.
const CONTROL_PORT: u16 = 8443;

/// The machines, with their packages: control and the nodes laptop (alice's) and web1 (tag:web,
/// with SSH and the account alice, who may become alice and root there).
pub(crate) struct Site {
    rack: Rack,
    control_key: String,
    /// What [`UNITS`] and [`MODULE`] said of web1 while it was installed and joined.
    pub(crate) begun: String,
    /// From the start of the first machine until SSH answered.
    pub(crate) took: Duration,
}

/// Name, packages, owner.
const MACHINES: [(&str, &[&str], &str); 3] = [
    (
        "control",
        &["meshd", "meshd-control"],
        "--user alice@example.com",
    ),
    ("laptop", &["meshd"], "--user alice@example.com"),
    ("web1", &["meshd", "meshd-ssh"], "--tag tag:web"),
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
        let share = meshd_lab::build_directory().expect("the programs of this build");
        let share = share.join("packages");
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
        let files = packages.iter().filter_map(|path| {
            let folder = path.parent()?.file_name()?.to_str()?;
            let file = path.file_name()?.to_str()?;
            let (package, _) = file.split_once('_')?;
            let file = format!("{SHARE}/{folder}/{file}");
            wanted.contains(&package).then_some(file)
        });
        let files = files.collect::<Vec<_>>().join(" ");
        self.on(name, &format!("{MOUNT}; {APT} {files} </dev/null"));
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

    /// What a login as alice on web1 says.
    ///
    /// # Panics
    /// With the journals of both ends, if it fails.
    pub(crate) fn login(&self, script: &str) -> String {
        let done = self.ssh(&format!("alice@web1 '{script}'")).succeed();
        let done = done.unwrap_or_else(|error| {
            let journal = "journalctl --no-pager -n 40 -u meshd -u meshd-ssh";
            let said = ["laptop", "web1"].map(|name| self.on(name, journal).stdout);
            panic!("{error}\n{}", said.concat())
        });
        done.stdout
    }

    /// Waits until SSH on web1 answers the laptop.
    pub(crate) fn wait_until_reachable(&self) {
        let ask = "exec timeout 5 bash -c 'exec 3<>/dev/tcp/web1/22; head -c 4 <&3'";
        let answered = wait_for("SSH of web1", PATIENCE, || {
            let asked = self.machine("laptop").command(ask).output().ok()?;
            (asked.stdout == "SSH-").then_some(())
        });
        answered.unwrap_or_else(|error| {
            let look =
                "mesh status; journalctl --no-pager -n 40 -u meshd -u meshd-ssh; nft list ruleset";
            let said = ["laptop", "web1"].map(|name| self.on(name, look).stdout);
            panic!("{error}\n{}", said.concat())
        });
    }
}
