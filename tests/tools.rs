//! What people run over ssh.

use meshd_lab::Mesh;

/// Runs a script on `laptop` that stops at its first failure.
fn run(script: &str) -> String {
    let mesh = Mesh::of_two().expect("a mesh");
    let bash = mesh.host("laptop").command("bash").env("HOME", "/root");
    let output = bash.args(["-euo", "pipefail", "-c", script]).succeed();
    output.expect("an end").stdout
}

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
