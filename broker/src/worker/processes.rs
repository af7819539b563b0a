//! Everything that runs because of one connection: what is in its session's cgroup, and what has
//! come out of this process.

use std::collections::BTreeSet;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::cgroup::Cgroup;
use crate::open_sessions::OpenSession;
use crate::record::Records;
use crate::{descendants, log};

/// The processes of one connection, its session process apart.
pub(super) struct Processes {
    session_process: Pid,
    /// Where this process was before the session began.
    outside: Option<Cgroup>,
    session: Option<SessionCgroup>,
}

struct SessionCgroup {
    cgroup: Cgroup,
    /// Made here, so it is to be removed here.
    own: bool,
    _note: Option<OpenSession>,
}

impl Processes {
    pub(super) fn new(session_process: Pid) -> Self {
        Self {
            session_process,
            outside: Cgroup::own(),
            session: None,
        }
    }

    /// To be called when PAM has opened the session: where pam_systemd has moved this process is
    /// the session's place; if it has not, one is made. Without cgroups descent is all there is.
    pub(super) fn session_began(&mut self, records: &Records) {
        let Some(outside) = &self.outside else {
            return;
        };
        let (cgroup, own) = match Cgroup::own() {
            Some(now) if now != *outside => (now, false),
            _ => match make(outside) {
                Ok(made) => (made, true),
                Err(error) => {
                    records.note(&format!("the session has no cgroup of its own: {error}"));
                    return;
                }
            },
        };
        let note = OpenSession::note(records.connection(), &cgroup);
        if let Err(error) = &note {
            records.note(&format!("the open session cannot be noted: {error}"));
        }
        self.session = Some(SessionCgroup {
            cgroup,
            own,
            _note: note.ok(),
        });
    }

    /// Everything that lives.
    pub(super) fn living(&self) -> BTreeSet<Pid> {
        let mut living = descendants::living(Some(self.session_process));
        if let Some(session) = &self.session {
            living.extend(session.cgroup.processes());
        }
        living.remove(&Pid::this());
        living.remove(&self.session_process);
        living
    }

    /// SIGHUP to everything, and SIGCONT so that what is stopped learns of it.
    pub(super) fn hang_up(&self) {
        for pid in self.living() {
            let _ = kill(pid, Signal::SIGHUP);
            let _ = kill(pid, Signal::SIGCONT);
        }
    }

    /// SIGKILL to everything, until nothing is left or for some time; returns how many are left.
    pub(super) fn kill_all(&mut self) -> usize {
        const ROUNDS: usize = 100;
        const PAUSE: Duration = Duration::from_millis(10);
        self.step_out();
        for _ in 0..ROUNDS {
            let living = self.living();
            if living.is_empty() {
                return 0;
            }
            if let Some(session) = &self.session {
                session.cgroup.kill();
            }
            for pid in living {
                let _ = kill(pid, Signal::SIGKILL);
            }
            std::thread::sleep(PAUSE);
        }
        self.living().len()
    }

    /// The session is over; what the user has left running stays where it is.
    pub(super) fn session_ended(&mut self) {
        if self.session.as_ref().is_some_and(|session| session.own) {
            self.step_out();
        }
        if let Some(session) = self.session.take()
            && session.own
        {
            // Not empty while something is left running; then it stays.
            let _ = session.cgroup.remove();
        }
    }

    /// Out of the session's cgroup, so that to kill it is not to kill this process.
    fn step_out(&self) {
        if let (Some(outside), Some(_)) = (&self.outside, &self.session)
            && let Err(error) = outside.enter()
        {
            log::line(&format!("cannot leave the session's cgroup: {error}"));
        }
    }
}

fn make(outside: &Cgroup) -> std::io::Result<Cgroup> {
    let cgroup = outside.make_below(&format!("session-{}", Pid::this()))?;
    if let Err(error) = cgroup.enter() {
        let _ = cgroup.remove();
        return Err(error);
    }
    Ok(cgroup)
}
