use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::JoinHandle;

use super::reader::Reader;
use super::*;
use crate::model::Payload;

fn wait<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    runtime.expect("a runtime").block_on(future)
}

/// A spool with its writer, in a directory that goes with the test.
struct Running {
    dir: PathBuf,
    spool: Arc<Spool>,
    writer: Option<JoinHandle<()>>,
}

impl Running {
    fn new() -> Running {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!(
            "sentrail-spool-{}-{}",
            std::process::id(),
            COUNT.fetch_add(1, Ordering::Relaxed)
        );
        Running::open(std::env::temp_dir().join(name), 0, 1 << 20)
    }

    fn open(dir: PathBuf, resume: u64, bytes_max: u64) -> Running {
        let spool = Arc::new(Spool::open_sized(&dir, resume, bytes_max, 1 << 10, None).expect("opened"));
        let writing = Arc::clone(&spool);
        Running {
            dir,
            spool,
            writer: Some(std::thread::spawn(move || writing.write())),
        }
    }

    fn append(&self, text: &str) -> Result<(), Refused> {
        let mut block = Block::default();
        block.push(
            text.as_bytes(),
            &[("a", b"1"), ("b", text.as_bytes())],
            text.len() > 100,
        );
        wait(self.spool.append(Arc::new(block)))
    }

    fn close(&mut self) {
        self.spool.close();
        if let Some(writer) = self.writer.take() {
            writer.join().expect("the writer ends");
        }
    }

    /// As after a stop, with the offset that was durable.
    fn reopen(mut self, resume: u64) -> Running {
        self.close();
        Running::open(std::mem::take(&mut self.dir), resume, 1 << 20)
    }

    fn read(&self, next: u64) -> (Vec<String>, Vec<String>) {
        let mut reader = Reader {
            spool: &self.spool,
            next,
            open: None,
        };
        let (mut texts, mut lost) = (Vec::new(), Vec::new());
        loop {
            let (payloads, trouble) = reader.batch();
            if payloads.is_empty() && trouble.is_none() {
                return (texts, lost);
            }
            texts.extend(payloads.iter().map(shown));
            lost.extend(trouble);
        }
    }

    fn files(&self) -> Vec<u64> {
        segment::firsts(&self.dir).expect("listed")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.close();
        if !self.dir.as_os_str().is_empty() {
            let _ = fs::remove_dir_all(&self.dir);
        }
    }
}

fn shown(payload: &Payload) -> String {
    let text = String::from_utf8_lossy(&payload.bytes);
    let attributes = payload.attributes.as_ref().expect("attributes");
    assert_eq!(
        (&attributes["a"][..], &attributes["b"][..]),
        (&b"1"[..], text.as_bytes())
    );
    assert_eq!(payload.truncated, text.len() > 100);
    format!("{} {text}", payload.position)
}

fn expected(range: std::ops::Range<u64>) -> Vec<String> {
    range.map(|number| format!("spool/{number} record {number}")).collect()
}

fn fill(running: &Running, range: std::ops::Range<u64>) {
    for number in range {
        running.append(&format!("record {number}")).expect("accepted");
    }
}

#[test]
fn records_come_back_in_order_with_what_was_said_beside_them() {
    let running = Running::new();
    fill(&running, 0..100);
    running.append(&"x".repeat(200)).expect("accepted");
    let (texts, lost) = running.read(0);
    assert_eq!(texts[..100], expected(0..100));
    assert_eq!((texts.len(), lost.len()), (101, 0));
    assert!(running.files().len() > 3, "several segments: {:?}", running.files());
    assert_eq!(running.read(57).0[..43], expected(57..100));
}

#[test]
fn numbers_go_on_after_a_restart_and_what_is_durable_is_deleted() {
    let running = Running::new();
    fill(&running, 0..100);
    let running = running.reopen(0);
    fill(&running, 100..150);
    assert_eq!(running.read(0), (expected(0..150), vec![]));
    running.spool.committed(120);
    assert!(running.files()[0] > 60, "{:?}", running.files());
    assert_eq!(running.read(120), (expected(120..150), vec![]));
    // Everything is durable, and even the last segment is gone: a number is never used again.
    let running = running.reopen(150);
    for first in running.files() {
        fs::remove_file(segment::path(&running.dir, first)).expect("removed");
    }
    let running = running.reopen(150);
    fill(&running, 150..160);
    assert_eq!(running.read(150), (expected(150..160), vec![]));
}

#[test]
fn a_write_that_was_cut_off_costs_only_what_was_not_accepted() {
    let running = Running::new();
    fill(&running, 0..10);
    let last = segment::path(&running.dir, *running.files().last().expect("a segment"));
    let mut running = running.reopen(0);
    running.close();
    let whole = fs::read(&last).expect("read");
    for garbage in [&[7; 5][..], &[0; 300], &whole[..20], b"\xff\xff\xff\xff\0\0\0\0xx"] {
        fs::write(&last, [&whole, garbage].concat()).expect("written");
        let again = Running::open(running.dir.clone(), 0, 1 << 20);
        fill(&again, 10..12);
        assert_eq!(again.read(0), (expected(0..12), vec![]));
        assert_eq!(again.spool.lock().lost, None, "nobody was told of it");
        let newest = *again.files().last().expect("a segment");
        let dir = again.dir.clone();
        std::mem::forget(again);
        fs::remove_file(segment::path(&dir, newest)).expect("removed");
    }
}

#[test]
fn damage_is_told_and_what_comes_after_it_is_read() {
    let running = Running::new();
    fill(&running, 0..100);
    let second = segment::path(&running.dir, running.files()[1]);
    let mut bytes = fs::read(&second).expect("read");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&second, bytes).expect("written");
    let (texts, lost) = running.read(0);
    assert_eq!(lost.len(), 1);
    assert!(lost[0].contains("cannot be read and are lost"), "{lost:?}");
    assert!(texts.len() > 60 && texts.len() < 100);
    assert_eq!(texts.last(), expected(99..100).last());
}

#[test]
fn damage_in_the_newest_segment_is_told_unless_all_of_it_is_durable() {
    let running = Running::new();
    fill(&running, 0..10);
    let first = segment::path(&running.dir, 0);
    let mut running = running.reopen(0);
    running.close();
    let whole = fs::read(&first).expect("read");
    let length = whole.len() / 10;
    let lost_after = |broken: usize, resume: u64| {
        let mut bytes = whole.clone();
        bytes[broken] ^= 1;
        fs::write(&first, bytes).expect("written");
        let spool = Spool::open_sized(&running.dir, resume, 1 << 20, 1 << 10, None).expect("opened");
        let state = spool.lock();
        (state.end, state.lost.clone())
    };
    // In a body, in a checksum, in a length, and in the last record, behind which nothing follows.
    for (broken, record) in [
        (3 * length + 30, 3),
        (5 * length + 5, 5),
        (7 * length, 7),
        (9 * length + 30, 9),
    ] {
        let (end, lost) = lost_after(broken, 0);
        assert_eq!(end, record);
        let bytes = (10 - record as usize) * length;
        assert!(
            lost.as_ref().is_some_and(
                |told| told.contains(".seg: damaged behind record") && told.contains(&format!("{bytes} bytes"))
            ),
            "{lost:?}"
        );
        assert_eq!(lost_after(broken, 10), (10, None));
        assert!(lost_after(broken, 9).1.is_some());
    }
    // Where not even the first record is left, the file is kept for whoever can mend it.
    assert!(lost_after(30, 0).1.is_some());
    assert!(first.with_extension("damaged").exists());
}

#[test]
fn a_full_spool_refuses_and_accepts_again_when_records_are_durable() {
    let mut first = Running::new();
    first.close();
    let running = Running::open(first.dir.clone(), 0, 8 << 10);
    let mut accepted = 0;
    while running.append(&format!("record {accepted}")) == Ok(()) {
        accepted += 1;
    }
    assert_eq!(running.append("one more"), Err(Refused::Full));
    assert!(
        running
            .spool
            .lock()
            .trouble
            .as_ref()
            .is_some_and(|told| told.contains("senders are told to wait"))
    );
    running.spool.committed(accepted);
    running.append(&format!("record {accepted}")).expect("accepted again");
    assert_eq!(running.spool.lock().trouble, None);
    assert_eq!(running.read(accepted).0, expected(accepted..accepted + 1));
}

#[test]
fn a_disk_that_fails_refuses_and_nothing_accepted_is_lost() {
    let running = Running::new();
    fill(&running, 0..10);
    let running = running.reopen(0);
    // The next segment cannot be created where a directory is in its place.
    let blocked = segment::path(&running.dir, 10);
    fs::create_dir(&blocked).expect("created");
    assert!(matches!(running.append("record 10"), Err(Refused::Disk(_))));
    assert!(running.spool.lock().trouble.is_some());
    fs::remove_dir(&blocked).expect("removed");
    fill(&running, 10..12);
    assert_eq!(running.read(0), (expected(0..12), vec![]));
}

#[test]
fn many_appends_share_the_disk() {
    let running = Running::new();
    let threads: Vec<JoinHandle<()>> = (0..8)
        .map(|_| {
            let spool = Arc::clone(&running.spool);
            std::thread::spawn(move || {
                for _ in 0..20 {
                    let mut block = Block::default();
                    block.push(b"x", &[("a", b"1"), ("b", b"x")], false);
                    wait(spool.append(Arc::new(block))).expect("accepted");
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().expect("appended"));
    assert_eq!(running.read(0).0.len(), 160);
    assert_eq!(running.spool.append_after_close(), Err(Refused::Stopping));
}

#[test]
fn what_is_kept_sealed_opens_with_the_key_alone() {
    let dir = tempfile::tempdir().expect("a directory");
    let sealer = |key| Some(Arc::new(crate::redact::Sealer::new(key)));
    let open = |key| Spool::open(dir.path(), 0, SPOOL_BYTES_MIN, sealer(key));
    let spool = Arc::new(open("the key of this site").expect("opened"));
    let writing = Arc::clone(&spool);
    let writer = std::thread::spawn(move || writing.write());
    let mut block = Block::default();
    block.push(b"alice", &[("header", b"bob")], false);
    block.push(b"carol", &[], true);
    wait(spool.append(Arc::new(block))).expect("accepted");
    spool.close();
    writer.join().expect("ended");
    let bytes = fs::read(segment::path(dir.path(), 0)).expect("a segment");
    for name in [b"alice".as_slice(), b"bob", b"carol", b"header"] {
        assert!(!bytes.windows(name.len()).any(|window| window == name));
    }
    let again = open("the key of this site").expect("opened");
    assert_eq!(again.records(), 2);
    let mut reader = Reader {
        spool: &again,
        next: 0,
        open: None,
    };
    let (payloads, lost) = reader.batch();
    assert_eq!(lost, None);
    let read: Vec<(&[u8], bool)> = payloads
        .iter()
        .map(|payload| (&*payload.bytes, payload.truncated))
        .collect();
    assert_eq!(read, [(b"alice".as_slice(), false), (b"carol", true)]);
    assert_eq!(
        &payloads[0].attributes.as_ref().expect("attributes")["header"][..],
        b"bob"
    );
    // Nothing is taken for damage, and dropped, that only the key is missing for.
    for wrong in [open("another key"), Spool::open(dir.path(), 0, SPOOL_BYTES_MIN, None)] {
        assert!(wrong.err().expect("refused").to_string().contains("key_env"));
    }
}

impl Spool {
    fn append_after_close(&self) -> Result<(), Refused> {
        self.close();
        let mut block = Block::default();
        block.push(b"x", &[], false);
        wait(self.append(Arc::new(block)))
    }
}

impl Spool {
    /// How many records were ever accepted.
    pub(in crate::source) fn records(&self) -> u64 {
        self.lock().end
    }

    /// Everything that a spool's directory holds.
    pub(in crate::source) fn read_all(dir: &Path) -> Vec<Payload> {
        let spool = Spool::open(dir, 0, SPOOL_BYTES_MIN, None).expect("opened");
        let mut reader = Reader {
            spool: &spool,
            next: 0,
            open: None,
        };
        let mut all = Vec::new();
        loop {
            let (payloads, lost) = reader.batch();
            assert_eq!(lost, None);
            if payloads.is_empty() {
                return all;
            }
            all.extend(payloads);
        }
    }
}
