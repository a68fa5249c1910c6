//! The law of the journal under kill -9: this test binary runs itself as the victim.

use std::collections::HashMap;
use std::process::{Command, Stdio};

use rand::{Rng, SeedableRng, rngs::StdRng};

use super::*;

const KILLS: u64 = 8;

/// The victim: journals and forwards until it is killed. Contents depend on the turn, so that a revision given twice would show.
#[tokio::test]
#[ignore = "run by a_killed_engine_never_sends_two_contents_under_one_pair"]
async fn victim() {
    let (Ok(dir), Ok(address)) = (std::env::var("SENTRAIL_TEST_DIR"), std::env::var("SENTRAIL_TEST_HOOK")) else {
        return;
    };
    let dir = Path::new(&dir);
    let mut journal = Journal::open_sized(&dir.join("journal"), 64 << 10).unwrap();
    let reader = journal.reader().unwrap();
    let _forwarder = Forwarder::start_with(&[webhook(&address)], &dir.join("forward"), reader, QUICK).unwrap();
    for turn in 0.. {
        let titles = (0..3).map(|n| {
            titled(
                &format!("i{n}"),
                &format!("{} of process {}", turn + n, std::process::id()),
            )
        });
        journal.append(titles.collect()).unwrap();
        journal.committed(journal.position()).unwrap();
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn a_killed_engine_never_sends_two_contents_under_one_pair() {
    let dir = TempDir::new().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let receiver = Receiver::default();
    receiver.listen(listener).await;
    let mut random = StdRng::seed_from_u64(7);
    let module = module_path!().split_once("::").unwrap().1;
    for _ in 0..KILLS {
        let mut victim = Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", &format!("{module}::victim")])
            .env("SENTRAIL_TEST_DIR", dir.path())
            .env("SENTRAIL_TEST_HOOK", &address)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let before = receiver.got.lock().unwrap().len();
        until("the victim forwards", || receiver.got.lock().unwrap().len() > before).await;
        tokio::time::sleep(Duration::from_millis(random.random_range(0..80))).await;
        victim.kill().unwrap();
        victim.wait().unwrap();
    }
    let journal = Journal::open(&dir.path().join("journal")).unwrap();
    let reader = journal.reader().unwrap();
    let forwarder = Forwarder::start(&[webhook(&address)], &dir.path().join("forward"), reader).unwrap();
    assert!(forwarder.drain(Duration::from_secs(20)).await);

    let got = receiver.got.lock().unwrap();
    let mut contents: HashMap<String, String> = HashMap::new();
    let mut repeats = 0;
    for (_, headers, body) in got.iter() {
        let pair = headers["x-sentrail-delivery"].to_str().unwrap();
        if let Some(held) = contents.insert(pair.to_owned(), body.clone()) {
            assert_eq!(held, *body, "{pair}");
            repeats += 1;
        }
    }
    // Revisions count from 1 without gaps, so the greatest one says how many there must be.
    for incident in ["i0", "i1", "i2"] {
        let revisions = contents.keys().filter(|pair| pair.starts_with(incident)).count();
        assert!(
            contents.contains_key(&format!("{incident}/{revisions}")),
            "{incident}: {revisions} revisions"
        );
    }
    println!("{KILLS} kills, {} pairs, {repeats} repeats", contents.len());
}
