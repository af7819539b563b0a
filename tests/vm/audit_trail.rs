//! Reading along in the kernel's audit trail.

use std::os::fd::{AsRawFd, OwnedFd};

use meshd_lab::DEADLINE;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, setsockopt,
    socket, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};

/// What is written from now on. Only the first network namespace is told.
pub(crate) struct AuditTrail(OwnedFd);

impl AuditTrail {
    pub(crate) fn open() -> Self {
        /// AUDIT_NLGRP_READLOG (linux/audit.h).
        const READERS: u32 = 1;
        let trail = socket(
            AddressFamily::Netlink,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC,
            SockProtocol::NetlinkAudit,
        );
        let trail = trail.expect("a kernel with an audit trail");
        bind(trail.as_raw_fd(), &NetlinkAddr::new(0, READERS)).expect("reads along");
        let patience = TimeVal::seconds(DEADLINE.as_secs().cast_signed());
        setsockopt(&trail, sockopt::ReceiveTimeout, &patience).expect("an option");
        Self(trail)
    }

    /// The text of the next record of this type.
    pub(crate) fn next(&self, kind: u16) -> String {
        const HEADER_BYTES: usize = 16;
        let mut record = [0; 9000];
        loop {
            let length = recv(self.0.as_raw_fd(), &mut record, MsgFlags::empty());
            let record = &record[..length.expect("a record in time")];
            if record.get(4..6) == Some(&kind.to_ne_bytes()) {
                return String::from_utf8_lossy(&record[HEADER_BYTES..]).into_owned();
            }
        }
    }
}
