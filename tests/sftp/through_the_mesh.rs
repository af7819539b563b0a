//! OpenSSH's clients, against a host that has no other server than ours.

use std::time::Duration;

use meshd_lab::Mesh;

use crate::packets::*;

const LONG: Duration = Duration::from_secs(300);

/// The host web1 has no server of OpenSSH's.
fn start() -> Mesh {
    let mesh = Mesh::of_two().expect("a mesh");
    let remove = mesh.host("web1").sh("rm -f /usr/lib/openssh/sftp-server");
    remove.expect("no server of OpenSSH's");
    mesh
}

fn sums(mesh: &Mesh, host: &str, script: &str) -> String {
    let script = format!("set -e; {script}");
    let ran = mesh.host(host).command("bash").args(["-c", &script]);
    ran.deadline(LONG).succeed().expect("sums").stdout
}

#[test]
fn a_large_file_goes_and_comes_back_unchanged() {
    let mesh = start();
    let transfers = "
        head -c 64M /dev/urandom >/tmp/file
        printf 'put /tmp/file one\\nget one /tmp/one\\n' | sftp -q -b - alice@web1 >/dev/null
        scp -qB /tmp/file alice@web1:two; scp -qB alice@web1:two /tmp/two
        printf 'get two /tmp/small\\n' | sftp -q -B 1000 -R 200 -b - alice@web1 >/dev/null
        for file in file one two small; do md5sum </tmp/$file; done";
    let sums = sums(&mesh, "laptop", transfers);
    let sums: Vec<_> = sums.lines().collect();
    assert_eq!(sums.len(), 4);
    assert!(sums.iter().all(|sum| *sum == sums[0]), "{sums:?}");
}

#[test]
fn a_tree_of_small_files_goes_and_comes_back_unchanged() {
    let mesh = start();
    let transfers = "
        mkdir -p /tmp/tree; cd /tmp/tree
        for n in $(seq 300); do mkdir -p \"$((n % 7))/a b\"; echo $n >\"$((n % 7))/a b/$n\"; done
        echo strange >\"$(printf 'not text \\377\\376')\"; chmod 640 1/a*/1; touch -d 2001-02-03 1/a*/1
        scp -qBpr /tmp/tree alice@web1:there; scp -qBpr alice@web1:there /tmp/back
        for tree in tree back; do
            cd /tmp/$tree; find . -type f -printf '%P %m %Ts ' -execdir md5sum -b {} + | sort | md5sum
        done";
    let sums = sums(&mesh, "laptop", transfers);
    let sums: Vec<_> = sums.lines().collect();
    assert_eq!(sums.len(), 2);
    assert_eq!(sums[0], sums[1]);
}

#[test]
fn the_server_is_the_account_s_and_has_its_umask_and_home() {
    let mesh = start();
    let mut client = Client::new(
        mesh.ssh("laptop", &["-s", "alice@web1", "sftp"])
            .spawn()
            .expect("ssh"),
    );
    let all = Attributes {
        permissions: Some(0o666),
        ..Attributes::default()
    };
    let made = client.ask(
        OPEN,
        path("file").number(TO_WRITE | CREATE).attributes(&all),
    );
    assert!(matches!(made, Reply::Handle(_)));
    let listed = sums(&mesh, "web1", "stat -c '%U %a' /home/alice/file");
    assert_eq!(listed, "alice 644\n");
    let at = client.ask(REALPATH, path("."));
    assert!(matches!(&at, Reply::Names(names) if names[0].name == b"/home/alice"));
    assert_eq!(client.open("/etc/shadow", TO_READ), PERMISSION_DENIED);
}
