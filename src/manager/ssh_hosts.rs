//! The file by which ssh's configuration tells hosts of the mesh from others, without asking this
//! process.

use std::path::{Path, PathBuf};

use meshd_contract::network_document::NetworkDocument;

use super::atomic;
use super::error::Error;
use crate::known_hosts;

/// The file, which is there while the mesh is in use, also between two managers.
pub struct SshHosts {
    path: PathBuf,
    written: Option<String>,
}

impl SshHosts {
    /// The file that belongs to the manager with this socket.
    #[must_use]
    pub fn beside(socket: &Path) -> Self {
        Self {
            path: known_hosts::hosts_file(socket),
            written: None,
        }
    }

    /// Makes it say what the document says.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn write(&mut self, document: &NetworkDocument) -> Result<(), Error> {
        let hosts = known_hosts::hosts(document);
        if self.written.as_ref() != Some(&hosts) {
            atomic::write(&self.path, hosts.as_bytes(), 0o644)?;
            self.written = Some(hosts);
        }
        Ok(())
    }

    /// Removes it.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn remove(&mut self) -> Result<(), Error> {
        self.written = None;
        atomic::remove(&self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::known_hosts::tests::with_key;

    #[test]
    fn the_file_follows_the_document_and_goes_with_the_mesh() {
        let directory = tempfile::tempdir().expect("a directory");
        let mut hosts = SshHosts::beside(&directory.path().join("meshd.sock"));
        let file = directory.path().join("ssh-hosts");
        let mut document = with_key();
        hosts.write(&document).expect("writes");
        let text = std::fs::read_to_string(&file).expect("is there");
        assert!(known_hosts::lists(&text, "laptop"), "{text}");
        document.peers.clear();
        hosts.write(&document).expect("writes");
        assert_eq!(std::fs::read_to_string(&file).expect("is there"), "");
        hosts.remove().expect("removes");
        assert!(!file.exists());
        hosts.write(&document).expect("writes");
        assert!(file.exists());
    }
}
