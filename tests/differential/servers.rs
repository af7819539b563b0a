//! One host with both servers, and accounts that differ in what a session is made of.

use meshd_lab::{Host, HostCommand, Mesh, policy_with};

/// Who asks.
pub(crate) const CLIENT: &str = "laptop";
/// Who serves.
pub(crate) const SERVER: &str = "web1";

/// Debian's configuration stays; keys are where an account without a home has them too.
const SSHD_CONFIG: &str = "Port 2222\nAuthorizedKeysFile /etc/ssh/keys\n";

/// Accounts beside those of [`Mesh::of_two_booted`]; `many` is in so many groups that its look-up
/// needs more room than it is offered at first (ERANGE of getgrnam_r(3), getgrouplist(3)).
const ACCOUNTS: &str = r#"
set -e
for name in many hushed closed expired changing limited varied masked; do
    useradd --create-home --user-group --shell /bin/bash $name
done
useradd --no-create-home --user-group --shell /bin/bash homeless
for number in $(seq 1000); do echo "crew$number:x:$((20000 + number)):many"; done >>/etc/group
usermod --comment "$(printf '%05000d' 0)" many
touch /home/hushed/.hushlogin
usermod --shell /usr/sbin/nologin closed
chage --expiredate 0 expired
chage --lastday 0 changing
cat >>/etc/security/limits.conf <<END
limited hard nofile 40
limited soft nproc 77
limited - nice -5
limited - priority 4
END
echo 'FROM_PAM DEFAULT=@{HOME}/of/@{PAM_USER}' >>/etc/security/pam_env.conf
echo 'FROM_ENVIRONMENT=everybody' >>/etc/environment
echo 'LC_PAPER=from-the-system' >>/etc/default/locale
echo 'FROM_THE_USER DEFAULT=own' >/home/varied/.pam_environment
echo 'session optional pam_umask.so' >>/etc/pam.d/common-session
usermod --comment 'Masked,umask=027' masked
echo 'Welcome to the host.' >/etc/motd
echo 'echo What is new' >/etc/update-motd.d/50-news
chmod 755 /etc/update-motd.d/50-news
printf 'From bob Fri Jan  2 00:00:00 2026\nSubject: hello\n\nyou\n' >/var/mail/alice
chown alice:mail /var/mail/alice
"#;

/// By which server a client comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Server {
    Sshd,
    Meshd,
}

/// `laptop` and the booted host `web1`, where root and all [`ACCOUNTS`] may log in by both ways.
pub(crate) fn start() -> Mesh {
    let mesh = Mesh::of_two_booted().expect("a mesh");
    let web1 = mesh.host(SERVER);
    web1.sh(ACCOUNTS).expect("accounts");
    start_sshd(mesh.host(CLIENT), web1);
    let rule = r#"{"action": "accept", "src": ["alice@example.com"], "dst": ["tag:web"],
                   "users": ["root", "autogroup:nonroot"]}"#;
    mesh.change_policy(&policy_with(rule)).expect("a policy");
    mesh
}

fn start_sshd(client: &Host, host: &Host) {
    client
        .sh("ssh-keygen -q -t ed25519 -N '' -f /root/key")
        .expect("a key");
    let key = client.read("/root/key.pub").expect("a key");
    host.write("/etc/ssh/keys", key).expect("keys");
    host.write("/etc/ssh/sshd_config.d/lab.conf", SSHD_CONFIG)
        .expect("a configuration");
    host.sh("systemctl unmask ssh && systemctl start ssh")
        .expect("sshd");
}

impl Server {
    /// `ssh` by way of this server, with these options.
    pub(crate) fn ssh(self, mesh: &Mesh, options: &[&str], account: &str) -> HostCommand {
        let common = ["LogLevel=ERROR", "SetEnv=LC_TEST=sent", "SendEnv=LANG"];
        // Its host key is in nobody's list.
        let of_sshd = [
            "Port=2222",
            "IdentityFile=/root/key",
            "StrictHostKeyChecking=no",
            "KnownHostsCommand=none",
            "UserKnownHostsFile=/dev/null",
        ];
        let of_server: &[&str] = match self {
            Self::Sshd => &of_sshd,
            Self::Meshd => &[],
        };
        let all = common.iter().chain(of_server);
        let ssh = mesh.ssh(CLIENT, options).env("LANG", "C.UTF-8");
        ssh.args(all.flat_map(|option| ["-o", option]))
            .arg(format!("{account}@{SERVER}"))
    }
}
