//! What a session process sends on, to PAM, to the log, to programs.

use crate::site::Site;

#[test]
fn a_name_cannot_forge_a_line_of_the_log() {
    let site = Site::start("read\nlogin alice\\nconnection=1 accepted login=root\nread");
    site.call();
    assert!(site.session("Denied").contains("Denied(Login"));
    let log = site
        .lan
        .host("web1")
        .read_text("/var/log/broker.log")
        .expect("a log");
    let forged = log.lines().find(|line| line.starts_with("connection=1 "));
    assert_eq!(forged, None, "{log}");
}

#[test]
fn variables_of_the_client_reach_neither_pam_nor_the_loader() {
    let script = "read\nlogin alice\nread\nvariable LD_PRELOAD=/tmp/evil.so\n\
                  variable XDG_SEAT=seat0\nvariable PAM_USER=root\nvariable TZ=:/etc/shadow\n\
                  variable LANG=C.UTF-8\nexec env\nread\nread";
    let site = Site::start(script);
    let web1 = site.lan.host("web1");
    let service = "echo 'session optional pam_exec.so /root/note' >>/etc/pam.d/meshd-ssh; \
                   printf '#!/bin/sh\\nenv >>/root/noted\\n' >/root/note; chmod +x /root/note";
    web1.sh(service).expect("a PAM module");
    site.call();
    let said = site.session("Exited");
    assert!(said.contains("output: LANG=C.UTF-8"), "{said}");
    let noted = web1.read_text("/root/noted").expect("what PAM knew");
    for expected in ["PAM_USER=alice", "PAM_RHOST=100.64.0.2", "PAM_TTY=ssh"] {
        assert!(
            noted.lines().any(|line| line == expected),
            "{expected}: {noted}"
        );
    }
    for forbidden in ["LD_PRELOAD", "XDG_SEAT", "PAM_USER=root", "TZ="] {
        assert!(!noted.contains(forbidden), "{forbidden}: {noted}");
        assert!(
            !said.contains(&format!("output: {forbidden}")),
            "{forbidden}: {said}"
        );
    }
}

/// A PAM module that wants everybody to be root.
const TURNCOAT: &str = r#"
#include <security/pam_modules.h>
static int turn(pam_handle_t *h) { return pam_set_item(h, PAM_USER, "root"); }
int pam_sm_acct_mgmt(pam_handle_t *h, int f, int n, const char **v) { return turn(h); }
int pam_sm_open_session(pam_handle_t *h, int f, int n, const char **v) { return turn(h); }
int pam_sm_close_session(pam_handle_t *h, int f, int n, const char **v) { return PAM_SUCCESS; }
"#;

#[test]
fn an_account_that_pam_puts_in_place_of_the_permitted_one_is_refused() {
    for (kind, answer) in [("account", "Denied(Account"), ("session", "Failed")] {
        let site = Site::start("read\nlogin alice\nread\nexec id -un\nread");
        let web1 = site.lan.host("web1");
        web1.write("/root/turncoat.c", TURNCOAT)
            .expect("the source");
        let build = format!(
            "cc -shared -fPIC -o /root/turncoat.so /root/turncoat.c && \
             echo '{kind} required /root/turncoat.so' >>/etc/pam.d/meshd-ssh"
        );
        web1.sh(&build).expect("a PAM module");
        site.call();
        let said = site.session(answer);
        assert!(!said.contains("output"), "{said}");
    }
}
