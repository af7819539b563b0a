//! Files and archives.

use meshd_lab::{DEADLINE, Mesh, wait_for};

use crate::laptop::{LONG, need, on_laptop, run};

#[test]
fn scp_copies_in_both_protocols() {
    let script = "head -c 3M /dev/urandom >/tmp/file
        for mode in -s -O; do
            scp -q -B $mode /tmp/file alice@web1:copy
            scp -q -B $mode alice@web1:copy /tmp/back
            cmp /tmp/file /tmp/back
            rm /tmp/back
            echo same
        done";
    assert_eq!(run(script), "same\nsame\n");
}

#[test]
fn rsync_copies_a_tree_and_then_nothing() {
    let script = "mkdir -p /tmp/tree/a; echo one >/tmp/tree/a/b; ln -s a /tmp/tree/link
        rsync -a /tmp/tree/ alice@web1:tree/
        rsync -a alice@web1:tree/ /tmp/back/
        diff -r --no-dereference /tmp/tree /tmp/back
        rsync -ai /tmp/tree/ alice@web1:tree/
        echo same";
    assert_eq!(run(script), "same\n");
}

#[test]
fn git_clones_and_pushes() {
    let script =
        "export GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@b
        ssh alice@web1 git init -q --bare of.git
        git init -q /tmp/work; cd /tmp/work
        echo text >file; git add file; git commit -q -m first
        git push -q alice@web1:of.git HEAD:refs/heads/master
        git clone -q -b master ssh://alice@web1/~/of.git /tmp/clone
        cat /tmp/clone/file";
    assert_eq!(run(script), "text\n");
}

#[test]
fn sshfs_writes_reads_renames_and_lists() {
    let mesh = Mesh::of_two().expect("a mesh");
    need(&mesh, &[("sshfs", "sshfs")]);
    let laptop = mesh.host("laptop");
    laptop.sh("mkdir /tmp/there").expect("a directory");
    let mount = ["-f", "alice@web1:", "/tmp/there"];
    let mount = laptop.command("sshfs").env("HOME", "/root").args(mount);
    let mut sshfs = mount.spawn().expect("sshfs");
    wait_for("the mounted directory", DEADLINE, || {
        assert_eq!(sshfs.ended(), None, "sshfs has ended");
        let mounted = laptop.command("mountpoint").args(["-q", "/tmp/there"]);
        mounted.output().ok()?.status.success().then_some(())
    })
    .expect("mounted");
    let script = "cd /tmp/there
        mkdir -p a/b; echo text >a/b/file; cat a/b/file
        mv a/b/file a/moved; ls a; test ! -e a/b/file
        ln -s moved a/link; readlink a/link
        chmod 640 a/moved; stat -c %a a/moved
        echo more >>a/moved; truncate -s 7 a/moved; cat a/moved; echo
        rm a/link a/moved; rmdir a/b a; ls | wc -l
        head -c 48M /dev/urandom >/tmp/big; cp /tmp/big big; cmp big /tmp/big; echo same";
    let said = on_laptop(&mesh, script).deadline(LONG).succeed();
    let expected = "text\nb\nmoved\nmoved\n640\ntext\nmo\n0\nsame\n";
    assert_eq!(said.expect("an end").stdout, expected);
    let owner = mesh.host("web1").sh("stat -c '%U %s' /home/alice/big");
    assert_eq!(owner.expect("a file").stdout, "alice 50331648\n");
    laptop.sh("umount /tmp/there").expect("unmounted");
    let end = sshfs.wait(DEADLINE).expect("an end");
    assert_eq!(end.code(), Some(0));
}

/// More bytes than a signed number of 32 bits counts, in a file with holes, and with other bytes at
/// both ends and where that number ends; an archiver sends the holes as zeros.
#[test]
fn tar_carries_more_than_two_gibibytes_each_way_through_one_channel() {
    let mesh = Mesh::of_two().expect("a mesh");
    let script = "truncate -s $(((1 << 31) + (9 << 20))) /tmp/huge
        for at in 0 $(((1 << 11) - 1)) $(((1 << 11) + 8)); do
            dd if=/dev/urandom of=/tmp/huge bs=1M count=1 seek=$at conv=notrunc status=none
        done
        sha256sum </tmp/huge
        tar -C /tmp -cf - huge | ssh alice@web1 tar -xOf - | sha256sum";
    let hashes = on_laptop(&mesh, script).deadline(2 * LONG).succeed();
    let hashes = hashes.expect("an end").stdout;
    let hashes: Vec<&str> = hashes.lines().collect();
    assert_eq!(hashes.len(), 2, "{hashes:?}");
    assert_eq!(hashes[0], hashes[1]);
}
