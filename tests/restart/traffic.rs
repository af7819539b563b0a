//! Sessions with traffic that is checked: numbered blocks to a program that sends them back.

use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use meshd_lab::{DEADLINE, Mesh, Running, wait_for};

/// Bytes of one block.
const BLOCK: usize = 512;
/// Blocks that are on their way at a time.
const AHEAD: usize = 8;
/// Between two blocks; the machine has other things to do.
const PAUSE: Duration = Duration::from_millis(20);

/// A session whose blocks go round.
pub(crate) struct Loop {
    ssh: Running,
    stop: Arc<AtomicBool>,
    round: Arc<AtomicU64>,
    writer: JoinHandle<u64>,
    reader: JoinHandle<u64>,
}

impl Loop {
    /// Begins a session on `web1` and its traffic.
    pub(crate) fn begin(mesh: &Mesh) -> Self {
        let mut ssh = mesh
            .ssh("laptop", &["alice@web1", "cat"])
            .spawn()
            .expect("ssh");
        let stop = Arc::new(AtomicBool::new(false));
        let round = Arc::new(AtomicU64::new(0));
        let (free, taken) = sync_channel(AHEAD);
        for _ in 0..AHEAD {
            free.send(()).expect("room");
        }
        let stdin = ssh.stdin.take().expect("its input");
        let stdout = ssh.stdout.take().expect("its output");
        let (stopped, counted) = (stop.clone(), round.clone());
        Self {
            ssh,
            stop,
            round,
            writer: thread::spawn(move || write(stdin, &taken, &stopped)),
            reader: thread::spawn(move || read(stdout, &free, &counted)),
        }
    }

    /// How many blocks have come back.
    pub(crate) fn round(&self) -> u64 {
        self.round.load(Ordering::Relaxed)
    }

    /// Waits until more blocks have come back than these.
    pub(crate) fn wait_for_more_than(&self, blocks: u64) {
        let more = || (self.round() > blocks).then_some(());
        wait_for("blocks that come back", DEADLINE, more).expect("goes on");
    }

    /// Ends the traffic and then the session; how many blocks came back, every one in order.
    pub(crate) fn end(mut self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        let sent = self.writer.join().expect("no failure");
        let status = self.ssh.wait(DEADLINE).expect("an end");
        assert!(status.success(), "{status}");
        let received = self.reader.join().expect("the right blocks");
        assert_eq!(received, sent, "blocks were lost");
        received
    }
}

fn block(number: u64) -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
    for (index, word) in block.chunks_exact_mut(8).enumerate() {
        let mixed = (number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        word.copy_from_slice(&mixed.wrapping_add(index as u64).to_le_bytes());
    }
    block
}

fn write(mut to: impl Write, taken: &Receiver<()>, stop: &AtomicBool) -> u64 {
    let mut number = 0;
    while !stop.load(Ordering::Relaxed) && taken.recv().is_ok() {
        to.write_all(&block(number)).expect("the session goes on");
        number += 1;
    }
    number
}

fn read(mut from: impl Read, free: &SyncSender<()>, round: &AtomicU64) -> u64 {
    let mut number = 0;
    let mut received = [0; BLOCK];
    while from.read_exact(&mut received).is_ok() {
        assert!(received == block(number), "block {number} is another");
        number += 1;
        round.store(number, Ordering::Relaxed);
        thread::sleep(PAUSE);
        // The writer has stopped, at the end.
        let _ = free.try_send(());
    }
    number
}
